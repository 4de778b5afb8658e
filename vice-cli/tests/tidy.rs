//! The rules of ARCHITECTURE.md as tests: what may depend on what, and what must not be anywhere.
//! They read `cargo metadata` and the text of the files; each failure names the file and the rule.
#![expect(clippy::disallowed_methods, reason = "a test may start cargo and read the environment of its build")]

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

const SEVEN: [&str; 7] =
    ["vice-pride", "vice-envy", "vice-wrath", "vice-greed", "vice-lust", "vice-gluttony", "vice-sloth"];

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the workspace is above").to_path_buf()
}

/// Each workspace package with its normal dependencies.
fn dependencies() -> BTreeMap<String, BTreeSet<String>> {
    let output = Command::new(env!("CARGO"))
        .args(["metadata", "--format-version", "1", "--no-deps", "--offline"])
        .current_dir(root())
        .output()
        .expect("cargo runs");
    let metadata: Value = serde_json::from_slice(&output.stdout).expect("cargo metadata is JSON");
    let packages = metadata["packages"].as_array().expect("packages");
    let normal = |package: &Value| {
        let all = package["dependencies"].as_array().cloned().unwrap_or_default();
        all.iter().filter(|d| d["kind"].is_null()).filter_map(|d| d["name"].as_str().map(str::to_owned)).collect()
    };
    packages.iter().map(|p| (p["name"].as_str().unwrap_or_default().to_owned(), normal(p))).collect()
}

/// Every file that git knows or would know, with its text, by path from the root.
fn files(ending: &str) -> Vec<(String, String)> {
    let output = Command::new("git")
        .args(["ls-files", "--cached", "--others", "--exclude-standard"])
        .current_dir(root())
        .output()
        .expect("git runs");
    let names = String::from_utf8(output.stdout).expect("file names are text");
    let wanted = names.lines().filter(|name| name.ends_with(ending));
    wanted.filter_map(|name| Some((name.to_owned(), std::fs::read_to_string(root().join(name)).ok()?))).collect()
}

/// Rust sources that ship: no tests, examples, benches, test kits.
fn sources() -> Vec<(String, String)> {
    let tests = |path: &str| {
        path.split('/').any(|part| matches!(part, "tests" | "examples" | "benches" | "testkit" | "tests.rs"))
            || path.starts_with("bench/")
    };
    let all = files(".rs").into_iter().filter(|(path, _)| path.starts_with("vice-") && !tests(path));
    // Unit tests stand at the end of a file, behind this line.
    all.map(|(path, text)| (path, text.split("#[cfg(test)]\nmod tests {").next().unwrap_or("").to_owned())).collect()
}

#[test]
fn dependencies_point_one_way() {
    let dependencies = dependencies();
    for sin in SEVEN {
        let others = SEVEN.iter().filter(|other| **other != sin);
        for other in others {
            assert!(!dependencies[sin].contains(*other), "{sin} must not depend on {other}: they meet in vice-core");
        }
        assert!(!dependencies[sin].contains("vice-cli"), "{sin} must not depend on the binary");
    }
    let local = |name: &str| dependencies[name].iter().filter(|d| d.starts_with("vice-")).cloned().collect::<Vec<_>>();
    assert_eq!(local("vice-core"), Vec::<String>::new(), "the core depends on nothing of ours");
    assert_eq!(local("vice-plugin"), ["vice-core"], "programs of others know no port but by its name");
    assert_eq!(local("vice-pride-engine"), ["vice-core"], "the engine depends on the core only");
    assert_eq!(
        local("vice-pride-simulator"),
        ["vice-core", "vice-pride-engine"],
        "the simulator runs the engine alone"
    );
}

#[test]
fn the_core_and_the_engine_do_no_io() {
    let dependencies = dependencies();
    let heavy =
        ["tokio", "reqwest", "hyper", "axum", "rusqlite", "clap", "object_store", "rustls", "tempfile", "rustix"];
    for package in ["vice-core", "vice-pride-engine", "vice-pride-simulator"] {
        for name in heavy {
            assert!(!dependencies[package].contains(name), "{package} must not depend on {name}");
        }
    }
    let banned =
        ["async fn", "std::fs", "std::net", "HashMap", "HashSet", "SystemTime", "Instant::now", "thread::sleep"];
    for (path, text) in sources() {
        if path.starts_with("vice-pride/engine/") || path.starts_with("vice-pride/simulator/") {
            for word in banned {
                assert!(!text.contains(word), "{path}: engine and simulator must not use {word}");
            }
        }
        if path.starts_with("vice-core/") {
            for word in ["std::fs::", "std::net::", "std::env::", "SystemTime::now", "Instant::now"] {
                assert!(!text.contains(word), "{path}: the core must not use {word}");
            }
        }
    }
}

#[test]
fn the_command_line_stays_in_its_rooms() {
    for (path, text) in sources() {
        let allowed = path.starts_with("vice-cli/") || path.contains("/src/cmd/") || path.ends_with("/src/cmd.rs");
        if !allowed {
            assert!(!text.contains("clap::"), "{path}: clap belongs into cmd/ or vice-cli");
        }
    }
}

#[test]
fn every_crate_has_the_same_rooms() {
    for sin in SEVEN {
        for room in ["src/lib.rs", "src/cmd"] {
            assert!(root().join(sin).join(room).exists(), "{sin} has no {room}");
        }
    }
    for (path, text) in files("Cargo.toml") {
        if path.starts_with("vice-") {
            assert!(text.contains("[lints]\nworkspace = true"), "{path} does not inherit the lints");
        }
    }
    let configs: Vec<String> = files("clippy.toml").into_iter().map(|(path, _)| path).collect();
    assert_eq!(configs, ["clippy.toml"], "clippy reads only the nearest file, so there is exactly one");
}

#[test]
fn modules_say_what_they_are() {
    for (path, text) in sources() {
        let first = text.trim_start();
        assert!(first.starts_with("//!"), "{path} does not begin with a module comment");
    }
}

#[test]
fn files_stay_small() {
    for (path, text) in sources() {
        let lines = text.lines().count();
        assert!(lines <= 800, "{path} has {lines} lines without its tests; 800 are enough for anything");
    }
}

#[test]
fn nothing_unfinished_or_foreign_is_left() {
    // Spelt in parts, so that this file does not find itself.
    let words = [
        ["to", "do!("].concat(),
        ["unimple", "mented!("].concat(),
        ["FIX", "ME"].concat(),
        ["XX", "X"].concat(),
        ["/wo", "rk/"].concat(),
        ["#[al", "low("].concat(),
        ["#[ig", "nore"].concat(),
    ];
    for (path, text) in files(".rs") {
        for word in &words {
            assert!(!text.contains(word.as_str()), "{path} contains {word}");
        }
    }
}

#[test]
fn html_is_always_escaped() {
    for (path, text) in files(".hbs").into_iter().chain(sources()) {
        if path.starts_with("vice-gluttony/") && (path.ends_with(".hbs") || text.contains("register_template")) {
            assert!(!text.contains("{{{"), "{path}: three braces would not escape");
            assert!(!text.contains("{{&"), "{path}: an ampersand would not escape");
        }
    }
}
