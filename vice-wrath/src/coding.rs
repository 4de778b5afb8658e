//! What content codings hide. A body is unpacked when all of it is there, not while it arrives: the state of an unpacker
//! is larger than most answers, and with one for each answer under way it would be most of what many checks at the same
//! time take.

use std::io::Read as _;

use flate2::bufread::{MultiGzDecoder, ZlibDecoder};
use http::HeaderValue;

/// The coding that requests offer.
pub(crate) const OFFERED: HeaderValue = HeaderValue::from_static("gzip");

/// The largest content of a recorded body that is looked into, in bytes.
pub(crate) const RECORDED_BYTES_MAX: usize = 16 * 1024 * 1024;

/// Why a content can't be seen.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Hidden {
    /// Its coding has no unpacker here.
    Unknown(String),
    /// It has more bytes than are wanted.
    TooLarge,
    /// It is not what its coding says, or not all of it.
    Broken,
}

impl std::fmt::Display for Hidden {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Unknown(coding) => write!(f, "its coding {coding:.20} is not known"),
            Self::TooLarge => f.write_str("it is too large when unpacked"),
            Self::Broken => f.write_str("it can't be unpacked"),
        }
    }
}

/// The content of a body with a `Content-Encoding`, at most `max` bytes; none where nothing hides it.
///
/// # Errors
/// Why it can't be had.
pub(crate) fn unpack(coding: &str, packed: &[u8], max: usize) -> Result<Option<Vec<u8>>, Hidden> {
    let most = max as u64 + 1;
    let mut out = Vec::new();
    let read = match coding.trim().to_ascii_lowercase().as_str() {
        "" | "identity" => return Ok(None),
        // An answer without a body may name the coding that its body would have.
        "gzip" | "x-gzip" | "deflate" if packed.is_empty() => return Ok(None),
        "gzip" | "x-gzip" => MultiGzDecoder::new(packed).take(most).read_to_end(&mut out),
        "deflate" => ZlibDecoder::new(packed).take(most).read_to_end(&mut out),
        other => return Err(Hidden::Unknown(other.to_owned())),
    };
    match read {
        Ok(size) if size > max => Err(Hidden::TooLarge),
        Ok(_) => Ok(Some(out)),
        Err(_) => Err(Hidden::Broken),
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use super::*;

    fn gzip(content: &[u8]) -> Vec<u8> {
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        encoder.write_all(content).unwrap();
        encoder.finish().unwrap()
    }

    #[test]
    fn contents_come_back_up_to_the_limit() {
        let content = vec![b'x'; 1000];
        let two = [gzip(&content[..400]), gzip(&content[400..])].concat();
        for (coding, packed) in [("gzip", gzip(&content)), ("X-GZIP ", two)] {
            assert_eq!(unpack(coding, &packed, 1000), Ok(Some(content.clone())), "{coding}");
        }
        assert_eq!(unpack("gzip", &gzip(&content), 999), Err(Hidden::TooLarge));
        assert_eq!((unpack("identity", &content, 9), unpack("gzip", &[], 9)), (Ok(None), Ok(None)));
    }

    #[test]
    fn what_is_no_gzip_or_only_half_of_one_is_broken() {
        let whole = gzip(&[7; 5000]);
        for packed in [b"nonsense".as_slice(), &whole[..whole.len() / 2], &whole[..whole.len() - 1]] {
            assert_eq!(unpack("gzip", packed, 9999), Err(Hidden::Broken));
        }
        assert_eq!(unpack("br", &[1], 9), Err(Hidden::Unknown("br".to_owned())));
    }
}
