//! Encryption by age: X25519 keys and ssh keys.

use std::io::{Read, Write};
use std::path::{Path, PathBuf};

use age::armor::ArmoredReader;
use age::secrecy::ExposeSecret;
use age::{DecryptError, Decryptor, Encryptor};
use vice_core::app::ProcessEnv;
use vice_core::{Code, Context, Fault, Result, Secret};
use zeroize::Zeroizing;

use super::{Closed, NewKey, PublicKey, settings_dir};
use crate::file::read_bounded;

struct Own {
    key: PublicKey,
    identity: Box<dyn age::Identity + Send + Sync>,
}

/// The private keys of whoever runs this, and notes about those that can't be used.
#[derive(Default)]
pub(crate) struct Keyring {
    own: Vec<Own>,
    notes: Vec<String>,
}

impl Keyring {
    /// Collects keys from VICE_AGE_IDENTITY, VICE_AGE_IDENTITY_FILE, the
    /// variables and the file of SOPS, the user's settings and the usual keys of ssh.
    pub(crate) fn load(env: &ProcessEnv) -> Self {
        let mut ring = Self::default();
        if let Some(text) = env.get("VICE_AGE_IDENTITY") {
            ring.add("VICE_AGE_IDENTITY", text);
        }
        if let Some(path) = env.get("VICE_AGE_IDENTITY_FILE") {
            ring.add_file(&env.dir.join(path), true);
        }
        if let Some(text) = env.get("SOPS_AGE_KEY") {
            ring.add("SOPS_AGE_KEY", text);
        }
        if let Some(path) = env.get("SOPS_AGE_KEY_FILE") {
            ring.add_file(&env.dir.join(path), true);
        }
        if let Some(settings) = settings_dir(env) {
            if let Some(base) = settings.parent() {
                ring.add_file(&base.join("sops").join("age").join("keys.txt"), false);
            }
            for path in key_files(&settings.join("keys")) {
                ring.add_file(&path, true);
            }
            ring.add_file(&settings.join("identity.txt"), false);
        }
        if let Some(home) = env.get("HOME") {
            let ssh = Path::new(home).join(".ssh");
            ring.add_file(&ssh.join("id_ed25519"), false);
            ring.add_file(&ssh.join("id_rsa"), false);
        }
        ring
    }

    fn add_file(&mut self, path: &Path, expected: bool) {
        let name = path.display().to_string();
        let file = match std::fs::File::open(path) {
            Ok(file) => file,
            Err(_) if !expected => return,
            Err(error) => return self.notes.push(format!("{name} can't be opened ({})", error.kind())),
        };
        match read_bounded(file, &name).map(Zeroizing::new) {
            Ok(bytes) => match std::str::from_utf8(&bytes) {
                Ok(text) => self.add(&name, text),
                Err(_) => self.notes.push(format!("{name} is not a text")),
            },
            Err(fault) => self.notes.push(fault.to_string()),
        }
    }

    fn add(&mut self, source: &str, text: &str) {
        if text.contains("-----BEGIN") {
            return self.add_ssh(source, text);
        }
        for line in text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#')) {
            match line.parse::<age::x25519::Identity>() {
                Ok(identity) => self.push(source, identity.to_public().to_string(), Box::new(identity)),
                Err(_) => self.notes.push(format!("{source} has a line that is not an age identity")),
            }
        }
    }

    fn add_ssh(&mut self, source: &str, text: &str) {
        let Ok(identity) = age::ssh::Identity::from_buffer(text.as_bytes(), None) else {
            return self.notes.push(format!("{source} is not a readable ssh key"));
        };
        if matches!(identity, age::ssh::Identity::Encrypted(_)) {
            return self.notes.push(format!("{source} is protected by a passphrase and was not tried"));
        }
        match age::ssh::Recipient::try_from(identity.clone()) {
            Ok(public) => self.push(source, public.to_string(), Box::new(identity)),
            Err(_) => self.notes.push(format!("{source} is an ssh key of a kind that age does not support")),
        }
    }

    fn push(&mut self, source: &str, public: String, identity: Box<dyn age::Identity + Send + Sync>) {
        if self.own.iter().all(|own| own.key.public != public) {
            self.own.push(Own { key: PublicKey { source: source.to_owned(), public }, identity });
        }
    }

    /// Decrypts an age file with whichever key fits.
    pub(crate) fn open(&self, sealed: &[u8]) -> Result<Zeroizing<Vec<u8>>, Closed> {
        open(sealed, self.own.iter().map(|own| own.identity.as_ref() as &dyn age::Identity))
    }

    /// Decrypts an age file with one key, counted as in [`Keyring::public_keys`].
    pub(crate) fn open_with(&self, sealed: &[u8], key: usize) -> Result<Zeroizing<Vec<u8>>, Closed> {
        open(sealed, self.own.get(key).map(|own| own.identity.as_ref() as &dyn age::Identity).into_iter())
    }

    /// The public parts of all keys.
    pub(crate) fn public_keys(&self) -> Vec<PublicKey> {
        self.own.iter().map(|own| own.key.clone()).collect()
    }

    /// What kept other keys from being used.
    pub(crate) fn notes(&self) -> &[String] {
        &self.notes
    }
}

