//! Values that know their place, seals, and the commands that encrypt again.

use std::os::unix::fs::PermissionsExt;

use serde_json::json;
use vice_core::Code;
use vice_core::id::Scope;
use vice_core::port::config::{ConfigSource, ConfigValue, ResolvedConfig};

use super::{Bench, CANARY, all_output};
use crate::backend::{Recipients, generate};

const LAYERS: &str = "[config]\nlayers = [\"config/default.toml\", \"config/{{env}}.toml?\"]\n";

/// A project with a secret in two environments, and one that all have.
async fn bench() -> Bench {
    let bench = Bench::new(LAYERS);
    bench.file("config/default.toml", "greeting = \"hi\" # kept\n").file("one", CANARY).file("two", "another-secret");
    bench.ok(&["init"]).await;
    bench.ok(&["set", "db.password", "--secret", "--from-file", "one", "--env", "dev"]).await;
    bench.ok(&["set", "db.token", "--secret", "--from-file", "two", "--env", "dev"]).await;
    bench.ok(&["set", "db.password", "--secret", "--from-file", "two", "--env", "prod"]).await;
    bench
}

fn secret(config: &ResolvedConfig, key: &str) -> String {
    match &config.entries[key].value {
        ConfigValue::Secret(secret) => secret.reveal().to_owned(),
        ConfigValue::Plain(value) => panic!("{key} is plain: {value}"),
    }
}

/// The encrypted form of a key in a layer of the form that `set` writes.
fn form(layer: &str, key: &str) -> String {
    let line = layer.lines().find(|line| line.starts_with(&format!("{key} ="))).unwrap();
    line.split('"').nth(1).unwrap().to_owned()
}

#[tokio::test]
async fn a_value_in_another_place_is_found() {
    let bench = bench().await;
    let (dev, prod) = (bench.text("config/dev.toml"), bench.text("config/prod.toml"));
    let (password, token) = (form(&dev, "password"), form(&dev, "token"));
    let swapped = dev.replace(&password, "@").replace(&token, &password).replace('@', &token);
    let from_prod = dev.replace(&password, &form(&prod, "password"));
    for (text, why) in [
        (swapped, "was encrypted for the key db."),
        (dev.replace("password =", "copied ="), "was encrypted for the key db.password"),
        (from_prod, "was encrypted for the file config/prod.toml"),
    ] {
        bench.file("config/dev.toml", &text);
        let fault = bench.resolve().await.unwrap_err();
        assert_eq!(fault.code(), Code::ConfigInvalid);
        assert!(fault.to_string().contains(why), "{fault:?}");
        assert!(fault.hints().iter().any(|hint| hint.contains("rotate --moved")), "{fault:?}");
        assert!(!all_output(&Err(fault), "").contains(CANARY));
        let refused = bench.fails(&["rotate"]).await;
        assert!(refused.to_string().contains("was encrypted for"), "{refused:?}");
    }
    // Confirmed, it is bound to where it is.
    bench.ok(&["rotate", "--moved"]).await;
    assert_eq!(secret(&bench.resolve().await.unwrap(), "db.password"), "another-secret");
}

#[tokio::test]
async fn a_value_of_another_project_is_found() {
    let bench = bench().await;
    let mut other = Bench::new(LAYERS);
    other.rename("blog");
    other.file("config/default.toml", "").file("config/dev.toml", bench.text("config/dev.toml"));
    let key = bench.dir.path().join("home/.config/vice/keys/shop.txt");
    other.var("VICE_AGE_IDENTITY_FILE", &key.display().to_string());
    let fault = other.resolve().await.unwrap_err();
    assert!(fault.to_string().contains("was encrypted for the project shop"), "{fault:?}");
}

#[tokio::test]
async fn the_older_form_is_read_and_becomes_the_newer() {
    let bench = bench().await;
    let readers = Recipients::parse(&bench.text("config/recipients.txt")).unwrap();
    let old = crate::backend::write_value(&readers.seal(b"old-form").unwrap()).replace("age:v2:", "age:v1:");
    bench.file("config/dev.toml", format!("db.password = \"{old}\" # why\n"));
    assert_eq!(secret(&bench.resolve().await.unwrap(), "db.password"), "old-form");
    let told = bench.ok(&["rotate", "--layer", "config/dev.toml"]).await;
    assert_eq!(told.json["layers"][0]["rewritten"], json!(["db.password"]));
    let after = bench.text("config/dev.toml");
    assert!(after.starts_with("db.password = \"age:v2:") && after.ends_with("\" # why\n"), "{after}");
    assert_eq!(secret(&bench.resolve().await.unwrap(), "db.password"), "old-form");
}

