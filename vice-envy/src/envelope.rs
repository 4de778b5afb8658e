//! What is inside an encrypted value: the value, and where it belongs. Encryption alone would let anybody who can write
//! to the repository move a value to another key, file or project; the name of its place travels inside.

use serde::{Deserialize, Serialize};
use vice_core::Secret;
use zeroize::Zeroizing;

/// The longest description of a place, in bytes. Readers are listed in it, and a list of that length is no team any more.
const BINDING_BYTES_MAX: usize = 256 * 1024;

/// Where a value belongs, and who could read it when it was encrypted.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Binding {
    /// The project.
    pub(crate) project: String,
    /// The layer's file, relative to the project.
    pub(crate) layer: String,
    /// The dotted key.
    pub(crate) key: String,
    /// The public keys that it was encrypted for, sorted.
    pub(crate) readers: Vec<String>,
    /// The seal of the layer, when it had one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) seal: Option<String>,
}

/// The bytes that are encrypted.
pub(crate) fn wrap(binding: &Binding, plain: &str) -> Zeroizing<Vec<u8>> {
    let head = serde_json::to_string(binding).unwrap_or_default();
    let mut bytes = Zeroizing::new(Vec::with_capacity(head.len() + 1 + plain.len()));
    bytes.extend_from_slice(head.as_bytes());
    bytes.push(b'\n');
    bytes.extend_from_slice(plain.as_bytes());
    bytes
}

/// The place and the value; none when the bytes have another form.
pub(crate) fn unwrap(bytes: &[u8]) -> Option<(Binding, Secret)> {
    let end = bytes.iter().take(BINDING_BYTES_MAX).position(|byte| *byte == b'\n')?;
    let binding = serde_json::from_slice(&bytes[..end]).ok()?;
    Some((binding, Secret::new(std::str::from_utf8(&bytes[end + 1..]).ok()?)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_of_any_shape_comes_back_with_its_place() {
        for plain in ["", "x", "two\nlines\n", "{\"key\":1}\n", "é\u{0}"] {
            let binding = Binding {
                project: "shop".into(),
                layer: "config/a \"b\"\n.toml".into(),
                key: "db.password".into(),
                readers: vec!["age1x".into()],
                seal: None,
            };
            let (back, value) = unwrap(&wrap(&binding, plain)).unwrap();
            assert_eq!((back, value.reveal()), (binding, plain));
        }
        for broken in [&b""[..], b"x", b"{}\nx", b"{\"project\":1}\n"] {
            assert!(unwrap(broken).is_none());
        }
    }
}
