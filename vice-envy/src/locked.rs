//! Opening what is encrypted, with errors that say what is locked, which keys were tried and what to do. Keys are
//! collected only when something encrypted is met.

use std::cell::OnceCell;

use vice_core::app::ProcessEnv;
use vice_core::text::sanitize;
use vice_core::{Code, Fault, Result, Secret};
use zeroize::Zeroizing;

use crate::backend::{Closed, Keyring, parse_value};

/// The keys of whoever runs this, collected at first use.
pub(crate) struct Lock<'e> {
    process: &'e ProcessEnv,
    ring: OnceCell<Keyring>,
}

impl<'e> Lock<'e> {
    pub(crate) fn new(process: &'e ProcessEnv) -> Self {
        Self { process, ring: OnceCell::new() }
    }

    pub(crate) fn ring(&self) -> &Keyring {
        self.ring.get_or_init(|| Keyring::load(self.process))
    }

    /// Decrypts a layer that is encrypted as a whole.
    pub(crate) fn open_layer(&self, layer: &str, sealed: &[u8]) -> Result<Zeroizing<Vec<u8>>> {
        self.ring().open(sealed).map_err(|why| self.fault(why, &format!("The layer {layer}")).detail("layer", layer))
    }

    /// Decrypts one value; none when the text is not an encrypted one. `at` says where it stands.
    pub(crate) fn open_value(&self, key: &str, at: &str, text: &str) -> Option<Result<Secret>> {
        let sealed = match parse_value(text)? {
            Ok(sealed) => sealed,
            Err(why) => {
                return Some(Err(Fault::new(Code::ConfigInvalid, format!("The value of {key} ({at}) {why}."))
                    .hint(format!("Set it again: vice envy set {key} --secret --from-file -"))
                    .detail("key", key)));
            }
        };
        let plain = self.ring().open(&sealed);
        let what = format!("The value of {key} ({at})");
        Some(match plain {
            Err(why) => Err(self.fault(why, &what).detail("key", key)),
            Ok(plain) => std::str::from_utf8(&plain).map(Secret::new).map_err(|_| {
                Fault::new(Code::ConfigInvalid, format!("{what} is not text once it is decrypted.")).detail("key", key)
            }),
        })
    }

    fn fault(&self, why: Closed, what: &str) -> Fault {
        match why {
            Closed::NotBuilt => Fault::new(
                Code::BackendMissing,
                format!("{what} is encrypted, and this vice was built without encryption."),
            )
            .hint("Use a released binary, or build with the feature `secrets`."),
            Closed::Damaged => {
                Fault::new(Code::ConfigInvalid, format!("{what} is damaged and can't be decrypted by any key."))
                    .hint("Take it from an earlier commit, or set it again with `vice envy set KEY --secret`.")
            }
            Closed::Passphrase => Fault::new(
                Code::SecretLocked,
                format!("{what} is protected by a passphrase, which vice does not ask for."),
            )
            .hint("Encrypt it for the public keys in the recipients file instead."),
            Closed::NoKey => self.no_key(what),
        }
    }

    fn no_key(&self, what: &str) -> Fault {
        let fault = Fault::new(Code::SecretLocked, format!("{what} can't be decrypted with the keys at hand."));
        let tried: Vec<String> = self
            .ring()
            .public_keys()
            .iter()
            .map(|key| format!("{} (from {})", key.public, sanitize(&key.source)))
            .collect();
        let fault = if tried.is_empty() {
            fault.hint("No key was found; `vice envy init` makes one.")
        } else {
            fault.hint(format!("Tried: {}.", tried.join(", ")))
        };
        let fault = fault.detail("tried", tried);
        let fault = self.ring().notes().iter().fold(fault, |fault, note| fault.hint(format!("{}.", sanitize(note))));
        fault
            .hint("In CI, give the key as VICE_AGE_IDENTITY, or its file as VICE_AGE_IDENTITY_FILE.")
            .hint("Or ask somebody who can read it to add your public key with `vice envy init --recipient` and to set the value again.")
    }
}
