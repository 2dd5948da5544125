//! Who may call: programs of this machine, and no page that a browser shows.

use crate::fault::Fault;
use axum::http::{HeaderMap, Uri, header};
use std::net::IpAddr;

/// Refuses what a page of some other site sends through a browser: by a name that it made point to this machine
/// (DNS rebinding), or under its own origin. Other programs of this machine send neither.
pub(crate) fn check(uri: &Uri, headers: &HeaderMap, anywhere: bool) -> Result<(), Fault> {
    let text = |name| headers.get(name).map(|value| value.to_str().unwrap_or_default());
    // HTTP/2 has the host in the URI.
    let host = uri.authority().map(|authority| authority.as_str()).or_else(|| text(header::HOST)).unwrap_or_default();
    if !anywhere && !is_loopback(host) {
        let message = "the Host header names another machine than this";
        return Err(Fault::new(403, "host", message, "call http://127.0.0.1 or http://localhost"));
    }
    let foreign = |origin: &str| origin.split_once("://").is_none_or(|(_, rest)| rest != host);
    if text(header::ORIGIN).is_some_and(foreign) || text(SITE).is_some_and(|site| site == "cross-site") {
        let message = "pages of other sites are not served";
        return Err(Fault::new(403, "origin", message, "call from a program, not from a page"));
    }
    Ok(())
}

const SITE: header::HeaderName = header::HeaderName::from_static("sec-fetch-site");

fn is_loopback(host: &str) -> bool {
    let name = match host.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => name,
        _ => host,
    };
    let address = name.trim_matches(['[', ']']).parse::<IpAddr>();
    name.eq_ignore_ascii_case("localhost") || address.is_ok_and(|address| address.is_loopback())
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn called(host: &str, more: &[(&'static str, &str)], anywhere: bool) -> Option<&'static str> {
        let mut headers = HeaderMap::new();
        headers.insert(header::HOST, host.parse().unwrap());
        for (name, value) in more {
            headers.insert(*name, value.parse().unwrap());
        }
        check(&Uri::from_static("/v2"), &headers, anywhere).err().map(|fault| fault.code)
    }

    #[test]
    fn this_machine_is_served_by_its_own_names_alone() {
        for host in ["localhost", "localhost:8484", "127.0.0.1:8484", "127.1.2.3", "[::1]:8484", "LOCALHOST:1"] {
            assert_eq!(called(host, &[], false), None, "{host}");
        }
        for host in
            ["evil.example", "evil.example:8484", "10.0.0.1:8484", "localhost.evil.example", "127.0.0.1.evil", ""]
        {
            assert_eq!(called(host, &[], false), Some("host"), "{host}");
        }
        assert_eq!(called("proxy.example:8484", &[], true), None);
    }

    #[test]
    fn pages_of_other_sites_are_not_served() {
        let origin = |origin| called("localhost:8484", &[("origin", origin)], false);
        assert_eq!(origin("http://localhost:8484"), None);
        for other in ["https://evil.example", "null", "http://localhost:1"] {
            assert_eq!(origin(other), Some("origin"), "{other}");
        }
        assert_eq!(called("localhost", &[("sec-fetch-site", "cross-site")], false), Some("origin"));
    }

    #[test]
    fn the_host_of_a_second_version_is_in_the_uri() {
        let uri = Uri::from_static("http://evil.example/v2");
        let mut headers = HeaderMap::new();
        headers.insert(header::HOST, "localhost".parse().unwrap());
        assert_eq!(check(&uri, &headers, false).unwrap_err().code, "host");
    }
}
