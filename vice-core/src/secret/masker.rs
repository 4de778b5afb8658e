//! Masks in place of secrets, in whole texts and in streams. A second line of defence: the first is that secrets are
//! [`Secret`]s and never become text.
//!
//! Found are a value as it is, broken over lines or indented, each line of a value that has several, escaped as in JSON,
//! shells, SQL, URLs and HTML, and as hexadecimal digits or base64 at any offset, wherever the text was cut into chunks.
//! Not found is what was compressed, encrypted, reversed, cut by other text, or encoded in a way that is not named here.

use std::fmt;
use std::sync::{Arc, OnceLock};

use sha2::{Digest as _, Sha256};

use super::scan::{Hit, Needles, Open, Scan, is_skipped};
use super::{Secret, masked};

/// Below this many bytes, white space not counted, a value is not masked. Shorter ones (ports, years, `true`, PINs) stand
/// in innocent text so often that a mask would tell the value to everyone who can see or choose the text around it; with
/// six characters of the usual 64, chance makes one hit in 6 × 10¹⁰ places.
pub const MASK_BYTES_MIN: usize = 6;

/// Longer values are looked for in pieces of this size, so that little has to be held back.
const PIECE_BYTES: usize = 512;

/// The part of a value that is looked for, in bytes. Beyond it, tables would grow without need: nobody prints this much
/// by accident and stops.
const NEEDLE_BYTES_MAX: usize = 256 * 1024;

/// What is held back over the end of a line has at least so much of a secret. Less tells next to nothing, and every other
/// line ends with the first letter of some secret.
const HOLD_DEPTH_MIN: usize = 4;

/// What is shown in place of a text when it can't be searched.
const UNSEARCHED: &str = "«withheld: too many secrets to mask»";

/// Replaces known secret values in text that leaves vice. Cheap to clone.
#[derive(Clone, Default)]
pub struct Masker {
    pieces: Arc<Vec<(Secret, usize)>>,
    masks: Arc<Vec<String>>,
    tables: Arc<OnceLock<Option<Arc<Tables>>>>,
}

/// What is made of all secrets once, and shared.
struct Tables {
    needles: Needles,
    masks: Arc<Vec<String>>,
    /// The mask of each needle.
    mask_of: Vec<usize>,
}

impl fmt::Debug for Masker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Masker({} secrets)", self.masks.len())
    }
}

/// The part of a text that counts when it is compared.
fn essence(text: &str) -> String {
    let mut kept: String = text.chars().filter(|c| !u8::try_from(*c).is_ok_and(is_skipped)).collect();
    let mut end = kept.len().min(NEEDLE_BYTES_MAX);
    while !kept.is_char_boundary(end) {
        end -= 1;
    }
    kept.truncate(end);
    kept
}

/// A value as it stands inside JSON, for what is encoded after that.
fn in_json(value: &str) -> String {
    let quoted = serde_json::Value::from(value).to_string();
    quoted[1..quoted.len() - 1].to_owned()
}

impl Masker {
    /// Whether a value is long enough to be masked.
    #[must_use]
    pub fn hides(secret: &Secret) -> bool {
        essence(secret.reveal()).len() >= MASK_BYTES_MIN
    }

    /// Adds a secret; each line of a multi-line secret is hidden too. Returns false when it is too short to hide.
    pub fn add(&mut self, name: &str, secret: &Secret) -> bool {
        if !Self::hides(secret) {
            return false;
        }
        let (whole, mask) = (secret.reveal(), self.masks.len());
        Arc::make_mut(&mut self.masks).push(masked(name));
        let mut forms = vec![Secret::new(essence(whole)), Secret::new(essence(&in_json(whole)))];
        forms.dedup();
        if whole.trim().contains('\n') {
            forms.extend(whole.lines().map(|line| Secret::new(essence(line))));
        }
        for form in forms.iter().filter(|form| form.reveal().len() >= MASK_BYTES_MIN) {
            let found = pieces(form.reveal()).map(|piece| (Secret::new(piece), mask));
            Arc::make_mut(&mut self.pieces).extend(found);
        }
        self.tables = Arc::default();
        true
    }

