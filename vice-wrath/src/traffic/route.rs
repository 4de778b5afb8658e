//! Kinds of requests: a method and a path whose ids are left open, such as `GET /items/{id}`.

use crate::recording::Asked;

/// The most parts of a path that are looked at.
const PARTS_MAX: usize = 32;

/// The kind of a request.
pub(crate) fn of(asked: &Asked) -> String {
    name(&asked.method, asked.path())
}

/// The kind of a method and a path.
pub(crate) fn name(method: &str, path: &str) -> String {
    let parts: Vec<&str> =
        path.split('/').take(PARTS_MAX).map(|part| if is_id(part) { "{id}" } else { part }).collect();
    format!("{method} {}", parts.join("/"))
}

/// Whether a part of a path names one of many things: a number, a digest, a UUID, or the like.
pub(crate) fn is_id(part: &str) -> bool {
    let stem = part.split('.').next().unwrap_or_default();
    let digits = stem.bytes().filter(u8::is_ascii_digit).count();
    if stem.is_empty() || digits == 0 {
        return false;
    }
    let proper = stem.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'~'));
    if digits == stem.len() {
        return true;
    }
    // `v1` and `page2` are words with a number; long mixtures are ids.
    proper && (stem.starts_with("masked-") || (stem.len() >= 8 && digits >= 2 && digits * 6 >= stem.len()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_left_open_and_words_are_not() {
        for (path, kind) in [
            ("/", "GET /"),
            ("/items/17", "GET /items/{id}"),
            ("/items/17.json", "GET /items/{id}"),
            ("/api/v1/users", "GET /api/v1/users"),
            ("/o/2b15c4f3-6029-4f02-bf17-ddbbce948d37/x", "GET /o/{id}/x"),
            ("/o/ffe809480ce914975a0e3d839693056f", "GET /o/{id}"),
            ("/o/masked-3f2a5b6c7d8e9f00", "GET /o/{id}"),
            ("/checkout-step2", "GET /checkout-step2"),
            ("/about-us", "GET /about-us"),
        ] {
            assert_eq!(name("GET", path), kind);
        }
    }
}
