//! Canonical XML 1.1, inclusive and without comments. It differs from 1.0 in how attributes of
//! the prefix `xml` are inherited, and the reader refuses those.

use super::{
    RimFault,
    xml::{Binding, Event, Name, Reader, Tag},
};
use alloc::{string::String, vec::Vec};

/// Canonical form of what it is given, event by event.
#[derive(Debug, Default)]
pub(super) struct Canonical(String);

impl Canonical {
    /// Adds one event inside the root. A comment leaves no trace.
    pub(super) fn add(&mut self, event: &Event<'_>) {
        match event {
            Event::Start(tag) => self.start(tag, tag.declared.clone()),
            Event::End(name) => {
                self.0.push_str("</");
                self.name(name);
                self.0.push('>');
            }
            Event::Text(text) => self.escaped(text, |byte| match byte {
                b'&' => Some("&amp;"),
                b'<' => Some("&lt;"),
                b'>' => Some("&gt;"),
                b'\r' => Some("&#xD;"),
                _ => None,
            }),
            Event::Comment => {}
        }
    }

    pub(super) fn into_text(self) -> String {
        self.0
    }

    /// §2.3: namespaces by prefix, then attributes by namespace and local name.
    fn start(&mut self, tag: &Tag<'_>, mut declared: Vec<Binding<'_>>) {
        self.0.push('<');
        self.name(&tag.name);
        declared.sort_unstable_by_key(|binding| binding.prefix);
        for binding in declared {
            self.0.push_str(if binding.prefix.is_empty() { " xmlns" } else { " xmlns:" });
            self.0.push_str(binding.prefix);
            self.0.push_str("=\"");
            self.0.push_str(binding.space);
            self.0.push('"');
        }
        let mut attributes: Vec<_> = tag.attributes.iter().collect();
        attributes.sort_unstable_by_key(|attribute| (attribute.name.space, attribute.name.local));
        for attribute in attributes {
            self.0.push(' ');
            self.name(&attribute.name);
            self.0.push_str("=\"");
            self.escaped(&attribute.value, |byte| match byte {
                b'&' => Some("&amp;"),
                b'<' => Some("&lt;"),
                b'"' => Some("&quot;"),
                b'\t' => Some("&#x9;"),
                b'\n' => Some("&#xA;"),
                b'\r' => Some("&#xD;"),
                _ => None,
            });
            self.0.push('"');
        }
        self.0.push('>');
    }

    fn escaped(&mut self, text: &str, escape: fn(u8) -> Option<&'static str>) {
        let mut rest = text;
        while let Some(at) = rest.bytes().position(|byte| escape(byte).is_some()) {
            let (plain, special) = rest.split_at(at);
            let mut special = special.chars();
            self.0.push_str(plain);
            self.0.push_str(special.next().and_then(|c| escape(u8::try_from(c).ok()?)).unwrap_or_default());
            rest = special.as_str();
        }
        self.0.push_str(rest);
    }

    fn name(&mut self, name: &Name<'_>) {
        if !name.prefix.is_empty() {
            self.0.push_str(name.prefix);
            self.0.push(':');
        }
        self.0.push_str(name.local);
    }
}

/// Canonical form of one element as a subset of its document (§2.4): its start tag, which was read
/// last, takes on every namespace in scope. Reads to the element's end.
pub(super) fn subset(tag: &Tag<'_>, reader: &mut Reader<'_>) -> Result<String, RimFault> {
    let around = reader.depth();
    let mut canonical = Canonical::default();
    canonical.start(tag, reader.in_scope());
    while reader.depth() >= around {
        canonical.add(&reader.next()?.ok_or(RimFault::Xml)?);
    }
    Ok(canonical.into_text())
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::arithmetic_side_effects)]
mod tests {
    extern crate std;

    use super::*;
    use alloc::{format, string::ToString, vec};
    use proptest::{
        prelude::*,
        strategy::{BoxedStrategy, ValueTree as _},
        test_runner::TestRunner,
    };
    use std::{
        io::Write as _,
        process::{Command, Stdio},
    };

    fn canonical(text: &str) -> Result<String, RimFault> {
        let mut reader = Reader::new(text)?;
        let mut canonical = Canonical::default();
        while let Some(event) = reader.next()? {
            canonical.add(&event);
        }
        Ok(canonical.into_text())
    }

    #[test]
    fn example_of_white_space() {
        // §3.2.
        let document = "<doc>\n   <clean>   </clean>\n   <dirty>   A   B   </dirty>\n   <mixed>\n      A\n      \
                        <clean>   </clean>\n      B\n      <dirty>   A   B   </dirty>\n      C\n   </mixed>\n</doc>";
        assert_eq!(canonical(document).unwrap(), document);
    }

