//! A history in a stream of NATS JetStream. A message is written on the condition that the last one known is still the end
//! (`Nats-Expected-Last-Sequence`), so that of several writers one wins. What a batch is, and what is decided, is
//! [`crate::shared`]'s.
//!
//! A server acknowledges before its disk has it unless it is told to sync always: every two minutes is its own choice.
//! Nothing in the protocol says which, so whoever writes the URL says it (`sync=always`), or where to ask
//! (`monitor=URL`); else vice warns.

pub(crate) mod errors;
mod link;
mod parts;
mod place;
mod subject;

#[cfg(test)]
pub(crate) mod tests;

use std::path::Path;
use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use futures::{StreamExt, TryStreamExt};
use vice_core::app::ProcessEnv;
use vice_core::capability::BackendInfo;
use vice_core::{Code, Digest, Fault, Result};

use crate::place::{Notices, Opening};
use crate::shared::SharedStore;
use crate::shared::batch::READ_BYTES_MAX;
use crate::shared::medium::{Known, Medium, Page, Pushed};

use errors::Unwritten;
use link::Link;
pub(crate) use link::options;
use parts::{Assembly, Message, PART};
pub use place::NatsPlace;
pub(crate) use subject::Subject;

/// So many messages are looked at before what they hold is handed on, and fetched at once.
const PAGE: u64 = 256;
const FETCHES: usize = 16;

/// The store of a place.
pub(crate) fn open(place: &NatsPlace, opening: &Opening) -> SharedStore {
    let folder = opening.state.join("shared").join(format!("nats-{}", Digest::of(place.shown().as_bytes()).short()));
    let medium = NatsMedium::new(place.clone(), Arc::clone(&opening.env), Arc::clone(&opening.notices));
    let info = BackendInfo { kind: "nats", location: place.shown(), shared: true };
    SharedStore::new(info, Box::new(medium), folder, Arc::clone(&opening.notices)).durable(place.is_durable())
}

/// A stream of a server.
struct NatsMedium {
    place: NatsPlace,
    env: Arc<ProcessEnv>,
    notices: Notices,
    link: Option<Link>,
    /// The last whole batch and the end of the stream, where parts that nobody finished lie between the two.
    torn: Option<(u64, u64)>,
    /// Whether it was asked how durable the server is.
    asked: bool,
}

impl NatsMedium {
    fn new(place: NatsPlace, env: Arc<ProcessEnv>, notices: Notices) -> Self {
        Self { place, env, notices, link: None, torn: None, asked: false }
    }

    /// The connection; a new one when the old one is down, because what is sent into that is sent at some later time.
    async fn link(&mut self) -> Result<&Link> {
        if !self.link.as_ref().is_some_and(Link::is_up) {
            self.link = None;
            self.link = Some(Link::connect(&self.place, &self.env).await?);
        }
        self.link.as_ref().ok_or_else(|| Fault::internal("There is no connection."))
    }

    /// After silence the connection is not used again.
    fn heard<T>(&mut self, result: Result<T>) -> Result<T> {
        if matches!(&result, Err(fault) if fault.code() == Code::Unreachable) {
            self.link = None;
        }
        result
    }

    async fn look(&mut self, known: &Known) -> Result<Page> {
        let from: u64 = known.tip.parse().unwrap_or(0);
        let shown = self.place.shown();
        let Some(stream) = self.link().await?.batches().await? else {
            return if from == 0 { Ok(Page::default()) } else { Err(damaged("The stream is not there any more.")) };
        };
        let state = &stream.cached_info().state;
        let end = state.last_sequence;
        if end < from {
            return Err(damaged(format!("The stream ends at message {end}; {from} was there.")));
        }
        if end > 0 && state.first_sequence > from + 1 {
            return Err(damaged(format!("The messages before {} are gone.", state.first_sequence)));
        }
        let (mut assembly, mut at) = (Assembly::default(), from);
        while at < end && assembly.whole.is_empty() {
            let upto = end.min(at + PAGE);
            let fetched = futures::stream::iter(at + 1..=upto).map(|sequence| fetch(&stream, sequence, &shown));
            let messages: Vec<Message> = fetched.buffered(FETCHES).try_collect().await?;
            for message in messages {
                assembly.add(&message).map_err(damaged)?;
            }
            if assembly.waiting() as u64 > READ_BYTES_MAX {
                return Err(damaged(format!("The batch before message {upto} is too large.")));
            }
            at = upto;
        }
        let tip = assembly.whole.last().map_or(from, |kept| kept.tip.parse().unwrap_or(from));
        self.torn = (at == end && tip < end).then_some((tip, end));
        Ok(Page { batches: assembly.whole, more: at < end })
    }

