//! `vice envy diff`: what differs between two environments.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use serde_json::{Value, json};
use vice_core::Result;
use vice_core::id::EnvName;
use vice_core::manifest::Project;
use vice_core::port::config::{ConfigEntry, ConfigValue};
use vice_core::secret::masked;
use vice_core::text::{Table, Tone};
use vice_core::ui::{Format, Outcome};

use super::{Desk, markdown};
use crate::render;
use crate::stack::Stack;

pub(super) async fn run(desk: &Desk, project: &Arc<Project>, envs: [&EnvName; 2], all: bool) -> Result<Outcome> {
    let format = desk.ui.format().among(&[Format::Markdown])?;
    let mut sides = Vec::new();
    for env in envs {
        sides.push(desk.envy.with_stack(project, env, Stack::entries).await?);
    }
    let (from, to) = (&sides[0], &sides[1]);
    let keys: BTreeSet<&String> = from.keys().chain(to.keys()).collect();
    let rows: Vec<Row> =
        keys.into_iter().map(|key| Row::of(key, from, to)).filter(|row| all || row.state != "equal").collect();
    let mut table = Table::with_heading(&["key", "", envs[0].as_str(), envs[1].as_str()]);
    for row in &rows {
        table.row([
            (Tone::Strong, row.key.clone()),
            (row.tone(), row.state.to_owned()),
            cell(&row.from),
            cell(&row.to),
        ]);
    }
    let text = if format == Format::Markdown {
        markdown::render(envs, rows.iter().map(|row| (row.key.as_str(), row.state, row.from.as_ref(), row.to.as_ref())))
    } else if rows.is_empty() {
        format!("{} and {} have the same configuration.\n", envs[0], envs[1])
    } else {
        table.render()
    };
    let list: Vec<Value> = rows.iter().map(Row::json).collect();
    Ok(Outcome::done(text, json!({ "from": envs[0], "to": envs[1], "keys": list })))
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
