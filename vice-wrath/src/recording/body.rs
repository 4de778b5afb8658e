//! A body as it is kept: text where it is text, otherwise base64, and never more than the limit.

use std::io::Read as _;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use flate2::read::{MultiGzDecoder, ZlibDecoder};
use serde::{Deserialize, Serialize};

/// The largest body that is unpacked for a look into it, in bytes.
const UNPACKED_BYTES_MAX: u64 = 16 * 1024 * 1024;

/// A body, or what is known of one that was not kept.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub(crate) struct Body {
    /// Bytes as they went over the wire.
    #[serde(default)]
    pub(crate) size: u64,
    /// The content, where it is text; unpacked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) text: Option<String>,
    /// The content otherwise.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) base64: Option<String>,
    /// Why the content is absent or not whole.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) cut: Option<String>,
}

impl Body {
    /// A body with its content.
    pub(crate) fn of(size: u64, content: Vec<u8>) -> Self {
        match String::from_utf8(content) {
            Ok(text) => Self { size, text: Some(text), ..Self::default() },
            Err(error) => Self { size, base64: Some(STANDARD.encode(error.as_bytes())), ..Self::default() },
        }
    }

    /// A body of which only the size is known.
    pub(crate) fn without(size: u64, why: &str) -> Self {
        Self { size, cut: Some(why.to_owned()), ..Self::default() }
    }

    /// The content, if it is all there.
    pub(crate) fn content(&self) -> Option<Vec<u8>> {
        match (&self.cut, &self.text, &self.base64) {
            (Some(_), ..) => None,
            (None, Some(text), _) => Some(text.clone().into_bytes()),
            (None, None, Some(encoded)) => STANDARD.decode(encoded).ok(),
            (None, None, None) => (self.size == 0).then(Vec::new),
        }
    }
}

/// What a content coding hides: the content, or why it can't be seen.
///
/// # Errors
/// Text that says why.
pub(crate) fn unpack(coding: &str, content: Vec<u8>) -> Result<Vec<u8>, String> {
    let mut out = Vec::new();
    let read = match coding.trim().to_ascii_lowercase().as_str() {
        "" | "identity" => return Ok(content),
        "gzip" | "x-gzip" => MultiGzDecoder::new(content.as_slice()).take(UNPACKED_BYTES_MAX + 1).read_to_end(&mut out),
        "deflate" => ZlibDecoder::new(content.as_slice()).take(UNPACKED_BYTES_MAX + 1).read_to_end(&mut out),
        other => return Err(format!("its coding {other:.20} is not known")),
    };
    match read {
        Ok(size) if size as u64 > UNPACKED_BYTES_MAX => Err("it is too large when unpacked".to_owned()),
        Ok(_) => Ok(out),
        Err(_) => Err("it can't be unpacked".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write as _;

    #[test]
    fn contents_come_back_as_they_were() {
        for content in [b"".to_vec(), b"text".to_vec(), vec![0xff, 0, 1]] {
            let body = Body::of(content.len() as u64, content.clone());
            let written = serde_json::to_string(&body).unwrap();
            let read: Body = serde_json::from_str(&written).unwrap();
            assert_eq!(read.content(), Some(content));
        }
        assert_eq!(Body::without(9, "too large").content(), None);
    }

    #[test]
    fn a_bomb_is_not_unpacked() {
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        let zeros = vec![0; 1 << 20];
        for _ in 0..20 {
            encoder.write_all(&zeros).unwrap();
        }
        let bomb = encoder.finish().unwrap();
        assert_eq!(unpack("gzip", bomb), Err("it is too large when unpacked".to_owned()));
        assert!(unpack("gzip", b"nonsense".to_vec()).is_err() && unpack("br", Vec::new()).is_err());
    }
}
