//! One thread of a run: its share of the arrivals or users, on a runtime of its own, so that nothing is shared while
//! requests go out.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{Notify, mpsc};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until, timeout};

use super::arrivals::Arrivals;
use super::deadline::Deadline;
use super::dial::Stream;
use super::feed::{Journey, Played, Prepared, Session};
use super::http1::{Answered, Http1};
use super::http2::{STREAMS_PER_CONNECTION, Shared};
use super::pacer::Pacer;
use super::tally::{Ended, Failure, Second, Tally};
use super::{LoadPlan, Process, Protocol, Shape, users};
use vice_core::Result;

/// A connection that has rested for so long is looked at before it is used: servers close those that rest.
const FRESH: Duration = Duration::from_millis(500);

/// After a failed connect a user waits so long, so that a server that is down is not asked as fast as it refuses.
const CONNECT_PAUSE: Duration = Duration::from_millis(20);

/// How often a journey that is under way looks whether the load is over.
const OVER_EVERY: Duration = Duration::from_millis(100);

/// The share of a run that one thread has.
#[derive(Clone, Copy)]
pub(super) struct Part {
    pub(super) index: usize,
    pub(super) count: usize,
}

impl Part {
    /// The share of a number.
    pub(super) fn of(self, all: usize) -> usize {
        all / self.count + usize::from(self.index < all % self.count)
    }
}

/// What the tasks of a shard share.
pub(super) struct Shard {
    pub(super) plan: Arc<LoadPlan>,
    pub(super) part: Part,
    pub(super) begun: Instant,
    pub(super) end: Instant,
    tally: RefCell<Tally>,
    seconds: mpsc::Sender<Second>,
    sessions: Cell<u64>,
    multiplexed: Vec<Shared>,
    /// Who plays journeys, where they are what is sent.
    player: Option<Rc<dyn Journey>>,
}

/// Runs one shard to its end.
pub(super) async fn run(
    plan: Arc<LoadPlan>,
    part: Part,
    begun: Instant,
    seconds: mpsc::Sender<Second>,
) -> Result<Tally> {
    let kinds = plan.feed.kinds().len();
    let end = begun + plan.profile.length();
    let links = part.of(plan.connections).div_ceil(STREAMS_PER_CONNECTION).max(1);
    let shard = Rc::new(Shard {
        part,
        begun,
        end,
        tally: RefCell::new(Tally::new(kinds)),
        seconds,
        sessions: Cell::new(part.index as u64),
        multiplexed: std::iter::repeat_with(Shared::default).take(links).collect(),
        player: plan.feed.player(),
        plan,
    });
    match shard.plan.shape.clone() {
        Shape::Open(process) => open(&shard, &process).await?,
        Shape::Closed => users::run(&shard).await,
    }
    let last = shard.tally.borrow_mut().finish();
    shard.tell(last);
    let kinds = shard.plan.feed.kinds().len();
    Ok(shard.tally.replace(Tally::new(kinds)))
}

impl Shard {
    /// The number of the next session; each is used by one shard only.
    fn number(&self) -> u64 {
        let number = self.sessions.get();
        self.sessions.set(number + self.part.count as u64);
        number
    }

    /// The next session.
    fn session(&self) -> Session {
        self.plan.feed.session(self.number())
    }

    pub(super) fn over(&self, now: Instant) -> bool {
        now >= self.end || self.plan.is_stopped()
    }

    fn tell(&self, second: Second) {
        // Whoever draws may miss a second; the sums are counted apart.
        drop(self.seconds.try_send(second));
    }

    fn ended(&self, ended: &Ended, now: Instant) {
        let second = u32::try_from((now - self.begun).as_secs()).unwrap_or(u32::MAX);
        let over = self.tally.borrow_mut().ended(ended, second);
        over.into_iter().for_each(|second| self.tell(second));
    }

    /// Counts a journey that was due at `due` and began at `began`. Its first request counts from when it was due, the
    /// others follow the answers.
    fn played(&self, played: &Played, due: Instant, began: Instant) {
        let now = Instant::now();
        let mut late = began - due;
        for beat in &played.beats {
            let unanswered = beat.bad.filter(|failure| !failure.is_of_an_answer());
            let ended = Ended {
                kind: beat.kind,
                latency: micros(beat.took + std::mem::take(&mut late)),
                service: Some(micros(beat.took)),
                result: unanswered.map_or(Ok((beat.status, beat.bytes)), Err),
                bad: beat.bad,
            };
            self.ended(&ended, now);
        }
        self.tally.borrow_mut().journey(played, micros(now - due));
    }
}

