//! A batch, taken apart and checked before it comes near the mirror.

use crate::jsonl::line::{self, FORMAT, Head, LINE_MAX, Line};

/// The largest batch that is written: what git servers and object stores take in one piece without a word.
pub(crate) const BYTES_MAX: usize = 8 * 1024 * 1024;

/// The largest one that is read: a later version may write more at once.
pub(crate) const READ_BYTES_MAX: u64 = 64 * 1024 * 1024;

/// A batch whose lines make sense.
#[derive(Debug)]
pub(crate) struct Checked<'a> {
    pub(crate) head: Head,
    /// Everything behind the head.
    pub(crate) lines: &'a [u8],
    pub(crate) records: u64,
}

/// Takes a batch apart.
///
/// # Errors
/// What is wrong with it, to stand behind its name.
pub(crate) fn check(bytes: &[u8]) -> Result<Checked<'_>, String> {
    let end = bytes.iter().position(|byte| *byte == b'\n').ok_or("has no head")?;
    let head = match line::read(&bytes[..end]) {
        Ok(Line::Head(head)) => head,
        Ok(_) => return Err("does not begin with a head".to_owned()),
        Err(odd) => return Err(format!("has a head that {odd}")),
    };
    if head.segment > FORMAT {
        return Err(format!("is of format {}; this vice knows formats up to {FORMAT}", head.segment));
    }
    let lines = &bytes[end + 1..];
    let (mut records, mut whole) = (0, true);
    for text in lines.split_inclusive(|byte| *byte == b'\n') {
        let Some(text) = text.strip_suffix(b"\n").filter(|text| text.len() < LINE_MAX) else {
            return Err("has a line without end".to_owned());
        };
        whole = match line::read(text) {
            Ok(Line::Event(event)) => !event.more,
            Ok(Line::Fence(fence)) => !fence.more,
            Ok(Line::Head(_)) => return Err("has a head in its middle".to_owned()),
            Err(odd) => return Err(format!("has a line that {odd}")),
        };
        records += 1;
    }
    match (records, whole) {
        (0, _) => Err("is empty".to_owned()),
        (_, false) => Err("ends within an append".to_owned()),
        _ => Ok(Checked { head, lines, records }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::jsonl::line::FenceLine;
    use vice_core::Digest;

    fn batch(more: bool) -> Vec<u8> {
        let mut bytes = Vec::new();
        line::write(&mut bytes, &Head { segment: FORMAT, record: 7, mark: Digest::ZERO }).unwrap();
        line::write(&mut bytes, &FenceLine { fence: "a/b".into(), epoch: 1, more }).unwrap();
        bytes
    }

    #[test]
    fn a_whole_batch_is_taken_apart() {
        let bytes = batch(false);
        let checked = check(&bytes).unwrap();
        assert_eq!((checked.head.record, checked.records), (7, 1));
        assert!(checked.lines.ends_with(b"}\n"));
    }

    #[test]
    fn whatever_is_missing_or_changed_is_seen() {
        let bytes = batch(false);
        let head = bytes.iter().position(|byte| *byte == b'\n').unwrap() + 1;
        let cases: [(&[u8], &str); 5] = [
            (b"", "has no head"),
            (&bytes[..head], "is empty"),
            (&bytes[..bytes.len() - 1], "without end"),
            (&bytes[head..], "does not begin with a head"),
            (&batch(true), "ends within an append"),
        ];
        for (bytes, said) in cases {
            let odd = check(bytes).unwrap_err();
            assert!(odd.contains(said), "{odd}");
        }
        for at in 0..bytes.len() {
            let mut flipped = bytes.clone();
            flipped[at] ^= 1;
            assert!(check(&flipped).is_err(), "byte {at} was changed and not seen");
        }
    }
}
