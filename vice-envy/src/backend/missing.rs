//! What stands in for encryption in a binary that was built without it: everything says so.

use vice_core::app::ProcessEnv;
use vice_core::{Code, Fault, Result};
use zeroize::Zeroizing;

use super::{Closed, NewKey, PublicKey};

fn not_built() -> Fault {
    Fault::new(Code::BackendMissing, "This vice was built without encryption (the feature `secrets`).")
        .hint("Use a released binary, or build with the feature `secrets`.")
}

/// No keys.
pub(crate) struct Keyring;

impl Keyring {
    pub(crate) fn load(_env: &ProcessEnv) -> Self {
        Self
    }

    pub(crate) fn open(&self, _sealed: &[u8]) -> Result<Zeroizing<Vec<u8>>, Closed> {
        Err(Closed::NotBuilt)
    }

    pub(crate) fn open_with(&self, _sealed: &[u8], _key: usize) -> Result<Zeroizing<Vec<u8>>, Closed> {
        Err(Closed::NotBuilt)
    }

    pub(crate) fn public_keys(&self) -> Vec<PublicKey> {
        Vec::new()
    }

    pub(crate) fn notes(&self) -> &[String] {
        &[]
    }
}

/// No recipients.
pub(crate) struct Recipients;

impl Recipients {
    pub(crate) fn parse(_text: &str) -> Result<Self> {
        Err(not_built())
    }

    pub(crate) fn public_keys(&self) -> &[String] {
        &[]
    }

    pub(crate) fn seal(&self, _plain: &[u8]) -> Result<Vec<u8>> {
        Err(not_built())
    }
}

/// Can't make a key.
pub(crate) fn generate() -> Result<NewKey> {
    Err(not_built())
}

/// Can't read a key.
pub(crate) fn public_of(_text: &str) -> Option<String> {
    None
}
