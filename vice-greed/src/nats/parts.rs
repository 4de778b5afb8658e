//! A batch as messages. A server takes a mebibyte a message unless it is told otherwise, and a batch may be larger, so a
//! batch is one message or several that follow each other without a gap; each but the first is written on the condition
//! that the one before it is still the end. A writer that dies in between leaves parts that no last part follows; whoever
//! writes next writes behind them, and readers pass over them.

use crate::shared::medium::Kept;

/// The header of a message that is not a whole batch: `2/3`.
pub(super) const PART: &str = "Vice-Part";

/// The most parts of a batch that is read.
const PARTS_MAX: usize = 65_536;

/// Bytes of a message that its headers take at most.
const HEADERS: usize = 1024;

/// The least payload that makes sense.
pub(super) const PAYLOAD_MIN: usize = 4096;

/// The pieces that a batch is sent in.
pub(super) fn cut(bytes: &[u8], max_payload: usize) -> Vec<&[u8]> {
    let size = max_payload.saturating_sub(HEADERS).max(PAYLOAD_MIN - HEADERS);
    bytes.chunks(size).collect()
}

/// A message as it lies in the stream.
#[derive(Debug)]
pub(super) struct Message {
    pub(super) sequence: u64,
    /// The header, where there is one.
    pub(super) part: Option<String>,
    pub(super) bytes: Vec<u8>,
}

/// Puts batches together again, message by message.
#[derive(Debug, Default)]
pub(super) struct Assembly {
    /// Whole batches.
    pub(super) whole: Vec<Kept>,
    /// The part that is expected, of how many, and what was there before.
    open: Option<(usize, usize, Vec<u8>)>,
}

impl Assembly {
    /// Takes the next message.
    ///
    /// # Errors
    /// What is wrong with it, in a whole sentence.
    pub(super) fn add(&mut self, message: &Message) -> Result<(), String> {
        let odd = |what: &str| Err(format!("The message {} {what}.", message.sequence));
        let (part, parts) = match &message.part {
            None => (1, 1),
            Some(text) => match read(text) {
                Some(numbers) => numbers,
                None => return odd("has a header that makes no sense"),
            },
        };
        let mut bytes = match self.open.take() {
            // What is begun anew follows on parts whose writer died.
            _ if part == 1 => Vec::new(),
            Some((next, of, before)) if next == part && of == parts => before,
            _ => return odd("is a part that does not follow the one before it"),
        };
        bytes.extend_from_slice(&message.bytes);
        if part == parts {
            self.whole.push(Kept { tip: message.sequence.to_string(), bytes });
        } else {
            self.open = Some((part + 1, parts, bytes));
        }
        Ok(())
    }

    /// Bytes that wait for their last part.
    pub(super) fn waiting(&self) -> usize {
        self.open.as_ref().map_or(0, |(_, _, bytes)| bytes.len())
    }
}

fn read(text: &str) -> Option<(usize, usize)> {
    let (part, parts) = text.split_once('/')?;
    let (part, parts) = (part.parse().ok()?, parts.parse().ok()?);
    (part >= 1 && part <= parts && parts <= PARTS_MAX).then_some((part, parts))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn assemble(messages: &[(Option<&str>, &str)]) -> Result<Vec<(String, String)>, String> {
        let mut assembly = Assembly::default();
        for (sequence, (part, text)) in (1..).zip(messages) {
            let bytes = text.as_bytes().to_vec();
            assembly.add(&Message { sequence, part: part.map(str::to_owned), bytes })?;
        }
        Ok(assembly.whole.into_iter().map(|kept| (kept.tip, String::from_utf8(kept.bytes).unwrap())).collect())
    }

    #[test]
    fn what_is_cut_is_put_together_again() {
        let bytes: Vec<u8> = (0..=255).cycle().take(10_000).collect();
        let pieces = cut(&bytes, PAYLOAD_MIN);
        assert_eq!((pieces.len(), pieces.concat()), (4, bytes));
        let whole = assemble(&[(None, "a"), (Some("1/2"), "b"), (Some("2/2"), "c")]).unwrap();
        assert_eq!(whole, [("1".into(), "a".into()), ("3".into(), "bc".into())]);
    }

    #[test]
    fn parts_of_a_writer_that_died_are_passed_over() {
        let whole = assemble(&[(Some("1/3"), "x"), (Some("2/3"), "y"), (None, "a"), (Some("1/2"), "z")]).unwrap();
        assert_eq!(whole, [("3".into(), "a".into())]);
    }

    #[test]
    fn parts_that_do_not_follow_are_damage() {
        for messages in [
            &[(Some("2/2"), "x")][..],
            &[(Some("1/3"), "x"), (Some("3/3"), "y")],
            &[(Some("1/3"), "x"), (Some("2/2"), "y")],
            &[(Some("0/1"), "x")],
            &[(Some("1"), "x")],
            &[(Some("1/99999999"), "x")],
        ] {
            assert!(assemble(messages).is_err(), "{messages:?}");
        }
    }
}
