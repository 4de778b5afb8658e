//! The seal of a layer: a tag for each of its keys and one for the set of keys, made with a key that only readers of its
//! secrets have. It finds what encryption of single values can't: keys and plain values that were changed, added or taken
//! out by somebody who can write to the repository and read nothing.
//!
//! One line for each key, so that changes on two branches merge like the layer itself; only the line of the set conflicts,
//! and only when both changed which keys there are. Whoever merges looks, and seals again. Tags are over values as they
//! are after decryption: encrypting again for other readers changes none.

use std::collections::BTreeMap;

use hmac::{Hmac, KeyInit, Mac};
use serde_json::Value;
use sha2::{Digest, Sha256};
use vice_core::manifest::Project;
use vice_core::{Code, Context, Fault, Result, Secret};

use crate::file;
use crate::hex::{fresh, hex};
use crate::layer::Layer;
use crate::locked::Lock;
use crate::recipients::Readers;
use crate::sealed::encrypt;

/// What the binding of the key in a seal's file names as its key.
const SEAL_KEY: &str = "seal";
/// The bytes of a tag that are kept: 128 bits.
const TAG_BYTES: usize = 16;

/// The file with the seal of a layer.
pub(crate) fn path_of(layer: &str) -> String {
    format!("{layer}.seal")
}

/// The key that makes tags.
pub(crate) struct SealKey(Secret);

impl SealKey {
    pub(crate) fn generate() -> Result<Self> {
        Ok(Self(Secret::new(hex(fresh()?.as_slice()))))
    }

    /// What names the key without telling it; it stands inside every value that belongs to the seal.
    pub(crate) fn name(&self) -> String {
        hex(&Sha256::digest(self.0.reveal().as_bytes())[..TAG_BYTES])
    }

    fn tag(&self, parts: &[&str]) -> Result<String> {
        let mut mac = <Hmac<Sha256> as KeyInit>::new_from_slice(self.0.reveal().as_bytes())
            .context(Code::Internal, || "The key of a seal has a wrong length.".into())?;
        mac.update(b"vice seal 1\0");
        for part in parts {
            mac.update(&(part.len() as u64).to_be_bytes());
            mac.update(part.as_bytes());
        }
        Ok(hex(&mac.finalize().into_bytes()[..TAG_BYTES]))
    }
}

/// A seal as it stands in its file.
pub(crate) struct Seal {
    key: String,
    set: String,
    tags: BTreeMap<String, String>,
}

impl Seal {
    /// The seal of a layer, if it has one.
    pub(crate) fn load(project: &Project, layer: &str) -> Result<Option<Self>> {
        let path = path_of(layer);
        let Some(text) = file::read_text(&project.root, &path)? else { return Ok(None) };
        Self::parse(&text).map(Some).ok_or_else(|| {
            Fault::new(Code::ConfigInvalid, format!("{path} is not a seal."))
                .hint(format!("Look at what changed in {layer}; then make it anew: vice envy seal --fresh"))
        })
    }

    fn parse(text: &str) -> Option<Self> {
        let mut found = Self { key: String::new(), set: String::new(), tags: BTreeMap::new() };
        for line in text.lines().filter(|line| !line.starts_with('#') && !line.trim().is_empty()) {
            match line.split(' ').collect::<Vec<_>>()[..] {
                ["key", key] if found.key.is_empty() => found.key = key.to_owned(),
                ["set", tag] if found.set.is_empty() => found.set = tag.to_owned(),
                ["tag", key, tag] => drop(found.tags.insert(key.to_owned(), tag.to_owned())),
                _ => return None,
            }
        }
        (!found.key.is_empty() && !found.set.is_empty()).then_some(found)
    }

