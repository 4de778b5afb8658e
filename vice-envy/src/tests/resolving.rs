//! Layers on top of each other, and what is refused.

use std::os::unix::fs::symlink;

use serde_json::json;
use vice_core::Code;
use vice_core::id::Scope;
use vice_core::port::config::{ConfigSource, ConfigValue};

use super::{Bench, CANARY};

#[tokio::test]
async fn all_formats_merge_in_order_and_know_their_origin() {
    let layers = r#"
[config]
layers = ["config/default.toml", "config/{{env}}.yaml", "config/{{project}}.json", "config/absent.toml?", ".env", "env:SHOP_"]
[env.dev.config]
inline = true
db.last = "inline"
"#;
    let mut bench = Bench::new(layers);
    bench
        .file("config/default.toml", "a = 1\nlist = [1, 2]\n[db]\nhost = \"toml\"\nport = 1\n")
        .file("config/dev.yaml", "list: [3]\ndb:\n  host: yaml\n  user: yaml\n")
        .file("config/shop.json", "{\n  \"db\": {\"user\": \"json\"}\n}\n")
        .file(".env", "# note\nDB__POOL=9\n");
    bench.var("SHOP_DB__PORT", "5432").var("OTHER", "x");
    let config = bench.resolve().await.unwrap();
    let seen: Vec<_> = config
        .entries
        .iter()
        .map(|(key, entry)| {
            let ConfigValue::Plain(value) = &entry.value else { panic!("{key} is secret") };
            (key.as_str(), value.clone(), entry.origin.layer.as_str(), entry.origin.line)
        })
        .collect();
    assert_eq!(
        seen,
        [
            ("a", json!(1), "config/default.toml", Some(1)),
            ("db.host", json!("yaml"), "config/dev.yaml", Some(3)),
            ("db.last", json!("inline"), "vice.toml [env.dev.config]", Some(12)),
            ("db.pool", json!("9"), ".env", Some(2)),
            ("db.port", json!("5432"), "env:SHOP_", None),
            ("db.user", json!("json"), "config/shop.json", Some(2)),
            ("inline", json!(true), "vice.toml [env.dev.config]", Some(11)),
            ("list", json!([3]), "config/dev.yaml", Some(1)),
        ]
    );
}

#[tokio::test]
async fn the_digest_follows_values_and_not_where_they_stand() {
    let two = |first: &str, second: &str| {
        let bench = Bench::new("[config]\nlayers = [\"config/a.toml\", \"config/b.toml\"]\n");
        bench.file("config/a.toml", first).file("config/b.toml", second);
        bench
    };
    let bench = two("x = 1\n", "[t]\ny = 2\n");
    let first = bench.resolve().await.unwrap().digest;
    assert_eq!(first, bench.resolve().await.unwrap().digest);
    bench.file("config/a.toml", "[t]\ny = 2\n").file("config/b.toml", "# moved\nx = 1\n");
    assert_eq!(first, bench.resolve().await.unwrap().digest);
    bench.file("config/b.toml", "x = 2\n");
    assert_ne!(first, bench.resolve().await.unwrap().digest);
    let elsewhere = two("x = 1\n", "[t]\ny = 2\n");
    assert_ne!(first, elsewhere.resolve().await.unwrap().digest, "another state folder has another key");
}

#[tokio::test]
async fn a_missing_layer_says_what_to_do_and_a_broken_one_is_not_quoted() {
    let bench = Bench::new("[config]\nlayers = [\"config/default.toml\"]\n");
    let fault = bench.resolve().await.unwrap_err();
    assert_eq!(fault.code(), Code::ConfigInvalid);
    assert!(fault.hints()[0].contains('?'), "{fault:?}");
    for (name, text) in [
        ("toml", format!("a = 1\nb = {CANARY}\n")),
        ("yaml", format!("a: 1\nb: [{CANARY}\n")),
        ("json", format!("{{\"a\": 1,\n\"b\": {CANARY}}}")),
        ("env", format!("A=1\n{CANARY}\n")),
        ("toml", format!("a = 1\n\"{CANARY}!\" = 2\n")),
        ("toml", format!("a = 1\na = \"{CANARY}\"\n")),
        ("yaml", format!("a: 1\na: {CANARY}\n")),
        ("json", format!("{{\"a\": 1,\n\"a\": \"{CANARY}\"}}")),
        ("yaml", format!("- {CANARY}\n")),
        ("json", format!("\n\"{CANARY}\"")),
    ] {
        let bench = Bench::new(&format!("[config]\nlayers = [\"config/x.{name}\"]\n"));
        bench.file(&format!("config/x.{name}"), &text);
        let fault = bench.resolve().await.unwrap_err();
        assert_eq!(fault.code(), Code::ConfigInvalid, "{text}");
        assert!(fault.to_string().contains("line"), "{fault:?}");
        assert!(!format!("{fault:?} {:?}", fault.details()).contains(CANARY), "{fault:?}");
        assert!(fault.place().is_none(), "a place would print the line");
    }
}

#[tokio::test]
async fn layers_stay_inside_the_project() {
    for layer in ["../outside.toml", "/etc/hostname.toml", "config/../../outside.toml"] {
        let bench = Bench::new(&format!("[config]\nlayers = [{layer:?}]\n"));
        std::fs::write(bench.dir.path().join("outside.toml"), format!("a = \"{CANARY}\"\n")).unwrap();
        let fault = bench.resolve().await.unwrap_err();
        assert_eq!(fault.code(), Code::ConfigInvalid, "{layer}");
        assert!(fault.place().is_some(), "it points at the manifest");
    }
    let bench = Bench::new("[config]\nlayers = [\"config/link.toml\"]\n");
    std::fs::write(bench.dir.path().join("outside.toml"), format!("a = {CANARY}\n")).unwrap();
    symlink("../../outside.toml", bench.root().join("config/link.toml")).unwrap();
    let fault = bench.resolve().await.unwrap_err();
    assert_eq!(fault.code(), Code::ConfigInvalid);
    assert!(!format!("{fault:?}").contains(CANARY));
}

#[tokio::test]
async fn keys_that_are_one_variable_are_refused_across_layers() {
    let bench = Bench::new("[config]\nlayers = [\"config/a.toml\", \".env\"]\n");
    bench.file("config/a.toml", "[db]\nhost = 1\n").file(".env", "DB_HOST=x\n");
    let fault = bench.resolve().await.unwrap_err();
    assert_eq!(fault.code(), Code::ConfigInvalid);
    assert!(fault.to_string().contains("db.host") && fault.to_string().contains("db_host"), "{fault:?}");
}

#[tokio::test]
async fn a_rollback_brings_plain_values_back_even_if_the_files_are_gone() {
    let bench = Bench::new("[config]\nlayers = [\"config/a.toml\"]\n");
    bench.file("config/a.toml", "a = 1\nt.l = [1, \"x\"]\n");
    let (envy, project) = (bench.envy(), bench.project());
    let before = bench.resolve().await.unwrap();
    let scope = Scope::new(project.name().clone(), project.choose_env(Some(&"dev".parse().unwrap())).unwrap());
    let recorded = envy.record(&scope, &before);
    let stored = serde_json::from_value(serde_json::to_value(&recorded).unwrap()).unwrap();
    bench.file("config/a.toml", "a = 2\nnew = 1\n");
    assert_eq!(envy.restore(&project, &stored).await.unwrap(), before);
    std::fs::remove_file(bench.root().join("config/a.toml")).unwrap();
    assert_eq!(envy.restore(&project, &stored).await.unwrap(), before);
}