/// A place from which one request at a time is sent.
pub(super) struct Slot {
    number: usize,
    link: Option<Http1<Stream>>,
    deadline: Deadline,
    used: Instant,
}

impl Slot {
    pub(super) fn new(number: usize) -> Self {
        let now = Instant::now();
        Self { number, link: None, deadline: Deadline::new(now + Duration::from_secs(3600)), used: now }
    }

    /// Sends one request that was due at `due`, counts how it ends, and gives the time of the end.
    pub(super) async fn send(&mut self, shard: &Shard, request: &Prepared, due: Instant) -> Instant {
        let until = due + shard.plan.timeout;
        let sent = Instant::now();
        let (result, service) = if sent >= until {
            // Whoever asked has given up while it waited; it is not sent any more.
            (Err(Failure::Timeout), false)
        } else {
            (self.exchange(shard, request, until).await, true)
        };
        let now = Instant::now();
        self.used = now;
        let bad = match &result {
            Ok(answered) => (!request.is_good(answered.status)).then_some(Failure::Status),
            Err(failure) => Some(*failure),
        };
        let ended = Ended {
            kind: request.kind,
            latency: micros(now - due),
            service: service.then(|| micros(now - sent)),
            result: result.map(|answered| (answered.status, answered.bytes)),
            bad,
        };
        shard.ended(&ended, now);
        if let Err(Failure::Connect) = result
            && shard.plan.shape == Shape::Closed
        {
            tokio::time::sleep(CONNECT_PAUSE).await;
        }
        now
    }

    async fn exchange(&mut self, shard: &Shard, request: &Prepared, until: Instant) -> Result<Answered, Failure> {
        let (link, deadline) = (&mut self.link, &mut self.deadline);
        if shard.plan.protocol == Protocol::Http2 {
            let shared = &shard.multiplexed[self.number % shard.multiplexed.len()];
            let mut connected = false;
            let work = shared.exchange(&shard.plan.dial, &request.request, &mut connected);
            let result = deadline.within(until, work).await.unwrap_or(Err(Failure::Timeout));
            shard.tally.borrow_mut().connected += u64::from(connected);
            return result;
        }
        if link.as_ref().is_some_and(|link| self.used.elapsed() > FRESH && link.stream().is_closed()) {
            *link = None;
        }
        let work = async {
            let link = match link {
                Some(link) => link,
                None => {
                    let stream = shard.plan.dial.connect().await?;
                    shard.tally.borrow_mut().connected += 1;
                    link.insert(Http1::new(stream))
                }
            };
            link.exchange(&request.bytes, request.bodiless()).await
        };
        let result = deadline.within(until, work).await.unwrap_or(Err(Failure::Timeout));
        if !result.is_ok_and(|answered| answered.keep) {
            self.link = None;
        }
        result
    }

    /// Sends a session: its first request was due at `due`, the others follow the answers.
    pub(super) async fn session(&mut self, shard: &Shard, due: Instant) {
        if let Some(player) = &shard.player {
            return journey(shard, player.as_ref(), due).await;
        }
        let mut session = shard.session();
        let mut due = due;
        while let Some((think, request)) = session.step() {
            if !think.is_zero() {
                due += think;
                sleep_until(due).await;
                if shard.over(Instant::now()) {
                    return;
                }
            }
            due = self.send(shard, &request, due).await;
        }
    }
}

/// Plays one journey. One that is under way when the load is over may go on for as long as an answer is waited for, because
/// leaving the slow ones out would make the figures better than they are. Then it is told to end, and still heard: what it
/// set up is to be put right.
async fn journey(shard: &Shard, player: &dyn Journey, due: Instant) {
    let began = Instant::now();
    let mut playing = player.play(shard.number());
    let played = loop {
        if shard.plan.is_stopped() || Instant::now() >= shard.end + shard.plan.timeout {
            player.end();
        }
        if let Ok(played) = timeout(OVER_EVERY, &mut playing).await {
            break played;
        }
    };
    shard.played(&played, due, began);
    let answered = played.beats.iter().any(|beat| beat.bad.is_none_or(Failure::is_of_an_answer));
    if !answered && shard.plan.shape == Shape::Closed {
        tokio::time::sleep(CONNECT_PAUSE).await;
    }
}

pub(super) fn micros(span: Duration) -> u64 {
    u64::try_from(span.as_micros()).unwrap_or(u64::MAX)
}

