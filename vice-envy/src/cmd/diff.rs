//! `vice envy diff`: what differs between two environments, or between revisions of one.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use serde_json::{Value, json};
use vice_core::fold;
use vice_core::fold::environment::EnvironmentState;
use vice_core::id::{EnvName, Scope};
use vice_core::manifest::Project;
use vice_core::payload::config::{ConfigRecorded, StoredEntry, StoredValue};
use vice_core::payload::environment_stream;
use vice_core::port::config::{ConfigEntry, ConfigSource, ConfigValue};
use vice_core::secret::masked;
use vice_core::text::{Table, Tone};
use vice_core::ui::{Format, Outcome};
use vice_core::{Code, Fault, Result, Secret};

use super::running::Running;
use super::{Desk, history, markdown};
use crate::render;
use crate::site::Named;
use crate::source::Ask;
use crate::stack::Stack;

/// One of the two configurations.
pub(super) struct Side {
    /// What people call it.
    pub(super) title: String,
    pub(super) entries: BTreeMap<String, ConfigEntry>,
}

/// What is compared: two environments, one environment at a revision with itself now, or at two revisions.
pub(super) struct Pair {
    pub(super) from: EnvName,
    pub(super) to: Option<EnvName>,
    pub(super) at: Vec<String>,
    /// Whether the first is what is deployed there.
    pub(super) deployed: bool,
}

impl Pair {
    /// The two configurations with their titles.
    fn asks(self, named: &Named) -> Result<[(String, Ask); 2]> {
        let ask = |env: &EnvName, at: Option<&String>| {
            let title = at.map_or_else(|| env.to_string(), |at| format!("{env} at {at}"));
            (title, Ask { env: env.clone(), named: named.clone(), at: at.cloned() })
        };
        let Self { from, to, at, deployed: _ } = self;
        match (to, at.as_slice()) {
            (Some(to), []) => Ok([ask(&from, None), ask(&to, None)]),
            (Some(to), [at]) => Ok([ask(&from, Some(at)), ask(&to, Some(at))]),
            (Some(to), [first, second]) => Ok([ask(&from, Some(first)), ask(&to, Some(second))]),
            (None, [at]) => Ok([ask(&from, Some(at)), ask(&from, None)]),
            (None, [first, second]) => Ok([ask(&from, Some(first)), ask(&from, Some(second))]),
            (None, _) => Err(Fault::new(Code::Usage, format!("What is {from} to be compared with?"))
                .hint("Name a second environment, a revision with --at, or say --deployed.")),
            (Some(_), _) => Err(Fault::new(Code::Usage, "Two revisions at most can be compared.")),
        }
    }
}

pub(super) async fn run(desk: &Desk, project: &Arc<Project>, pair: Pair, named: &Named, all: bool) -> Result<Outcome> {
    let format = desk.ui.format().among(&[Format::Markdown])?;
    if pair.deployed {
        let scope = Scope::new(project.name().clone(), pair.from);
        let recorded = deployed(desk, &scope).await?;
        let running = Running::of(desk, &scope, recorded.as_ref()).await?;
        let entries = recorded.as_ref().map(by_digest).unwrap_or_default();
        let side = Side { title: format!("{} as deployed", scope.env), entries };
        let mut outcome = compare(&side, &next(desk, project, &scope).await?, all, format);
        outcome.json["running"] = running.json();
        // A document stands alone.
        if format != Format::Markdown {
            outcome.text.push_str(&running.text());
        }
        return Ok(outcome);
    }
    let mut sides = Vec::new();
    for (title, ask) in pair.asks(named)? {
        sides.push(Side { title, entries: desk.envy.with_stack_of(project, ask, Stack::entries).await? });
    }
    Ok(compare(&sides[0], &sides[1], all, format))
}

/// The configuration that was recorded for what runs in an environment; none where it was deployed without one.
async fn deployed(desk: &Desk, scope: &Scope) -> Result<Option<ConfigRecorded>> {
    let stream = environment_stream(scope);
    let (state, _) = fold::load::<EnvironmentState>(desk.events.as_ref(), &stream).await?;
    let running = state.running.ok_or_else(|| {
        Fault::new(Code::UnknownName, format!("Nothing is deployed in {scope}."))
            .hint("Compare with another environment, or with a revision by --at.")
    })?;
    let Some(digest) = running.release.config else { return Ok(None) };
    match history::find(desk, scope, &digest).await? {
        Some(recorded) => Ok(Some(recorded)),
        None => Err(Fault::new(Code::ConfigInvalid, format!("What {scope} runs with is not in the history."))),
    }
}

