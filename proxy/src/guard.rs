//! Who may call: programs of this machine, and no page that a browser shows.

use crate::fault::Fault;
use axum::http::{HeaderMap, Uri, header};
use std::net::IpAddr;

/// By which names of this machine callers may call.
pub(crate) struct Names<'a> {
    /// Names that were given at the start, beside those of loopback.
    pub(crate) given: &'a [String],
    /// Whether other machines may call, by an address of this one.
    pub(crate) anywhere: bool,
}

/// Refuses what a page in a browser sends: by a name that it made point to this machine (DNS rebinding), or under an
/// origin. No page is the proxy's own, and other programs send none.
pub(crate) fn check(uri: &Uri, headers: &HeaderMap, names: &Names<'_>) -> Result<(), Fault> {
    let text = |name| headers.get(name).map(|value| value.to_str().unwrap_or_default());
    // HTTP/2 has the host in the URI.
    let host = uri.authority().map(|authority| authority.as_str()).or_else(|| text(header::HOST)).unwrap_or_default();
    if !names.has(host) {
        let message = "the Host header names another machine than this";
        let help =
            "call http://127.0.0.1 or http://localhost, or start the proxy with --name and the name that you call";
        return Err(Fault::new(403, "host", message, help));
    }
    // `none` is what a person typed.
    if headers.contains_key(header::ORIGIN) || text(SITE).is_some_and(|site| site != "none") {
        let message = "pages are not served";
        return Err(Fault::new(403, "origin", message, "call from a program, not from a page"));
    }
    Ok(())
}

const SITE: header::HeaderName = header::HeaderName::from_static("sec-fetch-site");

impl Names<'_> {
    fn has(&self, host: &str) -> bool {
        let name = match host.rsplit_once(':') {
            Some((name, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => name,
            _ => host,
        };
        if name.eq_ignore_ascii_case("localhost") || self.given.iter().any(|given| name.eq_ignore_ascii_case(given)) {
            return true;
        }
        // Nobody can make an address point elsewhere.
        let address = name.trim_matches(['[', ']']).parse::<IpAddr>();
        address.is_ok_and(|address| self.anywhere || address.is_loopback())
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    const HERE: Names<'static> = Names { given: &[], anywhere: false };

    fn called(host: &str, more: &[(&'static str, &str)], names: &Names<'_>) -> Option<&'static str> {
        let mut headers = HeaderMap::new();
        headers.insert(header::HOST, host.parse().unwrap());
        for (name, value) in more {
            headers.insert(*name, value.parse().unwrap());
        }
        check(&Uri::from_static("/v2"), &headers, names).err().map(|fault| fault.code)
    }

    #[test]
    fn this_machine_is_served_by_its_own_names_alone() {
        for host in ["localhost", "localhost:8484", "127.0.0.1:8484", "127.1.2.3", "[::1]:8484", "LOCALHOST:1"] {
            assert_eq!(called(host, &[], &HERE), None, "{host}");
        }
        for host in
            ["evil.example", "evil.example:8484", "10.0.0.1:8484", "localhost.evil.example", "127.0.0.1.evil", ""]
        {
            assert_eq!(called(host, &[], &HERE), Some("host"), "{host}");
        }
    }

    #[test]
    fn other_machines_call_by_an_address_or_by_a_name_that_was_given() {
        let given = ["proxy.example".to_owned()];
        let anywhere = Names { given: &given, anywhere: true };
        for host in ["10.0.0.1:8484", "[fd00::1]:8484", "localhost", "proxy.example:8484", "Proxy.Example"] {
            assert_eq!(called(host, &[], &anywhere), None, "{host}");
        }
        for host in ["evil.example:8484", "proxy.example.evil", "10.0.0.1.evil", ""] {
            assert_eq!(called(host, &[], &anywhere), Some("host"), "{host}");
        }
        // A page that rebound its own name: its origin is the host that it calls.
        let page = [("origin", "http://evil.example:8484")];
        assert_eq!(called("evil.example:8484", &page, &anywhere), Some("host"));
        // A name alone lets nobody in by an address.
        let named = Names { given: &given, anywhere: false };
        assert_eq!(called("proxy.example", &[], &named), None);
        assert_eq!(called("10.0.0.1", &[], &named), Some("host"));
    }

    #[test]
    fn pages_are_not_served() {
        for origin in ["http://localhost:8484", "https://evil.example", "null", "http://localhost:1"] {
            assert_eq!(called("localhost:8484", &[("origin", origin)], &HERE), Some("origin"), "{origin}");
        }
        for site in ["cross-site", "same-site", "same-origin"] {
            assert_eq!(called("localhost", &[("sec-fetch-site", site)], &HERE), Some("origin"), "{site}");
        }
        assert_eq!(called("localhost", &[("sec-fetch-site", "none")], &HERE), None);
    }

    #[test]
    fn the_host_of_a_second_version_is_in_the_uri() {
        let uri = Uri::from_static("http://evil.example/v2");
        let mut headers = HeaderMap::new();
        headers.insert(header::HOST, "localhost".parse().unwrap());
        assert_eq!(check(&uri, &headers, &HERE).unwrap_err().code, "host");
    }
}