#[tokio::test]
async fn rotation_follows_the_readers_and_names_what_stays_readable() {
    let bench = bench().await;
    let (leaver, stayer) = (generate().unwrap(), generate().unwrap());
    bench.ok(&["init", "--recipient", &leaver.public]).await;
    let first = bench.ok(&["rotate"]).await;
    assert_eq!(first.json["layers"].as_array().unwrap().len(), 2);
    assert_eq!(first.json["still_readable"], json!({}));
    let before = bench.text("config/dev.toml");
    let again = bench.ok(&["rotate"]).await;
    assert_eq!(again.json["layers"][0]["current"], 2);
    assert_eq!(bench.text("config/dev.toml"), before, "what is right stays byte for byte");

    let list = bench.text("config/recipients.txt").replace(&leaver.public, &stayer.public);
    bench.file("config/recipients.txt", list);
    let told = bench.ok(&["rotate"]).await;
    let lost = told.json["still_readable"][&leaver.public].as_array().unwrap();
    assert_eq!(lost.len(), 3, "{lost:?}");
    assert!(
        told.text.contains("db.token (config/dev.toml)") && told.text.contains("set KEY --secret"),
        "{}",
        told.text
    );
    let mut theirs = Bench::new(LAYERS);
    theirs.file("config/default.toml", "").file("config/dev.toml", bench.text("config/dev.toml"));
    theirs.var("VICE_AGE_IDENTITY", leaver.private.reveal());
    assert_eq!(theirs.resolve().await.unwrap_err().code(), Code::SecretLocked);
    theirs.var("VICE_AGE_IDENTITY", stayer.private.reveal());
    assert_eq!(secret(&theirs.resolve().await.unwrap(), "db.password"), CANARY);
}

#[tokio::test]
async fn each_environment_may_have_readers_of_its_own() {
    let bench = bench().await;
    let developer = generate().unwrap();
    bench.ok(&["init", "--recipient", &developer.public]).await;
    bench.ok(&["init", "--env", "prod"]).await;
    assert!(bench.text("config/recipients.prod.txt").contains("age1"));
    bench.ok(&["rotate"]).await;
    let mut theirs = Bench::new(LAYERS);
    theirs.file("config/default.toml", "");
    theirs.var("VICE_AGE_IDENTITY", developer.private.reveal());
    for env in ["dev", "prod"] {
        theirs.file(&format!("config/{env}.toml"), bench.text(&format!("config/{env}.toml")));
    }
    let resolve = |env: &str| {
        let (envy, project, env) = (theirs.envy(), theirs.project(), env.parse().unwrap());
        async move { envy.resolve(&project, &env).await }
    };
    assert_eq!(secret(&resolve("dev").await.unwrap(), "db.password"), CANARY);
    assert_eq!(resolve("prod").await.unwrap_err().code(), Code::SecretLocked);
    assert_eq!(bench.fails(&["init", "--env", "nowhere"]).await.code(), Code::UnknownName);
}

#[tokio::test]
async fn a_seal_finds_what_was_changed_by_somebody_who_reads_nothing() {
    let bench = bench().await;
    bench.ok(&["set", "db.host", "internal", "--env", "dev"]).await;
    bench.ok(&["seal", "config/dev.toml"]).await;
    let (layer, seal) = (bench.text("config/dev.toml"), bench.text("config/dev.toml.seal"));
    assert!(!seal.contains(CANARY) && seal.contains("tag db.host "), "{seal}");
    bench.resolve().await.unwrap();
    // A stranger can encrypt for the readers, whose public keys are in the repository.
    let readers = Recipients::parse(&bench.text("config/recipients.txt")).unwrap();
    let forged = crate::backend::write_value(&readers.seal(b"forged").unwrap()).replace("age:v2:", "age:v1:");
    let without_token: String = layer.lines().filter(|line| !line.starts_with("token")).collect::<Vec<_>>().join("\n");
    let tag = seal.lines().find(|line| line.starts_with("tag db.token")).unwrap();
    for (text, sealed, why) in [
        (layer.replace("internal", "evil.example"), seal.clone(), "db.host was changed"),
        (layer.replace(&form(&layer, "password"), &forged), seal.clone(), "db.password was changed"),
        (format!("{layer}more = 1\n"), seal.clone(), "db.more was added"),
        (without_token.clone(), seal.clone(), "db.token was taken out"),
        (without_token, seal.replace(&format!("{tag}\n"), ""), "together with its tag"),
        (layer.clone(), seal.replace("set ", "sat "), "is not a seal"),
    ] {
        bench.file("config/dev.toml", &text).file("config/dev.toml.seal", &sealed);
        let fault = bench.resolve().await.unwrap_err();
        assert!(fault.to_string().contains(why), "{why}: {fault:?}");
        assert!(
            bench.run(&["set", "db.host", "x", "--env", "dev"]).await.0.is_err(),
            "nothing is confirmed by the way"
        );
    }
    // The seal taken away: the values know that there was one.
    bench.file("config/dev.toml", &layer);
    std::fs::remove_file(bench.root().join("config/dev.toml.seal")).unwrap();
    assert!(bench.resolve().await.unwrap_err().to_string().contains("belongs to a seal that is gone"));
    // Order is no part of it, and commands keep it true.
    let reordered = "[db]\n".to_owned()
        + &layer.lines().skip(1).collect::<Vec<_>>().into_iter().rev().collect::<Vec<_>>().join("\n");
    bench.file("config/dev.toml", &reordered).file("config/dev.toml.seal", &seal);
    bench.resolve().await.unwrap();
    bench.file("config/dev.toml", &layer);
    bench.ok(&["set", "db.host", "other", "--env", "dev"]).await;
    bench.ok(&["set", "db.password", "--secret", "--from-file", "two", "--env", "dev"]).await;
    bench.ok(&["rotate"]).await;
    assert_eq!(secret(&bench.resolve().await.unwrap(), "db.password"), "another-secret");
    bench.ok(&["seal", "config/dev.toml", "--fresh"]).await;
    bench.resolve().await.unwrap();
}

