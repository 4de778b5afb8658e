//! Files that SOPS encrypted, read only: YAML, JSON, dotenv and INI whose data key is encrypted for age recipients. Every
//! value is authenticated with its path, and the MAC over all values is checked before anything is handed out, as in the
//! format of getsops/sops (`aes/cipher.go`, `sops.go`). Files are never written: SOPS does that better.

#[cfg(feature = "secrets")]
mod crypt;
#[cfg(not(feature = "secrets"))]
#[path = "missing.rs"]
mod crypt;
mod flat;
#[cfg(all(test, feature = "secrets"))]
mod tests;

use serde_json::{Map, Value};
use vice_core::{Code, Fault, Result};

use crate::key::{Flaw, join};
use crate::layer::Kind;
use crate::layer::dotenv::key_of;
use crate::locked::Lock;
use crate::sheet::Sheet;

/// What keeps a data key, beside age.
const OTHER_KEYS: [(&str, &str); 6] = [
    ("kms", "AWS KMS"),
    ("gcp_kms", "Google Cloud KMS"),
    ("azure_kv", "Azure Key Vault"),
    ("hc_vault", "Vault"),
    ("pgp", "PGP"),
    ("key_groups", "key groups"),
];

/// A SOPS file before it is opened.
pub(super) struct Sealed {
    /// The values in the order of the file.
    pub(super) tree: Map<String, Value>,
    /// What SOPS says about the file.
    pub(super) meta: Map<String, Value>,
}

/// The entries of a layer that SOPS encrypted; none when it is another file.
pub(crate) fn read(kind: Kind, text: &str, name: &str, lock: &Lock<'_>) -> Result<Option<Sheet>> {
    let Some(sealed) = recognise(kind, text) else { return Ok(None) };
    let age = sealed.meta.get("age").and_then(Value::as_array).filter(|list| !list.is_empty());
    let Some(age) = age else { return Err(no_age(name, &sealed.meta)) };
    let wrapped: Vec<&str> = age.iter().filter_map(|entry| entry.get("enc")?.as_str()).collect();
    let key = lock.open_any(name, &wrapped)?;
    let values = crypt::open(&sealed, &key, name)?;
    let mut sheet = Sheet::default();
    let refuse = |flaw: Flaw| flaw.in_layer(name);
    add(&mut sheet, "", Value::Object(named(kind, values))).map_err(refuse)?;
    sheet.finish().map(Some).map_err(refuse)
}

fn recognise(kind: Kind, text: &str) -> Option<Sealed> {
    // Cheap to rule out for nearly every file.
    if !text.contains("sops") || !text.contains("ENC[AES256_GCM,") {
        return None;
    }
    let tree = match kind {
        Kind::Json => serde_json::from_str(text).ok()?,
        Kind::Yaml => serde_saphyr::from_str(text).ok()?,
        Kind::Dotenv => return flat::dotenv(text),
        Kind::Ini => return flat::ini(text),
        Kind::Toml | Kind::Properties => return None,
    };
    let Value::Object(mut tree) = tree else { return None };
    match tree.shift_remove("sops") {
        Some(Value::Object(meta)) if meta.contains_key("mac") => Some(Sealed { tree, meta }),
        _ => None,
    }
}

/// Names as the same format has them without SOPS.
fn named(kind: Kind, mut values: Map<String, Value>) -> Map<String, Value> {
    match kind {
        Kind::Dotenv => values.into_iter().map(|(name, value)| (key_of(&name), value)).collect(),
        Kind::Ini => {
            if let Some(Value::Object(common)) = values.shift_remove("DEFAULT") {
                values.extend(common);
            }
            values
        }
        _ => values,
    }
}

fn no_age(name: &str, meta: &Map<String, Value>) -> Fault {
    let full = |value: &Value| !value.is_null() && value.as_array().is_none_or(|list| !list.is_empty());
    let others: Vec<&str> =
        OTHER_KEYS.iter().filter(|(field, _)| meta.get(*field).is_some_and(full)).map(|(_, shown)| *shown).collect();
    let kept = if others.is_empty() { "nothing that is known".to_owned() } else { others.join(", ") };
    Fault::new(Code::SecretLocked, format!("The SOPS file {name} is encrypted for {kept}, and for no age recipient."))
        .hint("Add one: sops rotate -i --add-age age1… FILE; `vice envy keys` shows yours.")
        .detail("layer", name)
}

fn add(sheet: &mut Sheet, key: &str, value: Value) -> Result<(), Flaw> {
    match value {
        Value::Object(fields) => fields.into_iter().try_for_each(|(name, field)| add(sheet, &join(key, &name), field)),
        Value::Null => Ok(()),
        value => sheet.add(key, value, None),
    }
}
