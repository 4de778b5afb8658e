//! The cipher of SOPS: AES-256-GCM with a nonce of 32 bytes and the path of the value as additional data, and the MAC over
//! all values.

use aes_gcm::aead::consts::U32;
use aes_gcm::aead::{Aead, KeyInit, Payload};
use aes_gcm::aes::Aes256;
use aes_gcm::{AesGcm, Nonce};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Map, Number, Value};
use sha2::{Digest, Sha512};
use vice_core::{Code, Fault, Result};
use zeroize::Zeroizing;

use super::Sealed;
use crate::key::DEPTH_MAX;

/// What a MAC over encrypted values only begins with, so that it never equals one over all values.
const ONLY_ENCRYPTED: [u8; 32] = [
    0x8a, 0x3f, 0xd2, 0xad, 0x54, 0xce, 0x66, 0x52, 0x7b, 0x10, 0x34, 0xf3, 0xd1, 0x47, 0xbe, 0x0b, 0x0b, 0x97, 0x5b,
    0x3b, 0xf4, 0x4f, 0x72, 0xc6, 0xfd, 0xad, 0xec, 0x81, 0x76, 0xf2, 0x7d, 0x69,
];

type Cipher = AesGcm<Aes256, U32>;

struct Opener<'n> {
    cipher: Cipher,
    mac: Sha512,
    only_encrypted: bool,
    name: &'n str,
}

/// All values of a file, after the MAC was checked.
pub(super) fn open(sealed: &Sealed, key: &[u8], name: &str) -> Result<Map<String, Value>> {
    let broken = |why: &str| fault(name, why);
    let cipher = Cipher::new_from_slice(key).map_err(|_| broken("has a data key of a wrong length"))?;
    let only_encrypted = matches!(sealed.meta.get("mac_only_encrypted"), Some(Value::Bool(true)))
        || sealed.meta.get("mac_only_encrypted").and_then(Value::as_str) == Some("true");
    let mut opener = Opener { cipher, mac: Sha512::new(), only_encrypted, name };
    if only_encrypted {
        opener.mac.update(ONLY_ENCRYPTED);
    }
    let values = opener.table(&sealed.tree, &mut Vec::new())?;
    let text = |field: &str| sealed.meta.get(field).and_then(Value::as_str).unwrap_or_default();
    let written = opener
        .decrypt(text("mac"), text("lastmodified"))
        .ok_or_else(|| broken("has a MAC that can't be opened: it, or the time of the last change, was altered"))??;
    let found: String = opener.mac.finalize().iter().map(|byte| format!("{byte:02X}")).collect();
    if written.as_str() != Some(found.as_str()) {
        return Err(broken("does not fit its MAC: keys or values were changed without SOPS")
            .hint("Look at the change; `sops edit` makes the MAC anew when it is right."));
    }
    Ok(values)
}

fn fault(name: &str, why: &str) -> Fault {
    Fault::new(Code::ConfigInvalid, format!("The SOPS file {name} {why}.")).detail("layer", name)
}

impl Opener<'_> {
    fn table(&mut self, table: &Map<String, Value>, path: &mut Vec<String>) -> Result<Map<String, Value>> {
        if path.len() > DEPTH_MAX {
            return Err(fault(self.name, "is nested too deeply"));
        }
        let mut out = Map::new();
        for (name, value) in table {
            path.push(name.clone());
            out.insert(name.clone(), self.value(value, path)?);
            path.pop();
        }
        Ok(out)
    }

    /// The place within a list is no part of the path.
    fn value(&mut self, value: &Value, path: &mut Vec<String>) -> Result<Value> {
        match value {
            Value::Object(table) => self.table(table, path).map(Value::Object),
            Value::Array(items) => {
                items.iter().map(|item| self.value(item, path)).collect::<Result<Vec<_>>>().map(Value::Array)
            }
            leaf => self.leaf(leaf, path),
        }
    }

    fn leaf(&mut self, leaf: &Value, path: &[String]) -> Result<Value> {
        let text = leaf.as_str().filter(|text| text.starts_with("ENC[AES256_GCM,"));
        let Some(text) = text else {
            if !self.only_encrypted {
                self.mac.update(bytes_of(leaf));
            }
            return Ok(leaf.clone());
        };
        let place = format!("{}:", path.join(":"));
        let opened = self.decrypt(text, &place).ok_or_else(|| {
            let key = path.join(".");
            fault(self.name, &format!("has a value of {key} that was damaged, or moved there from another key"))
                .detail("key", key)
        })??;
        self.mac.update(bytes_of(&opened));
        Ok(opened)
    }

    /// None when the text is not what was encrypted for this place.
    fn decrypt(&self, text: &str, place: &str) -> Option<Result<Value>> {
        let body = text.strip_prefix("ENC[AES256_GCM,")?.strip_suffix(']')?;
        let mut fields = body.split(',').filter_map(|field| field.split_once(':'));
        let mut field = |wanted: &str| fields.next().filter(|(name, _)| *name == wanted).map(|(_, value)| value);
        let (data, iv, tag, kind) = (field("data")?, field("iv")?, field("tag")?, field("type")?);
        let mut sealed = STANDARD.decode(data).ok()?;
        let iv = STANDARD.decode(iv).ok().filter(|iv| iv.len() == 32)?;
        sealed.extend(STANDARD.decode(tag).ok()?);
        let payload = Payload { msg: &sealed, aad: place.as_bytes() };
        let plain = Zeroizing::new(self.cipher.decrypt(Nonce::from_slice(&iv), payload).ok()?);
        let typed = typed(&plain, kind).ok_or_else(|| fault(self.name, "has a value of a type that is not known"));
        Some(typed)
    }
}

fn typed(plain: &[u8], kind: &str) -> Option<Value> {
    let text = std::str::from_utf8(plain).ok()?;
    Some(match kind {
        "str" | "bytes" | "comment" | "time" => Value::String(text.to_owned()),
        "int" | "int64" => Value::Number(text.parse::<i64>().ok()?.into()),
        "float" => Value::Number(Number::from_f64(text.parse().ok()?)?),
        "bool" => Value::Bool(text.eq_ignore_ascii_case("true")),
        _ => return None,
    })
}

/// A value as the MAC sees it.
fn bytes_of(value: &Value) -> Vec<u8> {
    match value {
        Value::String(text) => text.clone().into_bytes(),
        Value::Bool(true) => b"True".to_vec(),
        Value::Bool(false) => b"False".to_vec(),
        Value::Number(number) => match (number.as_i64(), number.as_f64()) {
            (Some(whole), _) => whole.to_string().into_bytes(),
            (None, Some(float)) => float.to_string().into_bytes(),
            (None, None) => number.to_string().into_bytes(),
        },
        _ => Vec::new(),
    }
}