/// The connections of an open loop that have nothing to do, and what they are told.
struct Waiting {
    arrivals: RefCell<Arrivals>,
    resting: RefCell<Vec<Rc<Resting>>>,
    /// Wakes the one who hands arrivals out, when nobody rested.
    free: Notify,
}

#[derive(Default)]
struct Resting {
    due: Cell<Option<Instant>>,
    wake: Notify,
}

impl Waiting {
    /// When the next arrival is due.
    fn next(&self, shard: &Shard) -> Option<Instant> {
        self.arrivals.borrow().peek().map(|at| shard.begun + at)
    }

    /// Takes the next arrival if it is due, and only then: two ask for it, the one who hands out and whoever gets free.
    fn due(&self, shard: &Shard, now: Instant) -> Option<Instant> {
        self.next(shard).filter(|due| *due <= now)?;
        self.arrivals.borrow_mut().take().map(|at| shard.begun + at)
    }

    /// One that rests.
    fn rested(&self) -> Option<Rc<Resting>> {
        self.resting.borrow_mut().pop()
    }

    /// An arrival that is due already and for which nobody was free.
    fn overdue(&self, shard: &Shard, now: Instant) -> Option<Instant> {
        if shard.over(now) { None } else { self.due(shard, now) }
    }
}

/// Hands each arrival to a connection that rests, or to a new one, or leaves it to the first that becomes free.
async fn open(shard: &Rc<Shard>, process: &Process) -> Result<()> {
    let plan = &shard.plan;
    let arrivals = Arrivals::new(&plan.profile, process, plan.seed, shard.part.index, shard.part.count);
    let waiting =
        Rc::new(Waiting { arrivals: RefCell::new(arrivals), resting: RefCell::default(), free: Notify::new() });
    let pacer = Pacer::new()?;
    let room = shard.part.of(plan.connections).max(1);
    let mut workers = JoinSet::new();
    while let Some(at) = waiting.next(shard).filter(|at| *at < shard.end) {
        wait(shard, &pacer, at).await;
        if plan.is_stopped() {
            break;
        }
        if waiting.resting.borrow().is_empty() && workers.len() >= room {
            tokio::select! {
                () = waiting.free.notified() => {}
                () = sleep_until(shard.end) => break,
            }
            continue;
        }
        let now = Instant::now();
        // One that got free meanwhile may have taken it. Whoever rests is called only when there is something for them:
        // one who is called and told nothing would wait for ever.
        let Some(due) = waiting.due(shard, now) else { continue };
        shard.tally.borrow_mut().lags.record(micros(now - due));
        match waiting.rested() {
            Some(resting) => {
                resting.due.set(Some(due));
                resting.wake.notify_one();
            }
            None => {
                let number = workers.len();
                workers.spawn_local(work(Rc::clone(shard), Rc::clone(&waiting), number, due));
            }
        }
    }
    finish(shard, &waiting, &pacer, workers).await;
    Ok(())
}

/// Waits for a moment, in pieces, so that a wish to stop is heard.
async fn wait(shard: &Shard, pacer: &Pacer, at: Instant) {
    const PIECE: Duration = Duration::from_millis(200);
    while !shard.plan.is_stopped() && Instant::now() < at {
        pacer.until(at.min(Instant::now() + PIECE)).await;
    }
}

/// What was due and nobody could send counts as such; then those that are under way are waited for.
async fn finish(shard: &Rc<Shard>, waiting: &Waiting, pacer: &Pacer, mut workers: JoinSet<()>) {
    wait(shard, pacer, shard.end).await;
    let mut unsent = 0;
    let until = shard.end.min(Instant::now()) - shard.begun;
    while waiting.arrivals.borrow_mut().take().is_some_and(|at| at < until) {
        unsent += 1;
    }
    shard.tally.borrow_mut().unsent(unsent);
    // Dropping the places in which they rest would not wake them.
    for resting in waiting.resting.borrow_mut().drain(..) {
        resting.wake.notify_one();
    }
    while workers.join_next().await.is_some() {}
}

async fn work(shard: Rc<Shard>, waiting: Rc<Waiting>, number: usize, first: Instant) {
    let mut slot = Slot::new(number);
    let resting = Rc::new(Resting::default());
    let mut due = first;
    loop {
        slot.session(&shard, due).await;
        let now = Instant::now();
        if let Some(next) = waiting.overdue(&shard, now) {
            due = next;
            continue;
        }
        if shard.over(now) {
            return;
        }
        waiting.resting.borrow_mut().push(Rc::clone(&resting));
        waiting.free.notify_one();
        resting.wake.notified().await;
        match resting.due.take() {
            Some(next) => due = next,
            None => return,
        }
    }
}
