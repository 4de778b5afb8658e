//! `vice lust outbox`, `dead`, `retry` and `pump`: what waits, what was given up, and trying again.

use serde_json::{Value, json};
use vice_core::fold;
use vice_core::store::Append;
use vice_core::text::{Table, Tone};
use vice_core::time::ago;
use vice_core::ui::Outcome;
use vice_core::{App, Class, Code, Fault, Millis, Result};

use crate::message::Message;
use crate::outbox::{DeadLetter, Outbox, Pending};
use crate::payload::{OUTBOX, Retried};

async fn load(app: &App) -> Result<Outbox> {
    Ok(fold::load(app.events.as_ref(), OUTBOX).await?.0)
}

pub(super) async fn outbox(app: &App) -> Result<Outcome> {
    let outbox = load(app).await?;
    let mut pending: Vec<&Pending> = outbox.pending.values().collect();
    pending.sort_by_key(|pending| pending.order);
    let now = app.clock.now();
    let mut table = Table::with_heading(&["key", "project", "channel", "tries", "next", "title", "last error"]);
    for pending in &pending {
        let next = match &pending.claim {
            Some(_) if !pending.ready(now) => "being sent".to_owned(),
            _ if pending.due <= now => "now".to_owned(),
            _ => format!("in {}", Millis::between(now, pending.due)),
        };
        let error = pending.error.clone().unwrap_or_default();
        table.row(row(&pending.message, pending.attempts, next, error));
    }
    let json: Vec<Value> = pending.iter().map(|pending| json!(pending)).collect();
    let text = if json.is_empty() { "Nothing waits to be sent.\n".to_owned() } else { table.render() };
    Ok(Outcome::done(text, json!({ "pending": json, "cursor": outbox.cursor })))
}

pub(super) async fn dead(app: &App) -> Result<Outcome> {
    let outbox = load(app).await?;
    let mut letters: Vec<&DeadLetter> = outbox.dead.values().collect();
    letters.sort_by_key(|letter| letter.order);
    let now = app.clock.now();
    let mut table = Table::with_heading(&["key", "project", "channel", "tries", "given up", "title", "why"]);
    for letter in &letters {
        table.row(row(&letter.message, letter.attempts, ago(letter.since, now), letter.reason.clone()));
    }
    let json: Vec<Value> = letters.iter().map(|letter| json!(letter)).collect();
    let text = if json.is_empty() { "No message was given up.\n".to_owned() } else { table.render() };
    Ok(Outcome::done(text, json!({ "dead": json })))
}

fn row(message: &Message, tries: u32, when: String, why: String) -> [(Tone, String); 7] {
    [
        (Tone::Code, message.key.chars().take(12).collect()),
        (Tone::Strong, message.project.to_string()),
        (Tone::Plain, message.channel.clone()),
        (Tone::Plain, tries.to_string()),
        (Tone::Plain, when),
        (Tone::Plain, message.title.clone()),
        (Tone::Faint, why),
    ]
}

pub(super) async fn retry(app: &App, key: Option<&str>, all: bool) -> Result<Outcome> {
    let outbox = load(app).await?;
    let chosen: Vec<Message> = match key {
        Some(key) if !all => vec![find(&outbox, key)?.clone()],
        _ => outbox.dead.values().map(|letter| letter.message.clone()).collect(),
    };
    let mut events = Vec::new();
    for message in &chosen {
        events.push(app.event(OUTBOX, message.scope().as_ref(), &Retried { key: message.key.clone() })?);
    }
    if events.is_empty() {
        return Ok(Outcome::done("No message was given up.\n", json!({ "retried": 0, "delivered": 0 })));
    }
    app.events.append(Append::of(events)).await?;
    app.notifier.pump().await?;
    let left = load(app).await?;
    let open = |message: &&Message| left.pending.contains_key(&message.key) || left.dead.contains_key(&message.key);
    let open: Vec<&Message> = chosen.iter().filter(open).collect();
    let delivered = chosen.len() - open.len();
    let mut text = format!("{delivered} of {} delivered.\n", chosen.len());
    for message in &open {
        text.push_str(&left_over(&left, message));
    }
    let json = json!({ "retried": chosen.len(), "delivered": delivered });
    Ok(Outcome::done(text, json).with_class(if open.is_empty() { Class::Done } else { Class::Failed }))
}

fn left_over(outbox: &Outbox, message: &Message) -> String {
    let reason = match (outbox.pending.get(&message.key), outbox.dead.get(&message.key)) {
        (Some(pending), _) => pending.error.as_deref().unwrap_or("it waits for its turn"),
        (None, Some(letter)) => letter.reason.as_str(),
        (None, None) => "",
    };
    let key: String = message.key.chars().take(12).collect();
    let line = format!("{key} {}: {reason}", message.channel);
    format!("{}\n", vice_core::text::sanitize(&line))
}

/// The one message, waiting or given up, whose key begins so.
fn find<'a>(outbox: &'a Outbox, key: &str) -> Result<&'a Message> {
    let waiting = outbox.pending.values().map(|pending| &pending.message);
    let all = waiting.chain(outbox.dead.values().map(|letter| &letter.message));
    let found: Vec<&Message> = all.filter(|message| message.key.starts_with(key)).collect();
    match found.as_slice() {
        [message] => Ok(message),
        [] => Err(Fault::new(Code::UnknownName, format!("No message has a key that begins with {key:?}."))
            .hint("`vice lust dead` and `vice lust outbox` list the keys.")),
        _ => Err(Fault::new(Code::Usage, format!("More than one key begins with {key:?}.")).hint("Give more of it.")),
    }
}

pub(super) async fn pump(app: &App) -> Result<Outcome> {
    let delivered = app.notifier.pump().await?;
    let outbox = load(app).await?;
    let (pending, dead) = (outbox.pending.len(), outbox.dead.len());
    let mut text = format!("{delivered} delivered, {pending} waiting.\n");
    if dead > 0 {
        text.push_str(&format!("{dead} were given up; `vice lust dead` lists them.\n"));
    }
    Ok(Outcome::done(text, json!({ "delivered": delivered, "pending": pending, "dead": dead })))
}
