//! Which events a command is about: what the store finds by index, and what only a look into the data can tell.

use clap::Args;
use jiff::Timestamp;
use serde_json::Value;
use vice_core::event::Recorded;
use vice_core::id::{EnvName, ProjectName};
use vice_core::store::{EventStore, Order, PAGE_MAX, Query};
use vice_core::{Code, Fault, Result};

use super::moment;

/// Events that are looked into at a time.
const LOOK: usize = 1000;

/// Steps of one path; no document that anybody reads is deeper.
const STEPS_MAX: usize = 64;

#[derive(Debug, Args)]
pub(super) struct Filter {
    /// Only events of this project
    #[arg(short, long, value_name = "NAME")]
    project: Option<ProjectName>,
    /// Only events of this environment
    #[arg(short, long, value_name = "NAME")]
    env: Option<EnvName>,
    /// Only events of this type; * at the end stands for anything; can be given several times
    #[arg(short = 't', long = "type", value_name = "TYPE")]
    kinds: Vec<String>,
    /// Only events of this stream
    #[arg(long, value_name = "STREAM")]
    stream: Option<String>,
    /// Only events with this in their data: a path such as subject.content.outcome, alone or with =VALUE or !=VALUE; [2] is
    /// the third of a list; can be given several times
    #[arg(short, long = "where", value_name = "PATH[=VALUE]")]
    wheres: Vec<String>,
}

#[derive(Debug, Args)]
pub(super) struct Span {
    /// Not before this time: how long ago (2h, 3d), or a time such as 2026-07-14T09:00:00Z
    #[arg(long, value_name = "TIME")]
    since: Option<String>,
    /// Before this time, written in the same way
    #[arg(long, value_name = "TIME")]
    until: Option<String>,
}

impl Span {
    pub(super) fn add(self, query: &mut Query, now: Timestamp) -> Result<()> {
        query.since = self.since.map(|text| moment(&text, now)).transpose()?;
        query.until = self.until.map(|text| moment(&text, now)).transpose()?;
        Ok(())
    }
}

impl Filter {
    /// The newest first.
    pub(super) fn query(self, limit: u32) -> Result<(Query, Vec<Where>)> {
        check_kinds(&self.kinds)?;
        let wheres = self.wheres.iter().map(|text| Where::parse(text)).collect::<Result<_>>()?;
        let query = Query {
            project: self.project,
            env: self.env,
            kinds: self.kinds,
            stream: self.stream,
            limit: usize::try_from(limit).unwrap_or(PAGE_MAX),
            order: Order::Backward,
            ..Query::default()
        };
        Ok((query, wheres))
    }
}

/// Refuses types with a star in their middle.
///
/// # Errors
/// `Usage`.
pub(super) fn check_kinds(kinds: &[String]) -> Result<()> {
    let odd = kinds.iter().find(|kind| kind.trim_end_matches('*').contains('*') || kind.ends_with("**"));
    let Some(kind) = odd else { return Ok(()) };
    let shown: String = kind.chars().take(80).collect();
    Err(Fault::new(Code::Usage, format!("The type {shown:?} has a * that is not at its end."))
        .hint("Write for example 'dev.cdevents.service.*'."))
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Step {
    Key(String),
    At(usize),
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Wanted {
    There,
    Is(String),
    IsNot(String),
}

/// What the data of an event must have.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Where {
    steps: Vec<Step>,
    wanted: Wanted,
}

impl Where {
    fn parse(text: &str) -> Result<Self> {
        let (path, wanted) = match text.split_once('=') {
            None => (text, Wanted::There),
            Some((path, value)) => match path.strip_suffix('!') {
                Some(path) => (path, Wanted::IsNot(value.to_owned())),
                None => (path, Wanted::Is(value.to_owned())),
            },
        };
        let bad = || {
            let shown: String = text.chars().take(80).collect();
            Fault::new(Code::Usage, format!("{shown:?} is no condition on the data of events."))
                .hint("Write for example subject.content.outcome=failed or subject.content.tasks[0].")
        };
        let path = path.strip_prefix("$.").unwrap_or(path);
        let steps = path.split('.').map(part).collect::<Option<Vec<_>>>().ok_or_else(bad)?;
        let steps: Vec<Step> = steps.into_iter().flatten().collect();
        if steps.len() > STEPS_MAX { Err(bad()) } else { Ok(Self { steps, wanted }) }
    }

    fn fits(&self, data: &Value) -> bool {
        let found = self.steps.iter().try_fold(data, |at, step| match step {
            Step::Key(key) => at.get(key),
            Step::At(index) => at.get(index),
        });
        match &self.wanted {
            Wanted::There => found.is_some(),
            Wanted::Is(value) => found.is_some_and(|found| says(found, value)),
            Wanted::IsNot(value) => found.is_some_and(|found| !says(found, value)),
        }
    }
}

/// `key`, `key[0]`, `key[0][1]`.
fn part(text: &str) -> Option<Vec<Step>> {
    let (key, mut rest) = text.split_at(text.find('[').unwrap_or(text.len()));
    let mut steps = if key.is_empty() { Vec::new() } else { vec![Step::Key(key.to_owned())] };
    while !rest.is_empty() {
        let (index, after) = rest.strip_prefix('[')?.split_once(']')?;
        steps.push(Step::At(index.parse().ok()?));
        rest = after;
    }
    (!steps.is_empty()).then_some(steps)
}

fn says(found: &Value, value: &str) -> bool {
    match found {
        Value::String(text) => text == value,
        other => serde_json::to_string(other).is_ok_and(|text| text == value),
    }
}

/// Those whose data fits.
pub(super) fn fitting(mut events: Vec<Recorded>, wheres: &[Where]) -> Vec<Recorded> {
    if !wheres.is_empty() {
        events.retain(|recorded| {
            let data = serde_json::from_str::<Value>(&recorded.event.data);
            data.is_ok_and(|data| wheres.iter().all(|condition| condition.fits(&data)))
        });
    }
    events
}

/// As many fitting events as the query wants, however far back they are. One page is in memory at a time.
pub(super) async fn collect(store: &dyn EventStore, mut query: Query, wheres: &[Where]) -> Result<Vec<Recorded>> {
    if wheres.is_empty() {
        return store.read(&query).await;
    }
    let wanted = query.page();
    query.limit = LOOK;
    let mut all = Vec::new();
    loop {
        let page = store.read(&query).await?;
        let Some(last) = page.last().map(|last| last.seq) else { break };
        let full = page.len() == LOOK;
        all.extend(fitting(page, wheres));
        // Backward, 0 would mean from the end again.
        if all.len() >= wanted || !full || last <= 1 {
            break;
        }
        query.after = last;
    }
    all.truncate(wanted);
    Ok(all)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn paths_lead_into_the_data() {
        let data = json!({ "a": { "b": [1, { "c": "x=y" }] }, "n": null, "t": true });
        for (text, fits) in [
            ("a.b", true),
            ("$.a.b[0]=1", true),
            ("a.b[1].c=x=y", true),
            ("a.b[1].c!=z", true),
            ("a.b[2]", false),
            ("n=null", true),
            ("t=true", true),
            ("missing!=x", false),
            ("a.b[0]=2", false),
        ] {
            assert_eq!(Where::parse(text).unwrap().fits(&data), fits, "{text}");
        }
        for text in ["", "a..b", "a[x]", "a[0", "=x"] {
            assert_eq!(Where::parse(text).unwrap_err().code(), Code::Usage, "{text}");
        }
    }
}
