//! What is counted while requests come back. Times are microseconds.

use std::collections::BTreeMap;

use super::feed::Played;
pub(crate) use super::latencies::Latencies;

/// So many different reasons of bad journeys are kept.
const REASONS_MAX: usize = 20;

/// Why a request did not come back well.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Failure {
    /// No connection.
    Connect,
    /// No answer in time.
    Timeout,
    /// The connection broke before the answer was whole.
    Broken,
    /// What came is not HTTP, or contradicts itself.
    Malformed,
    /// The status is not a good one.
    Status,
    /// It was due, and until the end no connection was free for it.
    Unsent,
    /// The answer is not what a journey expects.
    Unexpected,
    /// A step of a journey could not be carried out.
    Undone,
}

impl Failure {
    /// All of them with their names.
    pub(crate) const ALL: [(Self, &'static str); 8] = [
        (Self::Connect, "no connection"),
        (Self::Timeout, "no answer in time"),
        (Self::Broken, "broke off"),
        (Self::Malformed, "malformed"),
        (Self::Status, "bad status"),
        (Self::Unsent, "not sent"),
        (Self::Unexpected, "not as expected"),
        (Self::Undone, "not carried out"),
    ];

    /// Whether it is the answer that is bad, and not that there is none.
    pub(crate) const fn is_of_an_answer(self) -> bool {
        matches!(self, Self::Status | Self::Unexpected)
    }
}

/// Numbers of requests by how they ended.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Counts {
    /// Answered, whatever the status.
    pub(crate) answered: u64,
    /// Bytes that came.
    pub(crate) bytes: u64,
    failures: [u64; Failure::ALL.len()],
}

impl Counts {
    fn fail(&mut self, failure: Failure, times: u64) {
        self.failures[failure as usize] += times;
    }

    /// How often it came to this.
    pub(crate) fn of(&self, failure: Failure) -> u64 {
        self.failures[failure as usize]
    }

    /// All that did not end well.
    pub(crate) fn failed(&self) -> u64 {
        self.failures.iter().sum()
    }

    /// Bad ones among the answers.
    pub(crate) fn badly_answered(&self) -> u64 {
        Failure::ALL.iter().filter(|(failure, _)| failure.is_of_an_answer()).map(|(failure, _)| self.of(*failure)).sum()
    }

    /// All requests that there were or should have been.
    pub(crate) fn all(&self) -> u64 {
        self.answered + self.failed() - self.badly_answered()
    }

    fn add(&mut self, other: &Self) {
        self.answered += other.answered;
        self.bytes += other.bytes;
        for (sum, more) in self.failures.iter_mut().zip(other.failures) {
            *sum += more;
        }
    }
}

/// One second of a run.
#[derive(Clone)]
pub(crate) struct Second {
    /// Counted from the beginning.
    pub(crate) number: u32,
    /// Requests that ended in it.
    pub(crate) counts: Counts,
    /// Their latencies.
    pub(crate) latencies: Latencies,
}

impl Second {
    pub(crate) fn new(number: u32) -> Self {
        Self { number, counts: Counts::default(), latencies: Latencies::of_part() }
    }

    pub(crate) fn add(&mut self, other: &Self) {
        self.counts.add(&other.counts);
        self.latencies.add(&other.latencies);
    }
}

/// What is known of one kind of request.
#[derive(Clone)]
pub(crate) struct Kind {
    pub(crate) counts: Counts,
    pub(crate) latencies: Latencies,
}

/// One request that ended.
pub(super) struct Ended {
    pub(super) kind: usize,
    /// Since it was due.
    pub(super) latency: u64,
    /// Since it was sent; absent when it was not.
    pub(super) service: Option<u64>,
    pub(super) result: Result<(u16, u64), Failure>,
    /// Why it is not good.
    pub(super) bad: Option<Failure>,
}

/// What became of journeys.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct JourneyCounts {
    /// All of it was as it should be.
    pub(crate) good: u64,
    /// Something was not.
    pub(crate) bad: u64,
    /// Under way when the load was over.
    pub(crate) broken_off: u64,
    /// What was wrong first, and how often.
    pub(crate) reasons: BTreeMap<String, u64>,
}

impl JourneyCounts {
    fn reason(&mut self, reason: &str, times: u64) {
        if let Some(count) = self.reasons.get_mut(reason) {
            *count += times;
        } else if self.reasons.len() < REASONS_MAX {
            self.reasons.insert(reason.to_owned(), times);
        }
    }

    fn add(&mut self, other: &Self) {
        self.good += other.good;
        self.bad += other.bad;
        self.broken_off += other.broken_off;
        other.reasons.iter().for_each(|(reason, times)| self.reason(reason, *times));
    }
}

/// Everything that one shard counts.
pub(crate) struct Tally {
    pub(crate) counts: Counts,
    /// From when requests were due until they were answered or given up.
    pub(crate) latencies: Latencies,
    /// From when they were sent: what a closed loop would have seen of the same answers.
    pub(crate) services: Latencies,
    /// How late the generator itself was, where a connection was free.
    pub(crate) lags: Latencies,
    pub(crate) kinds: Vec<Kind>,
    pub(crate) statuses: BTreeMap<u16, u64>,
    /// Connections that were made.
    pub(crate) connected: u64,
    pub(crate) journeys: JourneyCounts,
    last_status: (u16, u64),
    second: Second,
}

