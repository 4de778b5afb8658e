//! Encrypting segments for public keys of age, and opening them with the private ones. Whoever backs up needs no private
//! key; without one, what was stored is measured and not read.

use vice_core::app::ProcessEnv;
use vice_core::{Code, Fault, Result};

/// The variables with a private key, and with the file that holds it.
const IDENTITY: &str = "VICE_AGE_IDENTITY";
const IDENTITY_FILE: &str = "VICE_AGE_IDENTITY_FILE";

/// The largest file of keys.
#[cfg(feature = "encrypt")]
const KEYS_BYTES_MAX: u64 = 256 * 1024;

/// For whom segments are encrypted; nobody means that they are not.
pub(crate) struct Seals {
    #[cfg(feature = "encrypt")]
    recipients: Vec<age::x25519::Recipient>,
    keys: Keys,
}

/// The private keys at hand.
#[derive(Default)]
pub(crate) struct Keys {
    #[cfg(feature = "encrypt")]
    identities: Vec<age::x25519::Identity>,
}

impl Seals {
    /// Reads public keys.
    ///
    /// # Errors
    /// `Usage` for what is no public key, `BackendMissing` in a build without encryption.
    #[cfg(feature = "encrypt")]
    pub(crate) fn new(recipients: &[String], env: &ProcessEnv) -> Result<Self> {
        let parse = |text: &String| {
            // The text is not repeated: it may be a private key in the wrong place.
            text.trim().parse::<age::x25519::Recipient>().map_err(|_| {
                Fault::new(Code::Usage, "One of the recipients is not a public key of age.").hint(
                    "It begins with age1; `vice envy secret keygen` and age-keygen print it beside the private one.",
                )
            })
        };
        Ok(Self { recipients: recipients.iter().map(parse).collect::<Result<_>>()?, keys: Keys::of(env)? })
    }

    /// Without encryption there must be no recipients.
    #[cfg(not(feature = "encrypt"))]
    pub(crate) fn new(recipients: &[String], env: &ProcessEnv) -> Result<Self> {
        if recipients.is_empty() { Ok(Self { keys: Keys::of(env)? }) } else { Err(missing()) }
    }

    pub(crate) const fn keys(&self) -> &Keys {
        &self.keys
    }

    #[cfg(feature = "encrypt")]
    pub(crate) const fn is_used(&self) -> bool {
        !self.recipients.is_empty()
    }

    #[cfg(not(feature = "encrypt"))]
    pub(crate) const fn is_used(&self) -> bool {
        let Self { .. } = self;
        false
    }

    pub(crate) const fn suffix(&self) -> &'static str {
        if self.is_used() { ".age" } else { "" }
    }

    #[cfg(feature = "encrypt")]
    pub(crate) fn seal(&self, plain: &[u8]) -> Result<Vec<u8>> {
        use std::io::Write;
        if !self.is_used() {
            return Ok(plain.to_vec());
        }
        let failed = |error: &dyn std::fmt::Display| {
            Fault::new(Code::Backup, "The backup can't be encrypted.").because(error.to_string())
        };
        let keys = self.recipients.iter().map(|key| key as &dyn age::Recipient);
        let encryptor = age::Encryptor::with_recipients(keys).map_err(|error| failed(&error))?;
        let mut sealed = Vec::with_capacity(plain.len() + 1024);
        let mut writer = encryptor.wrap_output(&mut sealed).map_err(|error| failed(&error))?;
        writer.write_all(plain).map_err(|error| failed(&error))?;
        writer.finish().map_err(|error| failed(&error))?;
        Ok(sealed)
    }

    #[cfg(not(feature = "encrypt"))]
    pub(crate) fn seal(&self, plain: &[u8]) -> Result<Vec<u8>> {
        let Self { .. } = self;
        Ok(plain.to_vec())
    }
}

impl Keys {
    /// The keys that the environment names.
    ///
    /// # Errors
    /// `Usage` when they can't be read.
    #[cfg(feature = "encrypt")]
    pub(crate) fn of(env: &ProcessEnv) -> Result<Self> {
        let mut identities = Vec::new();
        if let Some(text) = env.get(IDENTITY) {
            add(&mut identities, IDENTITY, text)?;
        }
        if let Some(file) = env.get(IDENTITY_FILE) {
            let path = env.dir.join(file);
            let unreadable = |error: std::io::Error| {
                Fault::new(
                    Code::Usage,
                    format!("The file {} that {IDENTITY_FILE} names can't be read.", path.display()),
                )
                .because(error)
            };
            if std::fs::metadata(&path).map_err(unreadable)?.len() > KEYS_BYTES_MAX {
                return Err(Fault::new(Code::Usage, format!("The file {} is too large for keys.", path.display())));
            }
            let text = std::fs::read_to_string(&path).map_err(unreadable)?;
            add(&mut identities, IDENTITY_FILE, &text)?;
        }
        Ok(Self { identities })
    }

    /// In a build without encryption there are none.
    ///
    /// # Errors
    /// None.
    #[cfg(not(feature = "encrypt"))]
    #[expect(clippy::unnecessary_wraps, reason = "a build with encryption reads files here")]
    pub(crate) fn of(_: &ProcessEnv) -> Result<Self> {
        Ok(Self {})
    }

    #[cfg(feature = "encrypt")]
    pub(crate) const fn can_open(&self) -> bool {
        !self.identities.is_empty()
    }

    #[cfg(not(feature = "encrypt"))]
    pub(crate) const fn can_open(&self) -> bool {
        let Self { .. } = self;
        false
    }

    #[cfg(feature = "encrypt")]
    pub(crate) fn open(&self, sealed: &[u8], url: &str) -> Result<Vec<u8>> {
        use std::io::Read;
        let damaged = || Fault::new(Code::Backup, format!("A segment of the backup in {url} is damaged."));
        let decryptor = age::Decryptor::new_buffered(sealed).map_err(|_| damaged())?;
        let keys = self.identities.iter().map(|key| key as &dyn age::Identity);
        let mut reader = decryptor.decrypt(keys).map_err(|error| match error {
            age::DecryptError::NoMatchingKeys => {
                Fault::new(Code::SecretLocked, format!("The backup in {url} is encrypted for other keys."))
                    .hint(format!("Set {IDENTITY}, or {IDENTITY_FILE} to the name of the file with the private key."))
            }
            _ => damaged(),
        })?;
        let mut plain = Vec::with_capacity(sealed.len());
        reader.read_to_end(&mut plain).map_err(|_| damaged())?;
        Ok(plain)
    }

    #[cfg(not(feature = "encrypt"))]
    pub(crate) fn open(&self, _: &[u8], _: &str) -> Result<Vec<u8>> {
        let Self { .. } = self;
        Err(missing())
    }
}

#[cfg(feature = "encrypt")]
fn add(identities: &mut Vec<age::x25519::Identity>, source: &str, text: &str) -> Result<()> {
    for line in text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#')) {
        // A key for something else, such as one of ssh, is no error here: it opens other things.
        match line.parse() {
            Ok(identity) => identities.push(identity),
            Err(_) => tracing::debug!("{source} has a line that is no identity of age"),
        }
    }
    Ok(())
}

#[cfg(not(feature = "encrypt"))]
fn missing() -> Fault {
    Fault::new(Code::BackendMissing, "This build of vice has no encryption.").hint("Build it with the feature secrets.")
}
