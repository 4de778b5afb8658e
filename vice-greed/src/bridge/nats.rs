//! A subject of NATS, as a way out and as a way in. It has to be in a stream of JetStream: without one nobody acknowledges
//! what was sent, and what comes while nobody listens is gone.

use std::sync::Arc;
use std::time::Duration;

use async_nats::HeaderMap;
use async_nats::connection::State;
use async_nats::jetstream::consumer::{AckPolicy, Consumer, DeliverPolicy, pull};
use async_nats::jetstream::context::{GetStreamByNameErrorKind, GetStreamErrorKind};
use async_nats::jetstream::stream::Stream;
use async_nats::jetstream::{self};
use async_nats::{Client, header};
use async_trait::async_trait;
use bytes::Bytes;
use futures::StreamExt as _;
use vice_core::app::ProcessEnv;
use vice_core::{Code, Digest, Fault, Result};

use super::{BATCH, Begin, Claim, Inlet, Message, Outlet, Places, Portion, Received, Sent};
use crate::binding::Style;
use crate::nats::errors::{self, Unwritten};
use crate::nats::{Subject, options};

/// How long an answer is waited for, and how long for something to come.
const ANSWER: Duration = Duration::from_secs(10);
const WAIT: Duration = Duration::from_millis(500);

/// So many bytes come at once, unless one message is larger.
const PORTION_BYTES: usize = 4 * 1024 * 1024;

/// The only part of a stream.
const PART: &str = "";

/// A connection that is up.
struct Link {
    client: Client,
    jetstream: jetstream::Context,
}

/// A subject.
pub(crate) struct Exchange {
    place: Subject,
    env: Arc<ProcessEnv>,
    shown: String,
    link: Option<Link>,
    /// What reads, and where it is.
    reader: Option<(Consumer<pull::Config>, i64)>,
    /// How many of the messages under way are there.
    there: usize,
}

impl Exchange {
    pub(crate) fn new(place: Subject, env: Arc<ProcessEnv>) -> Self {
        Self { shown: place.to_string(), place, env, link: None, reader: None, there: 0 }
    }

    /// After an error everything is asked anew: what is sent into a connection that is down is sent at some later time.
    fn heard<T>(&mut self, answer: Result<T>) -> Result<T> {
        if answer.is_err() {
            (self.link, self.reader) = (None, None);
        }
        answer
    }

    async fn link(&mut self) -> Result<&Link> {
        if !self.link.as_ref().is_some_and(|link| link.client.connection_state() == State::Connected) {
            (self.link, self.reader) = (None, None);
            let options = options(self.place.tls, &self.env).await?;
            let connected = options.connect(self.place.server()).await;
            let client = connected.map_err(|error| errors::connecting(&self.shown, &error))?;
            if !client.server_info().jetstream {
                return Err(Fault::new(
                    Code::Unsupported,
                    format!("The server of {} runs without JetStream.", self.shown),
                )
                .hint("Start nats-server with -js: without it nobody acknowledges what was sent."));
            }
            let mut jetstream = jetstream::new(client.clone());
            jetstream.set_timeout(ANSWER);
            self.link = Some(Link { client, jetstream });
        }
        self.link.as_ref().ok_or_else(|| Fault::internal("There is no connection."))
    }

    async fn publish(&mut self, messages: &[Message]) -> Result<Sent> {
        let (subject, shown) = (self.place.subject().to_owned(), self.shown.clone());
        let mut there = self.there;
        let link = self.link().await?;
        let largest = link.client.max_payload();
        let mut outcome = Ok(Sent::All);
        // One after the other: what is behind one that fails must not be there before it.
        for message in &messages[there.min(messages.len())..] {
            if message.bytes() > largest {
                outcome = Ok(Sent::TooLarge);
                break;
            }
            match publish(link, &subject, &shown, message).await {
                Ok(()) => there += 1,
                Err(fault) => {
                    outcome = Err(fault);
                    break;
                }
            }
        }
        self.there = there;
        outcome
    }

    /// The stream that keeps the subject.
    async fn stream(&mut self) -> Result<Stream> {
        let (subject, shown) = (self.place.subject().to_owned(), self.shown.clone());
        let link = self.link().await?;
        let name = match link.jetstream.stream_by_subject(subject.as_str()).await {
            Ok(name) => name,
            Err(error) if error.kind() == GetStreamByNameErrorKind::NotFound => return Err(no_stream(&shown)),
            Err(error) => return Err(errors::silent(&shown, error)),
        };
        link.jetstream.get_stream(name).await.map_err(|error| match error.kind() {
            GetStreamErrorKind::JetStream(_) => errors::refused(&shown, error),
            _ => errors::silent(&shown, error),
        })
    }

    /// A reader that is at a place.
    async fn reader(&mut self, place: i64) -> Result<Consumer<pull::Config>> {
        if let Some((reader, at)) = &self.reader
            && *at == place
        {
            return Ok(reader.clone());
        }
        let stream = self.stream().await?;
        let config = pull::Config {
            description: Some("vice greed follow".to_owned()),
            deliver_policy: DeliverPolicy::ByStartSequence { start_sequence: place.unsigned_abs().max(1) },
            // How far it was read stands in the history.
            ack_policy: AckPolicy::None,
            filter_subject: self.place.subject().to_owned(),
            inactive_threshold: Duration::from_secs(60),
            ..pull::Config::default()
        };
        let made = stream.create_consumer(config).await.map_err(|error| errors::silent(&self.shown, error))?;
        self.reader = Some((made.clone(), place));
        Ok(made)
    }