    async fn write(&mut self, known: &Known, bytes: &[u8]) -> Result<Pushed> {
        self.ask_durability().await;
        let tip: u64 = known.tip.parse().unwrap_or(0);
        let mut end = self.torn.filter(|(whole, _)| *whole == tip).map_or(tip, |(_, end)| end);
        let link = self.link().await?;
        let pieces = parts::cut(bytes, link.max_payload());
        let of = pieces.len();
        for (number, piece) in (1..).zip(pieces) {
            let part = (of > 1).then(|| format!("{number}/{of}"));
            let piece = Bytes::copy_from_slice(piece);
            let mut written = link.publish(end, part.clone(), piece.clone()).await;
            if end == 0 && matches!(written, Err(Unwritten::NoStream)) {
                link.make_batches().await?;
                written = link.publish(end, part, piece).await;
            }
            end = match written {
                Ok(sequence) => sequence,
                Err(Unwritten::Lost) => return Ok(Pushed::Lost),
                Err(Unwritten::NoStream) => return Err(damaged("The stream is not there any more.")),
                Err(Unwritten::Fault(fault)) => return Err(fault),
            };
        }
        self.torn = None;
        Ok(Pushed::Done(end.to_string()))
    }

    /// Says once, before the first event is written, what an acknowledgement of this server is worth.
    async fn ask_durability(&mut self) {
        if std::mem::replace(&mut self.asked, true) {
            return;
        }
        let shown = self.place.shown();
        let warning = match &self.place.monitor {
            Some(monitor) => match syncs_always(monitor).await {
                Ok(true) => None,
                Ok(false) if self.place.replicas >= 3 => None,
                Ok(false) => Some(format!(
                    "{shown} does not sync always: what it acknowledges may be gone after a power cut. Set sync_interval: always in its jetstream block."
                )),
                Err(why) => Some(format!("The monitor of {shown} does not say whether it syncs always: {why}.")),
            },
            None if self.place.is_durable() => None,
            None => Some(format!(
                "Nobody says whether {shown} syncs always; if not, what it acknowledges may be gone after a power cut. Set sync_interval: always in its jetstream block and write ?sync=always behind the URL, or ?monitor=http://HOST:8222 to have it asked."
            )),
        };
        if let Some(warning) = warning {
            (self.notices)(&warning);
        }
    }
}

/// Asks the monitor of a server.
async fn syncs_always(monitor: &url::Url) -> std::result::Result<bool, String> {
    let text = |error: reqwest::Error| error.without_url().to_string();
    let client = reqwest::Client::builder().timeout(std::time::Duration::from_secs(5)).build().map_err(text)?;
    let url = monitor.join("varz").map_err(|error| error.to_string())?;
    let answer = client.get(url).send().await.and_then(reqwest::Response::error_for_status).map_err(text)?;
    let found: serde_json::Value = answer.json().await.map_err(text)?;
    let config = found.pointer("/jetstream/config").ok_or("it tells nothing of JetStream")?;
    Ok(config.get("sync_always").and_then(serde_json::Value::as_bool).unwrap_or(false))
}

/// A message by its number.
async fn fetch(stream: &async_nats::jetstream::stream::Stream, sequence: u64, shown: &str) -> Result<Message> {
    use async_nats::jetstream::stream::LastRawMessageErrorKind::{JetStream, NoMessageFound};
    match stream.get_raw_message(sequence).await {
        Ok(found) => {
            let part = found.headers.get(PART).map(|value| value.as_str().to_owned());
            Ok(Message { sequence, part, bytes: found.payload.to_vec() })
        }
        Err(error) if error.kind() == NoMessageFound => Err(damaged(format!("The message {sequence} is gone."))),
        Err(error) => Err(match error.kind() {
            JetStream(_) => errors::refused(shown, error),
            _ => errors::silent(shown, error),
        }),
    }
}

fn damaged(message: impl Into<String>) -> Fault {
    Fault::new(Code::HistoryDamaged, message)
}

/// A scope may have letters that a subject must not.
fn beat_name(scope: &str) -> String {
    Digest::of(scope.as_bytes()).short()
}

#[async_trait]
impl Medium for NatsMedium {
    async fn pull(&mut self, known: &Known) -> Result<Page> {
        let page = self.look(known).await;
        self.heard(page)
    }

    async fn push(&mut self, known: &Known, bytes: &[u8], _: &str) -> Result<Pushed> {
        let pushed = self.write(known, bytes).await;
        self.heard(pushed)
    }

    async fn beat(&mut self, scope: &str, mark: &str) -> Result<()> {
        let left = match self.link().await {
            Ok(link) => link.beat(&beat_name(scope), mark).await,
            Err(fault) => Err(fault),
        };
        self.heard(left)
    }

    async fn pulse(&mut self, scope: &str) -> Result<Option<String>> {
        let found = match self.link().await {
            Ok(link) => link.pulse(&beat_name(scope)).await,
            Err(fault) => Err(fault),
        };
        self.heard(found)
    }

    fn elsewhere(&self, _: &Path) -> Box<dyn Medium> {
        let mut other = Self::new(self.place.clone(), Arc::clone(&self.env), Arc::clone(&self.notices));
        other.asked = true;
        Box::new(other)
    }
}
