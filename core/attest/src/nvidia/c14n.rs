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
            Event::Text(text) => text.chars().for_each(|c| match c {
                '&' => self.0.push_str("&amp;"),
                '<' => self.0.push_str("&lt;"),
                '>' => self.0.push_str("&gt;"),
                '\r' => self.0.push_str("&#xD;"),
                c => self.0.push(c),
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
            attribute.value.chars().for_each(|c| match c {
                '&' => self.0.push_str("&amp;"),
                '<' => self.0.push_str("&lt;"),
                '"' => self.0.push_str("&quot;"),
                '\t' => self.0.push_str("&#x9;"),
                '\n' => self.0.push_str("&#xA;"),
                '\r' => self.0.push_str("&#xD;"),
                c => self.0.push(c),
            });
            self.0.push('"');
        }
        self.0.push('>');
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
