//! Configuration as a user meets it: layers, references, revisions, the gate, and rendered files.

use std::process::Command;

use crate::lab::{Lab, hello_project};

const MANIFEST: &str = r#"
name = "shop"
artifact = "x"
command = ["./shop"]
[env.dev]
[env.prod]
class = "prod"
[config]
layers = ["config/default.toml", { from = "config/prod.toml", when = { env = "prod" } }, "env:SHOP_"]
secrets = ["db.password"]
interpolate = true
merge = { plugins = "append" }
[[config.rule]]
key = "debug"
env = "prod"
never = true
[[config.file]]
path = "etc/shop.env"
format = "systemd"
"#;

const CANARY: &str = "cAnArY-51c0ffee";

fn git(lab: &Lab, args: &[&str]) {
    let mut command = Command::new("git");
    command.current_dir(lab.root()).args(["-c", "user.name=Ada", "-c", "user.email=ada@example.org"]).args(args);
    let output = command.output().expect("git runs");
    assert!(output.status.success(), "{output:?}");
}

fn project() -> Lab {
    let lab = Lab::new();
    lab.write("vice.toml", MANIFEST)
        .write(
            "config/default.toml",
            &format!(
                "debug = false\nplugins = [\"auth\"]\nurl = \"x://u:${{db.password}}@${{db.host}}\"\n\
                 [db]\nhost = \"localhost\"\npassword = \"{CANARY}\"\n"
            ),
        )
        .write("config/prod.toml", "plugins = [\"metrics\"]\ndb.host = \"db.prod\"\n")
        .write("config/templates/app.conf.hbs", "host={{db.host}} {{json plugins}}\n")
        .write(".gitignore", ".vice\nout\n");
    git(&lab, &["init", "-q"]);
    git(&lab, &["add", "-A"]);
    git(&lab, &["commit", "-q", "-m", "First"]);
    lab
}

#[test]
fn layers_are_merged_explained_and_compared() {
    let lab = project();
    let shown = lab.vice(&["envy", "--env", "prod", "--format", "json"]).expect(0);
    assert_eq!(shown.json()["plugins"], serde_json::json!(["auth", "metrics"]), "{}", shown.stdout);
    let told = lab.vice(&["envy", "explain", "db.host", "--env", "prod"]).expect(0);
    assert!(told.stdout.contains("config/prod.toml:2") && told.stdout.contains("Ada"), "{}", told.stdout);
    lab.write("config/prod.toml", "plugins = []\n");
    let diff = lab.vice(&["envy", "diff", "prod", "--at", "HEAD"]).expect(0);
    assert!(diff.stdout.contains("db.prod") && diff.stdout.contains("localhost"), "{}", diff.stdout);
    for args in
        [&["envy", "--env", "prod"][..], &["envy", "explain", "url", "--env", "prod"], &["envy", "diff", "dev", "prod"]]
    {
        let ran = lab.vice(args).expect(0);
        assert!(!ran.stdout.contains(CANARY) && !ran.stderr.contains(CANARY), "{args:?}");
    }
}

#[test]
fn the_gate_stops_and_names_the_place() {
    let lab = project();
    lab.vice(&["envy", "check", "--env", "prod"]).expect(0);
    let broken = lab.vice_with(&[("SHOP_DEBUG", "true")], &["envy", "check", "--env", "prod"]).expect(2);
    assert!(broken.stderr.contains("env:SHOP_: debug must never be true in prod."), "{}", broken.stderr);
    lab.write("config/prod.toml", "a = \"${b}\"\nb = \"${a}\"\n");
    let circle = lab.vice(&["envy", "--env", "prod"]).expect(2);
    assert!(circle.stderr.contains("a (config/prod.toml:1) → b (config/prod.toml:2) → a"), "{}", circle.stderr);
}

#[test]
fn files_are_rendered_privately_and_once() {
    use std::os::unix::fs::PermissionsExt as _;
    let lab = project();
    let first = lab.vice(&["envy", "render", "out", "--env", "prod"]).expect(0);
    assert!(!first.stdout.contains(CANARY), "{}", first.stdout);
    assert_eq!(lab.read("out/app.conf"), "host=db.prod [\"auth\",\"metrics\"]\n");
    assert!(lab.read("out/etc/shop.env").contains(&format!("URL=\"x://u:{CANARY}@db.prod\"\n")));
    let mode = std::fs::metadata(lab.path("out/etc/shop.env")).expect("the file").permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    let again = lab.vice(&["envy", "render", "out", "--env", "prod", "--format", "json"]).expect(0).stdout;
    assert!(again.contains("unchanged") && !again.contains("written"), "{again}");
}

#[test]
fn a_store_that_is_not_there_is_said_so() {
    let lab = project();
    lab.write("vice.toml", &MANIFEST.replace("\"env:SHOP_\"", "\"consul:http://127.0.0.1:1/shop\""));
    let ran = lab.vice(&["envy", "--env", "dev"]).expect(1);
    assert!(ran.stderr.contains("can't be reached") && ran.stderr.contains("consul:"), "{}", ran.stderr);
}

#[test]
fn secrets_that_are_too_short_to_be_masked_are_told_before_a_deploy_wherever_they_come_from() {
    let lab = Lab::new();
    hello_project(&lab, 1);
    let toml = lab.read("vice.toml").replace("[env.dev]\n", "[env.dev]\nconfig = { pin = \"1234\" }\n");
    lab.write(
        "vice.toml",
        &format!("{toml}[config]\nlayers = [\"env:SHOP_\"]\nsecrets = [\"pin\", \"token\", \"long\"]\n"),
    );
    let vars = [("SHOP_TOKEN", "abc"), ("SHOP_LONG", "long-enough-to-be-found")];
    for command in ["plan", "deploy"] {
        let told = lab.vice_with(&vars, &[command, "hello"]).expect(0).stderr;
        for (key, bytes) in [("pin", 4), ("token", 3)] {
            assert!(told.contains(&format!("The secret {key} has only {bytes} bytes")), "{command}: {told}");
        }
        assert!(!told.contains("The secret long"), "{command}: {told}");
    }
}
