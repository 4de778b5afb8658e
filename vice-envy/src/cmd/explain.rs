//! `vice envy explain`: where one value comes from.

use std::sync::Arc;

use serde_json::{Value, json};
use vice_core::Result;
use vice_core::id::EnvName;
use vice_core::manifest::Project;
use vice_core::secret::masked;
use vice_core::text::{Table, Tone, paint, sanitize};
use vice_core::ui::Outcome;

use super::Desk;
use crate::locked::Lock;
use crate::render;
use crate::stack::{Stack, place};

pub(super) async fn run(desk: &Desk, project: &Arc<Project>, env: &EnvName, key: String) -> Result<Outcome> {
    desk.ui.format().among(&[])?;
    desk.envy.with_stack(project, env, move |stack, lock| explain(stack, lock, &key)).await
}

fn explain(stack: &Stack, lock: &Lock<'_>, key: &str) -> Result<Outcome> {
    let Some(effective) = stack.say(key) else {
        return Err(stack.unknown(key));
    };
    // Where a value comes from can be told even to those who can't open it.
    let locked = stack.entry(key, &effective, lock).err().map(|fault| fault.to_string());
    let says = stack.says(key);
    // One layer that has it as a secret is enough to hide what the others have.
    let secret = says.iter().any(|say| stack.is_secret(key, say));
    let value = |value: &Value| if secret { Value::String(masked(key)) } else { value.clone() };
    let mut table = Table::with_heading(&["", "value", "origin"]);
    let mut steps = Vec::new();
    for (index, say) in says.iter().enumerate() {
        let shown = value(&say.found.value);
        let (tone, what) = if index == 0 { (Tone::Strong, "effective") } else { (Tone::Faint, "overrides") };
        table.row([(tone, what.to_owned()), (tone, render::as_text(&shown)), (Tone::Faint, place(&say.origin()))]);
        steps.push(json!({ "value": shown, "layer": say.layer.name, "line": say.found.line, "encrypted_layer": say.layer.sealed }));
    }
    let others = stack.layers().iter().filter(|layer| layer.sheet.get(key).is_none());
    let silent: Vec<&str> = others.map(|layer| layer.name.as_str()).collect();
    let mut text = format!("{}\n{}", sanitize(key), table.render());
    if !silent.is_empty() {
        text.push_str(&format!("\nNot in {}.\n", sanitize(&silent.join(", "))));
    }
    if let Some(why) = &locked {
        text.push_str(&format!("\n{}\n", paint(Tone::Bad, sanitize(why))));
    }
    let mut steps = steps.into_iter();
    let json = json!({
        "key": key,
        "secret": secret,
        "effective": steps.next(),
        "overrides": steps.collect::<Vec<_>>(),
        "absent_in": silent,
        "locked": locked,
    });
    Ok(Outcome::done(text, json))
}
