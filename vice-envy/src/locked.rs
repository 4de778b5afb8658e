//! Opening what is encrypted, with errors that say what is locked, which keys were tried and what to do. Keys are
//! collected only when something encrypted is met. Many values are opened at the same time, ahead of being asked for.

use std::cell::{OnceCell, RefCell};
use std::collections::{BTreeMap, HashMap};

use vice_core::app::ProcessEnv;
use vice_core::text::sanitize;
use vice_core::{Code, Fault, Result, Secret};
use zeroize::Zeroizing;

use crate::backend::{Closed, Keyring, parse_value};
use crate::envelope::{Binding, unwrap};

/// Below so many values, starting threads costs more than it saves.
const PARALLEL_VALUES_MIN: usize = 8;

/// What came of decrypting a value.
type Plain = Result<Zeroizing<Vec<u8>>, Closed>;

/// The keys of whoever runs this, collected at first use.
pub(crate) struct Lock<'e> {
    process: &'e ProcessEnv,
    ring: OnceCell<Keyring>,
    project: OnceCell<String>,
    seals: RefCell<BTreeMap<String, String>>,
    /// What was opened ahead, by the text of the value.
    ahead: RefCell<HashMap<String, Plain>>,
}

/// A value that was decrypted.
pub(crate) struct Opened {
    pub(crate) secret: Secret,
    /// Where it says that it belongs; none in the older form.
    pub(crate) binding: Option<Binding>,
}

impl<'e> Lock<'e> {
    pub(crate) fn new(process: &'e ProcessEnv) -> Self {
        Self {
            process,
            ring: OnceCell::new(),
            project: OnceCell::new(),
            seals: RefCell::default(),
            ahead: RefCell::default(),
        }
    }

    pub(crate) fn ring(&self) -> &Keyring {
        self.ring.get_or_init(|| Keyring::load(self.process))
    }