/// An editor that runs a line of sed on the file.
fn editor(bench: &mut Bench, script: &str) {
    let path = bench.dir.path().join("editor");
    std::fs::write(
        &path,
        format!("#!/bin/sh\nprintf '%s' \"$1\" > '{}'\n{script}\n", bench.dir.path().join("seen").display()),
    )
    .unwrap();
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
    let runtime = bench.dir.path().join("run");
    std::fs::create_dir_all(&runtime).unwrap();
    std::fs::set_permissions(&runtime, std::fs::Permissions::from_mode(0o700)).unwrap();
    bench.vars.retain(|(name, _)| name != "EDITOR");
    let (editor, runtime) = (path.display().to_string(), runtime.display().to_string());
    bench.var("EDITOR", &editor).var("XDG_RUNTIME_DIR", &runtime).var("PATH", "/usr/bin:/bin");
}

#[tokio::test]
async fn an_edit_changes_only_what_was_changed_and_leaves_nothing() {
    let mut bench = bench().await;
    let before = bench.text("config/dev.toml");
    editor(
        &mut bench,
        "cp \"$1\" \"$(dirname \"$0\")/copy\"; sed -i 's/secret:another-secret/secret:edited-value/' \"$1\"",
    );
    let told = bench.ok(&["edit", "dev"]).await;
    assert_eq!(told.json["changed"], json!(["db.token"]));
    let after = bench.text("config/dev.toml");
    assert_eq!(form(&before, "password"), form(&after, "password"));
    assert_ne!(form(&before, "token"), form(&after, "token"));
    assert_eq!(secret(&bench.resolve().await.unwrap(), "db.token"), "edited-value");
    let seen = std::fs::read_to_string(bench.dir.path().join("copy")).unwrap();
    assert!(seen.contains(&format!("password = \"secret:{CANARY}\"")), "{seen}");
    let path = std::fs::read_to_string(bench.dir.path().join("seen")).unwrap();
    assert!(path.starts_with(&bench.dir.path().join("run").display().to_string()), "{path}");
    assert_eq!(std::fs::read_dir(bench.dir.path().join("run")).unwrap().count(), 0);

    editor(&mut bench, "true");
    assert!(bench.ok(&["edit", "config/dev.toml"]).await.text.contains("Nothing was changed"));
    editor(&mut bench, "echo '= broken hunter22-canary-value' >> \"$1\"");
    let (outcome, said) = bench.run(&["edit", "dev"]).await;
    assert!(outcome.is_err() && !all_output(&outcome, &said).contains(CANARY));
    editor(&mut bench, "exit 1");
    assert_eq!(bench.fails(&["edit", "dev"]).await.code(), Code::TaskFailed);
    assert_eq!(bench.text("config/dev.toml"), after);
    assert_eq!(std::fs::read_dir(bench.dir.path().join("run")).unwrap().count(), 0);
    bench.var("EDITOR", "/no/such/editor");
    assert_eq!(bench.fails(&["edit", "dev"]).await.code(), Code::Usage);
}

