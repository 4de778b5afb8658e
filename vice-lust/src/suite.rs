//! What a notifier that is a program must do. Under test nothing goes to a receiver: the program keeps what it would have
//! sent, and tells it when it is asked (`sent`).

use std::path::{Path, PathBuf};
use std::sync::Arc;

use futures::future::join_all;
use jiff::Timestamp;
use serde::Deserialize;
use serde_json::{Value, json};
use vice_core::app::ProcessEnv;
use vice_core::event::Actor;
use vice_core::id::ProjectName;
use vice_core::port::notifier::Severity;
use vice_core::secret::Masker;
use vice_core::{Code, Fault};
use vice_plugin::suite::{WITHIN, manners};
use vice_plugin::{Plugin, Port, Start};

use crate::channel::plugin::request;
use crate::message::{BODY_CHARS_MAX, Cause, Message, TITLE_CHARS_MAX};

/// The title of a message that must not be taken under test.
const BAD: &str = "bad";

/// What a notifier tells of a message that it would have sent.
#[derive(Debug, PartialEq, Eq, Deserialize)]
struct Sent {
    key: String,
    title: String,
    body: String,
}

/// The notifier `name` under test; what it keeps belongs into `dir`.
#[must_use]
pub fn under_test(name: &str, program: PathBuf, env: Arc<ProcessEnv>, dir: &Path) -> Plugin {
    let open = json!({
        "project": "test", "env": "dev", "channel": "test", "dir": dir, "settings": {}, "secrets": {}, "test": true,
    });
    Plugin::new(Start {
        name: name.to_owned(),
        program,
        env,
        dir: dir.to_owned(),
        port: Port::Notifier,
        open,
        masker: Masker::default(),
    })
}

/// Holds a notifier to every rule. `open` gives a process of its own for the place of a number, each time.
///
/// # Panics
/// With the rule that is broken.
pub async fn suite(open: impl Fn(usize) -> Plugin) {
    manners(&open(0)).await;
    what_is_taken_arrives(&open(1)).await;
    odd_texts_arrive_unharmed(&open(2)).await;
    what_was_taken_outlives_the_process(&open(3), &open(3)).await;
    what_is_refused_is_not_sent(&open(4)).await;
    several_at_once_lose_nothing(&open(5)).await;
    repeats(&open(6), &open(6)).await;
    let last = open(7);
    members_that_are_not_known_are_ignored(&last).await;
    assert_eq!(last.strays().await, 0, "every request has one answer, and nothing else is answered");
}

fn message(key: &str, title: &str, body: &str) -> Message {
    Message {
        key: key.to_owned(),
        project: ProjectName::new("test").expect("a project"),
        env: None,
        channel: "test".to_owned(),
        severity: Severity::Warning,
        title: title.to_owned(),
        body: body.to_owned(),
        time: Timestamp::UNIX_EPOCH,
        actor: Actor::system("test"),
        cause: Cause { id: "1".to_owned(), kind: "dev.test.thing.made".to_owned(), subject: "test".to_owned() },
    }
}

async fn send(plugin: &Plugin, message: &Message, repeat: bool) -> Result<Value, Fault> {
    plugin.call("send", &request(message, repeat), WITHIN).await
}

async fn taken(plugin: &Plugin, message: &Message, repeat: bool) {
    match send(plugin, message, repeat).await {
        Ok(Value::Null | Value::String(_)) => {}
        Ok(other) => panic!("the answer to send is a text or null, and not {other}"),
        Err(fault) => panic!("a message is taken: {fault:?}"),
    }
}

async fn sent(plugin: &Plugin) -> Vec<Sent> {
    plugin.ask("sent", &json!({}), WITHIN).await.expect("under test it tells what it has sent")
}

fn same(message: &Message) -> Sent {
    Sent { key: message.key.clone(), title: message.title.clone(), body: message.body.clone() }
}

async fn what_is_taken_arrives(plugin: &Plugin) {
    assert_eq!(sent(plugin).await, [], "at first nothing was sent");
    let both = [message("1", "First", ""), message("2", "Second", "With a text.")];
    for message in &both {
        taken(plugin, message, false).await;
    }
    assert_eq!(sent(plugin).await, both.each_ref().map(same), "what was taken was sent, in order");
}

async fn odd_texts_arrive_unharmed(plugin: &Plugin) {
    let long = message("long", &"ü".repeat(TITLE_CHARS_MAX), &"\"\\\n\t🦀 ".repeat(BODY_CHARS_MAX / 6));
    taken(plugin, &long, false).await;
    assert_eq!(sent(plugin).await, [same(&long)], "a long text with odd letters arrives as it was given");
}

async fn what_was_taken_outlives_the_process(one: &Plugin, other: &Plugin) {
    let message = message("1", "Kept", "");
    taken(one, &message, false).await;
    one.end().await;
    assert_eq!(
        sent(other).await,
        [same(&message)],
        "it answers after the message is sent, so that it can be killed then"
    );
}

async fn what_is_refused_is_not_sent(plugin: &Plugin) {
    let fault = send(plugin, &message("1", BAD, ""), false).await;
    let fault = fault.expect_err("under test a message with the title `bad` is not taken, and an error says so");
    let told = !matches!(fault.code(), Code::Unreachable | Code::TimedOut);
    assert!(told, "that a receiver does not take a message is an answer, and not the end: {fault:?}");
    assert_eq!(sent(plugin).await, [], "what was refused was not sent");
    let good = message("2", "Good", "");
    taken(plugin, &good, false).await;
    assert_eq!(sent(plugin).await, [same(&good)], "it goes on after a refusal");
}

async fn several_at_once_lose_nothing(plugin: &Plugin) {
    let all: Vec<Message> = (0..8).map(|n| message(&n.to_string(), &format!("Number {n}"), "")).collect();
    join_all(all.iter().map(|message| taken(plugin, message, false))).await;
    let mut keys: Vec<String> = sent(plugin).await.into_iter().map(|sent| sent.key).collect();
    keys.sort();
    assert_eq!(keys, (0..8).map(|n| n.to_string()).collect::<Vec<_>>(), "several messages at once are each sent once");
}

/// A repeat is taken in any case; who says that it drops repeats is held to it.
async fn repeats(one: &Plugin, other: &Plugin) {
    let message = message("1", "Once", "");
    taken(one, &message, false).await;
    taken(one, &message, true).await;
    taken(other, &message, true).await;
    if one.describe().await.expect("it says what it is").has("idempotent") {
        let rule = "who declares `idempotent` sends a key once, also when another process repeats it";
        assert_eq!(sent(other).await, [same(&message)], "{rule}");
    }
}

async fn members_that_are_not_known_are_ignored(plugin: &Plugin) {
    let message = message("1", "Later", "");
    let mut body = request(&message, false);
    body["later"] = json!({ "more": [1, 2] });
    body["message"]["later"] = json!(true);
    plugin.call("send", &body, WITHIN).await.expect("members of a later vice are ignored");
    assert_eq!(sent(plugin).await, [same(&message)], "members of a later vice change nothing");
}