    /// Opens the key with which the tags were made.
    pub(crate) fn key(&self, layer: &str, lock: &Lock<'_>) -> Result<SealKey> {
        let path = path_of(layer);
        let opened = lock.open_value(SEAL_KEY, &path, &path, &self.key).ok_or_else(|| {
            Fault::new(Code::ConfigInvalid, format!("The key in {path} is not encrypted."))
                .hint("Make the seal anew: vice envy seal --fresh")
        })?;
        opened.map(SealKey)
    }
}

/// The entries of a layer after decryption, as text that tells types apart.
fn opened(layer: &Layer, lock: &Lock<'_>) -> Result<BTreeMap<String, Secret>> {
    let open = |(key, found): (&str, &crate::sheet::Found)| {
        let text = match &found.value {
            Value::String(text) => match lock.open_unchecked(key, &layer.name, text) {
                Some(value) => format!("secret {}", value?.secret.reveal()),
                None => found.value.to_string(),
            },
            other => other.to_string(),
        };
        Ok((key.to_owned(), Secret::new(text)))
    };
    lock.open_ahead(layer.sheet.iter().filter_map(|(_, found)| found.value.as_str()));
    layer.sheet.iter().map(open).collect()
}

fn set_tag(key: &SealKey, place: [&str; 2], entries: &BTreeMap<String, Secret>) -> Result<String> {
    let keys = entries.keys().map(String::as_str);
    key.tag(&place.into_iter().chain(["set"]).chain(keys).collect::<Vec<_>>())
}

/// Writes the seal of a layer as it stands now.
pub(crate) fn write(project: &Project, layer: &Layer, key: &SealKey, readers: &Readers, lock: &Lock<'_>) -> Result<()> {
    let (entries, path) = (opened(layer, lock)?, path_of(&layer.name));
    let place = [project.name().as_str(), layer.name.as_str()];
    let mut text = format!(
        "# vice seal 1: the keys and values of {} as somebody who can read its secrets confirmed them.\n\
         # After a change by hand or a merge, look at it and run `vice envy seal`.\n",
        layer.name
    );
    text.push_str(&format!("key {}\n", encrypt(project, &path, SEAL_KEY, key.0.reveal(), readers, None)?));
    text.push_str(&format!("set {}\n", set_tag(key, place, &entries)?));
    for (name, value) in &entries {
        text.push_str(&format!("tag {name} {}\n", key.tag(&[place[0], place[1], "value", name, value.reveal()])?));
    }
    file::write(&project.root, &path, text.as_bytes())
}

/// Compares a layer with its seal, if it has one; tells the lock which one that is, for the values that belong to it.
pub(crate) fn verify(project: &Project, layer: &Layer, lock: &Lock<'_>) -> Result<Vec<Fault>> {
    let Some(seal) = Seal::load(project, &layer.name)? else { return Ok(Vec::new()) };
    let key = seal.key(&layer.name, lock)?;
    lock.sealed_by(&layer.name, key.name());
    let entries = opened(layer, lock)?;
    let place = [project.name().as_str(), layer.name.as_str()];
    let mut found = Vec::new();
    for (name, value) in &entries {
        let tag = key.tag(&[place[0], place[1], "value", name, value.reveal()])?;
        match seal.tags.get(name) {
            Some(sealed) if *sealed == tag => {}
            Some(_) => found.push(broken(layer, name, "was changed")),
            None => found.push(broken(layer, name, "was added")),
        }
    }
    for name in seal.tags.keys().filter(|name| !entries.contains_key(*name)) {
        found.push(broken(layer, name, "was taken out"));
    }
    if found.is_empty() && seal.set != set_tag(&key, place, &entries)? {
        found.push(broken(layer, "a key", "was added or taken out together with its tag"));
    }
    Ok(found)
}

fn broken(layer: &Layer, key: &str, what: &str) -> Fault {
    Fault::new(Code::ConfigInvalid, format!("In {}, {key} {what} after the layer was sealed.", layer.name))
        .hint(format!(
            "Look at the change (git log -p {0}); when it is right, confirm it: vice envy seal {0}",
            layer.name
        ))
        .detail("key", key)
}
