//! XML 1.0 with namespaces, as far as signed manifests use it, as a stream of events. Whatever lets
//! two readers disagree about a document is refused: DTDs and their entities, processing
//! instructions, CDATA, names beyond ASCII, the `xml:` attributes, namespaces that are no absolute URI.

use super::RimFault;
use alloc::{borrow::Cow, string::String, vec::Vec};

/// What comes next in a document.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Event<'a> {
    /// A start tag. An empty element is a start and an end.
    Start(Tag<'a>),
    /// The end of the element that was opened last.
    End(Name<'a>),
    /// Text inside the root, references resolved. Adjacent texts may come as several events.
    Text(Cow<'a, str>),
    /// A comment.
    Comment,
}

/// A name as written, and the namespace that it is in (`""` for none).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Name<'a> {
    pub(super) prefix: &'a str,
    pub(super) local: &'a str,
    pub(super) space: &'a str,
}

impl Name<'_> {
    pub(super) fn is(&self, space: &str, local: &str) -> bool {
        self.space == space && self.local == local
    }
}

/// A start tag.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Tag<'a> {
    pub(super) name: Name<'a>,
    /// Without namespace declarations; in the order of the document.
    pub(super) attributes: Vec<Attribute<'a>>,
    /// Declarations that give a prefix another meaning than it has around the element.
    pub(super) declared: Vec<Binding<'a>>,
}

impl Tag<'_> {
    /// Value of an attribute.
    pub(super) fn attribute(&self, space: &str, local: &str) -> Option<&str> {
        self.attributes.iter().find(|attribute| attribute.name.is(space, local)).map(|found| &*found.value)
    }
}

/// An attribute, its value normalised.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Attribute<'a> {
    pub(super) name: Name<'a>,
    pub(super) value: Cow<'a, str>,
}

/// A prefix (`""` for the default) and its namespace (`""` for none).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Binding<'a> {
    pub(super) prefix: &'a str,
    pub(super) space: &'a str,
}

/// Reads a document from its first byte to its last.
#[derive(Debug, Clone)]
pub(super) struct Reader<'a> {
    rest: &'a str,
    /// Elements that are open, each with the number of bindings around it.
    open: Vec<(Name<'a>, usize)>,
    bindings: Vec<Binding<'a>>,
    /// The element opened last was written as an empty one.
    empty: bool,
    /// The root was seen.
    root: bool,
}

const MAX_DEPTH: usize = 16;
const MAX_ATTRIBUTES: usize = 64;
const SPACE: &[char] = &[' ', '\t', '\r', '\n'];

impl<'a> Reader<'a> {
    pub(super) fn new(text: &'a str) -> Result<Self, RimFault> {
        let rest = declaration(text)?;
        Ok(Self { rest, open: Vec::new(), bindings: Vec::new(), empty: false, root: false })
    }

    /// How many elements are open.
    pub(super) fn depth(&self) -> usize {
        self.open.len()
    }

