//! Finding needles in a stream however they are encoded. A text is looked at in several ways at once: as it is, with its
//! escapes undone, and each of these also as hexadecimal digits and as base64 at every offset. White space is skipped
//! everywhere, so that neither a line break nor an indentation hides anything. This module knows bytes and places, and
//! nothing about secrets or masks.

use std::collections::HashMap;

use aho_corasick::automaton::{Automaton, StateID};
use aho_corasick::nfa::contiguous::NFA;
use aho_corasick::{Anchored, MatchKind};

use super::unescape::{Escape, Token, Unescape};

/// Ways of looking at a text: the escapes that are undone, one after the other, and whether hexadecimal digits and
/// base64 are looked for behind them. The first has none.
const WAYS: [(&[Escape], bool); 11] = [
    (&[], true),
    (&[Escape::Backslash], true),
    (&[Escape::Visible], true),
    (&[Escape::Backslash, Escape::Backslash], false),
    (&[Escape::Percent], true),
    (&[Escape::Percent, Escape::Percent], false),
    (&[Escape::Percent, Escape::Backslash], false),
    (&[Escape::SingleQuotes], false),
    (&[Escape::DoubleQuotes], false),
    (&[Escape::Entity], true),
    (&[Escape::Entity, Escape::Backslash], false),
];

/// Whether a byte is left out of needles and texts: white space, and the plus that stands for it in forms.
pub(super) const fn is_skipped(byte: u8) -> bool {
    byte.is_ascii_whitespace() || byte == 0x0b || byte == b'+'
}

/// What is looked for.
pub(super) struct Needles {
    automaton: NFA,
    start: StateID,
    /// How much of a needle has been seen in a state.
    depths: HashMap<StateID, usize>,
    ring: usize,
}

/// A needle that was found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Hit {
    pub(super) start: usize,
    pub(super) end: usize,
    pub(super) needle: usize,
}

impl Needles {
    /// None when they are too many to be looked for.
    pub(super) fn new(needles: &[&[u8]]) -> Option<Self> {
        let automaton = NFA::builder().match_kind(MatchKind::Standard).build(needles).ok()?;
        let start = automaton.start_state(Anchored::No).ok()?;
        let mut depths = HashMap::new();
        for needle in needles {
            let mut state = start;
            for (index, byte) in needle.iter().enumerate() {
                state = automaton.next_state(Anchored::No, state, *byte);
                depths.insert(state, index + 1);
            }
        }
        let longest = needles.iter().map(|needle| needle.len()).max().unwrap_or(0);
        Some(Self { automaton, start, depths, ring: longest.next_power_of_two() })
    }
}

/// One automaton on one way of reading.
#[derive(Clone)]
struct Lane {
    state: StateID,
    /// Where the last bytes began.
    starts: Vec<usize>,
    count: usize,
}

impl Lane {
    fn new(needles: &Needles) -> Self {
        Self { state: needles.start, starts: vec![0; needles.ring], count: 0 }
    }

    fn start_of(&self, back: usize) -> usize {
        self.starts[self.count.wrapping_sub(back) & (self.starts.len() - 1)]
    }

    fn push(&mut self, token: Token, needles: &Needles, hits: &mut Vec<Hit>) {
        if is_skipped(token.byte) {
            return;
        }
        let slot = self.count & (self.starts.len() - 1);
        self.starts[slot] = token.start;
        self.count = self.count.wrapping_add(1);
        self.state = needles.automaton.next_state(Anchored::No, self.state, token.byte);
        if needles.automaton.is_match(self.state) {
            for index in 0..needles.automaton.match_len(self.state) {
                let pattern = needles.automaton.match_pattern(self.state, index);
                let start = self.start_of(needles.automaton.pattern_len(pattern));
                hits.push(Hit { start, end: token.end, needle: pattern.as_usize() });
            }
        }
    }

    fn reset(&mut self, needles: &Needles) {
        self.state = needles.start;
    }

    fn open(&self, needles: &Needles) -> Option<Open> {
        let depth = *needles.depths.get(&self.state)?;
        Some(Open { start: self.start_of(depth), depth })
    }
}

