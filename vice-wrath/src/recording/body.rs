//! A body as it is kept: text where it is text, otherwise base64, and never more than the limit.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Serialize};

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

#[cfg(test)]
mod tests {
    use super::*;

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
}