    /// Adds everything that another one hides.
    pub fn merge(&mut self, other: &Self) {
        let offset = self.masks.len();
        Arc::make_mut(&mut self.masks).extend(other.masks.iter().cloned());
        let theirs = other.pieces.iter().map(|(piece, mask)| (piece.clone(), mask + offset));
        Arc::make_mut(&mut self.pieces).extend(theirs);
        self.tables = Arc::default();
    }

    /// Adds what another one hides and `is_new` says yes to, given the digest of a name with its value.
    pub(super) fn merge_new(&mut self, other: &Self, mut is_new: impl FnMut([u8; 32]) -> bool) {
        let mut kept: Vec<Option<usize>> = vec![None; other.masks.len()];
        let mut changed = false;
        for (piece, mask) in other.pieces.iter() {
            let mut hasher = Sha256::new();
            hasher.update(other.masks[*mask].as_bytes());
            hasher.update([0]);
            hasher.update(piece.reveal().as_bytes());
            if is_new(hasher.finalize().into()) {
                let mask = *kept[*mask].get_or_insert_with(|| {
                    Arc::make_mut(&mut self.masks).push(other.masks[*mask].clone());
                    self.masks.len() - 1
                });
                Arc::make_mut(&mut self.pieces).push((piece.clone(), mask));
                changed = true;
            }
        }
        if changed {
            self.tables = Arc::default();
        }
    }

    /// Whether it knows no secret.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.masks.is_empty()
    }

    fn tables(&self) -> Option<Arc<Tables>> {
        let build = || {
            let needles: Vec<&[u8]> = self.pieces.iter().map(|(piece, _)| piece.reveal().as_bytes()).collect();
            let mask_of = self.pieces.iter().map(|(_, mask)| *mask).collect();
            let needles = Needles::new(&needles)?;
            Some(Arc::new(Tables { needles, masks: Arc::clone(&self.masks), mask_of }))
        };
        self.tables.get_or_init(build).clone()
    }

    /// The text with every known secret replaced by its mask.
    #[must_use]
    pub fn mask(&self, text: &str) -> String {
        self.masked(text, false)
    }

    /// The same for the beginning of a longer text: what may be a secret that was cut at the end is masked as well.
    #[must_use]
    pub fn mask_cut(&self, text: &str) -> String {
        self.masked(text, true)
    }

    fn masked(&self, text: &str, cut: bool) -> String {
        if self.is_empty() {
            return text.to_owned();
        }
        let mut stream = self.stream();
        let mut out = Vec::with_capacity(text.len());
        stream.feed(text.as_bytes(), &mut out);
        stream.finish(cut, &mut out);
        String::from_utf8_lossy(&out).into_owned()
    }

    /// The strings in a value masked, the names of its fields too.
    #[must_use]
    pub fn mask_json(&self, value: serde_json::Value) -> serde_json::Value {
        use serde_json::Value;
        if self.is_empty() {
            return value;
        }
        match value {
            Value::String(text) => Value::String(self.mask(&text)),
            Value::Array(items) => Value::Array(items.into_iter().map(|item| self.mask_json(item)).collect()),
            Value::Object(fields) => Value::Object(
                fields.into_iter().map(|(name, field)| (self.mask(&name), self.mask_json(field))).collect(),
            ),
            // A secret may be a number in a document; the number has to stay one, unless it is the secret.
            Value::Number(number) => {
                let (text, masked) = (number.to_string(), self.mask(&number.to_string()));
                if text == masked { Value::Number(number) } else { Value::String(masked) }
            }
            other @ (Value::Null | Value::Bool(_)) => other,
        }
    }

    /// Masks a stream that comes in chunks.
    #[must_use]
    pub fn stream(&self) -> MaskStream {
        let tables = if self.is_empty() { None } else { self.tables() };
        MaskStream {
            unsearchable: !self.is_empty() && tables.is_none(),
            search: tables.map(|tables| (Scan::new(&tables.needles), tables)),
            hits: Vec::new(),
            kept: Vec::new(),
            kept_from: 0,
            cursor: 0,
            last: None,
        }
    }
}