impl Tally {
    pub(crate) fn new(kinds: usize) -> Self {
        let kind = || Kind { counts: Counts::default(), latencies: Latencies::of_part() };
        Self {
            counts: Counts::default(),
            latencies: Latencies::new(),
            services: Latencies::new(),
            lags: Latencies::of_part(),
            kinds: std::iter::repeat_with(kind).take(kinds).collect(),
            statuses: BTreeMap::new(),
            connected: 0,
            journeys: JourneyCounts::default(),
            last_status: (0, 0),
            second: Second::new(0),
        }
    }

    /// Counts a request that ended in `second`; gives the second before when it is over.
    pub(super) fn ended(&mut self, ended: &Ended, second: u32) -> Option<Second> {
        let over = (second != self.second.number).then(|| std::mem::replace(&mut self.second, Second::new(second)));
        let mut one = Counts::default();
        match ended.result {
            Ok((status, bytes)) => {
                (one.answered, one.bytes) = (1, bytes);
                if let Some(failure) = ended.bad {
                    one.fail(failure, 1);
                }
                self.status(status);
            }
            Err(failure) => one.fail(failure, 1),
        }
        let counted = matches!(ended.result, Ok(_) | Err(Failure::Timeout));
        self.counts.add(&one);
        self.second.counts.add(&one);
        if counted {
            self.latencies.record(ended.latency);
            self.second.latencies.record(ended.latency);
            ended.service.into_iter().for_each(|service| self.services.record(service));
        }
        if let Some(kind) = self.kinds.get_mut(ended.kind) {
            kind.counts.add(&one);
            if counted {
                kind.latencies.record(ended.latency);
            }
        }
        over
    }

    /// Counts a whole journey, which took so long since it was due. Its requests are counted apart.
    pub(super) fn journey(&mut self, played: &Played, latency: u64) {
        let counts = &mut self.journeys;
        match played.good {
            None => counts.broken_off += 1,
            Some(true) => counts.good += 1,
            Some(false) => counts.bad += 1,
        }
        if let Some(reason) = played.reason.as_ref().filter(|_| played.good == Some(false)) {
            counts.reason(reason, 1);
        }
        let (Some(good), Some(kind)) = (played.good, self.kinds.get_mut(played.kind)) else { return };
        kind.counts.answered += 1;
        kind.latencies.record(latency);
        if !good {
            kind.counts.fail(Failure::Unexpected, 1);
        }
    }

    /// Mostly the same status comes again, which costs no look-up.
    fn status(&mut self, status: u16) {
        if self.last_status.0 != status {
            self.flush_status();
            self.last_status.0 = status;
        }
        self.last_status.1 += 1;
    }

    fn flush_status(&mut self) {
        let (status, count) = std::mem::take(&mut self.last_status);
        // Zero stands for what has no status.
        if count > 0 && status > 0 {
            *self.statuses.entry(status).or_default() += count;
        }
    }

    /// Counts requests that were due and never sent.
    pub(super) fn unsent(&mut self, count: u64) {
        self.counts.fail(Failure::Unsent, count);
    }

    /// The second that is not over, at the end.
    pub(super) fn finish(&mut self) -> Second {
        self.flush_status();
        std::mem::replace(&mut self.second, Second::new(0))
    }

    /// Adds what another shard counted.
    pub(crate) fn add(&mut self, other: &Self) {
        self.counts.add(&other.counts);
        self.latencies.add(&other.latencies);
        self.services.add(&other.services);
        self.lags.add(&other.lags);
        self.connected += other.connected;
        self.journeys.add(&other.journeys);
        for (kind, more) in self.kinds.iter_mut().zip(&other.kinds) {
            kind.counts.add(&more.counts);
            kind.latencies.add(&more.latencies);
        }
        for (status, count) in &other.statuses {
            *self.statuses.entry(*status).or_default() += count;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(latency: u64, status: u16) -> Ended {
        Ended {
            kind: 0,
            latency,
            service: Some(latency),
            result: Ok((status, 10)),
            bad: (status >= 400).then_some(Failure::Status),
        }
    }

    #[test]
    fn everything_is_counted_once() {
        let mut tally = Tally::new(1);
        assert!(tally.ended(&answer(1_000, 200), 0).is_none());
        assert!(tally.ended(&answer(3_000, 500), 0).is_none());
        let over = tally.ended(&answer(2_000, 200), 1).unwrap();
        assert_eq!((over.number, over.counts.answered, over.counts.failed()), (0, 2, 1));
        let late = Ended {
            kind: 0,
            latency: 9_000,
            service: None,
            result: Err(Failure::Timeout),
            bad: Some(Failure::Timeout),
        };
        assert!(tally.ended(&late, 1).is_none());
        tally.unsent(2);
        assert_eq!(tally.finish().counts.failed(), 1);
        assert_eq!((tally.counts.all(), tally.counts.answered, tally.counts.failed()), (6, 3, 4));
        assert_eq!(tally.statuses, [(200, 2), (500, 1)].into());
        assert_eq!((tally.latencies.len(), tally.services.len()), (4, 3));
        let close = |found: u64, expected: u64| found.abs_diff(expected) * 1000 <= expected * 2;
        assert!(close(tally.latencies.max(), 9_000) && close(tally.latencies.percentile(50.0), 2_000));
        let mut sum = Tally::new(1);
        sum.add(&tally);
        sum.add(&tally);
        assert_eq!((sum.counts.all(), sum.latencies.len()), (12, 8));
    }
}
