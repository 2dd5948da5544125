//! The header: who can open the file, and the MAC that binds it to the file key.

use aws_lc_rs::{
    aead::{Aad, Nonce},
    hmac,
};
use base64ct::{Base64Unpadded, Encoding};
use glacier_wire::{FileKey, Recipient};
use zeroize::Zeroizing;

use crate::{
    error::{AssetError, Malformed},
    identity::AgeIdentity,
    stream::{TAG_BYTES, header_key, wrap_key},
};

const VERSION: &str = "age-encryption.org/v1\n";
const X25519_TAG: &str = "X25519";
const COLUMNS: usize = 64;
const FILE_KEY_BYTES: usize = 16;
/// Nonce of a wrapped file key: its key is used once.
const WRAP_NONCE: [u8; 12] = [0; 12];

/// A well-formed header. Nothing in it is authentic before its MAC was checked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Header {
    /// From the version line to `---`: what the MAC covers.
    covered: Vec<u8>,
    stanzas: Vec<Stanza>,
    mac: [u8; 32],
}

/// What the bytes so far amount to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Parsed {
    /// A whole header; the payload begins after `len` bytes.
    Complete {
        /// The header.
        header: Header,
        /// Bytes of it.
        len: usize,
    },
    /// Well-formed so far, but the end is missing.
    NeedsMore,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Stanza {
    tag: String,
    arguments: Vec<String>,
    body: Vec<u8>,
}

impl Header {
    /// Largest header that is read, in bytes: room for hundreds of recipients.
    pub const MAX_BYTES: usize = 64 << 10;

    /// Reads a header at the beginning of `bytes`; more may follow it.
    pub fn parse(bytes: &[u8]) -> Result<Parsed, AssetError> {
        let window = bytes.get(..Self::MAX_BYTES).unwrap_or(bytes);
        match read(&mut Lines { rest: window }) {
            Ok(header) => {
                let len = header.len();
                Ok(Parsed::Complete { header, len })
            }
            Err(Stop::Wrong(what)) => Err(AssetError::Malformed(what)),
            Err(Stop::End) if window.len() == Self::MAX_BYTES => Err(AssetError::HeaderTooLarge),
            Err(Stop::End) => Ok(Parsed::NeedsMore),
        }
    }

    /// The file key, for a recipient of the file. The MAC has been checked when this returns.
    pub fn unwrap(&self, identity: &AgeIdentity) -> Result<FileKey, AssetError> {
        for stanza in self.stanzas.iter().filter(|stanza| stanza.tag == X25519_TAG) {
            if let Some(key) = stanza.unwrap(identity)? {
                self.verify(&key)?;
                return Ok(key);
            }
        }
        Err(AssetError::NoMatch)
    }

    /// How many stanzas the header has, of any kind.
    pub fn recipients(&self) -> usize {
        self.stanzas.len()
    }

    /// Checks the MAC: that this header was made by somebody who has `key`.
    pub(crate) fn verify(&self, key: &FileKey) -> Result<(), AssetError> {
        hmac::verify(&header_key(key)?, &self.covered, &self.mac).map_err(|_| AssetError::MacMismatch)
    }

    fn len(&self) -> usize {
        // A space, the MAC's 43 characters and the newline follow what the MAC covers.
        self.covered.len().saturating_add(45)
    }
}

/// Writes a header that wraps `key` for each recipient, each under its own ephemeral identity.
pub(crate) fn write(key: &FileKey, recipients: &[(Recipient, AgeIdentity)]) -> Result<Vec<u8>, AssetError> {
    let mut text = String::from(VERSION);
    for (recipient, ephemeral) in recipients {
        let share = ephemeral.recipient().0;
        let wrapped = ephemeral
            .agree(&recipient.0, |shared| {
                let mut body = key.expose().to_vec();
                wrap_key(shared, &share, &recipient.0)?
                    .seal_in_place_append_tag(Nonce::assume_unique_for_key(WRAP_NONCE), Aad::empty(), &mut body)
                    .map_err(|_| AssetError::Cipher)?;
                Ok(body)
            })?
            .ok_or(AssetError::BadRecipient)??;
        // 32 bytes of body are 43 columns: one line, and shorter than a full one.
        for part in [
            "-> ",
            X25519_TAG,
            " ",
            &Base64Unpadded::encode_string(&share),
            "\n",
            &Base64Unpadded::encode_string(&wrapped),
            "\n",
        ] {
            text.push_str(part);
        }
    }
    text.push_str("---");
    let mac = hmac::sign(&header_key(key)?, text.as_bytes());
    for part in [" ", &Base64Unpadded::encode_string(mac.as_ref()), "\n"] {
        text.push_str(part);
    }
    Ok(text.into_bytes())
}