/// A value in pieces that are not longer than is held back; the last one reaches back, so that none is too short.
fn pieces(text: &str) -> impl Iterator<Item = &str> {
    let mut starts: Vec<usize> = (0..text.len()).step_by(PIECE_BYTES).collect();
    if let Some(last) = starts.last_mut().filter(|last| text.len() - **last < MASK_BYTES_MIN) {
        *last = text.len() - MASK_BYTES_MIN;
    }
    let boundary = |mut at: usize| {
        while !text.is_char_boundary(at) {
            at -= 1;
        }
        at
    };
    starts.into_iter().map(move |start| &text[boundary(start)..boundary((start + PIECE_BYTES).min(text.len()))])
}

/// A stream on its way through a [`Masker`]. What may still become a secret is held back: at most one piece of a secret,
/// however it is written.
pub struct MaskStream {
    search: Option<(Scan, Arc<Tables>)>,
    unsearchable: bool,
    hits: Vec<Hit>,
    /// Bytes that were not handed on.
    kept: Vec<u8>,
    kept_from: usize,
    /// What was decided, in bytes of the stream.
    cursor: usize,
    /// The mask that was written last, and where it ends.
    last: Option<(usize, usize)>,
}

impl fmt::Debug for MaskStream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "MaskStream({} bytes held back)", self.kept.len())
    }
}

impl MaskStream {
    /// Takes a chunk and adds what is safe to `out`.
    pub fn feed(&mut self, chunk: &[u8], out: &mut Vec<u8>) {
        if self.unsearchable {
            return;
        }
        let Some((scan, tables)) = &mut self.search else { return out.extend_from_slice(chunk) };
        let needles = &tables.needles;
        scan.feed(chunk, needles, &mut self.hits);
        self.kept.extend_from_slice(chunk);
        let end = self.kept_from + self.kept.len();
        let line = self.kept.iter().rposition(|byte| *byte == b'\n').map_or(0, |at| self.kept_from + at + 1);
        let holds = |open: &Open| open.depth >= HOLD_DEPTH_MIN || open.start >= line;
        let safe = scan.opens(needles).filter(holds).map(|open| open.start).min().unwrap_or(end);
        self.release(safe, out);
    }

    /// The stream has ended; with `cut`, not by itself: what may be a secret is masked, too.
    pub fn finish(mut self, cut: bool, out: &mut Vec<u8>) {
        if self.unsearchable {
            return out.extend_from_slice(UNSEARCHED.as_bytes());
        }
        let end = self.kept_from + self.kept.len();
        if let Some((scan, tables)) = &mut self.search {
            let needles = &tables.needles;
            let opens: Vec<Open> = scan.opens(needles).collect();
            scan.finish(needles, &mut self.hits);
            let covered = |open: &Open| self.hits.iter().any(|hit| hit.start <= open.start && hit.end == end);
            let counts = |open: &&Open| cut && open.depth >= HOLD_DEPTH_MIN && !covered(open);
            let from = opens.iter().filter(counts).map(|open| open.start).min();
            self.release(from.unwrap_or(end), out);
            // Which secret it would be is not known.
            if self.cursor < end {
                out.extend_from_slice("«secret»".as_bytes());
            }
        }
    }

    /// Hands on everything before `until`, with masks.
    fn release(&mut self, until: usize, out: &mut Vec<u8>) {
        self.hits.sort_unstable_by_key(|hit| (hit.start, usize::MAX - hit.end));
        let mut next = 0;
        while self.cursor < until {
            while self.hits.get(next).is_some_and(|hit| hit.end <= self.cursor) {
                next += 1;
            }
            match self.hits.get(next).copied() {
                Some(hit) if hit.start <= self.cursor => {
                    self.write_mask(hit, out);
                    self.cursor = hit.end;
                }
                following => {
                    let end = following.map_or(until, |hit| hit.start.min(until));
                    out.extend_from_slice(&self.kept[self.cursor - self.kept_from..end - self.kept_from]);
                    self.cursor = end;
                }
            }
        }
        let cursor = self.cursor;
        self.hits.retain(|hit| hit.end > cursor);
        self.kept.drain(..cursor - self.kept_from);
        self.kept_from = cursor;
    }