    async fn read(&mut self, places: &Places) -> Result<Portion> {
        // A reader of a connection that is down gives nothing, which is not the same as that nothing came.
        self.link().await?;
        let place = places.get(PART).copied().unwrap_or(0);
        let mut portion = Portion::default();
        let fresh = self.reader.as_ref().is_none_or(|(_, at)| *at != place);
        if fresh {
            self.look_for_gap(place, &mut portion).await?;
        }
        let reader = self.reader(place).await?;
        let silent = |error: &dyn std::fmt::Display| errors::silent(&self.shown, error);
        let fetch = reader.fetch().max_messages(BATCH).max_bytes(PORTION_BYTES).expires(WAIT);
        let mut batch = fetch.messages().await.map_err(|error| silent(&error))?;
        let mut next = place;
        while let Some(message) = batch.next().await {
            let message = message.map_err(|error| silent(&error))?;
            let received = received(&message).map_err(|error| silent(&error))?;
            next = received.place + 1;
            portion.messages.push(received);
        }
        drop(batch);
        if let Some((_, at)) = &mut self.reader {
            *at = next;
        }
        portion.places.insert(PART.to_owned(), next);
        Ok(portion)
    }

    /// Whether what is next was removed meanwhile, and whether the stream is the one that it was.
    async fn look_for_gap(&mut self, place: i64, portion: &mut Portion) -> Result<()> {
        let stream = self.stream().await?;
        let state = &stream.cached_info().state;
        let (first, last) = (number(state.first_sequence), number(state.last_sequence));
        if place > last + 1 {
            let message = format!("The stream of {} ends at {last}, and {} was there.", self.shown, place - 1);
            return Err(Fault::new(Code::Backend, message)
                .hint("Was the stream made anew? With another --name it is taken in from its beginning."));
        }
        if place > 0 && place < first {
            portion.gaps.push(format!(
                "The messages {place} to {} of {} are not there any more.",
                first - 1,
                self.shown
            ));
        }
        Ok(())
    }
}

fn number(sequence: u64) -> i64 {
    i64::try_from(sequence).unwrap_or(i64::MAX)
}

fn no_stream(shown: &str) -> Fault {
    Fault::new(Code::Backend, format!("No stream of JetStream keeps the subject of {shown}."))
        .hint("Make one, for example with `nats stream add`: without one nobody acknowledges what was sent.")
}

async fn publish(link: &Link, subject: &str, shown: &str, message: &Message) -> Result<()> {
    let mut headers = HeaderMap::new();
    for (name, value) in &message.headers {
        headers.insert(name.as_str(), value.as_str());
    }
    // The server takes the same id once, as long as it remembers it.
    headers.insert(header::NATS_MESSAGE_ID, Digest::of(message.id.as_bytes()).to_string());
    let body = Bytes::copy_from_slice(message.body.as_bytes());
    let failed = |error| match errors::publishing(shown, &error) {
        Unwritten::Fault(fault) => fault,
        Unwritten::NoStream => no_stream(shown),
        Unwritten::Lost => errors::refused(shown, error),
    };
    let sent = link.jetstream.publish_with_headers(subject.to_owned(), headers, body).await.map_err(failed)?;
    sent.await.map(drop).map_err(failed)
}

fn received(message: &jetstream::Message) -> std::result::Result<Received, async_nats::Error> {
    let info = message.info()?;
    let nanoseconds = info.published.unix_timestamp_nanos();
    let time = i64::try_from(nanoseconds / 1_000_000).unwrap_or(0);
    let mut headers = Vec::new();
    for (name, values) in message.headers.iter().flat_map(HeaderMap::iter) {
        let name: &str = name.as_ref();
        headers.extend(values.iter().map(|value| (name.to_owned(), value.as_str().as_bytes().to_vec())));
    }
    let place = number(info.stream_sequence);
    Ok(Received { part: PART.to_owned(), place, body: Some(message.payload.to_vec()), headers, time })
}

#[async_trait]
impl Outlet for Exchange {
    fn style(&self) -> Style {
        Style::Encoded
    }

    async fn claim(&mut self, _: &[Message], _: u64) -> Result<Option<Claim>> {
        Ok(None)
    }

    async fn send(&mut self, messages: &[Message], _: Option<&Claim>) -> Result<Sent> {
        let sent = self.publish(messages).await;
        self.heard(sent)
    }

    fn settled(&mut self) {
        self.there = 0;
    }
}

#[async_trait]
impl Inlet for Exchange {
    fn style(&self) -> Style {
        Style::Encoded
    }

    async fn begin(&mut self, begin: Begin) -> Result<Places> {
        let stream = self.stream().await;
        let state = self.heard(stream)?.cached_info().state.clone();
        let place = if begin == Begin::Earliest { state.first_sequence.max(1) } else { state.last_sequence + 1 };
        Ok([(PART.to_owned(), number(place))].into())
    }

    async fn next(&mut self, places: &Places) -> Result<Portion> {
        let read = self.read(places).await;
        self.heard(read)
    }

    async fn at_end(&mut self, places: &Places) -> Result<bool> {
        let Some((mut reader, at)) = self.reader.clone() else { return Ok(false) };
        let info = reader.info().await.map(|info| info.num_pending);
        let pending = self.heard(info.map_err(|error| errors::silent("NATS", error)))?;
        Ok(pending == 0 && places.get(PART) == Some(&at))
    }
}
