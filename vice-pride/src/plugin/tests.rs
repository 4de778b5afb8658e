//! A target behind a plug-in: the example of the docs, and what such a target may be told.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use vice_core::app::ProcessEnv;
use vice_core::port::target::Target;
use vice_core::testkit::target::{Subject, suite};
use vice_core::testkit::target_fixtures::{releases, workload};

use super::PluginTarget;

fn env(folder: &Path) -> Arc<ProcessEnv> {
    let vars = [("PATH", "/usr/local/bin:/usr/bin:/bin".to_owned()), ("FOLDER_TARGET", folder.display().to_string())];
    let vars = vars.into_iter().map(|(name, value)| (name.to_owned(), value)).collect();
    Arc::new(ProcessEnv { vars, ..ProcessEnv::default() })
}

fn example() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples/plugin-target/vice-backend-folder")
}

#[tokio::test]
async fn the_example_conforms() {
    let dirs = std::cell::RefCell::new(Vec::new());
    let make = || {
        let dir = tempfile::tempdir().unwrap();
        let folder = dir.path().join("folder");
        let target = PluginTarget::under_test("folder", example(), env(&folder), dir.path().to_owned());
        dirs.borrow_mut().push(dir);
        async move {
            let count = move || {
                let state = std::fs::read_to_string(folder.join("state.json")).unwrap_or_default();
                let state: serde_json::Value = serde_json::from_str(&state).unwrap_or_default();
                state["effects"].as_array().map_or(0, Vec::len)
            };
            // What it can do is known once it was asked.
            target.connect().await.unwrap();
            Subject { target: Arc::new(target), effects: Some(Box::new(count)) }
        }
    };
    suite(make, &releases()).await;
}

/// A plug-in in a few lines of shell: `$line` is the request, `$id` its number.
fn script(dir: &Path, answers: &str) -> PluginTarget {
    use std::os::unix::fs::PermissionsExt;
    let file = dir.join("vice-backend-odd");
    let text = format!(
        "#!/bin/sh\nwhile read -r line; do\nid=${{line#*:}}; id=${{id%%,*}}\ncase $line in\n{answers}\n\
         *describe*) echo \"{{\\\"id\\\":$id,\\\"ok\\\":{{\\\"protocol\\\":1,\\\"port\\\":\\\"target\\\"}}}}\";;\n\
         *) echo \"{{\\\"id\\\":$id,\\\"ok\\\":null}}\";;\nesac\ndone\n"
    );
    std::fs::write(&file, text).unwrap();
    std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o755)).unwrap();
    PluginTarget::under_test("odd", file, env(dir), dir.to_owned())
}

#[tokio::test]
async fn secrets_go_over_the_pipe_and_into_no_error() {
    use vice_core::port::command::EnvValue;
    use vice_core::port::target::{Change, Op};
    use vice_core::secret::Secret;
    let dir = tempfile::tempdir().unwrap();
    let seen = dir.path().join("seen");
    let target = script(dir.path(), &format!("*apply*) echo \"$line\" > '{}'; exit 1;;", seen.display()));
    let mut workload = workload("1");
    workload.environment.insert("TOKEN".into(), EnvValue::Secret(Secret::new("canary-secret")));
    let change = Change::Place(workload.release.clone());
    let op = Op { id: "a".into(), epoch: 1, unit: "1".into(), change, before: None };
    let fault = target.apply(&op, Some(&workload)).await.unwrap_err();
    assert!(std::fs::read_to_string(seen).unwrap().contains("canary-secret"));
    assert!(!format!("{fault:?}").contains("canary"), "{fault:?}");
}