/// Something that may become a needle.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Open {
    pub(super) start: usize,
    /// How many bytes of the needle have been seen.
    pub(super) depth: usize,
}

/// Digits that stand for bytes, read at each of the offsets where a byte may begin.
#[derive(Clone)]
struct Digits<const OFFSETS: usize> {
    lanes: [Lane; OFFSETS],
    run: usize,
    last: (u8, usize),
}

impl<const OFFSETS: usize> Digits<OFFSETS> {
    fn new(needles: &Needles) -> Self {
        Self { lanes: std::array::from_fn(|_| Lane::new(needles)), run: 0, last: (0, 0) }
    }

    fn end_run(&mut self, needles: &Needles) {
        if self.run > 0 {
            self.lanes.iter_mut().for_each(|lane| lane.reset(needles));
            self.run = 0;
        }
    }

    /// `join` makes a byte of two digits that follow each other, the second at a place within its group.
    fn push(
        &mut self,
        digit: u8,
        token: Token,
        join: impl Fn(u8, u8, usize) -> u8,
        needles: &Needles,
        hits: &mut Vec<Hit>,
    ) {
        let (before, start) = self.last;
        for (offset, lane) in self.lanes.iter_mut().enumerate().take(self.run) {
            let place = (self.run - offset) % OFFSETS;
            if place > 0 {
                lane.push(Token { byte: join(before, digit, place), start, end: token.end }, needles, hits);
            }
        }
        self.last = (digit, token.start);
        self.run += 1;
    }
}

fn sextet(byte: u8) -> Option<u8> {
    Some(match byte {
        b'A'..=b'Z' => byte - b'A',
        b'a'..=b'z' => byte - b'a' + 26,
        b'0'..=b'9' => byte - b'0' + 52,
        b'+' | b'-' => 62,
        b'/' | b'_' => 63,
        _ => return None,
    })
}

const fn of_sextets(before: u8, now: u8, place: usize) -> u8 {
    match place {
        1 => before << 2 | now >> 4,
        2 => before << 4 | now >> 2,
        _ => before << 6 | now,
    }
}

const fn of_nibbles(before: u8, now: u8, _place: usize) -> u8 {
    before << 4 | now
}

/// Leaves out the sequences that colour a text for terminals.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Ansi {
    Text,
    Escape,
    Sequence,
}

impl Ansi {
    /// Whether the byte belongs to a sequence.
    fn skips(&mut self, byte: u8) -> bool {
        let (next, skip) = match (*self, byte) {
            (_, 0x1b) => (Self::Escape, true),
            (Self::Escape, b'[') => (Self::Sequence, true),
            (Self::Sequence, 0x20..=0x3f) => (Self::Sequence, true),
            (Self::Sequence, 0x40..=0x7e) => (Self::Text, true),
            _ => (Self::Text, false),
        };
        *self = next;
        skip
    }
}

/// One way of looking at the text.
#[derive(Clone)]
struct View {
    escapes: Vec<Unescape>,
    /// After escapes, because a log may show the sequences escaped.
    ansi: Ansi,
    plain: Lane,
    deep: Option<Box<(Digits<2>, Digits<4>)>>,
}

impl View {
    fn new(needles: &Needles) -> Self {
        let deep = Some(Box::new((Digits::new(needles), Digits::new(needles))));
        Self { escapes: Vec::new(), ansi: Ansi::Text, plain: Lane::new(needles), deep }
    }

    /// The same text up to here, and from now on with escapes undone.
    fn branch(&self, escapes: &[Escape], deep: bool) -> Self {
        let deep = if deep { self.deep.clone() } else { None };
        let escapes = escapes.iter().copied().map(Unescape::new).collect();
        Self { escapes, ansi: self.ansi, plain: self.plain.clone(), deep }
    }

    fn push(&mut self, token: Token, needles: &Needles, hits: &mut Vec<Hit>) {
        let Self { escapes, ansi, plain, deep } = self;
        through(escapes, token, &mut |token| {
            if !ansi.skips(token.byte) {
                take(plain, deep, token, needles, hits);
            }
        });
    }