    /// Decrypts values that will be asked for, on all processors. What is no encrypted value is left out.
    pub(crate) fn open_ahead<'t>(&self, texts: impl Iterator<Item = &'t str>) {
        let sealed = |text: &'t str| {
            let sealed = parse_value(text)?.ok()?;
            // Asked last: it looks at the whole text, and few are sealed.
            (!self.ahead.borrow().contains_key(text)).then_some((text, sealed.bytes))
        };
        let sealed: Vec<_> = texts.filter_map(sealed).collect();
        let threads = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
        if sealed.len() < PARALLEL_VALUES_MIN || threads < 2 {
            return;
        }
        let ring = self.ring();
        std::thread::scope(|scope| {
            let parts = sealed.chunks(sealed.len().div_ceil(threads));
            let running: Vec<_> = parts
                .map(|part| {
                    let open = move || part.iter().map(|(_, bytes)| ring.open(bytes)).collect::<Vec<Plain>>();
                    (part, scope.spawn(open))
                })
                .collect();
            for (part, thread) in running {
                // What a thread could not do is done when it is asked for.
                let opened = thread.join().unwrap_or_default();
                let pairs = part.iter().zip(opened).map(|((text, _), plain)| ((*text).to_owned(), plain));
                self.ahead.borrow_mut().extend(pairs);
            }
        });
    }

    fn open_sealed(&self, text: &str, sealed: &[u8]) -> Plain {
        if let Some(plain) = self.ahead.borrow().get(text) {
            return plain.clone();
        }
        self.ring().open(sealed)
    }

    /// Decrypts a layer that is encrypted as a whole.
    pub(crate) fn open_layer(&self, layer: &str, sealed: &[u8]) -> Result<Zeroizing<Vec<u8>>> {
        self.ring().open(sealed).map_err(|why| self.fault(why, &format!("The layer {layer}")).detail("layer", layer))
    }

    /// Opens the first of several wrappings of the same key that one of the keys fits.
    pub(crate) fn open_any(&self, layer: &str, wrapped: &[&str]) -> Result<Zeroizing<Vec<u8>>> {
        let mut why = Closed::Damaged;
        for one in wrapped {
            match self.ring().open(one.as_bytes()) {
                Ok(plain) => return Ok(plain),
                Err(Closed::NoKey) => why = Closed::NoKey,
                Err(Closed::Damaged) => {}
                Err(other) => why = other,
            }
        }
        Err(self.fault(why, &format!("The SOPS file {layer}")).detail("layer", layer))
    }

    /// From now on it is this project whose values are opened.
    pub(crate) fn about(&self, project: &str) {
        self.project.get_or_init(|| project.to_owned());
    }

    /// A layer has the seal with this name.
    pub(crate) fn sealed_by(&self, layer: &str, seal: String) {
        self.seals.borrow_mut().insert(layer.to_owned(), seal);
    }

    /// Decrypts one value and checks that it belongs where it stands; none when the text is not an encrypted one. `at` says
    /// where it stands.
    pub(crate) fn open_value(&self, key: &str, layer: &str, at: &str, text: &str) -> Option<Result<Secret>> {
        let opened = self.open_unchecked(key, at, text)?;
        Some(opened.and_then(|opened| {
            match opened
                .binding
                .and_then(|binding| self.misplaced(&binding, key, layer).or_else(|| self.unsealed(&binding, layer)))
            {
                Some(why) => Err(elsewhere(key, layer, at, &why)),
                None => Ok(opened.secret),
            }
        }))
    }

    /// Why a value does not belong where it stands.
    fn misplaced(&self, binding: &Binding, key: &str, layer: &str) -> Option<String> {
        if binding.key != key {
            return Some(format!("was encrypted for the key {}", sanitize(&binding.key)));
        }
        if binding.layer != layer {
            return Some(format!("was encrypted for the file {}", sanitize(&binding.layer)));
        }
        if self.project.get().is_some_and(|project| *project != binding.project) {
            return Some(format!("was encrypted for the project {}", sanitize(&binding.project)));
        }
        None
    }

    /// Refuses a value that does not belong where it stands; with `any_seal`, whatever seal it belongs to.
    pub(crate) fn check_place(&self, binding: &Binding, key: &str, layer: &str, any_seal: bool) -> Result<()> {
        let seal = || if any_seal { None } else { self.unsealed(binding, layer) };
        match self.misplaced(binding, key, layer).or_else(seal) {
            Some(why) => Err(elsewhere(key, layer, layer, &why)),
            None => Ok(()),
        }
    }

    fn unsealed(&self, binding: &Binding, layer: &str) -> Option<String> {
        match (&binding.seal, self.seals.borrow().get(layer)) {
            (Some(_), None) => Some("belongs to a seal that is gone".to_owned()),
            (Some(own), Some(seal)) if own != seal => Some("belongs to another seal than the layer has".to_owned()),
            _ => None,
        }
    }

    /// Decrypts one value wherever it stands.
    pub(crate) fn open_unchecked(&self, key: &str, at: &str, text: &str) -> Option<Result<Opened>> {
        let what = format!("The value of {key} ({at})");
        let sealed = match parse_value(text)? {
            Ok(sealed) => sealed,
            Err(why) => {
                return Some(Err(Fault::new(Code::ConfigInvalid, format!("{what} {why}."))
                    .hint(format!("Set it again: vice envy set {key} --secret"))
                    .detail("key", key)));
            }
        };
        let plain = match self.open_sealed(text, &sealed.bytes) {
            Ok(plain) => plain,
            Err(why) => return Some(Err(self.fault(why, &what).detail("key", key))),
        };
        let opened = if sealed.bound {
            unwrap(&plain).map(|(binding, secret)| Opened { secret, binding: Some(binding) })
        } else {
            std::str::from_utf8(&plain).ok().map(|text| Opened { secret: Secret::new(text), binding: None })
        };
        Some(opened.ok_or_else(|| {
            Fault::new(Code::ConfigInvalid, format!("{what} is not text once it is decrypted.")).detail("key", key)
        }))
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

fn elsewhere(key: &str, layer: &str, at: &str, why: &str) -> Fault {
    Fault::new(Code::ConfigInvalid, format!("The value of {key} ({at}) {why}."))
        .hint(format!("If nobody moved it on purpose, take {layer} from an earlier commit."))
        .hint("If it was moved or renamed on purpose, confirm it: vice envy rotate --moved")
        .detail("key", key)
}
