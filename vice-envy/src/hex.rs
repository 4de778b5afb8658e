//! Fresh random bytes, and bytes as hexadecimal digits.

use std::fmt::Write as _;
use std::io::Read;

use vice_core::{Code, Context, Result};
use zeroize::Zeroizing;

/// The bytes of every key that is made here.
pub(crate) const KEY_BYTES: usize = 32;

/// Bytes from the operating system, which is the right source for keys, in tests too.
pub(crate) fn fresh() -> Result<Zeroizing<[u8; KEY_BYTES]>> {
    let mut bytes = Zeroizing::new([0; KEY_BYTES]);
    let source = std::fs::File::open("/dev/urandom").and_then(|mut source| source.read_exact(bytes.as_mut_slice()));
    source.context(Code::Io, || "The system gives no random bytes.".to_owned())?;
    Ok(bytes)
}

/// Two lower-case digits for each byte.
pub(crate) fn hex(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len() * 2);
    for byte in bytes {
        // Writing to a string can't fail.
        write!(text, "{byte:02x}").unwrap_or_default();
    }
    text
}