fn key_files(dir: &Path) -> Vec<PathBuf> {
    let Ok(entries) = std::fs::read_dir(dir) else {
        return Vec::new();
    };
    let paths = entries.filter_map(|entry| entry.ok().map(|entry| entry.path()));
    let mut paths: Vec<_> = paths.filter(|path| path.extension().is_some_and(|suffix| suffix == "txt")).collect();
    paths.sort();
    paths
}

fn open<'k>(sealed: &[u8], keys: impl Iterator<Item = &'k dyn age::Identity>) -> Result<Zeroizing<Vec<u8>>, Closed> {
    let decryptor = Decryptor::new_buffered(ArmoredReader::new(sealed)).map_err(|_| Closed::Damaged)?;
    if decryptor.is_scrypt() {
        return Err(Closed::Passphrase);
    }
    let mut reader = decryptor.decrypt(keys).map_err(|error| match error {
        DecryptError::NoMatchingKeys => Closed::NoKey,
        _ => Closed::Damaged,
    })?;
    // Decrypted text is never longer than the file, so that one allocation suffices and no copy is left behind.
    let mut plain = Zeroizing::new(Vec::with_capacity(sealed.len()));
    reader.read_to_end(&mut plain).map_err(|_| Closed::Damaged)?;
    Ok(plain)
}

/// The public keys that secrets are encrypted for.
pub(crate) struct Recipients {
    keys: Vec<Box<dyn age::Recipient + Send>>,
    names: Vec<String>,
}

impl Recipients {
    /// Reads one public key a line; `#` starts a comment.
    pub(crate) fn parse(text: &str) -> Result<Self> {
        let mut found = Self { keys: Vec::new(), names: Vec::new() };
        for (number, line) in text.lines().enumerate() {
            let line = line.trim();
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            if let Ok(key) = line.parse::<age::x25519::Recipient>() {
                found.add(key.to_string(), Box::new(key));
            } else if let Ok(key) = line.parse::<age::ssh::Recipient>() {
                found.add(key.to_string(), Box::new(key));
            } else {
                // The line is not repeated: it may be a private key in the wrong place.
                return Err(Fault::new(Code::ConfigInvalid, format!("Line {} is not a public key.", number + 1))
                    .hint("Known are age1…, ssh-ed25519 … and ssh-rsa … (2048 bits or more), one in a line."));
            }
        }
        Ok(found)
    }

    fn add(&mut self, name: String, key: Box<dyn age::Recipient + Send>) {
        if !self.names.contains(&name) {
            self.names.push(name);
            self.keys.push(key);
        }
    }

    /// The public keys as text.
    pub(crate) fn public_keys(&self) -> &[String] {
        &self.names
    }

    /// Encrypts for all of them.
    pub(crate) fn seal(&self, plain: &[u8]) -> Result<Vec<u8>> {
        let failed = || "The value can't be encrypted.".to_owned();
        let keys = self.keys.iter().map(|key| key.as_ref() as &dyn age::Recipient);
        let encryptor = Encryptor::with_recipients(keys).context(Code::ConfigInvalid, failed)?;
        let mut sealed = Vec::new();
        let mut writer = encryptor.wrap_output(&mut sealed).context(Code::Internal, failed)?;
        writer.write_all(plain).context(Code::Internal, failed)?;
        writer.finish().context(Code::Internal, failed)?;
        Ok(sealed)
    }
}

/// Makes an X25519 key.
#[expect(clippy::unnecessary_wraps, reason = "a binary without encryption fails here")]
pub(crate) fn generate() -> Result<NewKey> {
    let identity = age::x25519::Identity::generate();
    let private = Secret::new(identity.to_string().expose_secret());
    Ok(NewKey { private, public: identity.to_public().to_string() })
}

/// The public part of the first key in the text of an identity file.
pub(crate) fn public_of(text: &str) -> Option<String> {
    let mut ring = Keyring::default();
    ring.add("", text);
    ring.own.first().map(|own| own.key.public.clone())
}
