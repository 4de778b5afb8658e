//! What an entry of a release may be called. Pure: no file is touched here.
//!
//! One rule set for every reader, so that no format is laxer than another.

/// How an archive format writes its names.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Style {
    /// A backslash is an ordinary character, as on every Unix.
    Unix,
    /// A backslash may be a separator to somebody else's reader, so it is refused.
    Zip,
}

/// The longest single name that common file systems take.
const NAME_BYTES_MAX: usize = 255;
/// The longest path that the kernel takes, less the terminating zero and a margin for the store's own folder.
const PATH_BYTES_MAX: usize = 3072;

/// The components of an entry's name; empty for the root itself (`./`).
pub(super) fn components(raw: &[u8], style: Style, depth_max: usize) -> Result<Vec<&str>, &'static str> {
    let text = clean(raw, style)?;
    if text.starts_with('/') {
        return Err("has an absolute path");
    }
    let mut parts = Vec::new();
    for part in text.split('/') {
        match part {
            "" | "." => {}
            ".." => return Err("leaves the release folder with `..`"),
            _ if part.len() > NAME_BYTES_MAX => return Err("has a name longer than 255 bytes"),
            _ => parts.push(part),
        }
    }
    if parts.len() > depth_max {
        return Err("is nested too deeply");
    }
    Ok(parts)
}

/// A symbolic link's target, refused when it leaves the release lexically from the folder `parent`.
pub(super) fn link_target<'t>(
    raw: &'t [u8],
    parent: &[&str],
    style: Style,
    depth_max: usize,
) -> Result<&'t str, &'static str> {
    let text = clean(raw, style)?;
    if text.starts_with('/') {
        return Err("is a link to an absolute path");
    }
    let mut depth = parent.len();
    for (index, part) in text.split('/').enumerate() {
        if index > 2 * depth_max {
            return Err("is a link with a target of too many parts");
        }
        match part {
            "" | "." => {}
            ".." => depth = depth.checked_sub(1).ok_or("is a link that leaves the release folder")?,
            _ => depth += 1,
        }
    }
    Ok(text)
}

fn clean(raw: &[u8], style: Style) -> Result<&str, &'static str> {
    if raw.is_empty() {
        return Err("has an empty name");
    }
    if raw.len() > PATH_BYTES_MAX {
        return Err("has a path that is too long");
    }
    if raw.contains(&0) {
        return Err("has a zero byte in its name");
    }
    let text = std::str::from_utf8(raw).map_err(|_| "has a name that is not UTF-8")?;
    if text.chars().any(char::is_control) {
        return Err("has a control character in its name");
    }
    if style == Style::Zip {
        if text.contains('\\') {
            return Err("has a backslash in its name");
        }
        if text.as_bytes().get(1) == Some(&b':') {
            return Err("has a drive prefix in its name");
        }
    }
    Ok(text)
}

/// A hostile name for a message: escaped, and cut at 200 characters.
pub(super) fn quoted(raw: &[u8]) -> String {
    const CHARS_MAX: usize = 200;
    let text = String::from_utf8_lossy(raw.get(..4 * CHARS_MAX).unwrap_or(raw));
    let escaped: String = text.escape_debug().take(CHARS_MAX).collect();
    if text.escape_debug().count() > CHARS_MAX { format!("\"{escaped}…\"") } else { format!("\"{escaped}\"") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_normalised_or_refused() {
        assert_eq!(components(b"./a//b/./c/", Style::Unix, 64).unwrap(), ["a", "b", "c"]);
        assert_eq!(components(b"a\\b", Style::Unix, 64).unwrap(), ["a\\b"]);
        assert!(components(b"./", Style::Unix, 64).unwrap().is_empty());
        for bad in [&b"/a"[..], b"../a", b"a/../../b", b"a/..", b"a\0b", b"a\nb", b"\xff", b"", b"a\x1b[0m"] {
            assert!(components(bad, Style::Unix, 64).is_err(), "{bad:?}");
        }
        for bad in [&b"a\\b"[..], b"C:/x", b"..\\x"] {
            assert!(components(bad, Style::Zip, 64).is_err(), "{bad:?}");
        }
        assert!(components("d/".repeat(65).as_bytes(), Style::Unix, 64).is_err());
        assert!(components("n".repeat(256).as_bytes(), Style::Unix, 64).is_err());
    }

    #[test]
    fn link_targets_stay_inside() {
        assert_eq!(link_target(b"../b/c", &["a"], Style::Unix, 64).unwrap(), "../b/c");
        for bad in [&b"../../b"[..], b"/etc/passwd", b"x/../../..", b"", b"x\0"] {
            assert!(link_target(bad, &["a"], Style::Unix, 64).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn quoted_names_are_escaped_and_bounded() {
        assert_eq!(quoted(b"a\x1b\n\"b"), "\"a\\u{1b}\\n\\\"b\"");
        assert!(quoted(&[b'x'; 10_000]).chars().count() < 210);
    }
}