impl Stanza {
    /// `None` when the stanza is somebody else's.
    fn unwrap(&self, identity: &AgeIdentity) -> Result<Option<FileKey>, AssetError> {
        let wrong = AssetError::Malformed(Malformed::X25519);
        let [share] = self.arguments.as_slice() else { return Err(wrong) };
        let share: [u8; 32] = base64(share.as_bytes()).and_then(|share| share.try_into().ok()).ok_or(wrong)?;
        // The specification wants this length checked before the cipher sees it: a longer body could be
        // made to open under several keys.
        if self.body.len() != FILE_KEY_BYTES.saturating_add(TAG_BYTES) {
            return Err(wrong);
        }
        identity
            .agree(&share, |shared| {
                let mut body = Zeroizing::new(self.body.clone());
                let opened = wrap_key(shared, &share, &identity.recipient().0)?
                    .open_in_place(Nonce::assume_unique_for_key(WRAP_NONCE), Aad::empty(), &mut body)
                    .ok()
                    .and_then(|key| <[u8; FILE_KEY_BYTES]>::try_from(&*key).ok());
                Ok(opened.map(FileKey::new))
            })?
            .ok_or(wrong)?
    }
}

enum Stop {
    End,
    Wrong(Malformed),
}

fn read(lines: &mut Lines<'_>) -> Result<Header, Stop> {
    let all = lines.rest;
    let version = VERSION.as_bytes();
    let common = version.len().min(all.len());
    if all.get(..common) != version.get(..common) {
        return Err(Stop::Wrong(Malformed::Version));
    }
    lines.next()?;
    let mut stanzas = Vec::new();
    loop {
        let at = all.len().saturating_sub(lines.rest.len());
        let line = lines.next_with_prefix(&[b"-> ", b"--- "], Malformed::Stanza)?;
        if let Some(arguments) = line.strip_prefix(b"-> ") {
            stanzas.push(read_stanza(arguments, lines)?);
            continue;
        }
        let mac = line.strip_prefix(b"--- ").and_then(base64).and_then(|mac| mac.try_into().ok());
        let mac = mac.ok_or(Stop::Wrong(Malformed::MacLine))?;
        if stanzas.is_empty() {
            return Err(Stop::Wrong(Malformed::NoStanza));
        }
        let covered = all.get(..at.saturating_add(3)).ok_or(Stop::End)?.to_vec();
        return Ok(Header { covered, stanzas, mac });
    }
}

fn read_stanza(arguments: &[u8], lines: &mut Lines<'_>) -> Result<Stanza, Stop> {
    let mut words = arguments.split(|byte| *byte == b' ').map(|word| {
        let visible = !word.is_empty() && word.iter().all(u8::is_ascii_graphic);
        let word = visible.then(|| core::str::from_utf8(word).ok()).flatten();
        word.map(String::from).ok_or(Stop::Wrong(Malformed::Argument))
    });
    let tag = words.next().ok_or(Stop::Wrong(Malformed::Argument))??;
    let arguments = words.collect::<Result<Vec<_>, _>>()?;
    let mut text = Vec::new();
    // Full lines, then one that is shorter and may be empty.
    loop {
        let line = lines.next()?;
        text.extend_from_slice(line);
        match line.len() {
            COLUMNS => {}
            0..COLUMNS => break,
            _ => return Err(Stop::Wrong(Malformed::Body)),
        }
    }
    let body = base64(&text).ok_or(Stop::Wrong(Malformed::Body))?;
    Ok(Stanza { tag, arguments, body })
}

fn base64(text: &[u8]) -> Option<Vec<u8>> {
    Base64Unpadded::decode_vec(core::str::from_utf8(text).ok()?).ok()
}

struct Lines<'a> {
    rest: &'a [u8],
}

impl<'a> Lines<'a> {
    /// The next line, without its newline.
    fn next(&mut self) -> Result<&'a [u8], Stop> {
        let at = self.rest.iter().position(|byte| *byte == b'\n').ok_or(Stop::End)?;
        let (line, rest) = self.rest.split_at_checked(at).ok_or(Stop::End)?;
        self.rest = rest.get(1..).unwrap_or_default();
        Ok(line)
    }

    /// The next line, which must begin with one of `prefixes`; an incomplete line is judged by what is there.
    fn next_with_prefix(&mut self, prefixes: &[&[u8]], otherwise: Malformed) -> Result<&'a [u8], Stop> {
        let begins = prefixes.iter().any(|prefix| {
            let common = prefix.len().min(self.rest.len());
            self.rest.get(..common) == prefix.get(..common)
        });
        if begins { self.next() } else { Err(Stop::Wrong(otherwise)) }
    }
}
