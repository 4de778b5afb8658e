//! From the log to what follows from it. One append holds the events that rules made, the effects that wait, what windows
//! hold and how far the log was read, on the condition that nobody else has gone on meanwhile. A process that is killed
//! leaves all of it or nothing, and two processes that do this at once do it once.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};
use vice_core::app::App;
use vice_core::event::{Actor, Event, Head, Payload, Recorded};
use vice_core::fold::{self, Fold as _};
use vice_core::manifest::Project;
use vice_core::store::{Append, Expected, PAGE_MAX, Query};
use vice_core::{Code, Millis, Result};

use super::effect::Cause;
use super::payload::{Advanced, ClosedCell, DeadLetter, Held, HeldCell, Queued, dead_stream, rules_stream};
use super::plan::{Firing, Outcome, Planner};
use super::ruleset::Ruleset;
use super::state::{PENDING_MAX, RuleState};
use crate::window::Panes;

/// So many events are looked at for one append, and so many bytes of them.
const PAGE: usize = 500;
const PAGE_BYTES: usize = 4 * 1024 * 1024;

/// When nothing follows, how far the log was read is stored once in so many events: reading them again takes a few
/// milliseconds, storing it each time would cost every command a write.
const CURSOR_EVERY: u64 = 1_000;

/// So many cells are in one event; with the largest cells that is half of what an event may hold.
const CELLS_AN_EVENT: usize = 64;

/// The first time, rules look back so far: what happened while they were being written counts, old news does not.
const LOOK_BACK: SignedDuration = SignedDuration::from_hours(1);

/// How long one call begins new work.
const PUMP_TIME: Millis = Millis::from_secs(5);

/// What a pump did.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Pumped {
    /// Events that were read.
    pub read: u64,
    /// How often rules fired.
    pub fired: u64,
    /// Effects that were carried out.
    pub done: u64,
    /// Effects that wait.
    pub waiting: u64,
    /// Effects and stopped rules that became dead letters.
    pub dead: u64,
}

impl std::ops::AddAssign for Pumped {
    fn add_assign(&mut self, more: Self) {
        self.read += more.read;
        self.fired += more.fired;
        self.done += more.done;
        self.waiting += more.waiting;
        self.dead += more.dead;
    }
}

/// Reads on and carries out what is due, for all projects, for a bounded time.
///
/// # Errors
/// `ManifestInvalid` for a rule that makes no sense; what the store says.
pub async fn pump(app: &App) -> Result<Pumped> {
    pump_until(app, PUMP_TIME.after(app.clock.now())).await
}

/// The same until a time.
///
/// # Errors
/// As [`pump`].
pub async fn pump_until(app: &App, deadline: Timestamp) -> Result<Pumped> {
    let mut pumped = Pumped::default();
    for project in app.workspace.projects.values().filter(|project| !project.manifest.rule.is_empty()) {
        let mut engine = Engine::new(app.clone(), Arc::clone(project))?;
        pumped += engine.pump(deadline).await?;
    }
    Ok(pumped)
}

/// The rules of one project at work.
pub(crate) struct Engine {
    pub(crate) app: App,
    pub(crate) project: Arc<Project>,
    pub(crate) rules: Ruleset,
    pub(crate) stream: String,
    pub(crate) state: RuleState,
    pub(crate) version: u64,
    loaded: bool,
    /// Read up to here without anything to store, though the stored cursor may be behind.
    seen: u64,
    /// The watermark of what was read, which may be ahead of the stored one.
    watermark: i64,
}

/// Sources and ids of events that others have stored with other content.
type Taken = BTreeSet<(String, String)>;

/// Why an event that a rule makes is a dead letter.
const TAKEN: &str = "somebody has stored another event under the id of what it makes";

fn is_taken(event: &Event, taken: &Taken) -> bool {
    !taken.is_empty() && taken.contains(&(event.source.clone(), event.id.clone()))
}

/// A firing, stopped where what it makes can't be stored.
fn but(firing: Firing, taken: &Taken) -> Firing {
    match &firing.outcome {
        Outcome::Made(event) | Outcome::Late(Some(event)) if is_taken(event, taken) => {
            Firing { outcome: Outcome::Stopped(TAKEN.to_owned()), ..firing }
        }
        _ => firing,
    }
}

/// What an append of the intake consists of.
struct Batch {
    events: Vec<Event>,
    fired: u64,
    dead: u64,
}

impl Engine {
    pub(crate) fn new(app: App, project: Arc<Project>) -> Result<Self> {
        let rules = Ruleset::of(&project)?;
        let stream = rules_stream(project.name());
        let (state, version, seen, watermark) = (RuleState::default(), 0, 0, i64::MIN);
        Ok(Self { app, project, rules, stream, state, version, loaded: false, seen, watermark })
    }

