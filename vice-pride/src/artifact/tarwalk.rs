//! A second, strict reader of tar headers. It sees every byte that the `tar` crate sees and must agree with it.
//!
//! Two readers that understand one archive differently are how content is smuggled past a check, so whatever leaves
//! room for two readings (a PAX size beside another ustar size, doubled or global overrides, sparse files) is refused.

use std::collections::VecDeque;

const BLOCK: usize = 512;
/// Extension headers hold a path or two; more is an attempt to fill the memory.
const EXTENSION_BYTES_MAX: u64 = 64 << 10;

/// One entry as this reader understands it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Listed {
    pub(super) name: Vec<u8>,
    pub(super) link: Vec<u8>,
    pub(super) size: u64,
    pub(super) kind: u8,
}

#[derive(Debug, Clone, Copy)]
enum State {
    Header,
    Content { left: u64 },
    Extension { kind: u8, size: u64, left: u64 },
    Ended,
}

/// What the extension headers before an entry say about it.
#[derive(Debug, Default)]
struct Pending {
    path: Option<Vec<u8>>,
    link: Option<Vec<u8>>,
    size: Option<u64>,
    seen: bool,
}

/// The reader; bytes are pushed into it.
#[derive(Debug)]
pub(super) struct TarWalk {
    state: State,
    block: Vec<u8>,
    extension: Vec<u8>,
    pending: Pending,
    listed: VecDeque<Listed>,
    verdict: Option<String>,
}

impl TarWalk {
    pub(super) fn new() -> Self {
        Self {
            state: State::Header,
            block: Vec::with_capacity(BLOCK),
            extension: Vec::new(),
            pending: Pending::default(),
            listed: VecDeque::new(),
            verdict: None,
        }
    }

    /// The one entry that was read since the last call; none or several mean that the readers went apart.
    pub(super) fn take(&mut self) -> Option<Listed> {
        let entry = self.listed.pop_front()?;
        self.listed.is_empty().then_some(entry)
    }

    /// Why the archive was refused, if it was.
    pub(super) fn verdict(&self) -> Option<&str> {
        self.verdict.as_deref()
    }

    /// Takes the next bytes of the archive.
    pub(super) fn feed(&mut self, bytes: &[u8]) -> Result<(), String> {
        let result = self.advance(bytes);
        if let Err(reason) = &result {
            self.verdict.get_or_insert_with(|| reason.clone());
        }
        result
    }

    /// Says whether the archive is whole.
    pub(super) fn finish(&self) -> Result<(), String> {
        match self.state {
            State::Ended if self.listed.is_empty() => Ok(()),
            State::Ended => Err("lists entries that another reader does not see".to_owned()),
            _ => Err("is cut off: its end marker is missing".to_owned()),
        }
    }

    fn advance(&mut self, mut bytes: &[u8]) -> Result<(), String> {
        while !bytes.is_empty() {
            match self.state {
                State::Header => {
                    let taken = bytes.len().min(BLOCK - self.block.len());
                    self.block.extend_from_slice(&bytes[..taken]);
                    bytes = &bytes[taken..];
                    if self.block.len() == BLOCK {
                        self.header()?;
                        self.block.clear();
                    }
                }
                State::Content { left } => {
                    let taken = usize::try_from(left).unwrap_or(usize::MAX).min(bytes.len());
                    bytes = &bytes[taken..];
                    let left = left - taken as u64;
                    self.state = if left == 0 { State::Header } else { State::Content { left } };
                }
                State::Extension { kind, size, left } => {
                    let taken = usize::try_from(left).unwrap_or(usize::MAX).min(bytes.len());
                    self.extension.extend_from_slice(&bytes[..taken]);
                    bytes = &bytes[taken..];
                    let left = left - taken as u64;
                    self.state = State::Extension { kind, size, left };
                    if left == 0 {
                        self.extension.truncate(usize::try_from(size).unwrap_or(0));
                        self.extended(kind)?;
                        self.extension.clear();
                        self.state = State::Header;
                    }
                }
                State::Ended => {
                    if bytes.iter().any(|byte| *byte != 0) {
                        return Err("has content after its end marker".to_owned());
                    }
                    return Ok(());
                }
            }
        }
        Ok(())
    }

    fn header(&mut self) -> Result<(), String> {
        if self.block.iter().all(|byte| *byte == 0) {
            if self.pending.seen {
                return Err("ends after an extension header without its entry".to_owned());
            }
            self.state = State::Ended;
            return Ok(());
        }
        self.check_sum()?;
        let size = octal(&self.block[124..136]).ok_or("has a size field that is not a plain octal number")?;
        let padded = size.div_ceil(BLOCK as u64).checked_mul(BLOCK as u64).ok_or("states an impossible size")?;
        match self.block[156] {
            kind @ (b'x' | b'g' | b'L' | b'K') => {
                if size == 0 || size > EXTENSION_BYTES_MAX {
                    return Err("has an extension header that is empty or too large".to_owned());
                }
                if !self.has_magic() {
                    return Err("has an extension header in a format that does not know them".to_owned());
                }
                self.state = State::Extension { kind, size, left: padded };
            }
            kind => {
                self.entry(kind, size)?;
                self.state = if padded == 0 { State::Header } else { State::Content { left: padded } };
            }
        }
        Ok(())
    }

