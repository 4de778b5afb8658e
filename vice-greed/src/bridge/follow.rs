//! Takes in what comes from a broker: each message has one effect, because how far the source was read is appended with
//! what was read.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use vice_core::app::App;
use vice_core::event::{Actor, ActorKind, Event};
use vice_core::id::Scope;
use vice_core::port::notifier::Severity;
use vice_core::{Class, Code, Digest, Fault, Result, fold};

use super::forward::FOLLOWER;
use super::patience::Patience;
use super::payload::{Followed, Missed, Refused, follow_stream, forward_stream, refused_stream};
use super::place::checked;
use super::state::{FollowState, ForwardState, Noted, Notes};
use super::{BATCH, Inlet, Place, Portion, Received};
use crate::ingest::cloudevent;

/// So much of one append is data, in bytes.
const APPEND_BYTES: usize = 4 * 1024 * 1024;

/// So much of what was refused is kept, in bytes.
const EVIDENCE_BYTES_MAX: usize = 64 * 1024;

/// Where reading begins the first time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Begin {
    /// With the oldest message that is there.
    Earliest,
    /// With what comes from now on.
    Latest,
}

/// What is to be taken in from where.
#[derive(Debug, Clone)]
pub(crate) struct Follow {
    pub(crate) place: Place,
    /// The name under which it is remembered; that of the place when absent.
    pub(crate) name: Option<String>,
    pub(crate) begin: Begin,
    /// The environment that the events belong to, whatever they say.
    pub(crate) scope: Option<Scope>,
    /// To end when everything that is there was taken.
    pub(crate) once: bool,
}

/// What was taken.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct FollowReport {
    pub(crate) taken: u64,
    pub(crate) refused: u64,
    pub(crate) missed: u64,
}

/// Taking in from one place.
pub(crate) struct Follower {
    app: App,
    asked: Follow,
    pub(crate) name: String,
    inlet: Box<dyn Inlet>,
    notes: Notes,
    state: FollowState,
    patience: Patience,
    actor: Actor,
    report: FollowReport,
}

/// Finds out where to go on.
///
/// # Errors
/// `Usage` where the name is that of another place, or where this history sends to it; what the store says.
pub(crate) async fn follow(app: &App, asked: Follow) -> Result<Follower> {
    let inlet = asked.place.inlet(app)?;
    follow_through(app, asked, inlet).await
}

/// The same through another way in.
pub(super) async fn follow_through(app: &App, asked: Follow, inlet: Box<dyn Inlet>) -> Result<Follower> {
    let name = asked.name.clone().unwrap_or_else(|| asked.place.name());
    checked(&name)?;
    let (stream, shown) = (follow_stream(&name), asked.place.to_string());
    let sends: ForwardState = fold::load(app.events.as_ref(), &forward_stream(&asked.place.name())).await?.0;
    if sends.to == shown {
        return Err(Fault::new(Code::Usage, format!("This history sends its own events to {shown}."))
            .hint("Take in another topic or subject, or every event would come back."));
    }
    let (mut state, version): (FollowState, u64) = fold::load(app.events.as_ref(), &stream).await?;
    if !state.from.is_empty() && state.from != shown {
        return Err(Fault::new(Code::Usage, format!("{name} takes in {}.", state.from)).hint("Choose another --name."));
    }
    state.from = shown.clone();
    let actor =
        Actor { id: format!("{FOLLOWER}{name}"), kind: ActorKind::Bot, on_behalf_of: None, evidence: shown.clone() };
    let notes = Notes::new(app.clone(), stream, version, actor.clone());
    let (app, patience, report) = (app.clone(), Patience::new(shown), FollowReport::default());
    Ok(Follower { app, asked, name, inlet, notes, state, patience, actor, report })
}

/// What becomes of a message.
enum Fate {
    Event(Box<Event>),
    Refused(Box<Event>),
}

impl Follower {
    /// Takes in until everything that is there was taken, or until this process is asked to end.
    ///
    /// # Errors
    /// `Locked` where another process does the same, `Unreachable` where this is done once and nobody answers; what no
    /// waiting changes.
    pub(crate) async fn run(mut self) -> Result<FollowReport> {
        while self.app.stop.raised().is_none() {
            match self.step().await {
                Ok(true) => break,
                Ok(false) => self.patience.works(&self.app),
                Err(fault) if self.asked.once => return Err(fault),
                Err(fault) => self.patience.wait(&self.app, fault, "Nothing is lost.").await?,
            }
        }
        Ok(self.report)
    }

    /// Takes in what comes next; whether this is the end.
    async fn step(&mut self) -> Result<bool> {
        if self.state.places.is_empty() {
            self.state.places = self.inlet.begin(self.asked.begin).await?;
            // From now on it is known where it began, also where nothing comes for a long time.
            self.note(Vec::new(), self.state.clone()).await?;
        }
        let portion = self.inlet.next(&self.state.places).await?;
        if portion.messages.is_empty() && portion.gaps.is_empty() {
            self.state.places.extend(portion.places);
            return if self.asked.once { self.inlet.at_end(&self.state.places).await } else { Ok(false) };
        }
        self.take(portion).await?;
        Ok(false)
    }

