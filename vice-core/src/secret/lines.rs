//! A masked stream in lines, for whoever watches an output as it comes.

use super::masker::{MaskStream, Masker};

/// The longest line that is handed on whole, in bytes; longer ones are cut, because somebody will print a gigabyte without
/// a newline.
const LINE_BYTES_MAX: usize = 16 * 1024;

/// Cuts a stream into masked lines. It is masked before it is cut, so that a secret over two lines is seen.
#[derive(Debug)]
pub struct LineMasker {
    stream: MaskStream,
    partial: Vec<u8>,
}

impl LineMasker {
    /// Lines of one stream.
    #[must_use]
    pub fn new(masker: &Masker) -> Self {
        Self { stream: masker.stream(), partial: Vec::new() }
    }

    /// Takes a chunk and hands on the lines that are complete, without line ends and without empty ones.
    pub fn feed(&mut self, chunk: &[u8], mut line: impl FnMut(&str)) {
        let mut safe = Vec::new();
        self.stream.feed(chunk, &mut safe);
        cut(&mut self.partial, &safe, &mut line);
    }

    /// Hands on what is left.
    pub fn finish(self, mut line: impl FnMut(&str)) {
        let Self { stream, mut partial } = self;
        let mut rest = Vec::new();
        stream.finish(false, &mut rest);
        cut(&mut partial, &rest, &mut line);
        end(&mut partial, &mut line);
    }
}

fn cut(partial: &mut Vec<u8>, bytes: &[u8], line: &mut impl FnMut(&str)) {
    let mut rest = bytes;
    while let Some(at) = rest.iter().position(|byte| *byte == b'\n') {
        keep(partial, &rest[..at]);
        end(partial, line);
        rest = &rest[at + 1..];
    }
    keep(partial, rest);
}

fn keep(partial: &mut Vec<u8>, bytes: &[u8]) {
    let room = LINE_BYTES_MAX.saturating_sub(partial.len());
    partial.extend_from_slice(&bytes[..bytes.len().min(room)]);
}

fn end(partial: &mut Vec<u8>, line: &mut impl FnMut(&str)) {
    if !partial.is_empty() {
        line(String::from_utf8_lossy(partial).trim_end_matches('\r'));
        partial.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Secret;

    fn lines(chunks: &[&str]) -> Vec<String> {
        let mut masker = Masker::default();
        masker.add("token", &Secret::new("canary-canary"));
        let mut cutter = LineMasker::new(&masker);
        let mut got = Vec::new();
        for chunk in chunks {
            cutter.feed(chunk.as_bytes(), |line| got.push(line.to_owned()));
        }
        cutter.finish(|line| got.push(line.to_owned()));
        got
    }

    #[test]
    fn a_secret_over_chunks_and_lines_is_masked() {
        assert_eq!(lines(&["a can", "ary-c", "anary b\r\n\nc"]), ["a «secret:token» b", "c"]);
        assert_eq!(lines(&["a canary-\n", "canary b"]), ["a «secret:token» b"]);
        assert_eq!(lines(&["a canary-\n", "another"]), ["a canary-", "another"]);
        assert_eq!(lines(&[&"x".repeat(40_000)])[0].len(), LINE_BYTES_MAX);
    }
}
