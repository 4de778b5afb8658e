//! What is counted while requests come back. Times are microseconds.

pub(crate) use super::latencies::Latencies;

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
}

impl Failure {
    /// All of them with their names.
    pub(crate) const ALL: [(Self, &'static str); 6] = [
        (Self::Connect, "no connection"),
        (Self::Timeout, "no answer in time"),
        (Self::Broken, "broke off"),
        (Self::Malformed, "malformed"),
        (Self::Status, "bad status"),
        (Self::Unsent, "not sent"),
    ];
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

    /// All requests that there were or should have been.
    pub(crate) fn all(&self) -> u64 {
        self.answered + self.failed() - self.of(Failure::Status)
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
    pub(super) good: bool,
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
    pub(crate) statuses: std::collections::BTreeMap<u16, u64>,
    /// Connections that were made.
    pub(crate) connected: u64,
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
            statuses: std::collections::BTreeMap::new(),
            connected: 0,
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
                if !ended.good {
                    one.fail(Failure::Status, 1);
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
        if count > 0 {
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
        Ended { kind: 0, latency, service: Some(latency), result: Ok((status, 10)), good: status < 400 }
    }

    #[test]
    fn everything_is_counted_once() {
        let mut tally = Tally::new(1);
        assert!(tally.ended(&answer(1_000, 200), 0).is_none());
        assert!(tally.ended(&answer(3_000, 500), 0).is_none());
        let over = tally.ended(&answer(2_000, 200), 1).unwrap();
        assert_eq!((over.number, over.counts.answered, over.counts.failed()), (0, 2, 1));
        let late = Ended { kind: 0, latency: 9_000, service: None, result: Err(Failure::Timeout), good: false };
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
