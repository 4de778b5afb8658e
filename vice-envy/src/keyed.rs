//! The keyed digest of a configuration. With the key, two configurations can be compared; without it, the digest
//! tells nothing about a secret, however short it is.

use std::collections::BTreeMap;
use std::path::Path;

use hmac::{Hmac, KeyInit, Mac};
use serde_json::Value;
use sha2::Sha256;
use vice_core::port::config::{ConfigEntry, ConfigValue, Variant};
use vice_core::{Code, Context, Fault, Result};
use zeroize::Zeroizing;

use crate::file::create_private;
use crate::hex::{KEY_BYTES, fresh, hex};

/// Below so many values, starting a thread costs more than it saves.
const PARALLEL_VALUES_MIN: usize = 1_000;

/// The key of a state folder.
pub(crate) struct DigestKey(Zeroizing<[u8; KEY_BYTES]>);

impl DigestKey {
    /// Reads the key of a state folder; makes it at first use.
    pub(crate) fn of_state(state: &Path) -> Result<Self> {
        let path = state.join("config.key");
        if !path.exists() {
            let text = Zeroizing::new(hex(fresh()?.as_slice()) + "\n");
            create_private(&path, text.as_bytes(), Code::StateUnwritable)?;
        }
        let read = || format!("{} can't be read.", path.display());
        let text = Zeroizing::new(std::fs::read_to_string(&path).context(Code::Io, read)?);
        // Parsed as a digest, since both are 32 bytes in hexadecimal digits.
        let key: vice_core::Digest = text.trim().parse().map_err(|_| {
            Fault::new(Code::Decode, format!("{} is not a key for digests.", path.display()))
                .hint("Restore it from a backup; or remove it, and every configuration counts as changed once.")
        })?;
        Ok(Self(Zeroizing::new(key.0)))
    }

    #[cfg(test)]
    pub(crate) fn fixed(byte: u8) -> Self {
        Self(Zeroizing::new([byte; KEY_BYTES]))
    }

    /// A digest of every value with its key, so that versions can be compared key by key. Twelve bytes tell changes apart
    /// and fit into a line.
    pub(crate) fn each(&self, entries: &BTreeMap<String, ConfigEntry>) -> Result<BTreeMap<String, String>> {
        let begun = self.begin(b"vice configuration value 1\0")?;
        let one = |(key, entry): (&String, &ConfigEntry)| {
            let mut mac = begun.clone();
            value(&mut mac, key, entry);
            (key.clone(), hex(&mac.finalize().into_bytes()[..12]))
        };
        if entries.len() < PARALLEL_VALUES_MIN {
            return Ok(entries.iter().map(one).collect());
        }
        let half = entries.len() / 2;
        let (mut first, second) = std::thread::scope(|scope| {
            let second = scope.spawn(|| entries.iter().skip(half).map(one).collect::<Vec<_>>());
            (entries.iter().take(half).map(one).collect::<Vec<_>>(), second.join())
        });
        first.extend(second.map_err(|_| Fault::internal("Making digests ended unexpectedly."))?);
        Ok(first.into_iter().collect())
    }

    fn begin(&self, purpose: &[u8]) -> Result<Hmac<Sha256>> {
        let mut mac = <Hmac<Sha256> as KeyInit>::new_from_slice(self.0.as_slice())
            .context(Code::Internal, || "The digest key has a wrong length.".into())?;
        mac.update(purpose);
        Ok(mac)
    }

    /// The digest over names, types and values of what all units have, and of what parts of them have beside it. Which
    /// units those are makes no difference: one more that is like others leaves the digest as it is.
    pub(crate) fn digest(&self, entries: &BTreeMap<String, ConfigEntry>, variants: &[Variant]) -> Result<String> {
        let mut mac = self.begin(b"vice configuration 1\0")?;
        entries.iter().for_each(|(key, entry)| value(&mut mac, key, entry));
        for variant in variants {
            part(&mut mac, b'v', variant.name.as_bytes());
            variant.entries.iter().for_each(|(key, entry)| value(&mut mac, key, entry));
        }
        Ok(format!("hmac-sha256:{}", hex(&mac.finalize().into_bytes())))
    }
}

