//! X25519 identities and recipients, and their bech32 text.

use aws_lc_rs::{
    agreement::{self, PrivateKey, UnparsedPublicKey, X25519},
    rand::{SecureRandom, SystemRandom},
};
use bech32::{Bech32, Hrp, primitives::decode::CheckedHrpstring};
use glacier_wire::Recipient;
use zeroize::Zeroizing;

use crate::error::AssetError;

const RECIPIENT_PREFIX: Hrp = Hrp::parse_unchecked("age");
const IDENTITY_PREFIX: Hrp = Hrp::parse_unchecked("age-secret-key-");
/// Prefix, separator, 52 characters of key and 6 of checksum.
const IDENTITY_TEXT: usize = 15 + 1 + 52 + 6;

/// An age X25519 secret: opens every file that is encrypted to its [`recipient`](Self::recipient).
pub struct AgeIdentity {
    secret: Zeroizing<[u8; 32]>,
    recipient: Recipient,
}

impl AgeIdentity {
    /// A new identity from the system's randomness.
    pub fn generate() -> Result<Self, AssetError> {
        let mut secret = Zeroizing::new([0u8; 32]);
        SystemRandom::new().fill(&mut *secret).map_err(|_| AssetError::Random)?;
        Self::from_secret(*secret)
    }

    /// The identity of a stored secret; the caller wipes its own copy.
    pub fn from_secret(secret: [u8; 32]) -> Result<Self, AssetError> {
        let secret = Zeroizing::new(secret);
        let public = private_key(&secret)?.compute_public_key().map_err(|_| AssetError::Cipher)?;
        let recipient = Recipient(public.as_ref().try_into().map_err(|_| AssetError::Cipher)?);
        Ok(Self { secret, recipient })
    }

    /// Reads `AGE-SECRET-KEY-1…`, either case as bech32 allows.
    pub fn parse(text: &str) -> Result<Self, AssetError> {
        let mut secret = Zeroizing::new([0u8; 32]);
        decode(text, IDENTITY_PREFIX, &mut secret).ok_or(AssetError::BadIdentity)?;
        Self::from_secret(*secret)
    }

    /// `AGE-SECRET-KEY-1…`, for the owner's keystore.
    pub fn to_text(&self) -> Result<Zeroizing<String>, AssetError> {
        // Full capacity from the start: a growing string would leave copies of the secret behind.
        let mut text = Zeroizing::new(String::with_capacity(IDENTITY_TEXT));
        bech32::encode_upper_to_fmt::<Bech32, _>(&mut *text, IDENTITY_PREFIX, &*self.secret)
            .map_err(|_| AssetError::BadIdentity)?;
        Ok(text)
    }

    /// The secret, for the owner's keystore.
    pub fn expose(&self) -> &[u8; 32] {
        &self.secret
    }

    /// Whom to encrypt to.
    pub fn recipient(&self) -> Recipient {
        self.recipient
    }

    /// Runs `use_secret` over the X25519 shared secret with `share`; `None` for a low-order share.
    pub(crate) fn agree<T>(
        &self,
        share: &[u8; 32],
        use_secret: impl FnOnce(&[u8]) -> T,
    ) -> Result<Option<T>, AssetError> {
        let key = private_key(&self.secret)?;
        // aws-lc refuses an all-zero shared secret, as the age specification demands.
        Ok(agreement::agree(&key, UnparsedPublicKey::new(&X25519, share), (), |shared| Ok(use_secret(shared))).ok())
    }
}

fn private_key(secret: &[u8; 32]) -> Result<PrivateKey, AssetError> {
    PrivateKey::from_private_key(&X25519, secret).map_err(|_| AssetError::Cipher)
}

/// Reads `age1…`.
pub fn parse_recipient(text: &str) -> Result<Recipient, AssetError> {
    let mut point = [0u8; 32];
    decode(text, RECIPIENT_PREFIX, &mut point).ok_or(AssetError::BadRecipient)?;
    Ok(Recipient(point))
}

/// `age1…`
pub fn print_recipient(recipient: &Recipient) -> String {
    let mut text = String::new();
    // 32 bytes fit a bech32 code word and writing into a String cannot fail.
    let _ = bech32::encode_lower_to_fmt::<Bech32, _>(&mut text, RECIPIENT_PREFIX, &recipient.0);
    text
}

fn decode(text: &str, prefix: Hrp, into: &mut [u8; 32]) -> Option<()> {
    let parsed = CheckedHrpstring::new::<Bech32>(text).ok()?;
    if parsed.hrp() != prefix {
        return None;
    }
    let mut bytes = parsed.byte_iter();
    if bytes.len() != into.len() {
        return None;
    }
    into.iter_mut().zip(&mut bytes).for_each(|(to, from)| *to = from);
    Some(())
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use age::secrecy::ExposeSecret;

    #[test]
    fn text_is_what_age_reads_and_writes() {
        let theirs = age::x25519::Identity::generate();
        let ours = AgeIdentity::parse(theirs.to_string().expose_secret()).unwrap();
        assert_eq!(print_recipient(&ours.recipient()), theirs.to_public().to_string());
        assert_eq!(ours.to_text().unwrap().as_str(), theirs.to_string().expose_secret());
        assert_eq!(parse_recipient(&theirs.to_public().to_string()), Ok(ours.recipient()));
    }

    #[test]
    fn the_text_of_an_identity_never_grows_its_buffer() {
        let text = AgeIdentity::generate().unwrap().to_text().unwrap();
        assert_eq!(text.len(), IDENTITY_TEXT);
    }

    #[test]
    fn a_recipient_is_not_an_identity() {
        let identity = AgeIdentity::generate().unwrap();
        assert_eq!(AgeIdentity::parse(&print_recipient(&identity.recipient())).err(), Some(AssetError::BadIdentity));
        assert_eq!(parse_recipient(&identity.to_text().unwrap()), Err(AssetError::BadRecipient));
    }

    #[test]
    fn one_wrong_letter_is_refused() {
        let mut text = print_recipient(&AgeIdentity::generate().unwrap().recipient());
        let last = if text.pop() == Some('q') { 'p' } else { 'q' };
        text.push(last);
        assert_eq!(parse_recipient(&text), Err(AssetError::BadRecipient));
    }

    #[test]
    fn a_low_order_share_agrees_on_nothing() {
        assert_eq!(AgeIdentity::generate().unwrap().agree(&[0; 32], |_| ()), Ok(None));
    }
}