    fn entry(&mut self, kind: u8, size: u64) -> Result<(), String> {
        let pending = std::mem::take(&mut self.pending);
        if pending.size.is_some_and(|pax| pax != size) {
            return Err("states two different sizes for one entry (PAX and ustar)".to_owned());
        }
        let name = pending.path.unwrap_or_else(|| self.header_name());
        let link = pending.link.unwrap_or_else(|| until_zero(&self.block[157..257]).to_vec());
        self.listed.push_back(Listed { name, link, size, kind });
        Ok(())
    }

    fn header_name(&self) -> Vec<u8> {
        let name = until_zero(&self.block[..100]);
        let prefix = if self.is_ustar() { until_zero(&self.block[345..500]) } else { &[] };
        if prefix.is_empty() { name.to_vec() } else { [prefix, b"/", name].concat() }
    }

    fn is_ustar(&self) -> bool {
        &self.block[257..265] == b"ustar\x0000"
    }

    fn has_magic(&self) -> bool {
        self.is_ustar() || &self.block[257..265] == b"ustar  \0"
    }

    fn check_sum(&self) -> Result<(), String> {
        let stated = octal(&self.block[148..156]).ok_or("has a header checksum that is no number")?;
        let head: u64 = self.block[..148].iter().map(|byte| u64::from(*byte)).sum();
        let tail: u64 = self.block[156..].iter().map(|byte| u64::from(*byte)).sum();
        if head + tail + 8 * 32 == stated { Ok(()) } else { Err("has a header with a wrong checksum".to_owned()) }
    }

    fn extended(&mut self, kind: u8) -> Result<(), String> {
        match kind {
            b'L' | b'K' => {
                let text = self.extension.strip_suffix(b"\0").unwrap_or(&self.extension).to_vec();
                let slot = if kind == b'L' { &mut self.pending.path } else { &mut self.pending.link };
                set(slot, text)?;
                self.pending.seen = true;
                Ok(())
            }
            _ => self.pax(kind == b'g'),
        }
    }

    fn pax(&mut self, global: bool) -> Result<(), String> {
        let text = std::mem::take(&mut self.extension);
        let mut rest = &text[..];
        self.pending.seen |= !global;
        while !rest.is_empty() {
            let (key, value, next) = record(rest).ok_or("has a broken PAX header")?;
            rest = next;
            if key.starts_with(b"GNU.sparse") {
                return Err("holds a sparse file".to_owned());
            }
            match key {
                b"path" | b"linkpath" | b"size" if global => {
                    return Err("overrides names or sizes of all entries".to_owned());
                }
                b"path" => set(&mut self.pending.path, value.to_vec())?,
                b"linkpath" => set(&mut self.pending.link, value.to_vec())?,
                b"size" => {
                    let digits =
                        std::str::from_utf8(value).ok().filter(|text| text.bytes().all(|b| b.is_ascii_digit()));
                    let size = digits.and_then(|text| text.parse().ok()).ok_or("has a PAX size that is no number")?;
                    set(&mut self.pending.size, size)?;
                }
                _ => {}
            }
        }
        Ok(())
    }
}

fn set<T>(slot: &mut Option<T>, value: T) -> Result<(), String> {
    match slot.replace(value) {
        None => Ok(()),
        Some(_) => Err("states a name or size of one entry twice".to_owned()),
    }
}

/// One `LENGTH KEY=VALUE\n` record, and what follows it.
fn record(bytes: &[u8]) -> Option<(&[u8], &[u8], &[u8])> {
    let space = bytes.iter().position(|byte| *byte == b' ')?;
    let digits = std::str::from_utf8(&bytes[..space]).ok()?;
    if digits.is_empty() || digits.len() > 9 || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let length: usize = digits.parse().ok()?;
    let body = bytes.get(space + 1..length)?.strip_suffix(b"\n")?;
    let equals = body.iter().position(|byte| *byte == b'=')?;
    Some((&body[..equals], &body[equals + 1..], &bytes[length..]))
}

fn until_zero(field: &[u8]) -> &[u8] {
    field.split(|byte| *byte == 0).next().unwrap_or(field)
}

/// An octal field: spaces, digits, then spaces or zeros. The binary form of some writers is for sizes beyond 8 GiB.
fn octal(field: &[u8]) -> Option<u64> {
    let text = std::str::from_utf8(field).ok()?;
    let text = text.trim_start_matches(' ').trim_end_matches(['\0', ' ']);
    if text.is_empty() || !text.bytes().all(|byte| matches!(byte, b'0'..=b'7')) {
        return None;
    }
    u64::from_str_radix(text, 8).ok()
}
