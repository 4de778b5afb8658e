//! Sends what the history holds, in order and each event at least once under its id.

use jiff::Timestamp;
use vice_core::app::App;
use vice_core::event::{Actor, Event, Recorded};
use vice_core::id::{EnvName, ProjectName};
use vice_core::port::notifier::Severity;
use vice_core::store::Query;
use vice_core::text::count;
use vice_core::{Code, Digest, Fault, Millis, Result, fold};

use super::patience::Patience;
use super::payload::{Claim, Forwarded, Withheld, forward_stream, refused_stream};
use super::place::checked;
use super::state::{ForwardState, Noted, Notes};
use super::{BATCH, BATCH_BYTES, Message, Mode, Outlet, Place, Sent};

/// Where nothing fits, how far the history was read is noted once in so many events.
const NOTE_EVERY: u64 = 1_000;

/// How long to wait for new events before looking whether to end.
const WAIT: Millis = Millis(500);

/// What is only bookkeeping, of this and of rules, is not sent: it would never end.
const NOT_SENT: [&str; 4] = ["forward/", "follow/", "refused/", "rules/"];

/// Whoever took an event in from a broker; it is not sent on, or two histories would send each other everything for ever.
pub(super) const FOLLOWER: &str = "follow/";

/// So often in a row a receiver may forget who sends.
const FORGOTTEN_MAX: u32 = 3;

/// What is to be sent where.
#[derive(Debug, Clone)]
pub(crate) struct Forward {
    pub(crate) place: Place,
    /// The name of the cursor; that of the place when absent.
    pub(crate) name: Option<String>,
    pub(crate) mode: Mode,
    pub(crate) kinds: Vec<String>,
    pub(crate) project: Option<ProjectName>,
    pub(crate) env: Option<EnvName>,
    /// Where to begin the first time.
    pub(crate) since: Option<Timestamp>,
    /// To end when everything was sent.
    pub(crate) once: bool,
}

impl Forward {
    fn selection(&self) -> Digest {
        let scope = (self.project.as_ref().map(ProjectName::as_str), self.env.as_ref().map(EnvName::as_str));
        Digest::of(format!("{:?} {:?} {scope:?}", self.mode, self.kinds).as_bytes())
    }
}

/// What was sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ForwardReport {
    pub(crate) sent: u64,
    pub(crate) withheld: u64,
    pub(crate) cursor: u64,
}

/// Sending to one place.
pub(crate) struct Forwarder {
    app: App,
    asked: Forward,
    pub(crate) name: String,
    outlet: Box<dyn Outlet>,
    notes: Notes,
    state: ForwardState,
    patience: Patience,
    /// Sent up to here, of which the history may not know yet.
    pub(crate) cursor: u64,
    /// So many events at once: fewer, while the receiver takes no more.
    limit: usize,
    /// How many events earlier processes have sent.
    began: u64,
    report: ForwardReport,
}

/// What is sent next.
struct Plan {
    events: Vec<Recorded>,
    messages: Vec<Message>,
    upto: u64,
    more: bool,
    claim: Option<Claim>,
}

/// Finds out where to go on.
///
/// # Errors
/// `Usage` where the name is that of another place; what the store says.
pub(crate) async fn forward(app: &App, asked: Forward) -> Result<Forwarder> {
    let outlet = asked.place.outlet(app)?;
    forward_through(app, asked, outlet).await
}

/// The same through another way out.
pub(super) async fn forward_through(app: &App, asked: Forward, outlet: Box<dyn Outlet>) -> Result<Forwarder> {
    let name = asked.name.clone().unwrap_or_else(|| asked.place.name());
    checked(&name)?;
    let (stream, shown) = (forward_stream(&name), asked.place.to_string());
    let (mut state, version): (ForwardState, u64) = fold::load(app.events.as_ref(), &stream).await?;
    if state.to.is_empty() {
        state.to = shown.clone();
        state.cursor = first(app, asked.since).await?;
    } else if state.to != shown {
        return Err(Fault::new(Code::Usage, format!("{name} sends to {}.", state.to)).hint("Choose another --name."));
    }
    let notes = Notes::new(app.clone(), stream, version, Actor::system("forward"));
    let (cursor, began) = (state.cursor, state.sent);
    let report = ForwardReport { sent: 0, withheld: 0, cursor };
    let patience = Patience::new(shown);
    let (app, limit) = (app.clone(), BATCH);
    Ok(Forwarder { app, asked, name, outlet, notes, state, patience, cursor, limit, began, report })
}