/// Tag and length before the bytes, so that no two different configurations are the same input.
fn part(mac: &mut Hmac<Sha256>, tag: u8, bytes: &[u8]) {
    mac.update(&[tag]);
    mac.update(&(bytes.len() as u64).to_be_bytes());
    mac.update(bytes);
}

fn value(mac: &mut Hmac<Sha256>, key: &str, entry: &ConfigEntry) {
    part(mac, b'k', key.as_bytes());
    match &entry.value {
        ConfigValue::Plain(value) => plain(mac, value),
        ConfigValue::Secret(secret) => part(mac, b'x', secret.reveal().as_bytes()),
    }
}

fn plain(mac: &mut Hmac<Sha256>, value: &Value) {
    match value {
        Value::Null => part(mac, b'0', b""),
        Value::Bool(flag) => part(mac, b'b', &[u8::from(*flag)]),
        Value::Number(number) => part(mac, b'n', number.to_string().as_bytes()),
        Value::String(text) => part(mac, b's', text.as_bytes()),
        Value::Array(items) => {
            part(mac, b'l', &(items.len() as u64).to_be_bytes());
            items.iter().for_each(|item| plain(mac, item));
        }
        Value::Object(fields) => {
            part(mac, b't', &(fields.len() as u64).to_be_bytes());
            let mut sorted: Vec<_> = fields.iter().collect();
            sorted.sort_unstable_by_key(|(name, _)| name.as_str());
            for (name, field) in sorted {
                part(mac, b'k', name.as_bytes());
                plain(mac, field);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use serde_json::json;
    use vice_core::Secret;
    use vice_core::payload::config::Origin;

    use super::*;

    fn digest(key: u8, values: &[(&str, ConfigValue)], layer: &str) -> String {
        let origin = Origin { layer: layer.to_owned(), line: None };
        let entry = |value: &ConfigValue| ConfigEntry { value: value.clone(), origin: origin.clone() };
        DigestKey::fixed(key)
            .digest(&values.iter().map(|(key, value)| ((*key).to_owned(), entry(value))).collect(), &[])
            .unwrap()
    }

    #[test]
    fn values_types_names_and_key_count_and_origins_do_not() {
        let base = [("a", ConfigValue::Plain(json!(1))), ("b", ConfigValue::Secret(Secret::new("x")))];
        let first = digest(1, &base, "one");
        assert!(first.starts_with("hmac-sha256:") && first.len() == 12 + 64);
        assert_eq!(first, digest(1, &base, "two"));
        assert_ne!(first, digest(2, &base, "one"));
        for other in [
            [("a", ConfigValue::Plain(json!("1"))), base[1].clone()],
            [("a", ConfigValue::Plain(json!(2))), base[1].clone()],
            [("c", base[0].1.clone()), base[1].clone()],
            [base[0].clone(), ("b", ConfigValue::Secret(Secret::new("y")))],
            [base[0].clone(), ("b", ConfigValue::Plain(json!("x")))],
        ] {
            assert_ne!(first, digest(1, &other, "one"));
        }
        let table = |text: &str| [("t", ConfigValue::Plain(serde_json::from_str(text).unwrap()))];
        let (one, two) = (r#"[{"a":1,"b":2}]"#, r#"[{"b":2,"a":1}]"#);
        assert_eq!(digest(1, &table(one), ""), digest(1, &table(two), ""));
    }

    #[test]
    fn the_key_is_made_once_and_private() {
        let state = tempfile::tempdir().unwrap();
        let nested = state.path().join("new");
        let first = DigestKey::of_state(&nested).unwrap().digest(&BTreeMap::new(), &[]).unwrap();
        assert_eq!(first, DigestKey::of_state(&nested).unwrap().digest(&BTreeMap::new(), &[]).unwrap());
        assert_eq!(std::fs::metadata(nested.join("config.key")).unwrap().permissions().mode() & 0o777, 0o600);
        std::fs::write(nested.join("config.key"), "nonsense").unwrap();
        assert_eq!(DigestKey::of_state(&nested).err().unwrap().code(), Code::Decode);
        let blocked = state.path().join("file");
        std::fs::write(&blocked, "").unwrap();
        assert_eq!(DigestKey::of_state(&blocked.join("x")).err().unwrap().code(), Code::StateUnwritable);
    }
}
