//! The lines of a recording. Each is a JSON object whose last field is a checksum of everything before it, so that a line
//! that was cut or changed by accident is known as such, and any tool for JSON lines reads the file.

use serde::Serialize;
use vice_core::{Code, Context, Result};

/// How a sealed line ends: the checksum as eight hexadecimal digits.
const BEFORE_CRC: &str = ",\"crc\":\"";

/// The length of everything from there on.
const SEAL_LENGTH: usize = BEFORE_CRC.len() + 8 + 2;

/// A line with its checksum and its end.
///
/// # Errors
/// `Internal` when the value does not serialise.
pub(super) fn seal(value: &impl Serialize) -> Result<String> {
    let mut line = serde_json::to_string(value).context(Code::Internal, || "A line can't be written.".to_owned())?;
    // The closing brace comes back behind the checksum. Objects here are never empty.
    line.pop();
    let crc = crc32fast::hash(line.as_bytes());
    line.push_str(&format!("{BEFORE_CRC}{crc:08x}\"}}\n"));
    Ok(line)
}

/// Whether a line is what was written. A line without a checksum was written by hand, and is taken as it is.
///
/// # Errors
/// Text that says what is wrong.
pub(super) fn check(line: &str) -> Result<(), String> {
    if !line.ends_with('}') {
        return Err("it ends in the middle".to_owned());
    }
    let Some(at) = line.len().checked_sub(SEAL_LENGTH).filter(|at| line.is_char_boundary(*at)) else { return Ok(()) };
    let (content, seal) = line.split_at(at);
    let Some(digits) = seal.strip_prefix(BEFORE_CRC).and_then(|rest| rest.strip_suffix("\"}")) else { return Ok(()) };
    match u32::from_str_radix(digits, 16) {
        Ok(crc) if crc == crc32fast::hash(content.as_bytes()) => Ok(()),
        _ => Err("its checksum does not fit".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_changed_line_is_known() {
        let line = seal(&json!({"a": "ü"})).unwrap();
        let line = line.trim_end();
        assert!(check(line).is_ok(), "{line}");
        assert_eq!(serde_json::from_str::<serde_json::Value>(line).unwrap()["a"], "ü");
        assert!(check(&line.replace('ü', "u")).is_err());
        assert!(check("{\"a\":1}").is_ok());
        for end in 1..line.len() {
            assert!(!line.is_char_boundary(end) || check(&line[..end]).is_err(), "{}", &line[..end]);
        }
    }
}