    #[test]
    fn example_of_tags() {
        // §3.3, without the attribute that its DTD supplies.
        let document = r#"<doc>
   <e1   />
   <e2   ></e2>
   <e3   name = "elem3"   id="elem3"   />
   <e4   name="elem4"   id="elem4"   ></e4>
   <e5 a:attr="out" b:attr="sorted" attr2="all" attr="I'm"
      xmlns:b="http://www.ietf.org"
      xmlns:a="http://www.w3.org"
      xmlns="http://example.org"/>
   <e6 xmlns="" xmlns:a="http://www.w3.org">
      <e7 xmlns="http://www.ietf.org">
         <e8 xmlns="" xmlns:a="http://www.w3.org">
            <e9 xmlns="" xmlns:a="http://www.ietf.org"/>
         </e8>
      </e7>
   </e6>
</doc>"#;
        let form = r#"<doc>
   <e1></e1>
   <e2></e2>
   <e3 id="elem3" name="elem3"></e3>
   <e4 id="elem4" name="elem4"></e4>
   <e5 xmlns="http://example.org" xmlns:a="http://www.w3.org" xmlns:b="http://www.ietf.org" attr="I'm" attr2="all" b:attr="sorted" a:attr="out"></e5>
   <e6 xmlns:a="http://www.w3.org">
      <e7 xmlns="http://www.ietf.org">
         <e8 xmlns="">
            <e9 xmlns:a="http://www.ietf.org"></e9>
         </e8>
      </e7>
   </e6>
</doc>"#;
        assert_eq!(canonical(document).unwrap(), form);
        assert_eq!(canonical(form).unwrap(), form);
    }

    #[test]
    fn example_of_characters() {
        // §3.4, without its CDATA section and the attribute whose type its DTD gives.
        let document = r#"<doc>
   <text>First line&#x0d;&#10;Second line</text>
   <value>&#x32;</value>
   <compute expr='value>"0" &amp;&amp; value&lt;"10" ?"valid":"error"'>valid</compute>
   <norm attr=' &apos;   &#x20;&#13;&#xa;&#9;   &apos; '/>
</doc>"#;
        let form = r#"<doc>
   <text>First line&#xD;
Second line</text>
   <value>2</value>
   <compute expr="value>&quot;0&quot; &amp;&amp; value&lt;&quot;10&quot; ?&quot;valid&quot;:&quot;error&quot;">valid</compute>
   <norm attr=" '    &#xD;&#xA;&#x9;   ' "></norm>
</doc>"#;
        assert_eq!(canonical(document).unwrap(), form);
        assert_eq!(canonical(form).unwrap(), form);
    }

    #[test]
    fn example_of_what_surrounds_the_root() {
        // §3.1, without its processing instructions.
        let document = "<?xml version=\"1.0\"?>\n\n<doc>Hello, world!<!-- Comment 1 --></doc>\n\n<!-- Comment 2 -->\n";
        assert_eq!(canonical(document).unwrap(), "<doc>Hello, world!</doc>");
    }

    #[test]
    fn line_ends_are_one_and_references_to_them_stay() {
        assert_eq!(canonical("<a b='\r\n\t&#13;'>\r\n\r&#13;</a>").unwrap(), "<a b=\"  &#xD;\">\n\n&#xD;</a>");
    }

    #[test]
    fn text_on_both_sides_of_a_comment_closes_up() {
        assert_eq!(canonical("<a>5<!-- 1 -->703</a>").unwrap(), "<a>5703</a>");
    }

    #[test]
    fn attributes_go_by_namespace_before_name() {
        // The prefix does not count: b's namespace is before a's.
        let form = canonical("<r xmlns:a='urn:z' xmlns:b='urn:y' a:k='1' b:l='2' z='3'/>").unwrap();
        assert_eq!(form, "<r xmlns:a=\"urn:z\" xmlns:b=\"urn:y\" z=\"3\" b:l=\"2\" a:k=\"1\"></r>");
    }

    #[test]
    fn an_element_alone_takes_its_namespaces_along() {
        let mut reader =
            Reader::new("<r xmlns='urn:d' xmlns:p='urn:p' xmlns:q='urn:q'><o xmlns:p='urn:o' xmlns=''><i p:x=''> <j xmlns:q='urn:q'/></i></o></r>")
                .unwrap();
        loop {
            match reader.next().unwrap().unwrap() {
                Event::Start(tag) if tag.name.local == "i" => {
                    // The default one was undeclared, p means another, and q at j says nothing new.
                    let form = "<i xmlns:p=\"urn:o\" xmlns:q=\"urn:q\" p:x=\"\"> <j></j></i>";
                    assert_eq!(subset(&tag, &mut reader).unwrap(), form);
                    assert_eq!(reader.depth(), 2);
                    return;
                }
                _ => {}
            }
        }
    }