/// The place before the first event.
async fn first(app: &App, since: Option<Timestamp>) -> Result<u64> {
    let Some(since) = since else { return Ok(0) };
    let found = app.events.read(&Query { since: Some(since), limit: 1, ..Query::default() }).await?;
    match found.first() {
        Some(first) => Ok(first.seq - 1),
        None => Ok(app.events.head().await?.seq),
    }
}

fn is_sent(recorded: &Recorded) -> bool {
    let event = &recorded.event;
    !NOT_SENT.iter().any(|prefix| event.stream.starts_with(prefix)) && !event.actor.id.starts_with(FOLLOWER)
}

impl Forwarder {
    /// Sends until everything was sent, or until this process is asked to end.
    ///
    /// # Errors
    /// `Locked` where another process does the same, `Unreachable` where this is done once and nobody answers; what no
    /// waiting changes.
    pub(crate) async fn run(mut self) -> Result<ForwardReport> {
        while self.app.stop.raised().is_none() {
            let plan = self.plan().await?;
            if !plan.messages.is_empty() {
                self.deliver(&plan).await?;
                continue;
            }
            self.cursor = plan.upto;
            if !plan.more {
                self.note_if_due().await?;
                if self.asked.once {
                    break;
                }
                self.app.events.wait(self.cursor, WAIT).await?;
            }
        }
        self.note_if_due().await?;
        self.report.cursor = self.cursor;
        Ok(self.report)
    }

    /// The next events. What was claimed before a crash is planned exactly as it was then.
    async fn plan(&self) -> Result<Plan> {
        let head = self.app.events.head().await?.seq;
        let claim = self.state.next.clone();
        let claim = claim.filter(|claim| self.cursor == self.state.cursor && claim.selection == self.asked.selection());
        let mut plan = self.plan_upto(claim.as_ref().map_or(head, |claim| claim.upto)).await?;
        match claim {
            Some(claim) if claim.upto == plan.upto => plan.claim = Some(claim),
            Some(_) => plan = self.plan_upto(head).await?,
            None => {}
        }
        Ok(plan)
    }

    async fn plan_upto(&self, end: u64) -> Result<Plan> {
        let Forward { kinds, project, env, mode, .. } = self.asked.clone();
        let query = Query { after: self.cursor, kinds, project, env, limit: self.limit, ..Query::default() };
        let page = self.app.events.read(&query).await?;
        let full = page.len() == self.limit;
        let mut plan = Plan { events: Vec::new(), messages: Vec::new(), upto: self.cursor, more: true, claim: None };
        let mut bytes = 0;
        for recorded in page.into_iter().take_while(|recorded| recorded.seq <= end) {
            let seq = recorded.seq;
            if is_sent(&recorded) {
                let message = Message::of(&recorded, mode, self.outlet.style())?;
                bytes += message.bytes();
                if bytes > BATCH_BYTES && !plan.messages.is_empty() {
                    return Ok(plan);
                }
                plan.messages.push(message);
                plan.events.push(recorded);
            }
            plan.upto = seq;
        }
        if !full {
            plan.upto = plan.upto.max(end);
            plan.more = false;
        }
        Ok(plan)
    }

