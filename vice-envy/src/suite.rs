//! What a program that has values of a configuration must do. Under test it has `some` under that path, nothing under
//! `nothing`, and fails for `bad`.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde_json::{Value, json};
use vice_core::Code;
use vice_core::app::ProcessEnv;
use vice_plugin::Plugin;
use vice_plugin::suite::{WITHIN, manners};

use crate::remote::started;

/// The source `name` under test; what it needs belongs into `dir`.
#[must_use]
pub fn under_test(name: &str, program: PathBuf, env: &Arc<ProcessEnv>, dir: &Path) -> Plugin {
    started(name, program, env, dir.to_owned(), json!({ "dir": dir, "test": true }))
}

/// Holds a source to every rule. `open` gives a process of its own, each time.
///
/// # Panics
/// With the rule that is broken.
pub async fn suite(open: impl Fn() -> Plugin) {
    manners(&open()).await;
    what_is_there_is_given(&open(), &open()).await;
    nothing_and_failure_are_told_apart(&open()).await;
}

async fn fetch(plugin: &Plugin, path: &str) -> vice_core::Result<Value> {
    plugin.call("fetch", &json!({ "path": path, "later": true }), WITHIN).await
}

async fn what_is_there_is_given(one: &Plugin, other: &Plugin) {
    let given = fetch(one, "some").await.expect("under test there is something under the path `some`");
    let entries = given.get("entries").and_then(Value::as_object);
    let some = entries.is_some_and(|entries| !entries.is_empty());
    assert!(some, "what is there is an object `entries` that is not empty, and not {given}");
    for plugin in [one, other] {
        assert_eq!(fetch(plugin, "some").await.expect("it is asked again"), given, "the same path gives the same");
    }
}

async fn nothing_and_failure_are_told_apart(plugin: &Plugin) {
    assert_eq!(fetch(plugin, "nothing").await.expect("an answer"), Value::Null, "what is not there is null");
    let fault = fetch(plugin, "bad").await.expect_err("under test the path `bad` fails, which is not nothing");
    let told = !matches!(fault.code(), Code::Unreachable | Code::TimedOut);
    assert!(told, "a failure is an answer, and not the end: {fault:?}");
    fetch(plugin, "some").await.expect("it goes on after a failure");
}
