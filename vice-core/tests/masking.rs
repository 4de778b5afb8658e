//! Masking finds every planted secret, however it is encoded and wherever the text is cut.

mod corpus;

use vice_core::Secret;
use vice_core::secret::{LineMasker, Masker};

use corpus::{Chance, Planted, corpus, longest_left, secrets};

/// What may be left of a planted form, in characters. Digits of base64 at the ends of a secret are shared with what stands
/// beside it; the frame of a key file and `{"password":"` are known to everybody.
const LEFT_MAX: usize = 5;

const SEED: u64 = 20_261_128;

fn masker() -> Masker {
    let mut masker = Masker::default();
    for (name, value) in secrets() {
        assert!(masker.add(name, &Secret::new(value)), "{name}");
    }
    masker
}

/// The text without the parts that are no secret: masks, and what the corpus wrote around the value inside base64.
fn left(planted: &Planted, masked: &str) -> usize {
    let mut text = masked.to_owned();
    for (name, _) in secrets() {
        text = text.replace(&format!("«secret:{name}»"), "\u{1}");
    }
    for (lead, _) in [("user:", 0), ("{\"password\":\"", 0), ("{\"a\":\"", 0), ("\"}", 0)] {
        for url in [false, true] {
            let encoded = corpus::base64(lead.as_bytes(), url, false);
            text = text.replace(&encoded[..encoded.len() - 1], "\u{1}");
        }
    }
    // The padding of base64 and the sequences of colours say nothing.
    let mut text = text.replace("%3D", "\u{1}");
    for colour in ["\u{1b}[01;31m\u{1b}[K", "\\u{1b}[01;31m\\u{1b}[K"] {
        text = text.replace(colour, "\u{1}");
    }
    longest_left(&planted.form, &text)
}

#[test]
fn every_planted_secret_is_masked_in_whole_texts() {
    let (masker, corpus) = (masker(), corpus(SEED));
    assert!(corpus.len() >= 500, "{}", corpus.len());
    let missed: Vec<String> = corpus
        .iter()
        .filter_map(|planted| {
            let masked = masker.mask(&planted.text);
            let left = left(planted, &masked);
            let short: String = masked.chars().take(200).collect();
            (left > LEFT_MAX).then(|| format!("{} {}: {left} characters left: {short}", planted.name, planted.how))
        })
        .collect();
    assert!(missed.is_empty(), "{} of {} missed\n{}", missed.len(), corpus.len(), missed.join("\n"));
}

#[test]
fn cuts_into_chunks_change_nothing() {
    let (masker, mut chance) = (masker(), Chance::new(SEED + 1));
    for planted in corpus(SEED) {
        let whole = masker.mask(&planted.text);
        for widest in [1, 3, 17] {
            let mut stream = masker.stream();
            let (mut out, mut rest) = (Vec::new(), planted.text.as_bytes());
            while !rest.is_empty() {
                let size = 1 + chance.below(widest).min(rest.len() - 1);
                stream.feed(&rest[..size], &mut out);
                rest = &rest[size..];
            }
            stream.finish(false, &mut out);
            let out = String::from_utf8_lossy(&out).into_owned();
            let left = left(&planted, &out);
            assert!(left <= LEFT_MAX, "{} {} in chunks of {widest}: {out}", planted.name, planted.how);
            // A line that ends within the first bytes of a secret may be handed on before the rest is seen.
            assert!(out == whole || planted.text.contains('\n'), "{} {}: {out}", planted.name, planted.how);
        }
    }
}

#[test]
fn lines_are_masked_across_their_ends() {
    let masker = masker();
    for planted in corpus(SEED + 2) {
        let mut lines = LineMasker::new(&masker);
        let mut out = String::new();
        for line in planted.text.split_inclusive('\n') {
            lines.feed(line.as_bytes(), |line| out.push_str(line));
        }
        lines.finish(|line| out.push_str(line));
        let left = left(&planted, &out);
        assert!(left <= LEFT_MAX, "{} {}: {out}", planted.name, planted.how);
    }
}

#[test]
fn innocent_texts_stay_as_they_are() {
    let masker = masker();
    for text in [
        include_str!("masking.rs"),
        include_str!("../src/secret/scan.rs"),
        include_str!("../../docs/configuration.md"),
        include_str!("../../README.md"),
    ] {
        assert_eq!(masker.mask(text), text);
    }
}
