//! CloudEvents from outside, in JSON: read strictly, so that two readers of one document can't see two different things.

use std::collections::BTreeMap;

use jiff::{SignedDuration, Timestamp};
use serde::de::DeserializeOwned;
use serde_json::value::RawValue;
use vice_core::event::{Actor, Event};
use vice_core::id::{EnvName, ProjectName, Scope};
use vice_core::text::sanitize;
use vice_core::{Code, Context as _, Fault, Result};

use crate::strict;

/// Clocks differ, but not by more than this.
const AHEAD_MAX: SignedDuration = SignedDuration::from_hours(24);

const NEEDED: &str = "It needs specversion \"1.0\", id, source and type; data is any JSON.";

/// The attributes of a CloudEvent in structured JSON, each as it was written.
struct Attributes(BTreeMap<String, Box<RawValue>>);

impl Attributes {
    fn parse(text: &str) -> Result<Self> {
        serde_json::from_str(text).map(Self).map_err(|error| not_a_cloudevent().because(error))
    }

    /// Takes an attribute out; null is as good as absent.
    fn take<T: DeserializeOwned>(&mut self, name: &str) -> Result<Option<T>> {
        let Some(raw) = self.0.remove(name).filter(|raw| raw.get() != "null") else { return Ok(None) };
        serde_json::from_str(raw.get()).map(Some).map_err(|error| {
            Fault::new(Code::Usage, format!("The attribute {name} of the CloudEvent does not make sense."))
                .because(error)
        })
    }

    fn need(&mut self, name: &str) -> Result<String> {
        self.take(name)?.ok_or_else(|| Fault::new(Code::Usage, format!("The CloudEvent has no {name}.")).hint(NEEDED))
    }
}

fn not_a_cloudevent() -> Fault {
    Fault::new(Code::Usage, "This is not a CloudEvent in JSON.").hint(NEEDED)
}

/// Events from outside have no stream of their own making: they gather by project and environment.
pub(crate) fn stream(scope: Option<&Scope>) -> String {
    scope.map_or_else(|| "inbox".to_owned(), |scope| format!("inbox/{}/{}", scope.project, scope.env))
}

/// Reads a CloudEvent; gives the attributes that are not stored as well.
///
/// # Errors
/// `Usage` with what is wrong.
pub(crate) fn read(text: &str, given: Option<Scope>, actor: &Actor, now: Timestamp) -> Result<(Event, Vec<String>)> {
    strict::check(text)?;
    let mut cloud = Attributes::parse(text)?;
    if cloud.need("specversion")? != "1.0" {
        return Err(not_a_cloudevent());
    }
    require_json(&mut cloud)?;
    let time = match cloud.take::<String>("time")? {
        Some(text) => {
            text.parse().context(Code::Usage, || "The time of the CloudEvent is not in RFC 3339.".to_owned())?
        }
        None => now,
    };
    let (project, env) = (cloud.take::<ProjectName>("viceproject")?, cloud.take::<EnvName>("viceenv")?);
    let scope = given.or_else(|| project.zip(env).map(|(project, env)| Scope::new(project, env)));
    let event = Event {
        id: cloud.need("id")?,
        source: cloud.need("source")?,
        kind: cloud.need("type")?,
        subject: cloud.take("subject")?.unwrap_or_default(),
        time,
        stream: stream(scope.as_ref()),
        scope,
        actor: actor.clone(),
        data: cloud.0.remove("data").map_or_else(|| "null".to_owned(), |data| data.get().to_owned()),
    };
    let lost = cloud.0.keys().map(|key| sanitize(key).chars().take(40).collect()).collect();
    Ok((event, lost))
}

/// The documents of a batch, at most so many.
///
/// # Errors
/// `Usage` when it is no list, or too long.
pub(crate) fn batch(text: &str, at_most: usize) -> Result<Vec<Box<RawValue>>> {
    let all: Vec<Box<RawValue>> = serde_json::from_str(text)
        .map_err(|error| Fault::new(Code::Usage, "The batch is not a list of CloudEvents in JSON.").because(error))?;
    if all.len() > at_most {
        let message = format!("The batch has {} events; at most {at_most} are taken.", all.len());
        return Err(Fault::new(Code::Usage, message).hint("Send it in parts."));
    }
    Ok(all)
}

fn require_json(cloud: &mut Attributes) -> Result<()> {
    let kind: Option<String> = cloud.take("datacontenttype")?;
    if kind.is_none_or(|kind| is_json(&kind)) && !cloud.0.contains_key("data_base64") {
        return Ok(());
    }
    Err(Fault::new(Code::Usage, "The data of the CloudEvent is not JSON.")
        .hint("Only JSON data is stored; name other things by URL and digest."))
}

/// Whether a content type is JSON.
pub(crate) fn is_json(kind: &str) -> bool {
    let kind = kind.split(';').next().unwrap_or("").trim().to_ascii_lowercase();
    kind == "application/json" || kind == "text/json" || kind.ends_with("+json")
}

/// Refuses events from the future.
///
/// # Errors
/// `Usage`.
pub(crate) fn check_time(event: &Event, now: Timestamp) -> Result<()> {
    let latest = now.checked_add(AHEAD_MAX).unwrap_or(Timestamp::MAX);
    if event.time <= latest {
        return Ok(());
    }
    Err(Fault::new(Code::Usage, format!("The event is from the future: {}.", event.time))
        .hint("At most a day ahead of this machine's clock is accepted; check both clocks."))
}