    fn finish(&mut self, needles: &Needles, hits: &mut Vec<Hit>) {
        let Self { escapes, ansi, plain, deep } = self;
        for index in 0..escapes.len() {
            let (first, rest) = escapes.split_at_mut(index + 1);
            first[index].finish(|token| {
                through(rest, token, &mut |token| {
                    if !ansi.skips(token.byte) {
                        take(plain, deep, token, needles, hits);
                    }
                });
            });
        }
    }

    fn opens(&self, needles: &Needles) -> impl Iterator<Item = Open> {
        let deep = self.deep.iter().flat_map(|deep| deep.0.lanes.iter().chain(&deep.1.lanes));
        let escapes = self.escapes.iter().filter_map(|escape| escape.held_from().map(|start| Open { start, depth: 1 }));
        // One digit alone may be the beginning of a byte.
        let digit = self.deep.iter().filter(|deep| deep.1.run > 0).map(|deep| Open { start: deep.1.last.1, depth: 1 });
        std::iter::once(&self.plain).chain(deep).filter_map(|lane| lane.open(needles)).chain(escapes).chain(digit)
    }
}

/// Hands a byte through a row of unescapings.
fn through(escapes: &mut [Unescape], token: Token, next: &mut dyn FnMut(Token)) {
    match escapes.split_first_mut() {
        None => next(token),
        Some((first, rest)) => first.push(token, |token| through(rest, token, next)),
    }
}

fn take(
    plain: &mut Lane,
    deep: &mut Option<Box<(Digits<2>, Digits<4>)>>,
    token: Token,
    needles: &Needles,
    hits: &mut Vec<Hit>,
) {
    plain.push(token, needles, hits);
    let Some((hexadecimal, base64)) = deep.as_deref_mut() else { return };
    if token.byte.is_ascii_whitespace() {
        return;
    }
    match char::from(token.byte).to_digit(16) {
        Some(digit) => hexadecimal.push(digit as u8, token, of_nibbles, needles, hits),
        // Between the pairs of digits, as dumps have it.
        None if matches!(token.byte, b':' | b'-' | b',') => {}
        None => hexadecimal.end_run(needles),
    }
    match sextet(token.byte) {
        Some(digit) => base64.push(digit, token, of_sextets, needles, hits),
        None => base64.end_run(needles),
    }
}

/// Looks at a stream in all ways.
#[derive(Clone)]
pub(super) struct Scan {
    views: [Option<View>; WAYS.len()],
    at: usize,
}

impl Scan {
    pub(super) fn new(needles: &Needles) -> Self {
        let views = std::array::from_fn(|index| (index == 0).then(|| View::new(needles)));
        Self { views, at: 0 }
    }

    /// Looks at more of the stream.
    pub(super) fn feed(&mut self, bytes: &[u8], needles: &Needles, hits: &mut Vec<Hit>) {
        for byte in bytes {
            let token = Token { byte: *byte, start: self.at, end: self.at + 1 };
            self.at += 1;
            self.branch(*byte);
            self.views.iter_mut().flatten().for_each(|view| view.push(token, needles, hits));
        }
    }

    /// A way of escaping is looked at from its first sign on; before, the text was the same without it.
    fn branch(&mut self, byte: u8) {
        let [Some(plain), others @ ..] = &mut self.views else { return };
        for (view, (escapes, deep)) in others.iter_mut().zip(&WAYS[1..]) {
            if view.is_none() && escapes.iter().any(|escape| escape.begins(byte)) {
                *view = Some(plain.branch(escapes, *deep));
            }
        }
    }

    /// The stream has ended.
    pub(super) fn finish(&mut self, needles: &Needles, hits: &mut Vec<Hit>) {
        self.views.iter_mut().flatten().for_each(|view| view.finish(needles, hits));
    }

    /// What may become a needle with what follows.
    pub(super) fn opens(&self, needles: &Needles) -> impl Iterator<Item = Open> {
        self.views.iter().flatten().flat_map(move |view| view.opens(needles))
    }
}
