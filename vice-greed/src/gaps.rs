//! What is checked of every event of a history that is read as a whole, in every store ([`Scales`]); and data that are not
//! there: which events are without theirs, and whether an archive is named for each of them ([`Gaps`]). Where events come
//! from, and how it is told which one is wrong, is the store's own.

use vice_core::chain::{Chainer, Header};
use vice_core::event::Payload;
use vice_core::payload::history::DataArchived;
use vice_core::{Code, Digest, Fault, Result};

/// An event as it is stored. `data` is none where the store knows that they were let go of.
pub(crate) struct Stored<'a> {
    pub(crate) header: Header<'a>,
    pub(crate) body_hash: Digest,
    pub(crate) chain: Digest,
    pub(crate) data: Option<&'a str>,
}

/// Events against hash and chain, one after the other.
#[derive(Debug, Default)]
pub(crate) struct Scales {
    chainer: Chainer,
    gaps: Gaps,
}

impl Scales {
    /// Checks an event that comes behind `previous`, and in its stream where it `follows`.
    ///
    /// # Errors
    /// What is wrong with it, to stand behind the name of the event.
    pub(crate) fn weigh(&mut self, previous: &Digest, stored: &Stored<'_>, follows: bool) -> Result<(), String> {
        let Stored { header, body_hash, chain, data } = stored;
        match data {
            Some(data) if !is_gone(data, body_hash) => {
                self.gaps.event(header.kind, data);
                if Digest::of(data.as_bytes()) != *body_hash {
                    return Err("has data that does not fit its hash".to_owned());
                }
            }
            _ => self.gaps.missing(header.seq),
        }
        if self.chainer.link(previous, header, body_hash) != *chain {
            return Err("does not fit into the chain".to_owned());
        }
        if !follows {
            return Err(format!("has version {}, which does not follow in its stream", header.version));
        }
        Ok(())
    }

    /// What is wrong with all of them together, in whole sentences.
    pub(crate) fn problems(&mut self) -> Vec<String> {
        std::mem::take(&mut self.gaps).problems()
    }
}

/// What was found so far.
#[derive(Debug, Default)]
pub(crate) struct Gaps {
    /// Events without data, as spans.
    missing: Vec<(u64, u64)>,
    /// Events whose data an archive has.
    named: Vec<(u64, u64)>,
}

/// Whether the data of an event were let go of. An event that never had any has the hash of nothing.
pub(crate) fn is_gone(data: &str, body_hash: &Digest) -> bool {
    data.is_empty() && *body_hash != Digest::of(b"")
}

impl Gaps {
    /// Notes an event without data.
    pub(crate) fn missing(&mut self, seq: u64) {
        match self.missing.last_mut() {
            Some((_, last)) if *last + 1 == seq => *last = seq,
            _ => self.missing.push((seq, seq)),
        }
    }

    /// Notes what an event says of archives, if it does.
    pub(crate) fn event(&mut self, kind: &str, data: &str) {
        if kind == DataArchived::KIND
            && let Ok(archived) = parse(data)
        {
            self.named.extend(archived.spans);
        }
    }

    /// What is wrong, in whole sentences: data that are gone without being archived.
    pub(crate) fn problems(mut self) -> Vec<String> {
        self.named.sort_unstable();
        let mut named = self.named.iter().copied().peekable();
        let mut lost = Vec::new();
        for (first, last) in self.missing {
            let mut at = first;
            while at <= last {
                while named.next_if(|(_, end)| *end < at).is_some() {}
                match named.peek() {
                    Some((begin, end)) if *begin <= at => at = end + 1,
                    Some((begin, _)) if *begin <= last => {
                        lost.push((at, begin - 1));
                        at = *begin;
                    }
                    _ => {
                        lost.push((at, last));
                        at = last + 1;
                    }
                }
            }
        }
        lost.into_iter().map(told).collect()
    }
}

fn told((first, last): (u64, u64)) -> String {
    if first == last {
        return format!("Event {first} is without its data, and no archive has them.");
    }
    format!("Events {first} to {last} are without their data, and no archive has them.")
}

/// What the data of an event of this type say.
pub(crate) fn parse(data: &str) -> serde_json::Result<DataArchived> {
    #[derive(serde::Deserialize)]
    struct Outer {
        subject: Subject,
    }
    #[derive(serde::Deserialize)]
    struct Subject {
        content: DataArchived,
    }
    serde_json::from_str::<Outer>(data).map(|outer| outer.subject.content)
}

/// The spans of an event that must be one about an archive.
///
/// # Errors
/// `Conflict` when it is none.
pub(crate) fn spans_of(anchor: u64, kind: Option<&str>, data: &str) -> Result<Vec<(u64, u64)>> {
    let not_one = || Fault::new(Code::Conflict, format!("Event {anchor} names no archive, so no data are let go of."));
    if kind != Some(DataArchived::KIND) {
        return Err(not_one());
    }
    let spans = parse(data).map_err(|error| not_one().because(error))?.spans;
    // What is named must lie before the name: an event can't archive itself or what came later.
    let fits = spans.iter().all(|(first, last)| *first > 0 && first <= last && *last < anchor);
    if fits { Ok(spans) } else { Err(not_one()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn problems(missing: &[u64], named: &[(u64, u64)]) -> Vec<String> {
        let mut gaps = Gaps { named: named.to_vec(), ..Gaps::default() };
        missing.iter().for_each(|seq| gaps.missing(*seq));
        gaps.problems()
    }

    #[test]
    fn only_what_no_archive_has_is_a_problem() {
        assert!(problems(&[], &[(1, 9)]).is_empty());
        assert!(problems(&[2, 3, 7], &[(6, 9), (1, 3)]).is_empty());
        assert!(problems(&[2, 3, 4], &[(2, 2), (3, 4)]).is_empty());
        let one = problems(&[2, 3, 4, 8], &[(3, 3)]);
        assert_eq!(one.len(), 3, "{one:?}");
        assert!(one[0].starts_with("Event 2 ") && one[1].starts_with("Event 4 ") && one[2].starts_with("Event 8 "));
        assert_eq!(problems(&[5, 6, 7], &[(1, 5)]), ["Events 6 to 7 are without their data, and no archive has them."]);
    }

    #[test]
    fn an_event_without_data_of_its_own_is_no_gap() {
        assert!(!is_gone("", &Digest::of(b"")));
        assert!(is_gone("", &Digest::of(b"{}")));
        assert!(!is_gone("{}", &Digest::of(b"[]")), "that is damage, and not an archive");
    }
}