    /// Reads on and carries out what is due.
    pub(crate) async fn pump(&mut self, deadline: Timestamp) -> Result<Pumped> {
        let mut pumped = self.intake(deadline).await?;
        pumped += self.deliver(deadline).await?;
        // What was carried out may itself have left events.
        pumped += self.intake(deadline).await?;
        pumped.waiting = self.state.pending.len() as u64;
        Ok(pumped)
    }

    /// Takes in what this and other processes have appended to the rules' stream.
    pub(crate) async fn refresh(&mut self) -> Result<()> {
        let store = self.app.events.as_ref();
        if !self.loaded {
            (self.state, self.version) = fold::load(store, &self.stream).await?;
            self.loaded = true;
            return Ok(());
        }
        loop {
            let events = store.read(&Query::stream(&self.stream, self.version)).await?;
            for recorded in &events {
                self.state.apply(recorded)?;
                self.version = recorded.version;
            }
            if events.len() < PAGE_MAX {
                return Ok(());
            }
        }
    }

    /// An event of the bookkeeping.
    pub(crate) fn own_event<P: Payload>(&self, stream: &str, payload: &P) -> Result<Event> {
        let time = self.app.clock.now();
        let id = self.app.ids.next(time);
        let actor = Actor::system("rules");
        Event::new(Head { id, time, stream: stream.to_owned(), scope: None, actor, chain_id: None }, payload)
    }

    /// Appends under the version that was read; false when somebody else was faster.
    pub(crate) async fn append(&mut self, events: Vec<Event>) -> Result<bool> {
        let append = Append::of(events).expect(&self.stream, Expected::from_version(self.version));
        match self.app.events.append(append).await {
            Ok(_) => {
                self.refresh().await?;
                Ok(true)
            }
            Err(fault) if fault.code() == Code::Conflict => {
                let before = self.version;
                self.refresh().await?;
                // Where nobody was faster, trying again would say the same again.
                if self.version == before { Err(fault) } else { Ok(false) }
            }
            Err(fault) => Err(fault),
        }
    }

    async fn intake(&mut self, deadline: Timestamp) -> Result<Pumped> {
        let mut pumped = Pumped::default();
        self.refresh().await?;
        if self.state.cursor.is_none() {
            self.begin().await?;
        }
        while self.app.clock.now() < deadline && self.state.pending.len() < PENDING_MAX {
            let (page, more) = self.page().await?;
            // None: somebody else was faster, and has left something to see.
            let Some(batch) = self.take(&page, !more).await? else { continue };
            pumped.read += page.len() as u64;
            pumped.fired += batch.fired;
            pumped.dead += batch.dead;
            // What was just stored may concern other rules.
            if !more && batch.events.is_empty() {
                break;
            }
        }
        Ok(pumped)
    }

    /// Where reading begins the first time.
    async fn begin(&mut self) -> Result<()> {
        let since = self.app.clock.now().checked_sub(LOOK_BACK).unwrap_or(Timestamp::MIN);
        let first = self.app.events.read(&Query { since: Some(since), limit: 1, ..Query::default() }).await?;
        let cursor = match first.first() {
            Some(first) => first.seq.saturating_sub(1),
            None => self.app.events.head().await?.seq,
        };
        let event = self.own_event(&self.stream, &self.advanced(cursor, i64::MIN))?;
        // Whoever was faster has begun as well.
        self.append(vec![event]).await.map(drop)
    }

    const fn cursor(&self) -> u64 {
        match self.state.cursor {
            Some(cursor) if cursor > self.seen => cursor,
            _ => self.seen,
        }
    }

    /// The next events, and whether there are more.
    async fn page(&self) -> Result<(Vec<Recorded>, bool)> {
        let query = Query { after: self.cursor(), limit: PAGE, ..Query::default() };
        let mut page = self.app.events.read(&query).await?;
        let full = page.len() == PAGE;
        let mut bytes = 0;
        let fits = page.iter().take_while(|recorded| {
            bytes += recorded.event.data.len();
            bytes <= PAGE_BYTES
        });
        let fits = fits.count().max(1);
        let cut = page.len() > fits;
        page.truncate(fits);
        Ok((page, full || cut))
    }

    /// Takes a page in; none when somebody else was faster. An event that rules make and whose id somebody has given to
    /// other content, which nobody does by accident, becomes a dead letter: it holds nothing else up.
    async fn take(&mut self, page: &[Recorded], at_the_end: bool) -> Result<Option<Batch>> {
        let mut taken = Taken::new();
        loop {
            match self.take_but(page, at_the_end, &taken).await {
                Err(fault) => match fault.taken_event() {
                    Some((source, id)) if taken.insert((source.to_owned(), id.to_owned())) => {}
                    _ => return Err(fault),
                },
                took => return took,
            }
        }
    }

