//! The connection to a server and the two streams there: one for batches, one for signs of life.

use std::path::PathBuf;
use std::time::Duration;

use async_nats::connection::State;
use async_nats::header::{HeaderMap, NATS_EXPECTED_LAST_SEQUENCE, NATS_EXPECTED_STREAM};
use async_nats::jetstream::context::{CreateStreamErrorKind, GetStreamErrorKind};
use async_nats::jetstream::stream::{Config, DiscardPolicy, RetentionPolicy, StorageType, Stream};
use async_nats::jetstream::{self, ErrorCode};
use async_nats::{Client, ConnectOptions};
use bytes::Bytes;
use vice_core::app::ProcessEnv;
use vice_core::{Code, Fault, Result};

use super::errors::{self, Unwritten};
use super::parts::{PART, PAYLOAD_MIN};
use super::place::NatsPlace;

/// How long a connection and an answer are waited for.
const CONNECT: Duration = Duration::from_secs(5);
const ANSWER: Duration = Duration::from_secs(10);

/// The largest file with credentials.
const CREDS_BYTES_MAX: u64 = 64 * 1024;

/// A connection that is up.
pub(super) struct Link {
    client: Client,
    jetstream: jetstream::Context,
    place: NatsPlace,
    shown: String,
}

/// Who connects, as the variables say, and whether it must be encrypted.
///
/// # Errors
/// `Usage` for credentials that can't be used.
pub(crate) async fn options(tls: bool, env: &ProcessEnv) -> Result<ConnectOptions> {
    let mut options =
        ConnectOptions::new().name("vice").connection_timeout(CONNECT).request_timeout(Some(ANSWER)).require_tls(tls);
    if let Some(file) = env.get("NATS_CA") {
        options = options.add_root_certificates(PathBuf::from(file));
    }
    if let Some(file) = env.get("NATS_CREDS") {
        let unusable = |why: String| {
            Fault::new(Code::Usage, format!("The file {file} that NATS_CREDS names can't be used.")).because(why)
        };
        let size = std::fs::metadata(file).map_err(|error| unusable(error.to_string()))?.len();
        if size > CREDS_BYTES_MAX {
            return Err(unusable("it is too large".to_owned()));
        }
        let text = std::fs::read_to_string(file).map_err(|error| unusable(error.to_string()))?;
        // The cause may repeat the file, which is a secret.
        return options.credentials(&text).map_err(|_| unusable("it holds no credentials".to_owned()));
    }
    if let Some(seed) = env.get("NATS_NKEY") {
        return Ok(options.nkey(seed.to_owned()));
    }
    if let Some(token) = env.get("NATS_TOKEN") {
        return Ok(options.token(token.to_owned()));
    }
    Ok(match (env.get("NATS_USER"), env.get("NATS_PASSWORD")) {
        (Some(user), password) => options.user_and_password(user.to_owned(), password.unwrap_or_default().to_owned()),
        (None, _) => options,
    })
}

impl Link {
    pub(super) async fn connect(place: &NatsPlace, env: &ProcessEnv) -> Result<Self> {
        let shown = place.shown();
        let options = options(place.tls, env).await?;
        let client = options.connect(place.server()).await.map_err(|error| errors::connecting(&shown, &error))?;
        let found = client.server_info();
        if !found.jetstream {
            return Err(Fault::new(Code::Unsupported, format!("{shown} runs without JetStream."))
                .hint("Start nats-server with -js, and with sync_interval: always in its jetstream block."));
        }
        if client.max_payload() < PAYLOAD_MIN {
            return Err(Fault::new(Code::Unsupported, format!("{shown} takes no message that holds an event."))
                .hint("Raise max_payload of the server; a mebibyte is its own choice."));
        }
        let mut jetstream = jetstream::new(client.clone());
        jetstream.set_timeout(ANSWER);
        Ok(Self { client, jetstream, place: place.clone(), shown })
    }

    /// Whether the connection still stands, as far as this side knows.
    pub(super) fn is_up(&self) -> bool {
        self.client.connection_state() == State::Connected
    }

    pub(super) fn max_payload(&self) -> usize {
        self.client.max_payload()
    }

    fn subject(&self, what: &str) -> String {
        format!("vice.{}.{what}", self.place.stream)
    }

    fn alive_name(&self) -> String {
        format!("{}-alive", self.place.stream)
    }

    async fn find(&self, name: &str) -> Result<Option<Stream>> {
        match self.jetstream.get_stream(name).await {
            Ok(stream) => Ok(Some(stream)),
            Err(error) => match error.kind() {
                GetStreamErrorKind::JetStream(said) if said.error_code() == ErrorCode::STREAM_NOT_FOUND => Ok(None),
                GetStreamErrorKind::JetStream(_) => Err(errors::refused(&self.shown, error)),
                _ => Err(errors::silent(&self.shown, error)),
            },
        }
    }

    async fn make(&self, config: Config) -> Result<Stream> {
        self.jetstream.create_stream(config).await.map_err(|error| match error.kind() {
            CreateStreamErrorKind::TimedOut | CreateStreamErrorKind::Response => errors::silent(&self.shown, error),
            _ => errors::refused(&self.shown, error),
        })
    }