    /// Namespaces in scope, each prefix once.
    pub(super) fn in_scope(&self) -> Vec<Binding<'a>> {
        let mut scope: Vec<Binding<'a>> = Vec::new();
        for binding in self.bindings.iter().rev() {
            if scope.iter().all(|nearer| nearer.prefix != binding.prefix) {
                scope.push(*binding);
            }
        }
        scope.retain(|binding| !binding.space.is_empty());
        scope
    }

    /// The next event; `None` after the whole document was read and nothing is left over.
    pub(super) fn next(&mut self) -> Result<Option<Event<'a>>, RimFault> {
        if self.empty {
            self.empty = false;
            return self.end().map(Some);
        }
        if self.open.is_empty() {
            self.rest = self.rest.trim_start_matches(SPACE);
            if self.rest.is_empty() && self.root {
                return Ok(None);
            }
        } else if !self.rest.starts_with('<') {
            let (text, rest) = self.rest.split_at(self.rest.find('<').ok_or(RimFault::Xml)?);
            self.rest = rest;
            return content(text).map(|text| Some(Event::Text(text)));
        }
        self.markup().map(Some)
    }

    fn markup(&mut self) -> Result<Event<'a>, RimFault> {
        let markup = self.rest.strip_prefix('<').ok_or(RimFault::Xml)?;
        if let Some(comment) = markup.strip_prefix("!--") {
            let (comment, rest) = comment.split_once("--").ok_or(RimFault::Xml)?;
            self.rest = rest.strip_prefix('>').filter(|_| comment.chars().all(is_char)).ok_or(RimFault::Xml)?;
            return Ok(Event::Comment);
        }
        if markup.starts_with(['!', '?']) {
            return Err(RimFault::Markup);
        }
        if let Some(end) = markup.strip_prefix('/') {
            let (prefix, local, rest) = qualified(end)?;
            self.rest = rest.trim_start_matches(SPACE).strip_prefix('>').ok_or(RimFault::Xml)?;
            let (open, _) = self.open.last().ok_or(RimFault::Xml)?;
            return if (open.prefix, open.local) == (prefix, local) { self.end() } else { Err(RimFault::Xml) };
        }
        if self.open.is_empty() && self.root {
            return Err(RimFault::Xml);
        }
        self.root = true;
        self.start(markup).map(Event::Start)
    }

    fn end(&mut self) -> Result<Event<'a>, RimFault> {
        let (name, around) = self.open.pop().ok_or(RimFault::Xml)?;
        self.bindings.truncate(around);
        Ok(Event::End(name))
    }

    fn start(&mut self, markup: &'a str) -> Result<Tag<'a>, RimFault> {
        if self.open.len() >= MAX_DEPTH {
            return Err(RimFault::Limits);
        }
        let around = self.bindings.len();
        let (prefix, local, mut rest) = qualified(markup)?;
        let mut written = Vec::new();
        let mut declared: Vec<Binding<'a>> = Vec::new();
        loop {
            let trimmed = rest.trim_start_matches(SPACE);
            if let Some(after) = trimmed.strip_prefix('>') {
                self.rest = after;
                break;
            }
            if let Some(after) = trimmed.strip_prefix("/>") {
                (self.rest, self.empty) = (after, true);
                break;
            }
            // White space is what divides attributes.
            if trimmed.len() == rest.len() {
                return Err(RimFault::Xml);
            }
            if written.len().saturating_add(declared.len()) >= MAX_ATTRIBUTES {
                return Err(RimFault::Limits);
            }
            let (prefix, local, value, after) = attribute(trimmed)?;
            rest = after;
            match declaration_of(prefix, local, value)? {
                None => written.push((prefix, local, normalised(value)?)),
                Some(binding) if declared.iter().any(|other| other.prefix == binding.prefix) => {
                    return Err(RimFault::Attribute);
                }
                Some(binding) => declared.push(binding),
            }
        }
        // What a declaration that changes nothing says, the canonical form leaves out.
        declared.retain(|binding| self.space(binding.prefix).unwrap_or_default() != binding.space);
        self.bindings.extend(&declared);

        let name = Name { prefix, local, space: self.space(prefix).ok_or(RimFault::Namespace)? };
        let mut attributes: Vec<Attribute<'a>> = Vec::with_capacity(written.len());
        for (prefix, local, value) in written {
            // Namespaces in XML 1.0 §6.2: the default one does not apply to attributes.
            let space = if prefix.is_empty() { "" } else { self.space(prefix).ok_or(RimFault::Namespace)? };
            if attributes.iter().any(|other| other.name.is(space, local)) {
                return Err(RimFault::Attribute);
            }
            attributes.push(Attribute { name: Name { prefix, local, space }, value });
        }
        self.open.push((name, around));
        Ok(Tag { name, attributes, declared })
    }

    /// What a prefix stands for. The default one, not declared, stands for no namespace.
    fn space(&self, prefix: &str) -> Option<&'a str> {
        let nearest = self.bindings.iter().rev().find(|binding| binding.prefix == prefix);
        nearest.map(|binding| binding.space).or_else(|| prefix.is_empty().then_some(""))
    }
}

/// What follows an XML declaration (XML 1.0 §2.8), where there is one.
fn declaration(text: &str) -> Result<&str, RimFault> {
    let Some(declaration) = text.strip_prefix("<?xml").filter(|rest| rest.starts_with(SPACE)) else { return Ok(text) };
    let (mut rest, document) = declaration.split_once("?>").ok_or(RimFault::Xml)?;
    let mut expected: &[(&str, &[&str])] =
        &[("version", &["1.0"]), ("encoding", &["UTF-8", "utf-8"]), ("standalone", &["yes", "no"])];
    let mut versioned = false;
    while !rest.trim_start_matches(SPACE).is_empty() {
        if !rest.starts_with(SPACE) {
            return Err(RimFault::Xml);
        }
        let ("", found, value, after) = attribute(rest.trim_start_matches(SPACE))? else { return Err(RimFault::Xml) };
        let at = expected.iter().position(|(name, _)| *name == found).ok_or(RimFault::Xml)?;
        let ((_, values), later) = expected.get(at..).and_then(<[_]>::split_first).ok_or(RimFault::Xml)?;
        if !values.contains(&value) {
            return Err(if found == "encoding" { RimFault::Encoding } else { RimFault::Xml });
        }
        versioned |= found == "version";
        (expected, rest) = (later, after);
    }
    if versioned { Ok(document) } else { Err(RimFault::Xml) }
}

/// Prefix, local name and raw value of an attribute, and what follows it.
fn attribute(text: &str) -> Result<(&str, &str, &str, &str), RimFault> {
    let (prefix, local, rest) = qualified(text)?;
    let rest = rest.trim_start_matches(SPACE).strip_prefix('=').ok_or(RimFault::Xml)?.trim_start_matches(SPACE);
    let quote = rest.chars().next().filter(|quote| matches!(quote, '"' | '\'')).ok_or(RimFault::Xml)?;
    let (value, rest) = rest.strip_prefix(quote).and_then(|rest| rest.split_once(quote)).ok_or(RimFault::Xml)?;
    if value.contains('<') {
        return Err(RimFault::Xml);
    }
    Ok((prefix, local, value, rest))
}