/// What the next deploy would give it.
async fn next(desk: &Desk, project: &Arc<Project>, scope: &Scope) -> Result<Side> {
    let config = desk.envy.resolve(project, &scope.env).await?;
    let recorded = desk.envy.record(scope, &config);
    Ok(Side { title: format!("{} now", scope.env), entries: by_digest(&recorded) })
}

/// The entries of a record; a secret, of which a record has the name only, is compared by its keyed digest.
fn by_digest(recorded: &ConfigRecorded) -> BTreeMap<String, ConfigEntry> {
    let entry = |(key, (entry, digest)): (String, (&StoredEntry, Option<&String>))| {
        let value = match &entry.value {
            StoredValue::Plain(value) => ConfigValue::Plain(value.clone()),
            StoredValue::Secret(name) => ConfigValue::Secret(Secret::new(digest.unwrap_or(name).as_str())),
        };
        (key, ConfigEntry { value, origin: entry.origin.clone() })
    };
    recorded.named_entries().into_iter().map(entry).collect()
}

/// What differs between two configurations, whatever they come from.
pub(super) fn compare(one: &Side, two: &Side, all: bool, format: Format) -> Outcome {
    let (from, to) = (&one.entries, &two.entries);
    let keys: BTreeSet<&String> = from.keys().chain(to.keys()).collect();
    let rows: Vec<Row> =
        keys.into_iter().map(|key| Row::of(key, from, to)).filter(|row| all || row.state != "equal").collect();
    let mut table = Table::with_heading(&["key", "", one.title.as_str(), two.title.as_str()]);
    for row in &rows {
        table.row([
            (Tone::Strong, row.key.clone()),
            (row.tone(), row.state.to_owned()),
            cell(&row.from),
            cell(&row.to),
        ]);
    }
    let text = if format == Format::Markdown {
        let shown = rows.iter().map(|row| (row.key.as_str(), row.state, row.from.as_ref(), row.to.as_ref()));
        markdown::render([&one.title, &two.title], shown)
    } else if rows.is_empty() {
        format!("{} and {} have the same configuration.\n", one.title, two.title)
    } else {
        table.render()
    };
    let list: Vec<Value> = rows.iter().map(Row::json).collect();
    Outcome::done(text, json!({ "from": one.title, "to": two.title, "keys": list }))
}

fn cell(value: &Option<Value>) -> (Tone, String) {
    match value {
        Some(value) => (Tone::Plain, render::as_text(value)),
        None => (Tone::Faint, "-".to_owned()),
    }
}

struct Row {
    key: String,
    state: &'static str,
    secret: bool,
    from: Option<Value>,
    to: Option<Value>,
}

impl Row {
    fn of(key: &str, from: &BTreeMap<String, ConfigEntry>, to: &BTreeMap<String, ConfigEntry>) -> Self {
        let (from, to) = (from.get(key).map(|entry| &entry.value), to.get(key).map(|entry| &entry.value));
        // What is secret on one side is hidden on both: the other side may be an older form of the same.
        let secret = [from, to].into_iter().flatten().any(|value| matches!(value, ConfigValue::Secret(_)));
        let shown = |value: Option<&ConfigValue>| {
            value.map(|value| if secret { Value::String(masked(key)) } else { render::shown(key, value, false) })
        };
        let state = match (from, to) {
            (Some(one), Some(two)) if one == two => "equal",
            (Some(_), Some(_)) => "changed",
            (None, _) => "added",
            (_, None) => "removed",
        };
        Self { key: key.to_owned(), state, secret, from: shown(from), to: shown(to) }
    }

    fn tone(&self) -> Tone {
        match self.state {
            "added" => Tone::Good,
            "removed" => Tone::Bad,
            "changed" => Tone::Warn,
            _ => Tone::Faint,
        }
    }

    fn json(&self) -> Value {
        json!({ "key": self.key, "state": self.state, "secret": self.secret, "from": self.from, "to": self.to })
    }
}