    /// The stream of batches, where it is there, and fit for a history.
    pub(super) async fn batches(&self) -> Result<Option<Stream>> {
        let Some(stream) = self.find(&self.place.stream).await? else { return Ok(None) };
        match unfit(&stream.cached_info().config, &self.subject("history")) {
            None => Ok(Some(stream)),
            Some(why) => Err(Fault::new(Code::Unsupported, format!("The stream of {} {why}.", self.shown))
                .hint("Name a stream that does not exist; vice makes it as a history needs it.")),
        }
    }

    /// Makes the stream of batches.
    pub(super) async fn make_batches(&self) -> Result<()> {
        let config = Config {
            name: self.place.stream.clone(),
            subjects: vec![self.subject("history")],
            description: Some("The history of vice: batches in one order. Nothing here is ever deleted.".to_owned()),
            retention: RetentionPolicy::Limits,
            discard: DiscardPolicy::New,
            storage: StorageType::File,
            num_replicas: self.place.replicas,
            deny_delete: true,
            deny_purge: true,
            ..Config::default()
        };
        self.make(config).await.map(drop)
    }

    /// Writes a message behind the one with this number.
    pub(super) async fn publish(&self, expected: u64, part: Option<String>, bytes: Bytes) -> Result<u64, Unwritten> {
        let mut headers = HeaderMap::new();
        headers.insert(NATS_EXPECTED_LAST_SEQUENCE, expected.to_string());
        headers.insert(NATS_EXPECTED_STREAM, self.place.stream.as_str());
        if let Some(part) = part {
            headers.insert(PART, part);
        }
        let failed = |error| errors::publishing(&self.shown, &error);
        let sent = self.jetstream.publish_with_headers(self.subject("history"), headers, bytes).await;
        sent.map_err(failed)?.await.map(|ack| ack.sequence).map_err(failed)
    }

    /// Leaves a sign of life under a name.
    pub(super) async fn beat(&self, name: &str, mark: &str) -> Result<()> {
        if self.find(&self.alive_name()).await?.is_none() {
            let config = Config {
                name: self.alive_name(),
                subjects: vec![self.subject("alive.*")],
                description: Some("Signs of life of whoever holds a lease: the last one of each.".to_owned()),
                max_messages_per_subject: 1,
                storage: StorageType::File,
                num_replicas: self.place.replicas,
                ..Config::default()
            };
            self.make(config).await?;
        }
        let subject = self.subject(&format!("alive.{name}"));
        let unsent = |error| errors::silent(&self.shown, error);
        let sent = self.jetstream.publish(subject, Bytes::copy_from_slice(mark.as_bytes())).await.map_err(unsent)?;
        sent.await.map(drop).map_err(unsent)
    }

    /// The number of the last sign of life under a name.
    pub(super) async fn pulse(&self, name: &str) -> Result<Option<String>> {
        use async_nats::jetstream::stream::LastRawMessageErrorKind;
        let Some(stream) = self.find(&self.alive_name()).await? else { return Ok(None) };
        match stream.get_last_raw_message_by_subject(&self.subject(&format!("alive.{name}"))).await {
            Ok(message) => Ok(Some(message.sequence.to_string())),
            Err(error) if error.kind() == LastRawMessageErrorKind::NoMessageFound => Ok(None),
            Err(error) => Err(errors::silent(&self.shown, error)),
        }
    }
}

/// Why a stream that is there can't hold a history: it would forget.
fn unfit(config: &Config, subject: &str) -> Option<&'static str> {
    let forgets = config.max_messages > 0
        || config.max_bytes > 0
        || config.max_messages_per_subject > 0
        || !config.max_age.is_zero();
    let odd = [
        (forgets && config.discard != DiscardPolicy::New, "drops old messages when it is full"),
        (!config.max_age.is_zero(), "drops messages of some age"),
        (config.retention != RetentionPolicy::Limits, "drops messages that were read"),
        (config.storage != StorageType::File, "is kept in memory"),
        (config.allow_rollup, "lets a message replace all before it"),
        (!config.subjects.iter().any(|known| known == subject), "belongs to something else"),
    ];
    odd.iter().find(|(is, _)| *is).map(|(_, why)| *why)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn streams_that_forget_are_not_fit() {
        let good = Config { subjects: vec!["s".into()], ..Config::default() };
        assert_eq!(unfit(&good, "s"), None);
        for (config, said) in [
            (Config { max_messages: 10, ..good.clone() }, "old messages"),
            (Config { max_age: Duration::from_secs(1), discard: DiscardPolicy::New, ..good.clone() }, "some age"),
            (Config { retention: RetentionPolicy::WorkQueue, ..good.clone() }, "were read"),
            (Config { storage: StorageType::Memory, ..good.clone() }, "memory"),
            (Config { allow_rollup: true, ..good.clone() }, "replace"),
            (Config { subjects: vec!["t".into()], ..good }, "something else"),
        ] {
            assert!(unfit(&config, "s").unwrap().contains(said), "{config:?}");
        }
    }
}
