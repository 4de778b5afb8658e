//! The commands, one by one.

use serde_json::json;
use vice_core::port::command::EnvValue;
use vice_core::port::config::ConfigSource;
use vice_core::ui::Format;
use vice_core::{Class, Code};

use super::Bench;

const LAYERS: &str = "[config]\nlayers = [\"config/default.toml\", \"config/{{env}}.toml?\"]\nsecrets = [\"token\"]\n";

fn bench() -> Bench {
    let bench = Bench::new(LAYERS);
    bench
        .file("config/default.toml", "greeting = \"it's\"\ntoken = \"abcdef\"\n[db]\nhost = \"local\"\nport = 5432\n")
        .file("config/prod.toml", "[db]\nhost = \"prod\"\n");
    bench
}

#[tokio::test]
async fn the_configuration_is_shown_in_every_format() {
    let mut bench = bench();
    let shown = bench.ok(&["--env", "prod", "shop"]).await;
    assert_eq!(shown.class, Class::Done);
    assert_eq!(
        shown.json,
        json!({ "db": { "host": "prod", "port": 5432 }, "greeting": "it's", "token": "«secret:token»" })
    );
    assert!(shown.text.contains("config/prod.toml:2"), "{}", shown.text);
    bench.format = Format::Env;
    let env = bench.ok(&["--env", "dev"]).await.text;
    assert_eq!(env, "DB_HOST=local\nDB_PORT=5432\nGREETING=\"it's\"\nTOKEN='«secret:token»'\n");
    bench.format = Format::Yaml;
    let yaml = bench.ok(&["--env", "dev"]).await.text;
    assert_eq!(yaml, "db:\n  host: \"local\"\n  port: 5432\ngreeting: \"it's\"\ntoken: \"«secret:token»\"\n");
    bench.format = Format::Toml;
    let toml = bench.ok(&["--env", "dev"]).await.text;
    assert_eq!(toml, "greeting = \"it's\"\ntoken = \"«secret:token»\"\n\n[db]\nhost = \"local\"\nport = 5432\n");
    let (revealed, said) = bench.run(&["--env", "dev", "--reveal"]).await;
    assert!(revealed.unwrap().text.contains("abcdef") && said.contains("secrets"));
    bench.format = Format::Html;
    assert_eq!(bench.fails(&["--env", "dev"]).await.code(), Code::Usage);
}

#[tokio::test]
async fn explain_tells_the_line_and_what_is_overridden() {
    let bench = bench();
    let told = bench.ok(&["explain", "db.host", "--env", "prod"]).await;
    assert_eq!(
        told.json["effective"],
        json!({ "value": "prod", "layer": "config/prod.toml", "line": 2, "encrypted_layer": false })
    );
    assert_eq!(told.json["overrides"][0]["line"], 4);
    assert_eq!(bench.fails(&["explain", "db.hots", "--env", "prod"]).await.hints(), ["Did you mean db.host?"]);
    let table = bench.fails(&["explain", "db", "--env", "prod"]).await;
    assert_eq!((table.code(), table.hints()), (Code::UnknownName, &["It has: db.host, db.port.".to_owned()][..]));
}

#[tokio::test]
async fn diff_lists_what_differs() {
    let bench = bench();
    bench.file("config/prod.toml", "extra = 1\ntoken = \"another\"\n[db]\nhost = \"prod\"\n");
    let told = bench.ok(&["diff", "dev", "prod"]).await.json;
    let states: Vec<_> = told["keys"]
        .as_array()
        .unwrap()
        .iter()
        .map(|row| (row["key"].as_str().unwrap(), row["state"].as_str().unwrap()))
        .collect();
    assert_eq!(states, [("db.host", "changed"), ("extra", "added"), ("token", "changed")]);
    assert_eq!(bench.ok(&["diff", "dev", "dev"]).await.json["keys"], json!([]));
    assert_eq!(bench.fails(&["diff", "dev", "stage"]).await.code(), Code::UnknownName);
}