    async fn take(&mut self, portion: Portion) -> Result<()> {
        self.miss(&portion).await?;
        let mut rest = portion.messages.as_slice();
        while !rest.is_empty() {
            let mut bytes = 0;
            let fits = rest.iter().take(BATCH).take_while(|message| {
                bytes += message.body.as_ref().map_or(0, Vec::len);
                bytes <= APPEND_BYTES
            });
            let fits = fits.count().max(1);
            let (now, later) = rest.split_at(fits);
            self.append(now).await?;
            rest = later;
        }
        // What is behind the last message holds nothing for us.
        self.state.places.extend(portion.places);
        Ok(())
    }

    /// Keeps that something was not there any more.
    async fn miss(&mut self, portion: &Portion) -> Result<()> {
        if portion.gaps.is_empty() {
            return Ok(());
        }
        let mut events = Vec::new();
        for what in &portion.gaps {
            self.app.ui.say(Severity::Warning, what);
            let missed = Missed { from: self.state.from.clone(), what: what.clone() };
            events.push(self.notes.event(&refused_stream(&self.name), &missed)?);
        }
        let mut state = self.state.clone();
        // Messages of this portion come after this note, with their own.
        let places =
            portion.places.iter().filter(|(part, _)| !portion.messages.iter().any(|message| message.part == **part));
        state.places.extend(places.map(|(part, place)| (part.clone(), *place)));
        self.report.missed += portion.gaps.len() as u64;
        if let Noted::Clash(fault) = self.note(events, state).await? { Err(fault) } else { Ok(()) }
    }

    /// Appends what messages hold, all of them at once where that goes.
    async fn append(&mut self, messages: &[Received]) -> Result<()> {
        let Noted::Clash(fault) = self.append_at_once(messages, None).await? else { return Ok(()) };
        let [message] = messages else {
            for message in messages {
                Box::pin(self.append(std::slice::from_ref(message))).await?;
            }
            return Ok(());
        };
        match self.append_at_once(std::slice::from_ref(message), Some(&fault)).await? {
            Noted::Done => Ok(()),
            Noted::Clash(fault) => Err(fault),
        }
    }

    async fn append_at_once(&mut self, messages: &[Received], clash: Option<&Fault>) -> Result<Noted> {
        let (mut state, mut events) = (self.state.clone(), Vec::new());
        for message in messages {
            state.places.insert(message.part.clone(), message.place + 1);
            let fate = match clash {
                Some(fault) => self.refuse(message, fault)?,
                None => self.judge(message)?,
            };
            match fate {
                Fate::Event(event) => {
                    state.taken += 1;
                    events.push(*event);
                }
                Fate::Refused(event) => {
                    state.refused += 1;
                    events.push(*event);
                }
            }
        }
        let (taken, refused) = (state.taken - self.state.taken, state.refused - self.state.refused);
        let noted = self.note(events, state).await?;
        if matches!(noted, Noted::Done) {
            self.report.taken += taken;
            self.report.refused += refused;
        }
        Ok(noted)
    }

    /// The event in a message, or the note of why there is none.
    fn judge(&self, message: &Received) -> Result<Fate> {
        match self.event_of(message) {
            Ok(event) => Ok(Fate::Event(Box::new(event))),
            Err(fault) if fault.class() == Class::Usage => self.refuse(message, &fault),
            Err(fault) => Err(fault),
        }
    }

    fn event_of(&self, message: &Received) -> Result<Event> {
        let document = message.document(self.inlet.style())?;
        // An event that says no time happened when it was sent: the same in every try.
        let sent = jiff::Timestamp::from_millisecond(message.time).unwrap_or_else(|_| self.app.clock.now());
        let (event, _) = cloudevent::read(&document, self.asked.scope.clone(), &self.actor, sent)?;
        event.check()?;
        cloudevent::check_time(&event, self.app.clock.now())?;
        Ok(event)
    }

    fn refuse(&self, message: &Received, fault: &Fault) -> Result<Fate> {
        let body = message.body.as_deref().unwrap_or_default();
        let whole = body.len() <= EVIDENCE_BYTES_MAX;
        let kept = &body[..body.len().min(EVIDENCE_BYTES_MAX)];
        // A cut may go through a letter; what is before it is still text.
        let text = match std::str::from_utf8(kept) {
            Ok(text) => Some(text.to_owned()),
            Err(error) if error.error_len().is_none() => {
                Some(String::from_utf8_lossy(&kept[..error.valid_up_to()]).into_owned())
            }
            Err(_) => None,
        };
        let base64 = if text.is_none() { Some(BASE64.encode(kept)) } else { None };
        let refused = Refused {
            from: self.state.from.clone(),
            place: message.shown(),
            reason: fault.chain().join(" ").chars().take(500).collect(),
            text,
            base64,
            whole,
            digest: Digest::of(body),
        };
        Ok(Fate::Refused(Box::new(self.notes.event(&refused_stream(&self.name), &refused)?)))
    }

    async fn note(&mut self, events: Vec<Event>, state: FollowState) -> Result<Noted> {
        let FollowState { from, places, taken, refused } = state.clone();
        let note = Followed { name: self.name.clone(), from, places, taken, refused };
        let noted = self.notes.append(events, &note).await?;
        if matches!(noted, Noted::Done) {
            self.state = state;
        }
        Ok(noted)
    }
}
