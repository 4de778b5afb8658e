//! Input that somebody made to do harm, through the commands: each is an error that says what is wrong, and none repeats
//! what it read.

use vice_core::Code;

use super::{Bench, CANARY, all_output};

/// As large as the largest file that somebody may try.
const LARGE_BYTES: u64 = 100 * 1024 * 1024;

fn large(bench: &Bench, path: &str) {
    bench.file(path, "");
    std::fs::File::options().write(true).open(bench.root().join(path)).unwrap().set_len(LARGE_BYTES).unwrap();
}

#[tokio::test]
async fn files_of_a_hundred_megabytes_are_refused_wherever_they_are_named() {
    for format in ["toml", "yaml", "json", "env", "ini", "properties"] {
        let bench = Bench::new(&format!("[config]\nlayers = [\"config/large.{format}\"]\n"));
        large(&bench, &format!("config/large.{format}"));
        let fault = bench.resolve().await.unwrap_err();
        assert_eq!(fault.code(), Code::ConfigInvalid, "{format}");
        assert!(fault.to_string().contains("more than"), "{format}: {fault}");
    }
    let bench = Bench::new("[config]\nlayers = [\"config/a.toml\"]\nschema = \"config/schema.json\"\n");
    bench.file("config/a.toml", "a = 1\n").file("config/schema.json", "{}");
    for path in ["import.env", "value"] {
        large(&bench, path);
    }
    for line in [&["import", "import.env", "--env", "dev"][..], &["set", "b", "--secret", "--from-file", "value"]] {
        let (outcome, said) = bench.run(line).await;
        assert!(outcome.is_err(), "{line:?}: {said}");
        assert_eq!(bench.text("config/a.toml"), "a = 1\n");
    }
    large(&bench, "config/schema.json");
    assert!(bench.run(&["check", "--env", "dev"]).await.0.is_err());
}

#[tokio::test]
async fn keys_that_look_alike_are_refused_or_named_both() {
    // `é` as one character and as two, a Cyrillic `а`, a letter of full width, and a dotless i.
    for key in ["caf\u{e9}", "cafe\u{301}", "n\u{430}me", "\u{ff4e}ame", "\u{131}d"] {
        for (file, text) in [
            ("config/a.toml", format!("\"{key}\" = \"{CANARY}\"\n")),
            ("config/a.yaml", format!("{key}: {CANARY}\n")),
            ("config/a.json", format!("{{\"{key}\": \"{CANARY}\"}}")),
            ("config/a.env", format!("{key}={CANARY}\n")),
        ] {
            let bench = Bench::new(&format!("[config]\nlayers = [{file:?}]\n"));
            bench.file(file, text);
            let (outcome, said) = bench.run(&["--env", "dev"]).await;
            assert_eq!(outcome.as_ref().unwrap_err().code(), Code::ConfigInvalid, "{file}");
            assert!(!all_output(&outcome, &said).contains(CANARY), "{file}");
        }
    }
    let bench = Bench::new("[config]\nlayers = [\"config/a.toml\", \"config/b.yaml\"]\n");
    bench.file("config/a.toml", "Token = \"x\"\n").file("config/b.yaml", "token: y\n");
    let fault = bench.fails(&["--env", "dev"]).await;
    assert!(fault.to_string().contains("Token (config/a.toml:1)"), "{fault}");
    assert!(fault.to_string().contains("token (config/b.yaml:1) differ only in case"), "{fault}");
}

#[tokio::test]
async fn what_stands_where_a_key_should_is_not_repeated() {
    for (file, text) in [
        ("config/a.env", format!("{CANARY} with words\n")),
        ("config/a.env", format!("export {CANARY}!=x\n")),
        ("config/a.toml", format!("\"{CANARY} and more\" = 1\n")),
        ("config/a.yaml", format!("\"{CANARY} and more\": 1\n")),
        ("config/a.json", format!("{{\"{CANARY} and more\": 1}}")),
        ("config/a.ini", format!("[{CANARY} and more]\nx = 1\n")),
        ("config/a.properties", format!("{CANARY}\\ and\\ more = 1\n")),
    ] {
        let bench = Bench::new(&format!("[config]\nlayers = [{file:?}]\n"));
        bench.file(file, &text);
        for line in [&["--env", "dev"][..], &["check", "--env", "dev"], &["explain", "x", "--env", "dev"]] {
            let (outcome, said) = bench.run(line).await;
            assert!(!all_output(&outcome, &said).contains(CANARY), "{file} {line:?}");
        }
        assert!(bench.resolve().await.is_err(), "{text}");
    }
}

#[tokio::test]
async fn a_bomb_of_aliases_ends_the_command_and_not_the_machine() {
    let bench = Bench::new("[config]\nlayers = [\"config/a.yaml\"]\n");
    let mut text = "a: &a [x, x, x, x, x, x, x, x, x]\n".to_owned();
    for (name, before) in ('b'..='i').zip('a'..) {
        text.push_str(&format!("{name}: &{name} [{}]\n", vec![format!("*{before}"); 9].join(", ")));
    }
    bench.file("config/a.yaml", text);
    for line in [&["--env", "dev"][..], &["check", "--env", "dev"]] {
        let (outcome, said) = bench.run(line).await;
        let told = all_output(&outcome, &said);
        assert!(told.contains("aliased beyond what is read"), "{line:?}: {told}");
    }
}
