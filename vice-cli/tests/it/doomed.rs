//! A project on a plug-in whose proxy ends vice at a chosen call; and what the target says was really done.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

use crate::lab::{Lab, Ran, ran};

/// The project, with `more` at its end.
pub(crate) fn project(lab: &Lab, head: &str, more: &str) {
    for version in ["1", "2"] {
        lab.write(&format!("dist/shop-{version}/app"), version);
    }
    lab.write(
        "vice.toml",
        &format!(
            "name = \"shop\"\nartifact = \"dist/shop-{{{{version}}}}\"\ncommand = [\"./app\"]\n{head}\n[env.dev]\ndefault = true\ninstances = 3\n\
             target = {{ kind = \"doomed\" }}\n[env.dev.rollout]\nverify = \"never\"\n{more}"
        ),
    );
    let bin = lab.path("bin");
    std::fs::create_dir_all(&bin).expect("a folder");
    let proxy = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it/doomed_backend.py");
    std::os::unix::fs::symlink(proxy, bin.join("vice-backend-doomed")).expect("a link");
}

fn example() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples/plugin-target/vice-backend-folder")
}

/// The command with the plug-in on its way.
pub(crate) fn command(lab: &Lab, args: &[&str]) -> Command {
    let mut command = lab.command(args);
    let path = format!("{}:/usr/local/bin:/usr/bin:/bin", lab.path("bin").display());
    command.env("PATH", path).env("TEST_REAL", example()).env("FOLDER_TARGET", lab.path("deployed"));
    command
}

pub(crate) fn vice(lab: &Lab, vars: &[(&str, &str)], args: &[&str]) -> Ran {
    ran(&command(lab, args).envs(vars.iter().copied()).output().expect("vice runs"))
}

/// What the target really did, in order.
pub(crate) fn effects(lab: &Lab) -> Vec<Value> {
    state(lab)["effects"].as_array().cloned().unwrap_or_default()
}

fn state(lab: &Lab) -> Value {
    serde_json::from_str(&lab.read("deployed/state.json")).unwrap_or_default()
}

/// The version of each unit, as the target has it.
pub(crate) fn runs(lab: &Lab) -> BTreeMap<String, String> {
    let units = state(lab)["units"].as_object().cloned().unwrap_or_default();
    let version = |unit: &Value| unit["release"]["version"].as_str().unwrap_or_default().to_owned();
    units.iter().map(|(name, unit)| (name.clone(), version(unit))).collect()
}

/// Fails when an operation had its effect twice. An undo is an operation with an id of its own.
#[track_caller]
pub(crate) fn none_is_double(lab: &Lab, case: &str) {
    let all = effects(lab);
    let ids: BTreeSet<_> = all.iter().map(|effect| effect["op"].as_str().expect("an operation")).collect();
    assert_eq!(ids.len(), all.len(), "{case}: an operation has its effect twice: {all:?}");
}

/// How often a unit was brought to that version.
pub(crate) fn placed(lab: &Lab, version: &str) -> BTreeMap<String, usize> {
    let mut count = BTreeMap::new();
    for effect in effects(lab).iter().filter(|effect| effect["what"] == "place" && effect["runs"] == version) {
        *count.entry(effect["unit"].as_str().expect("a unit").to_owned()).or_default() += 1;
    }
    count
}
