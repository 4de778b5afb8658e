//! The notifier itself: what it is made of, and the two things that the port asks of it.

use std::sync::Arc;

use async_trait::async_trait;
use futures::future::join_all;
use jiff::Timestamp;
use tokio::sync::Mutex;
use vice_core::app::{ProcessEnv, Workspace};
use vice_core::event::{Actor, Event, Head, Payload};
use vice_core::fold;
use vice_core::id::{Ids, Scope};
use vice_core::port::command::CommandRunner;
use vice_core::port::config::ConfigSource;
use vice_core::port::notifier::{Delivery, Notice, Notifier};
use vice_core::store::{Append, EventStore, PAGE_MAX, Query};
use vice_core::ui::Ui;
use vice_core::{Clock, Code, Fault, Millis, Result};

use crate::deliver::Claimed;
use crate::message::{Cause, Message, clean_body, clean_title, key};
use crate::outbox::Outbox;
use crate::payload::{Attempted, MessagePosted, OUTBOX, Queued, message_stream};
use crate::rules;

/// How long one call of [`Notifier::pump`] begins new work; a send under way is finished.
pub(crate) const PUMP_TIME: Millis = Millis::from_secs(5);

/// What the notifier needs. Not the whole [`vice_core::App`], because that holds the notifier.
pub struct LustParts {
    /// The clock.
    pub clock: Arc<dyn Clock>,
    /// The source of ids.
    pub ids: Arc<Ids>,
    /// Who runs this process.
    pub actor: Actor,
    /// The terminal, for the channel `stdout`.
    pub ui: Arc<dyn Ui>,
    /// The environment of the process, for secrets given as `env:NAME`.
    pub env: Arc<ProcessEnv>,
    /// The projects with their channels and rules.
    pub workspace: Arc<Workspace>,
    /// The history, which also holds the outbox.
    pub events: Arc<dyn EventStore>,
    /// Runs the commands of command channels.
    pub runner: Arc<dyn CommandRunner>,
    /// The configuration, for secrets.
    pub config: Arc<dyn ConfigSource>,
    /// Makes the HTTP client with the one TLS provider, when a channel needs it.
    pub http: fn() -> Result<reqwest::Client>,
}

/// The notifier.
pub struct Lust {
    pub(crate) parts: LustParts,
    /// This process in claims.
    pub(crate) instance: String,
    /// The outbox as far as this process has read it.
    pub(crate) view: Mutex<View>,
}

/// The state of the outbox at a version of its stream.
#[derive(Default)]
pub(crate) struct View {
    pub(crate) state: Outbox,
    pub(crate) version: u64,
    /// The log holds nothing to queue up to here, though the stored cursor may be behind.
    pub(crate) seen: u64,
    loaded: bool,
}

impl Lust {
    /// A notifier over these parts.
    #[must_use]
    pub fn new(parts: LustParts) -> Self {
        let instance = format!("{}/{}", parts.env.host, parts.ids.next(parts.clock.now()));
        Self { parts, instance, view: Mutex::new(View::default()) }
    }

    /// Takes in what this and other processes have appended to the outbox.
    pub(crate) async fn refresh(&self, view: &mut View) -> Result<()> {
        use fold::Fold as _;
        let store = self.parts.events.as_ref();
        if !view.loaded {
            (view.state, view.version) = fold::load(store, OUTBOX).await?;
            view.loaded = true;
            return Ok(());
        }
        loop {
            let events = store.read(&Query::stream(OUTBOX, view.version)).await?;
            for recorded in &events {
                view.state.apply(recorded)?;
                view.version = recorded.version;
            }
            if events.len() < PAGE_MAX {
                return Ok(());
            }
        }
    }

    /// An event of the outbox, made by vice itself.
    pub(crate) fn own_event<P: Payload>(&self, scope: Option<Scope>, payload: &P) -> Result<Event> {
        let now = self.parts.clock.now();
        self.event((self.parts.ids.next(now), now), OUTBOX, scope, Actor::system("lust"), payload)
    }

    fn event<P: Payload>(
        &self,
        (id, time): (String, Timestamp),
        stream: &str,
        scope: Option<Scope>,
        actor: Actor,
        payload: &P,
    ) -> Result<Event> {
        Event::new(Head { id, time, stream: stream.to_owned(), scope, actor, chain_id: None }, payload)
    }

    /// One message for each channel that the notice goes to.
    fn messages(&self, notice: &Notice) -> Result<Vec<Message>> {
        let project = &notice.project;
        let env = notice.scope.as_ref().map(|scope| &scope.env);
        let channels =
            if notice.channels.is_empty() { rules::message_channels(project, env) } else { notice.channels.clone() };
        let mut messages: Vec<Message> = Vec::new();
        for channel in channels {
            if rules::channel(project, &channel).is_none() {
                let fault = Fault::new(
                    Code::UnknownName,
                    format!("The project {} has no channel {channel:?}.", project.name()),
                );
                return Err(rules::suggest(fault, &channel, project.manifest.channel.keys().map(String::as_str)));
            }
            if messages.iter().all(|message| message.channel != channel) {
                messages.push(self.message(notice, channel));
            }
        }
        Ok(messages)
    }

