//! What can be sealed to this enclave by others: an age identity of this key epoch.

use crate::{
    asset::read_head,
    host::{HostError, HostPort},
};
use glacier_asset::{AgeIdentity, AssetError, Header, Parsed};
use glacier_platform::{LockError, LockedKey};
use glacier_wire::{
    Digest, FileKey, Recipient,
    api::{Refusal, RefusalCode},
};
use zeroize::Zeroizing;

/// The secret lives in locked memory, and nowhere else: what was sealed to an epoch ends with it.
pub(crate) struct Mailbox {
    secret: LockedKey<32>,
}

impl Mailbox {
    pub(crate) fn open() -> Result<Self, LockError> {
        Ok(Self { secret: LockedKey::random()? })
    }

    pub(crate) fn recipient(&self) -> Result<Recipient, Refusal> {
        Ok(self.identity()?.recipient())
    }

    /// The key of a file that the host has and that was sealed to this enclave.
    ///
    /// # Errors
    /// [`RefusalCode::AssetKey`] where it was sealed to others alone, or to an earlier key epoch.
    pub(crate) async fn unwrap(&self, host: &HostPort, asset: Digest) -> Result<FileKey, Refusal> {
        let (head, _) = read_head(host, asset).await?;
        let unreadable = |fault: AssetError| match fault {
            AssetError::NoMatch => Refusal::new(
                RefusalCode::AssetKey,
                "the file was not sealed to this enclave, or to an earlier key epoch of it",
            ),
            fault => Refusal::new(RefusalCode::AssetMalformed, format!("the asset cannot be opened: {fault}")),
        };
        match Header::parse(&head).map_err(unreadable)? {
            Parsed::Complete { header, .. } => header.unwrap(&self.identity()?).map_err(unreadable),
            Parsed::NeedsMore => Err(HostError::Broken.into()),
        }
    }

    fn identity(&self) -> Result<AgeIdentity, Refusal> {
        let secret = Zeroizing::new(*self.secret.expose());
        AgeIdentity::from_secret(*secret)
            .map_err(|_| Refusal::new(RefusalCode::Platform, "the enclave's own key cannot be used"))
    }
}