#[tokio::test]
async fn set_edits_the_strongest_layer_and_keeps_comments() {
    let bench = bench();
    bench.file("config/dev.toml", "# mine\n[db]\nhost = \"x\" # why\n");
    bench.ok(&["set", "db.host", "y", "--env", "dev"]).await;
    bench.ok(&["set", "db.port", "--env", "dev", "--text", "1"]).await;
    bench.ok(&["set", "delay", "-5", "--env", "dev"]).await;
    assert_eq!(bench.text("config/dev.toml"), "delay = -5\n# mine\n[db]\nhost = \"y\" # why\nport = \"1\"\n");
    let (outcome, said) =
        bench.run(&["set", "db.host", "weak", "--env", "dev", "--layer", "config/default.toml"]).await;
    assert_eq!(outcome.unwrap().json["layer"], "config/default.toml");
    assert!(said.contains("config/dev.toml overrides it"), "{said}");
    for bad in [
        &["set", "db.host.x", "1"][..],
        &["set", "db", "1"],
        &["set", "a b", "1"],
        &["set", "x", "1", "--layer", "../y.toml"],
    ] {
        let fault = bench.fails(&[bad, &["--env", "dev"]].concat()).await;
        assert_eq!(fault.code(), Code::Usage, "{bad:?}");
    }
    assert!(!bench.dir.path().join("y.toml").exists());
}

#[tokio::test]
async fn secrets_are_never_taken_from_arguments() {
    use clap::Parser as _;
    for line in [
        &["envy", "set", "k", "v", "--secret"][..],
        &["envy", "set", "k", "v", "--from-file", "-"],
        &["envy", "set", "k"],
    ] {
        assert!(super::CommandLine::try_parse_from(line).is_err(), "{line:?}");
    }
    let bench = bench();
    bench.file("v", "x");
    let fault = bench.fails(&["set", "k", "--secret", "--from-file", "v", "--env", "dev"]).await;
    assert_eq!(fault.code(), Code::ConfigInvalid);
    assert!(fault.hints()[0].contains("init"), "{fault:?}");
}

#[tokio::test]
async fn init_refuses_what_is_no_public_key_and_writes_nothing() {
    let bench = bench();
    for bad in [
        &["--recipient", "@/etc/passwd"][..],
        &["--recipient", "ssh-dss AAAA"],
        &["--recipient-file", "config/default.toml"],
    ] {
        let fault = bench.fails(&[&["init"], bad].concat()).await;
        assert!(!format!("{fault:?}").contains("root:") && !format!("{fault:?}").contains("abcdef"), "{fault:?}");
    }
    assert!(!bench.root().join("config/recipients.txt").exists());
    assert!(!bench.dir.path().join("home/.config").exists());
}

#[tokio::test]
async fn check_names_key_layer_and_line() {
    let bench = Bench::new(&format!("{LAYERS}schema = \"config/schema.json\"\n"));
    bench.file("config/default.toml", "token = \"ab\"\n[db]\nport = \"x\"\n");
    bench.file(
        "config/schema.json",
        r#"{"properties": {"db": {"properties": {"port": {"type": "integer"}}, "required": ["host"]}}}"#,
    );
    let (outcome, said) = bench.run(&["check", "--env", "dev"]).await;
    let fault = outcome.unwrap_err();
    assert_eq!((fault.code(), fault.class()), (Code::ConfigInvalid, Class::Usage));
    let problems = fault.details()["problems"].as_array().unwrap();
    assert_eq!(problems.len(), 2, "{problems:?}");
    let port = problems.iter().find(|problem| problem["key"] == "db.port").unwrap();
    assert_eq!((&port["layer"], &port["line"]), (&json!("config/default.toml"), &json!(3)));
    assert!(said.contains("config/default.toml:3: db.port:") && said.contains("too short"), "{said}");
    bench.file("config/default.toml", "[db]\nport = 1\nhost = \"h\"\n");
    assert_eq!(bench.ok(&["check", "--env", "dev"]).await.json["values"], 2);
    for reference in ["http://127.0.0.1:1/x.json", "file:///dev/zero", "/dev/zero", "other.json"] {
        bench.file("config/schema.json", format!("{{\"$ref\": {reference:?}}}"));
        assert_eq!(bench.fails(&["check", "--env", "dev"]).await.code(), Code::ConfigInvalid, "{reference}");
    }
    bench.file("config/schema.json", "{");
    assert_eq!(bench.fails(&["check", "--env", "dev"]).await.code(), Code::ConfigInvalid);
}

#[tokio::test]
async fn check_tells_all_problems_at_once() {
    let bench = Bench::new("[config]\nlayers = [\"config/broken.toml\", \"config/a.toml\", \"config/gone.toml\"]\n");
    bench.file("config/broken.toml", "= 1").file("config/a.toml", "a_b = 1\na.b = 2\nlocked = \"age:v1:AAAA\"\n");
    let fault = bench.fails(&["check", "--env", "dev"]).await;
    assert_eq!(fault.details()["problems"].as_array().unwrap().len(), 4, "{:?}", fault.details());
}