    #[test]
    fn libxml2_agrees() {
        let mut runner = TestRunner::deterministic();
        let documents: Vec<String> =
            (0..600).map(|_| element(4, true).new_tree(&mut runner).unwrap().current()).collect();
        let script = "import sys, json\nfrom lxml import etree\nout = []\nfor text in json.load(sys.stdin):\n    \
                      try: out.append(etree.tostring(etree.fromstring(text.encode()).getroottree(), method='c14n', \
                      with_comments=False).decode())\n    except etree.XMLSyntaxError: out.append(None)\njson.dump(out, sys.stdout)";
        let child = Command::new("python3")
            .args(["-c", script])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn();
        let Ok(mut child) = child else { return std::println!("skipped: no python3") };
        let input = serde_json::to_vec(&documents).unwrap();
        // Without lxml it ends before it reads.
        let _ = child.stdin.take().unwrap().write_all(&input);
        let output = child.wait_with_output().unwrap();
        if !output.status.success() {
            return std::println!("skipped: python3 has no lxml");
        }
        let theirs: Vec<Option<String>> = serde_json::from_slice(&output.stdout).unwrap();
        let mut compared = 0;
        for (document, theirs) in documents.iter().zip(theirs) {
            if let Ok(ours) = canonical(document) {
                assert_eq!(Some(ours), theirs, "{document}");
                compared += 1;
            }
        }
        std::println!("{compared} documents compared");
        assert!(compared > 300, "{compared}");
    }

    proptest! {
        #[test]
        fn a_canonical_form_is_its_own(document in element(3, true)) {
            if let Ok(form) = canonical(&document) {
                prop_assert_eq!(canonical(&form).unwrap(), form);
            }
        }
    }

    /// Elements with every kind of content, of which some have an attribute twice.
    fn element(depth: u32, root: bool) -> BoxedStrategy<String> {
        let space = || prop::sample::select(vec!["urn:one", "urn:two", "http://example.org/a#b"]);
        let declared =
            (prop::option::of(prop_oneof![space(), Just("")]), prop::option::of(space()), prop::option::of(space()));
        let attributes = prop::collection::btree_map(
            prop::sample::select(vec!["x", "y", "Z", "p:x", "q:x", "q:w"]),
            (any::<bool>(), pieces()),
            0..4,
        );
        let child = match depth {
            0 => pieces().prop_map(|pieces| pieces.concat()).boxed(),
            _ => prop_oneof![
                3 => pieces().prop_map(|pieces| pieces.concat()),
                1 => Just("<!-- & < -->".to_string()),
                4 => element(depth.saturating_sub(1), false),
            ]
            .boxed(),
        };
        let name = prop::sample::select(vec!["a", "b", "p:a", "q:b"]);
        (name, declared, attributes, prop::collection::vec(child, 0..4), any::<bool>())
            .prop_map(move |(name, (default, p, q), attributes, children, empty)| {
                let mut tag = String::from(name);
                let (p, q) = if root { (p.or(Some("urn:p")), q.or(Some("urn:q"))) } else { (p, q) };
                for (prefix, space) in [("xmlns:q", q), ("xmlns", default), ("xmlns:p", p)] {
                    tag += &space.map(|space| format!(" {prefix}='{space}'")).unwrap_or_default();
                }
                for (name, (double, pieces)) in &attributes {
                    let quote = if *double { "\"" } else { "'" };
                    let value: String = pieces.iter().filter(|piece| **piece != quote).copied().collect();
                    tag += &format!("\n{name}={quote}{value}{quote}");
                }
                match children.concat() {
                    content if content.is_empty() && empty => format!("<{tag}/>"),
                    content => format!("<{tag}>{content}</{name} >"),
                }
            })
            .boxed()
    }

    fn pieces() -> impl Strategy<Value = Vec<&'static str>> {
        let piece = prop::sample::select(vec![
            "x",
            " ",
            "\n",
            "\t",
            "\r\n",
            "\r",
            "&amp;",
            "&lt;",
            "&gt;",
            ">",
            "\"",
            "'",
            "&#13;",
            "&#xA;",
            "&#9;",
            "\u{e9}",
            "\u{1f600}",
            "&quot;",
            "&apos;",
            "&#x20;",
            "]]",
            "7",
        ]);
        prop::collection::vec(piece, 0..6)
    }
}