    /// Sends what is planned, however long that takes.
    async fn deliver(&mut self, plan: &Plan) -> Result<()> {
        let (mut claim, mut forgotten) = (plan.claim.clone(), 0);
        while self.app.stop.raised().is_none() {
            let tried = self.try_once(plan, &mut claim).await;
            match tried {
                Ok(Sent::All) => return self.delivered(plan, claim.is_some()).await,
                Ok(Sent::TooLarge) => return self.shrink(plan).await,
                Ok(Sent::Forgotten) if forgotten < FORGOTTEN_MAX => {
                    forgotten += 1;
                    claim = None;
                }
                Ok(Sent::Forgotten) => {
                    let message = format!("{} forgets again and again who sends.", self.state.to);
                    return Err(Fault::new(Code::Backend, message).hint("The brokers' logs say more."));
                }
                Err(fault) if self.asked.once => return Err(fault),
                Err(fault) => {
                    let behind = self.app.events.head().await?.seq.saturating_sub(self.cursor);
                    let waiting = format!("{}.", count(behind, "event waits", "events wait"));
                    self.patience.wait(&self.app, fault, &waiting).await?;
                }
            }
        }
        Ok(())
    }

    async fn try_once(&mut self, plan: &Plan, claim: &mut Option<Claim>) -> Result<Sent> {
        if claim.is_none()
            && let Some(mut made) = self.outlet.claim(&plan.messages, plan.upto).await?
        {
            made.selection = self.asked.selection();
            self.note(Some(made.clone()), Vec::new()).await?;
            *claim = Some(made);
        }
        let sent = self.outlet.send(&plan.messages, claim.as_ref()).await?;
        self.patience.works(&self.app);
        Ok(sent)
    }

    async fn delivered(&mut self, plan: &Plan, claimed: bool) -> Result<()> {
        self.outlet.settled();
        self.report.sent += plan.messages.len() as u64;
        (self.cursor, self.limit) = (plan.upto, BATCH);
        // Behind a claim, this is noted with the next one.
        if claimed { Ok(()) } else { self.note(None, Vec::new()).await }
    }

    /// The receiver does not take so much: one at a time then, and one that is too large alone is left out.
    async fn shrink(&mut self, plan: &Plan) -> Result<()> {
        self.outlet.settled();
        self.state.next = None;
        let ([recorded], [message]) = (plan.events.as_slice(), plan.messages.as_slice()) else {
            self.limit = 1;
            return Ok(());
        };
        let reason = format!("{} takes no message of {} bytes.", self.state.to, message.bytes());
        let said = format!("Event {} is not sent: {reason}", recorded.seq);
        self.app.ui.say(Severity::Warning, &said);
        let (name, to) = (self.name.clone(), self.state.to.clone());
        let withheld = Withheld { name, to, seq: recorded.seq, id: recorded.event.id.clone(), reason };
        let event = self.notes.event(&refused_stream(&self.name), &withheld)?;
        self.report.withheld += 1;
        (self.cursor, self.limit) = (plan.upto, BATCH);
        self.note(None, vec![event]).await
    }

    /// Notes what was sent and is not noted yet, and now and then what was only looked at. What is claimed and not sent stays
    /// claimed.
    async fn note_if_due(&mut self) -> Result<()> {
        let ahead = self.cursor - self.state.cursor;
        let sent = self.began + self.report.sent > self.state.sent;
        if ahead > 0 && (sent || self.state.next.is_some()) || ahead >= NOTE_EVERY {
            return self.note(None, Vec::new()).await;
        }
        Ok(())
    }

    /// Notes how far this is, and what comes next.
    async fn note(&mut self, next: Option<Claim>, events: Vec<Event>) -> Result<()> {
        let sent = self.began + self.report.sent;
        let (name, to) = (self.name.clone(), self.state.to.clone());
        let note = Forwarded { name, to: to.clone(), cursor: self.cursor, sent, next: next.clone() };
        match self.notes.append(events, &note).await? {
            Noted::Done => {
                self.state = ForwardState { to, cursor: self.cursor, sent, next };
                Ok(())
            }
            Noted::Clash(fault) => Err(fault),
        }
    }
}