    /// One mask for pieces and lines of the same secret that follow each other.
    fn write_mask(&mut self, hit: Hit, out: &mut Vec<u8>) {
        let Some((_, tables)) = &self.search else { return };
        let mask = tables.mask_of[hit.needle];
        let gap_from = self.last.filter(|(last, _)| *last == mask).map(|(_, end)| end);
        if gap_from != Some(self.cursor) {
            out.extend_from_slice(tables.masks[mask].as_bytes());
        }
        self.last = Some((mask, hit.end));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn masker(secrets: &[(&str, &str)]) -> Masker {
        let mut masker = Masker::default();
        for (name, value) in secrets {
            assert!(masker.add(name, &Secret::new(*value)), "{name}");
        }
        masker
    }

    #[test]
    fn whole_values_and_lines_are_hidden() {
        let mut masker = masker(&[("token", "abcdef"), ("key", "line one\nline two")]);
        assert!(!masker.add("pin", &Secret::new("12 34 5")));
        assert_eq!(masker.mask("x abcdef y"), "x «secret:token» y");
        assert_eq!(masker.mask("got: line two!"), "got: «secret:key»!");
        assert_eq!(masker.mask("got: line one\r\n    line two!"), "got: «secret:key»!");
        assert_eq!(masker.mask("ab\ncdef"), "«secret:token»");
        assert_eq!(masker.mask("nothing here"), "nothing here");
    }

    #[test]
    fn the_longest_secret_gives_the_name() {
        let masker = masker(&[("short", "abcdef"), ("long", "xxabcdefyy")]);
        assert_eq!(masker.mask("1xxabcdefyy2abcdef3"), "1«secret:long»2«secret:short»3");
    }

    #[test]
    fn long_values_are_one_mask() {
        let value: String = (0..3000_u32).map(|n| char::from_u32(0x4e00 + n * 7 % 5000).unwrap()).collect();
        let masker = masker(&[("long", &value)]);
        assert_eq!(masker.mask(&format!("<{value}>")), "<«secret:long»>");
    }

    #[test]
    fn a_cut_secret_is_masked_where_the_cut_is_known() {
        let masker = masker(&[("token", "canary-canary")]);
        assert_eq!(masker.mask("x canary-can"), "x canary-can");
        assert_eq!(masker.mask_cut("x canary-can"), "x «secret»");
        assert_eq!(masker.mask_cut("x canary-canary"), "x «secret:token»");
        assert_eq!(masker.mask_cut("x can"), "x can");
    }

    #[test]
    fn lines_are_not_kept_back_without_need() {
        let masker = masker(&[("token", "canary-canary")]);
        let mut stream = masker.stream();
        let mut out = Vec::new();
        stream.feed(b"one c\n", &mut out);
        assert_eq!(out, b"one c\n");
        stream.feed(b"two canar\n", &mut out);
        assert_eq!(out, b"one c\ntwo ");
        stream.feed(b"y-cana", &mut out);
        stream.feed(b"ry three\n", &mut out);
        assert_eq!(String::from_utf8(out).unwrap(), "one c\ntwo «secret:token» three\n");
    }

    #[test]
    fn documents_keep_their_types() {
        let masker = masker(&[("pin", "1234567"), ("token", "canary-canary")]);
        let value = serde_json::json!({ "a": [1, 1_234_567, true], "canary-canary": "x canary-canary" });
        let expected = serde_json::json!({ "a": [1, "«secret:pin»", true], "«secret:token»": "x «secret:token»" });
        assert_eq!(masker.mask_json(value), expected);
    }

    #[test]
    fn masks_of_several_maskers_are_joined() {
        let mut one = masker(&[("a", "first-value")]);
        one.merge(&masker(&[("b", "second-value")]));
        assert_eq!(one.mask("second-value first-value"), "«secret:b» «secret:a»");
    }
}