#[tokio::test]
async fn values_of_other_tools_are_taken_over_encrypted() {
    let bench = bench().await;
    bench
        .file(".env", format!("API_KEY={CANARY}\nDB__HOST=internal\nEMPTY=\n"))
        .file(".kamal/secrets", "KAMAL_REGISTRY_PASSWORD=$(op read x)\nRAILS_MASTER_KEY=abcdef123456\nOTHER=$OTHER\n");
    let told = bench.ok(&["import", ".env", "--env", "dev", "--plain", "db.host"]).await;
    assert_eq!(told.json["encrypted"], json!(["api_key", "empty"]));
    let config = bench.resolve().await.unwrap();
    assert_eq!(secret(&config, "api_key"), CANARY);
    assert_eq!(config.entries["db.host"].value, ConfigValue::Plain("internal".into()));
    assert!(!bench.text("config/dev.toml").contains(CANARY) && !all_output(&Ok(told), "").contains(CANARY));
    let (kamal, said) = bench.run(&["import", ".kamal/secrets", "--env", "dev"]).await;
    assert_eq!(kamal.unwrap().json["skipped"], json!(["KAMAL_REGISTRY_PASSWORD", "OTHER"]));
    assert!(said.contains("KAMAL_REGISTRY_PASSWORD is fetched by a command"), "{said}");
    assert_eq!(secret(&bench.resolve().await.unwrap(), "rails_master_key"), "abcdef123456");
    for bad in ["../x.env", "missing.env", "config/default.toml"] {
        assert!(bench.run(&["import", bad, "--env", "dev"]).await.0.is_err(), "{bad}");
    }
}

#[tokio::test]
async fn digests_tell_which_secret_changed_and_not_to_what() {
    let bench = bench().await;
    let before = bench.resolve().await.unwrap();
    bench.ok(&["set", "db.token", "--secret", "--from-file", "one", "--env", "dev"]).await;
    let after = bench.resolve().await.unwrap();
    let changed: Vec<&String> = after
        .digests
        .iter()
        .filter(|(key, digest)| before.digests.get(*key) != Some(digest))
        .map(|(key, _)| key)
        .collect();
    assert_eq!(changed, ["db.token"]);
    assert_ne!(after.digests["db.token"], after.digests["db.password"], "equal values have digests of their own");
    let text = serde_json::to_string(
        &bench.envy().record(&Scope::new("shop".parse().unwrap(), "dev".parse().unwrap()), &after),
    )
    .unwrap();
    assert!(text.contains("digests") && !text.contains(CANARY));
}

#[tokio::test]
async fn yaml_and_json_are_sealed_and_encrypted_again_as_toml_is() {
    for (name, text) in [
        ("config/x.yaml", "# who\ndb:\n  host: here # kept\n  port: 5432\n  pw: \"FORM\"\n"),
        ("config/x.json", "{\n  \"db\": { \"host\": \"here\", \"port\": 5432,\n    \"pw\": \"FORM\" }\n}\n"),
    ] {
        let bench = Bench::new(&format!("[config]\nlayers = [\"config/t.toml\", \"{name}\"]\n"));
        bench.file("config/t.toml", "").file("one", CANARY);
        bench.ok(&["init"]).await;
        bench.ok(&["set", "db.pw", "--secret", "--from-file", "one", "--layer", "config/t.toml", "--env", "dev"]).await;
        // It was put there by hand.
        let bound = form(&bench.text("config/t.toml"), "pw");
        bench.file("config/t.toml", "").file(name, text.replace("FORM", &bound));
        bench.ok(&["rotate", "--moved"]).await;
        assert_eq!(secret(&bench.resolve().await.unwrap(), "db.pw"), CANARY);
        let written = bench.text(name);
        assert!(!written.contains(&bound) && written.replace(&now(&written), "FORM") == text, "{written}");

        bench.ok(&["seal", name]).await;
        assert_eq!(secret(&bench.resolve().await.unwrap(), "db.pw"), CANARY);
        let sealed = bench.text(name);
        bench.file(name, sealed.replace("5432", "6543"));
        let fault = bench.resolve().await.unwrap_err();
        assert!(fault.to_string().contains("db.port was changed after the layer was sealed"), "{fault}");
        assert_eq!(bench.fails(&["rotate"]).await.code(), Code::ConfigInvalid);
        bench.file(name, &sealed);
        bench.ok(&["rotate"]).await;
        assert_eq!(bench.text(name), sealed, "what is right stays byte for byte");
    }
}

/// The encrypted value in a text that has one.
fn now(text: &str) -> String {
    let start = text.find("age:v2:").unwrap();
    text[start..].split('"').next().unwrap().to_owned()
}