#[tokio::test]
async fn exec_hands_the_configuration_over_and_tells_the_status() {
    let bench = bench();
    let (outcome, said, runner) = bench.run_with(&["exec", "--env", "dev", "--", "0", "--flag"]).await;
    assert_eq!(outcome.unwrap().json["status"], 0);
    assert!(said.contains("«secret:token»") && said.contains("local"), "{said}");
    let ran = runner.ran.lock().unwrap().pop().unwrap();
    assert_eq!(ran.argv, ["0", "--flag"]);
    assert_eq!(ran.env["TOKEN"].reveal(), "abcdef");
    assert!(matches!(ran.env["DB_PORT"], EnvValue::Plain(_)));
    let fault = bench.fails(&["exec", "--env", "dev", "--", "7"]).await;
    assert_eq!((fault.code(), &fault.details()["status"]), (Code::TaskFailed, &json!(7)));
}

#[tokio::test]
async fn a_state_folder_that_cannot_be_written_is_said_so() {
    let bench = bench();
    std::fs::write(bench.dir.path().join("state"), "in the way").unwrap();
    assert_eq!(bench.fails(&["--env", "dev"]).await.code(), Code::StateUnwritable);
}

#[tokio::test]
async fn an_environment_has_to_exist() {
    let bench = bench();
    let project = bench.project();
    let fault = bench.envy().resolve(&project, &"stage".parse().unwrap()).await.unwrap_err();
    assert_eq!(fault.code(), Code::UnknownName);
}

#[test]
fn every_subcommand_has_help_and_an_example() {
    use clap::CommandFactory as _;
    let command = super::CommandLine::command();
    command.clone().debug_assert();
    for sub in command.get_subcommands() {
        assert!(sub.get_about().is_some(), "{}", sub.get_name());
        assert!(sub.get_after_help().is_some_and(|help| help.to_string().contains("vice envy")), "{}", sub.get_name());
        for argument in sub.get_arguments().filter(|argument| argument.get_id() != "help") {
            assert!(argument.get_help().is_some(), "{} {}", sub.get_name(), argument.get_id());
        }
    }
}

#[tokio::test]
async fn the_action_gives_masked_entries_and_the_digest() {
    let bench = bench();
    let action = crate::actions::ShowConfig::new(bench.workspace(), std::sync::Arc::new(bench.envy()));
    let output = vice_core::port::action::Action::run(&action, json!({ "env": "prod" })).await.unwrap();
    assert_eq!(output["entries"]["token"]["value"], "«secret:token»");
    assert_eq!(output["entries"]["db.host"]["origin"], json!({ "layer": "config/prod.toml", "line": 2 }));
    assert!(output["digest"].as_str().unwrap().starts_with("hmac-sha256:"));
    for bad in [json!({ "env": 1 }), json!({ "env": "dev", "project": "nope" }), json!({})] {
        assert!(vice_core::port::action::Action::run(&action, bad).await.is_err());
    }
}

#[test]
fn the_command_line_parses_below_global_flags() {
    use clap::Parser;

    #[derive(Parser)]
    struct Whole {
        #[arg(long, global = true)]
        format: Option<String>,
        #[command(subcommand)]
        command: Sin,
    }
    #[derive(clap::Subcommand)]
    enum Sin {
        Envy(Box<crate::cmd::EnvyArgs>),
    }
    for line in [
        "vice envy --env dev hello",
        "vice envy --env dev hello --format env",
        "vice --format json envy explain db.host",
        "vice envy explain db.host --env prod --format json",
        "vice envy exec --env dev -- ls --format x",
        "vice envy diff dev prod -p hello",
        "vice envy set a -5",
    ] {
        let whole = Whole::try_parse_from(line.split(' ')).unwrap_or_else(|error| panic!("{line}: {error}"));
        let Sin::Envy(args) = whole.command;
        assert_eq!(
            whole.format.is_some(),
            line.contains("--format") && !line.contains("--format x"),
            "{line} {args:?}"
        );
    }
    assert!(Whole::try_parse_from(["vice", "envy", "--env", "dev", "explain", "k"]).is_err());
}