/// The binding that an attribute makes, if it is a declaration.
fn declaration_of<'a>(prefix: &'a str, local: &'a str, value: &'a str) -> Result<Option<Binding<'a>>, RimFault> {
    let declared = match (prefix, local) {
        ("", "xmlns") => "",
        // Bound to what only they may be bound to; canonical forms disagree on attributes so named.
        ("xml", _) | ("xmlns", "xml" | "xmlns") => return Err(RimFault::Namespace),
        ("xmlns", declared) => declared,
        _ => return Ok(None),
    };
    let absolute = value.split_once(':').is_some_and(|(scheme, _)| {
        scheme.starts_with(|first: char| first.is_ascii_alphabetic())
            && scheme.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '+' | '-' | '.'))
    });
    let plain = value.bytes().all(|byte| byte.is_ascii_graphic() && !matches!(byte, b'&' | b'"' | b'\'' | b'<' | b'>'));
    if RESERVED.contains(&value) || !plain || !absolute && !(value.is_empty() && declared.is_empty()) {
        return Err(RimFault::Namespace);
    }
    Ok(Some(Binding { prefix: declared, space: value }))
}

const RESERVED: [&str; 2] = ["http://www.w3.org/XML/1998/namespace", "http://www.w3.org/2000/xmlns/"];

/// Prefix and local name at the start of a text, and what follows.
fn qualified(text: &str) -> Result<(&str, &str, &str), RimFault> {
    let (first, rest) = name(text)?;
    let Some(after) = rest.strip_prefix(':') else { return Ok(("", first, rest)) };
    let (local, rest) = name(after)?;
    Ok((first, local, rest))
}

fn name(text: &str) -> Result<(&str, &str), RimFault> {
    let end = text.find(|c: char| !(c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.'))).unwrap_or(text.len());
    let (name, rest) = text.split_at(end);
    let starts = name.starts_with(|first: char| first.is_ascii_alphabetic() || first == '_');
    if starts { Ok((name, rest)) } else { Err(RimFault::Xml) }
}

/// Text between tags: line ends as one LF (XML 1.0 §2.11), references resolved.
fn content(raw: &str) -> Result<Cow<'_, str>, RimFault> {
    if raw.contains("]]>") {
        return Err(RimFault::Xml);
    }
    resolved(raw, |c| c)
}

/// An attribute's value (XML 1.0 §3.3.3): written white space is a space, referred to it stays.
fn normalised(raw: &str) -> Result<Cow<'_, str>, RimFault> {
    resolved(raw, |c| if SPACE.contains(&c) { ' ' } else { c })
}

fn resolved(raw: &str, written: fn(char) -> char) -> Result<Cow<'_, str>, RimFault> {
    if raw.bytes().all(|byte| matches!(byte, b' '..=b'%' | b'\''..=b'~')) {
        return Ok(Cow::Borrowed(raw));
    }
    let mut out = String::new();
    let mut rest = raw;
    while let Some(c) = rest.chars().next() {
        rest = match c {
            '&' => {
                let (c, after) = reference(rest)?;
                out.push(c);
                after
            }
            '\r' => {
                out.push(written('\n'));
                rest.strip_prefix("\r\n").or_else(|| rest.strip_prefix('\r')).unwrap_or_default()
            }
            c if is_char(c) => {
                out.push(written(c));
                rest.strip_prefix(c).unwrap_or_default()
            }
            _ => return Err(RimFault::Xml),
        };
    }
    Ok(Cow::Owned(out))
}

/// The character that a reference stands for, and what follows.
fn reference(text: &str) -> Result<(char, &str), RimFault> {
    let (name, rest) = text.strip_prefix('&').and_then(|text| text.split_once(';')).ok_or(RimFault::Xml)?;
    let numeric = |digits: &str, radix| {
        let plain = !digits.is_empty() && digits.chars().all(|digit| digit.is_digit(radix));
        u32::from_str_radix(digits, radix).ok().filter(|_| plain).and_then(char::from_u32).filter(|c| is_char(*c))
    };
    let c = match name {
        "amp" => '&',
        "lt" => '<',
        "gt" => '>',
        "quot" => '"',
        "apos" => '\'',
        _ => match (name.strip_prefix("#x"), name.strip_prefix('#')) {
            (Some(digits), _) => numeric(digits, 16).ok_or(RimFault::Xml)?,
            (None, Some(digits)) => numeric(digits, 10).ok_or(RimFault::Xml)?,
            (None, None) => return Err(RimFault::Entity),
        },
    };
    Ok((c, rest))
}

/// XML 1.0 §2.2.
fn is_char(c: char) -> bool {
    matches!(c, '\t' | '\n' | '\r' | ' '..='\u{d7ff}' | '\u{e000}'..='\u{fffd}' | '\u{10000}'..)
}
