//! Files that the real `sops` made (see `fixtures/make`), as they are and after somebody touched them.

use serde_json::{Value, json};
use vice_core::Code;
use vice_core::port::config::{ConfigValue, ResolvedConfig};

use crate::tests::{Bench, CANARY, all_output};

const KEY: &str = include_str!("fixtures/key.txt");
const FILES: [(&str, &str); 4] = [
    ("values.yaml", include_str!("fixtures/values.yaml")),
    ("values.json", include_str!("fixtures/values.json")),
    ("values.env", include_str!("fixtures/values.env")),
    ("values.ini", include_str!("fixtures/values.ini")),
];
const ONLY: &str = include_str!("fixtures/only.yaml");

fn bench(name: &str, text: &str) -> Bench {
    let mut bench = Bench::new(&format!("[config]\nlayers = [\"config/{name}\"]\n"));
    bench.file(&format!("config/{name}"), text);
    bench.var("SOPS_AGE_KEY", KEY);
    bench
}

fn secret<'c>(config: &'c ResolvedConfig, key: &str) -> &'c str {
    match &config.entries[key].value {
        ConfigValue::Secret(secret) => secret.reveal(),
        ConfigValue::Plain(value) => panic!("{key} is plain: {value}"),
    }
}

#[tokio::test]
async fn every_format_is_read_and_everything_in_it_is_secret() {
    for (name, text) in FILES {
        let config = bench(name, text).resolve().await.unwrap();
        assert_eq!(secret(&config, "db.password"), CANARY, "{name}");
    }
    let yaml = bench("values.yaml", FILES[0].1).resolve().await.unwrap();
    for (key, value) in [
        ("db.port", "5432"),
        ("db.ratio", "0.25"),
        ("db.tls", "true"),
        ("db.off", "false"),
        ("hosts", "[\"one.internal\",\"two.internal\"]"),
        ("empty", ""),
        ("lines", "first line\nsecond line\n"),
        ("note_unencrypted", "readable"),
        ("big", "12345678901"),
    ] {
        assert_eq!(secret(&yaml, key), value, "{key}");
    }
    let ini = bench("values.ini", FILES[3].1).resolve().await.unwrap();
    assert_eq!((secret(&ini, "db.port"), secret(&ini, "web.name")), ("5432", "shop"));
    let only = bench("only.yaml", ONLY).resolve().await.unwrap();
    assert_eq!((secret(&only, "db.password"), secret(&only, "db.port")), (CANARY, "5432"));
}

#[tokio::test]
async fn what_was_changed_without_sops_is_found() {
    let (_, yaml) = FILES[0];
    let line = |key: &str| yaml.lines().find(|line| line.trim_start().starts_with(key)).unwrap();
    let swapped = {
        let (one, two) = (line("port:"), line("big:"));
        let value = |line: &str| line.split_once(": ").unwrap().1.to_owned();
        yaml.replace(&value(one), "@").replace(&value(two), &value(one)).replace('@', &value(two))
    };
    let reordered = yaml.replace(&format!("    - {}\n", line("- ENC").trim().trim_start_matches("- ")), "");
    let cases = [
        ("a plain value", yaml.replace("readable", "altered!")),
        ("two values swapped", swapped),
        ("a key taken out", yaml.replace(&format!("{}\n", line("big:")), "")),
        ("a plain key added", yaml.replace("empty: \"\"\n", "empty: \"\"\nadded: x\n")),
        ("an item taken out", reordered),
        ("a value damaged", yaml.replace(&line("password:")[40..60], "AAAAAAAAAAAAAAAAAAAA")),
        ("the time of the change", yaml.replace("lastmodified: \"2026", "lastmodified: \"2025")),
        ("a plain value in place of an encrypted one", yaml.replace(line("port:"), "    port: 1")),
    ];
    for (what, text) in cases {
        assert_ne!(text, yaml, "{what}");
        let fault = bench("values.yaml", &text).resolve().await.unwrap_err();
        assert_eq!(fault.code(), Code::ConfigInvalid, "{what}: {fault:?}");
        assert!(fault.to_string().contains("values.yaml"), "{what}: {fault:?}");
        assert!(!all_output(&Err(fault), "").contains(CANARY), "{what}");
    }
}

#[tokio::test]
async fn a_file_for_others_says_for_whom() {
    let mut locked = Bench::new("[config]\nlayers = [\"config/values.json\"]\n");
    locked.file("config/values.json", FILES[1].1);
    let fault = locked.resolve().await.unwrap_err();
    assert_eq!(fault.code(), Code::SecretLocked);
    assert!(fault.to_string().contains("config/values.json"), "{fault:?}");
    locked.var("SOPS_AGE_KEY", "AGE-SECRET-KEY-1NOT");
    assert!(all_output(&Err(locked.resolve().await.unwrap_err()), "").contains("SOPS_AGE_KEY"));

    let mut document: Value = serde_json::from_str(FILES[1].1).unwrap();
    document["sops"]["age"] = json!(null);
    for (field, shown) in [("kms", "AWS KMS"), ("pgp", "PGP"), ("hc_vault", "Vault")] {
        let mut other = document.clone();
        other["sops"][field] = json!([{ "enc": "x" }]);
        let fault = bench("values.json", &other.to_string()).resolve().await.unwrap_err();
        assert_eq!(fault.code(), Code::SecretLocked);
        assert!(fault.to_string().contains(shown), "{fault:?}");
    }
}

#[tokio::test]
async fn broken_files_are_refused_without_panic() {
    for (name, text) in FILES {
        for cut in (0..text.len()).step_by(97).filter(|at| text.is_char_boundary(*at)) {
            // A file cut before it says anything of SOPS is some other file.
            if let Err(fault) = bench(name, &text[..cut]).resolve().await {
                assert!(matches!(fault.code(), Code::ConfigInvalid | Code::SecretLocked), "{name} {cut}: {fault:?}");
            }
        }
    }
}
