//! What a program that has numbers of versions must do. Under test it has counts of the version `some`, none of `nothing`, and
//! fails for `bad`.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde_json::{Value, json};
use vice_core::app::ProcessEnv;
use vice_core::{Code, Result};
use vice_plugin::Plugin;
use vice_plugin::suite::{WITHIN, manners};

use super::program::started;

/// The source `name` under test; what it needs belongs into `dir`.
#[must_use]
pub fn under_test(name: &str, program: PathBuf, env: &Arc<ProcessEnv>, dir: &Path) -> Plugin {
    let open = json!({ "project": "test", "env": "test", "dir": dir, "settings": {}, "test": true });
    started(name, program, env, dir.to_owned(), open)
}

/// Holds a source to every rule. `open` gives a process of its own, each time.
///
/// # Panics
/// With the rule that is broken.
pub async fn suite(open: impl Fn() -> Plugin) {
    manners(&open()).await;
    counts_make_sense(&open()).await;
    no_numbers_are_no_zeros(&open()).await;
}

async fn measure(plugin: &Plugin, version: &str) -> Result<Value> {
    let body = json!({
        "kind": "errors", "version": version, "release": version, "stratum": null, "from": 60.0, "until": 120.5, "later": true,
    });
    plugin.call("measure", &body, WITHIN).await
}

async fn counts_make_sense(plugin: &Plugin) {
    let (one, other) = futures::join!(measure(plugin, "some"), measure(plugin, "some"));
    for said in [one, other] {
        let said = said.expect("under test there are numbers of the version `some`");
        let count = |name: &str| said.get(name).and_then(Value::as_u64);
        let fits = matches!((count("total"), count("bad")), (Some(total), Some(bad)) if bad <= total);
        assert!(
            fits,
            "numbers of errors are whole counts `total` and `bad`, not more bad ones than all, and not {said}"
        );
    }
}

async fn no_numbers_are_no_zeros(plugin: &Plugin) {
    let nothing = measure(plugin, "nothing").await.expect("an answer");
    assert_eq!(nothing, Value::Null, "what was never counted is null, and not zero");
    let fault = measure(plugin, "bad").await.expect_err("under test the version `bad` fails, which is not zero either");
    let told = !matches!(fault.code(), Code::Unreachable | Code::TimedOut);
    assert!(told, "a failure is an answer, and not the end: {fault:?}");
    measure(plugin, "some").await.expect("it goes on after a failure");
}