    async fn take_but(&mut self, page: &[Recorded], at_the_end: bool, taken: &Taken) -> Result<Option<Batch>> {
        let now = self.app.clock.now();
        let cursor = page.last().map_or(self.cursor(), |last| last.seq);
        let watermark = self.watermark.max(self.state.watermark);
        let (batch, watermark) = {
            let mut planner = Planner::new(&self.rules, self.state.panes.clone(), watermark, false);
            for recorded in page {
                planner.take(recorded, now)?;
            }
            if at_the_end {
                planner.caught_up(now);
            }
            planner.close()?;
            let watermark = planner.watermark;
            (self.batch(planner, cursor, taken)?, watermark)
        };
        let quiet = batch.events.is_empty() && cursor - self.state.cursor.unwrap_or(0) < CURSOR_EVERY;
        if !quiet {
            let events = self.with_cursor(cursor, watermark, &batch)?;
            if !self.append(events).await? {
                return Ok(None);
            }
        }
        (self.seen, self.watermark) = (self.seen.max(cursor), watermark);
        Ok(Some(batch))
    }

    /// The events of a batch, of which one says how far the log was read.
    fn with_cursor(&self, cursor: u64, watermark: i64, batch: &Batch) -> Result<Vec<Event>> {
        let mut events = batch.events.clone();
        if !events.iter().any(|event| event.kind == Advanced::KIND) {
            events.push(self.own_event(&self.stream, &self.advanced(cursor, watermark))?);
        }
        Ok(events)
    }

    fn advanced(&self, cursor: u64, watermark: i64) -> Advanced {
        Advanced {
            project: self.project.name().clone(),
            cursor,
            watermark,
            fired: BTreeMap::new(),
            late: BTreeMap::new(),
            closed: Vec::new(),
        }
    }

    fn batch(&self, planner: Planner<'_>, cursor: u64, taken: &Taken) -> Result<Batch> {
        let mut batch = Batch { events: Vec::new(), fired: 0, dead: 0 };
        let mut advanced = self.advanced(cursor, planner.watermark);
        let Planner { firings, touched, closed, panes, .. } = planner;
        for firing in firings {
            self.add_firing(but(firing, taken), &mut batch, &mut advanced)?;
        }
        for (rule, cells) in touched {
            let late = panes.get(&rule).map_or(0, |panes| panes.late);
            if late > 0 {
                advanced.late.insert(rule.clone(), late);
            }
            self.add_cells(&rule, &cells, panes.get(&rule), &mut batch)?;
        }
        for (rule, start, key, event) in closed {
            advanced.closed.push(ClosedCell { rule: rule.clone(), start, key });
            if is_taken(&event, taken) {
                let Event { id, kind, subject, .. } = event;
                let cause = Cause { seq: cursor, id: id.clone(), kind, subject };
                self.bury(&DeadLetter::stopped(id, rule, cause, TAKEN.to_owned()), &mut batch)?;
            } else {
                batch.events.push(event);
            }
        }
        let something = !batch.events.is_empty() || !advanced.fired.is_empty() || !advanced.late.is_empty();
        if something {
            batch.fired = advanced.fired.values().sum();
            batch.events.push(self.own_event(&self.stream, &advanced)?);
        }
        Ok(batch)
    }

    fn add_firing(&self, firing: Firing, batch: &mut Batch, advanced: &mut Advanced) -> Result<()> {
        let Firing { rule, cause, key, outcome } = firing;
        let fired = !matches!(outcome, Outcome::Stopped(_) | Outcome::Late(_) | Outcome::Counted | Outcome::Unclear(_));
        if fired {
            *advanced.fired.entry(rule.clone()).or_default() += 1;
        }
        match outcome {
            Outcome::Made(event) | Outcome::Late(Some(event)) => batch.events.push(*event),
            Outcome::Effect(effect) => {
                batch.events.push(self.own_event(&self.stream, &Queued { key, rule, cause, effect })?);
            }
            Outcome::Stopped(reason) => self.bury(&DeadLetter::stopped(key, rule, cause, reason), batch)?,
            Outcome::Dropped | Outcome::Counted | Outcome::Late(None) | Outcome::Unclear(_) => {}
        }
        Ok(())
    }

    fn bury(&self, letter: &DeadLetter, batch: &mut Batch) -> Result<()> {
        batch.dead += 1;
        batch.events.push(self.own_event(&dead_stream(self.project.name()), letter)?);
        Ok(())
    }

    fn add_cells(
        &self,
        rule: &str,
        cells: &BTreeSet<(i64, String)>,
        panes: Option<&Panes>,
        batch: &mut Batch,
    ) -> Result<()> {
        let held = |(start, key): &(i64, String)| {
            let cell = panes?.cell(*start, key)?.clone();
            Some(HeldCell { start: *start, key: key.clone(), cell })
        };
        let cells: Vec<HeldCell> = cells.iter().filter_map(held).collect();
        for chunk in cells.chunks(CELLS_AN_EVENT) {
            let held = Held { rule: rule.to_owned(), cells: chunk.to_vec() };
            batch.events.push(self.own_event(&self.stream, &held)?);
        }
        Ok(())
    }
}
