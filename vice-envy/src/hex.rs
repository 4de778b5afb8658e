//! Fresh random bytes, and bytes as hexadecimal digits.

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
    const DIGITS: [char; 16] = ['0', '1', '2', '3', '4', '5', '6', '7', '8', '9', 'a', 'b', 'c', 'd', 'e', 'f'];
    let digits = bytes.iter().flat_map(|byte| [byte >> 4, byte & 15]);
    let mut text = String::with_capacity(bytes.len() * 2);
    text.extend(digits.map(|digit| DIGITS[usize::from(digit)]));
    text
}