    fn message(&self, notice: &Notice, channel: String) -> Message {
        let project = notice.project.name().clone();
        let posted = posted(notice);
        Message {
            key: key(&notice.key, &project, &channel),
            project,
            env: notice.scope.as_ref().map(|scope| scope.env.clone()),
            channel,
            severity: notice.severity,
            title: posted.title.clone(),
            body: posted.body.clone(),
            time: notice.time,
            actor: self.parts.actor.clone(),
            cause: Cause { id: posted_id(notice), kind: MessagePosted::KIND.to_owned(), subject: posted.subject() },
        }
    }

    /// Stores the message, its copies for the channels, and this process's claim on each, in one append. Says for each
    /// copy whether it is new.
    async fn post(&self, notice: &Notice, messages: &[&Message]) -> Result<Vec<bool>> {
        let actor = &self.parts.actor;
        let stream = message_stream(notice.project.name());
        let scope = notice.scope.clone();
        let posted = posted(notice);
        let mut events =
            vec![self.event((posted_id(notice), notice.time), &stream, scope.clone(), actor.clone(), &posted)?];
        for message in messages {
            let queued = Queued { message: (*message).clone() };
            let id = (format!("queued-{}", message.key), notice.time);
            events.push(self.event(id, OUTBOX, scope.clone(), actor.clone(), &queued)?);
        }
        for message in messages {
            let (key, by) = (message.key.clone(), self.instance.clone());
            let attempted = Attempted { key, attempt: 1, by, possible_repeat: false };
            events.push(self.own_event(scope.clone(), &attempted)?);
        }
        let appended = self.parts.events.append(Append::of(events)).await?;
        // What is new in an append has the latest numbers, without gaps.
        let end = appended.seqs.iter().copied().max().unwrap_or(0);
        let new = u64::try_from(appended.seqs.len() - appended.duplicates).unwrap_or(0);
        let copies = appended.seqs.iter().skip(1).take(messages.len());
        Ok(copies.map(|seq| seq + new > end).collect())
    }

    /// What became of a message that was queued earlier.
    async fn earlier(&self, message: &Message) -> Result<Option<Delivery>> {
        let mut view = self.view.lock().await;
        self.refresh(&mut view).await?;
        let (delivered, detail) = if let Some(answer) = view.state.answer(&message.key) {
            (true, format!("it was delivered before: {answer}"))
        } else if let Some(pending) = view.state.pending.get(&message.key) {
            let error = pending.error.as_deref().unwrap_or("it is being sent");
            (false, format!("it is queued already: {error}"))
        } else if let Some(letter) = view.state.dead.get(&message.key) {
            (false, format!("it was given up: {}", letter.reason))
        } else {
            return Ok(None);
        };
        Ok(Some(Delivery { channel: message.channel.clone(), delivered, detail }))
    }

    async fn send_posted(&self, message: Message, new: bool) -> Result<Delivery> {
        let channel = message.channel.clone();
        if !new {
            // Delivered so long ago that the state no longer knows it: the log does, and a repeat is not sent.
            return Ok(Delivery { channel, delivered: true, detail: "it was delivered before".to_owned() });
        }
        let sent = self.send(Claimed { message, attempt: 1, repeat: false }).await?;
        Ok(Delivery { channel, delivered: sent.delivered, detail: sent.detail })
    }
}

fn posted(notice: &Notice) -> MessagePosted {
    MessagePosted {
        project: notice.project.name().clone(),
        scope: notice.scope.clone(),
        severity: notice.severity,
        title: clean_title(&notice.title),
        body: clean_body(&notice.body),
    }
}

fn posted_id(notice: &Notice) -> String {
    format!("posted-{}", key(&notice.key, notice.project.name(), ""))
}

#[async_trait]
impl Notifier for Lust {
    async fn notify(&self, notice: Notice) -> Result<Vec<Delivery>> {
        let messages = self.messages(&notice)?;
        let mut known = Vec::new();
        for message in &messages {
            known.push(self.earlier(message).await?);
        }
        let fresh: Vec<&Message> =
            messages.iter().zip(&known).filter(|(_, known)| known.is_none()).map(|(message, _)| message).collect();
        let mut deliveries: Vec<Delivery> = known.iter().flatten().cloned().collect();
        if fresh.is_empty() {
            return Ok(deliveries);
        }
        let new = self.post(&notice, &fresh).await?;
        let send = fresh.into_iter().zip(new).map(|(message, new)| self.send_posted(message.clone(), new));
        for delivery in join_all(send).await {
            deliveries.push(delivery?);
        }
        Ok(deliveries)
    }

    async fn pump(&self) -> Result<usize> {
        let deadline = PUMP_TIME.after(self.parts.clock.now());
        self.intake(deadline).await?;
        self.deliver(deadline).await
    }
}
