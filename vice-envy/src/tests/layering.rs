//! Conditions, merge rules, references, revisions and rules, as a project has them.

use serde_json::json;
use vice_core::Code;
use vice_core::port::config::{ConfigSource, ConfigValue};
use vice_core::ui::Format;

use super::{Bench, CANARY, all_output};
use crate::remote::real::git;

#[tokio::test]
async fn layers_apply_by_condition_and_are_told_where_not() {
    let layers = r#"
[env.dev.target.eu]
kind = "local"
[env.dev.target.us]
kind = "local"
[config]
layers = ["config/a.toml",
          { from = "config/{{target}}.toml", when = { target = "eu", env = "dev" } },
          { from = "config/big.toml?", when = { label.size = "big" } }]
"#;
    let bench = Bench::new(layers);
    bench.file("config/a.toml", "a = 1\n").file("config/eu.toml", "a = 2\n").file("config/big.toml", "a = 3\n");
    let fault = bench.fails(&["--env", "dev"]).await;
    assert!(fault.to_string().contains("depends on the target"), "{fault:?}");
    assert_eq!(bench.resolve().await.unwrap_err().code(), Code::ConfigInvalid, "a rollout has one configuration");
    let value = async |line: &[&str]| bench.ok(&[&["--env", "dev"], line].concat()).await.json["a"].clone();
    assert_eq!(value(&["--target", "eu"]).await, 2);
    assert_eq!(value(&["--target", "us"]).await, 1);
    assert_eq!(value(&["--target", "us", "--label", "size=big"]).await, 3);
    assert_eq!(bench.ok(&["--env", "prod"]).await.json["a"], 1, "there the condition is settled by the environment");
    let told = bench.ok(&["explain", "a", "--env", "dev", "--target", "us"]).await;
    assert_eq!(told.json["not_applied"][0]["why"], "target is us and not eu");
    assert!(told.text.contains("config/big.toml? does not apply: label size is not set."), "{}", told.text);
    assert_eq!(bench.fails(&["--env", "dev", "--label", "x"]).await.code(), Code::Usage);
    assert_eq!(bench.fails(&["--env", "dev", "--target", "asia"]).await.code(), Code::UnknownName);
}

#[tokio::test]
async fn lists_are_merged_as_manifest_and_schema_say() {
    let bench = Bench::new(
        "[config]\nlayers = [\"config/a.toml\", \"config/b.toml\"]\nschema = \"s.json\"\nmerge = { \"t.*\" = \"unique\", r = \"replace\" }\n",
    );
    bench
        .file("config/a.toml", "l = [1]\nr = [1]\nt.u = [\"x\"]\nt.v = 1\n")
        .file("config/b.toml", "l = [2]\nr = [2]\nt.u = [\"x\", \"y\"]\nt.v = 2\n")
        .file("s.json", r#"{"properties": {"l": {"x-vice-merge": "append"}, "r": {"x-vice-merge": "append"}}}"#);
    let shown = bench.ok(&["--env", "dev"]).await.json;
    assert_eq!(shown, json!({ "l": [1, 2], "r": [2], "t": { "u": ["x", "y"], "v": 2 } }));
    let told = bench.ok(&["explain", "l", "--env", "dev"]).await.json;
    assert_eq!((&told["value"], &told["parts"][0]["line"]), (&json!([1, 2]), &json!(1)));
    bench.file("config/b.toml", "l = \"text\"\n");
    let fault = bench.fails(&["--env", "dev"]).await;
    assert!(fault.to_string().contains("config/b.toml:1 gives none"), "{fault:?}");
}

const REFERENCES: &str =
    "[config]\nlayers = [\"config/a.toml\", \"config/b.toml?\", \".env?\"]\ninterpolate = true\nsecrets = [\"pw\"]\n";

#[tokio::test]
async fn references_are_followed_only_where_the_manifest_says_so() {
    let text = format!("host = \"h\"\npw = \"{CANARY}\"\nurl = \"x://u:${{pw}}@${{host}}/$${{y}}\"\n");
    let bench = Bench::new(&REFERENCES.replace("interpolate = true\n", ""));
    bench.file("config/a.toml", &text);
    let plain = bench.resolve().await.unwrap();
    assert_eq!(plain.entries["url"].value, ConfigValue::Plain(json!("x://u:${pw}@${host}/$${y}")));
    let bench = Bench::new(REFERENCES);
    bench.file("config/a.toml", &text).file(".env", "RAW='${host}'\n");
    let config = bench.resolve().await.unwrap();
    let ConfigValue::Secret(url) = &config.entries["url"].value else { panic!("a secret flowed into it") };
    assert_eq!(url.reveal(), format!("x://u:{CANARY}@h/${{y}}"));
    assert_eq!(config.entries["raw"].value, ConfigValue::Plain(json!("${host}")), "dotenv is literal");
    for line in [
        &["--env", "dev"][..],
        &["explain", "url", "--env", "dev"],
        &["explain", "pw", "--env", "dev"],
        &["diff", "dev", "prod", "--all"],
        &["check", "--env", "dev"],
    ] {
        let (outcome, said) = bench.run(line).await;
        assert!(outcome.is_ok() && !all_output(&outcome, &said).contains(CANARY), "{line:?}");
    }
    let told = bench.ok(&["explain", "url", "--env", "dev"]).await;
    assert_eq!(told.json["refers_to"], json!(["pw", "host"]));
    assert!(told.text.contains("x://u:${pw}@"), "{}", told.text);
    let (envy, project) = (bench.envy(), bench.project());
    let scope = vice_core::id::Scope::new(project.name().clone(), "dev".parse().unwrap());
    let recorded = envy.record(&scope, &config);
    assert_eq!(envy.restore(&project, &recorded).await.unwrap(), config, "a tainted value comes back by its name");
}

#[tokio::test]
async fn declared_secrets_with_references_stay_hidden() {
    let bench = Bench::new(&REFERENCES.replace("\"pw\"", "\"url\""));
    bench.file("config/a.toml", format!("host = \"h\"\nurl = \"{CANARY}@${{host}}\"\n"));
    for line in [&["explain", "url", "--env", "dev"][..], &["--env", "dev"], &["diff", "dev", "prod", "--all"]] {
        let (outcome, said) = bench.run(line).await;
        assert!(outcome.is_ok() && !all_output(&outcome, &said).contains(CANARY), "{line:?}");
    }
}

#[tokio::test]
async fn a_circle_is_an_error_of_check_and_deploy() {
    let bench = Bench::new(REFERENCES);
    bench.file("config/a.toml", "a = \"${b}\"\n").file("config/b.toml", "b = \"${a}\"\n");
    let fault = bench.resolve().await.unwrap_err();
    let said = "Values refer to each other in a circle: a (config/a.toml:1) → b (config/b.toml:1) → a.";
    assert_eq!((fault.code(), fault.to_string().as_str()), (Code::ConfigInvalid, said));
    assert_eq!(bench.fails(&["check", "--env", "dev"]).await.details()["problems"].as_array().unwrap().len(), 2);
}

fn repository(config: &str) -> Bench {
    let bench = Bench::new(config);
    bench.file("vice.toml", bench.manifest.clone());
    git(&bench.root(), &["init", "-q"]);
    bench
}

fn commit(bench: &Bench, tag: &str) {
    git(&bench.root(), &["add", "-A"]);
    git(&bench.root(), &["commit", "-q", "-m", &format!("Make {tag}")]);
    git(&bench.root(), &["tag", tag]);
}

#[tokio::test]
async fn revisions_are_compared() {
    let bench = repository("[config]\nlayers = [\"config/a.toml\", \"config/b.toml?\"]\nsecrets = [\"pw\"]\n");
    bench.file("config/a.toml", format!("a = 1\npw = \"{CANARY}-old\"\n"));
    commit(&bench, "v1");
    bench.file("config/a.toml", format!("a = 2\npw = \"{CANARY}-new\"\n")).file("config/b.toml", "b = 1\n");
    commit(&bench, "v2");
    bench.file("config/b.toml", "b = 2\n");
    let states = async |line: &[&str]| {
        let (outcome, said) = bench.run(line).await;
        assert!(!all_output(&outcome, &said).contains(CANARY), "{line:?}");
        let keys = outcome.unwrap().json["keys"].as_array().unwrap().clone();
        keys.iter()
            .map(|row| format!("{} {}", row["key"].as_str().unwrap(), row["state"].as_str().unwrap()))
            .collect::<Vec<_>>()
    };
    assert_eq!(states(&["diff", "dev", "--at", "v1"]).await, ["a changed", "b added", "pw changed"]);
    assert_eq!(states(&["diff", "dev", "--at", "v1", "--at", "v2"]).await, ["a changed", "b added", "pw changed"]);
    assert_eq!(states(&["diff", "dev", "--at", "HEAD"]).await, ["b changed"]);
    assert_eq!(states(&["diff", "dev", "prod", "--at", "v1"]).await, [""; 0]);
    for (line, code) in [
        (&["diff", "dev"][..], Code::Usage),
        (&["diff", "dev", "--at=-x"], Code::Usage),
        (&["diff", "dev", "--at", "v1..v2"], Code::Usage),
        (&["diff", "dev", "--at", "v9"], Code::ConfigInvalid),
        (&["diff", "dev", "--at", "v1", "--at", "v2", "--at", "v1"], Code::Usage),
    ] {
        assert_eq!(bench.fails(line).await.code(), code, "{line:?}");
    }
}

#[tokio::test]
async fn explain_tells_who_changed_a_line_last() {
    let bench = repository("[config]\nlayers = [\"config/a.toml\"]\n[env.dev.config]\nb = 1\n");
    bench.file("config/a.toml", "x = 0\na = 1\n");
    commit(&bench, "v1");
    let told = bench.ok(&["explain", "a", "--env", "dev"]).await;
    let change = &told.json["effective"]["changed"];
    assert_eq!(
        (&change["author"], &change["date"], &change["summary"]),
        (&json!("Ada"), &json!("2026-01-02"), &json!("Make v1"))
    );
    assert!(told.text.contains("2026-01-02 Ada"), "{}", told.text);
    assert_eq!(bench.ok(&["explain", "b", "--env", "dev"]).await.json["effective"]["changed"]["author"], "Ada");
    bench.file("config/a.toml", "x = 0\na = 2\n");
    let told = bench.ok(&["explain", "a", "--env", "dev"]).await;
    assert!(told.text.contains("not committed yet"), "{}", told.text);
}

#[tokio::test]
async fn check_is_a_gate_for_rules_and_templates_and_lists_what_nothing_uses() {
    let bench = Bench::new(
        "[config]\nlayers = [\"config/a.toml\"]\n[[config.rule]]\nkey = \"debug\"\nenv = \"prod\"\nnever = true\nmessage = \"Ask ops.\"\n",
    );
    bench
        .file("config/a.toml", "debug = true\nused = 1\ncode = 2\nidle = 3\n[t]\nx = 1\n")
        .file("config/templates/app.conf.hbs", "{{used}} {{#each t}}{{this}}{{/each}}\n")
        .file("src/main.py", "os.environ['CODE']\n");
    let fine = bench.ok(&["check", "--env", "dev", "--unused", "--scan", "src"]).await;
    assert_eq!(fine.json["unused"], json!(["debug", "idle"]), "a rule does not use a key");
    let fault = bench.fails(&["check", "--env", "prod"]).await;
    let problem = &fault.details()["problems"][0];
    assert_eq!(problem["message"], "debug must never be true in prod. Ask ops.");
    assert_eq!((&problem["layer"], &problem["line"]), (&json!("config/a.toml"), &json!(1)));
    bench.file("config/templates/app.conf.hbs", "{{usd}} {{default gone \"x\"}}\n");
    let fault = bench.fails(&["check", "--env", "dev"]).await;
    let problem = &fault.details()["problems"][0];
    assert_eq!((&problem["key"], fault.details()["problems"].as_array().unwrap().len()), (&json!("usd"), 1));
}

#[tokio::test]
async fn render_writes_once_privately_and_nothing_on_an_error() {
    use std::os::unix::fs::PermissionsExt as _;
    let bench = Bench::new(
        "[config]\nlayers = [\"config/a.toml\"]\nsecrets = [\"pw\"]\n[[config.file]]\npath = \"etc/db.properties\"\nformat = \"properties\"\nbelow = \"db\"\nmode = \"0444\"\n",
    );
    bench
        .file("config/a.toml", format!("pw = \"{CANARY}\"\n[db]\nhost = \"x\"\n"))
        .file("config/templates/sub/app.conf.hbs", "host={{db.host}}\n")
        .file("config/templates/pass.hbs", "{{pw}}");
    let out = bench.root().join("out");
    let (outcome, said) = bench.run(&["render", "out", "--env", "dev"]).await;
    assert!(!all_output(&outcome, &said).contains(CANARY));
    let states = |json: &serde_json::Value| {
        let files = json["files"].as_array().unwrap().clone();
        files
            .iter()
            .map(|f| {
                format!(
                    "{} {} {}",
                    f["path"].as_str().unwrap(),
                    f["mode"].as_str().unwrap(),
                    f["state"].as_str().unwrap()
                )
            })
            .collect::<Vec<_>>()
    };
    let first = ["pass 0600 written", "sub/app.conf 0644 written", "etc/db.properties 0444 written"];
    assert_eq!(states(&outcome.unwrap().json), first);
    assert_eq!(std::fs::read_to_string(out.join("pass")).unwrap(), CANARY);
    assert_eq!(std::fs::read_to_string(out.join("etc/db.properties")).unwrap(), "host=x\n");
    assert_eq!(std::fs::metadata(out.join("pass")).unwrap().permissions().mode() & 0o777, 0o600);
    let again = bench.ok(&["render", "out", "--env", "dev"]).await.json;
    assert!(states(&again).iter().all(|state| state.ends_with("unchanged")), "{again}");
    bench
        .file("config/a.toml", format!("pw = \"{CANARY}\"\n[db]\nhost = \"y\"\n"))
        .file("config/templates/z.hbs", "{{nope}}");
    assert_eq!(bench.fails(&["render", "out", "--env", "dev"]).await.code(), Code::Template);
    assert_eq!(std::fs::read_to_string(out.join("sub/app.conf")).unwrap(), "host=x\n", "an error changes nothing");
    bench.file("config/templates/z.hbs", "");
    let checked = bench.ok(&["render", "elsewhere", "--env", "dev", "--check"]).await.json;
    assert!(states(&checked).iter().all(|state| state.ends_with("fine")) && !bench.root().join("elsewhere").exists());
}

#[tokio::test]
async fn render_refuses_secrets_that_others_could_read() {
    for (file, said) in [
        ("path = \"a\"\nformat = \"env\"\nmode = \"0644\"", "others can read"),
        ("path = \"a\"\nformat = \"env\"\nmode = \"0644\"\nowner = \"0:0\"", "everybody can read"),
        ("path = \"../a\"\nformat = \"env\"", "not inside"),
        ("path = \"a\"\nformat = \"docx\"", "no format"),
        ("path = \"a\"", "either a format or a template"),
        ("path = \"a\"\ntemplate = \"gone.hbs\"", "does not exist"),
        ("path = \"a\"\nformat = \"env\"\nmode = \"rw\"", "no mode"),
    ] {
        let bench = Bench::new(&format!(
            "[config]\nlayers = [\"config/a.toml\"]\nsecrets = [\"pw\"]\n[[config.file]]\n{file}\n"
        ));
        bench.file("config/a.toml", format!("pw = \"{CANARY}\"\n"));
        let (outcome, out) = bench.run(&["render", "out", "--env", "dev"]).await;
        let text = all_output(&outcome, &out);
        assert!(outcome.is_err() && text.contains(said) && !text.contains(CANARY), "{file}: {text}");
    }
    let bench = Bench::new("[config]\nlayers = []\n");
    assert_eq!(bench.fails(&["render", "out", "--env", "dev"]).await.code(), Code::Usage);
}

#[tokio::test]
async fn more_formats_on_standard_output() {
    let mut bench = Bench::new("[config]\nlayers = [\"config/a.toml\"]\nsecrets = [\"pw\"]\n");
    bench.file("config/a.toml", format!("a = \"x y\"\npw = \"{CANARY}\"\n[db]\nport = 1\n"));
    for (format, text) in [
        (Format::Properties, "a=x y\ndb.port=1\npw=\\u00absecret:pw\\u00bb\n"),
        (Format::Ini, "a = x y\npw = «secret:pw»\n\n[db]\nport = 1\n"),
        (Format::Systemd, "A=\"x y\"\nDB_PORT=\"1\"\nPW=\"«secret:pw»\"\n"),
        (
            Format::ConfigMap,
            "apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: shop\ndata:\n  A: \"x y\"\n  DB_PORT: \"1\"\n",
        ),
    ] {
        bench.format = format;
        assert_eq!(bench.ok(&["--env", "dev"]).await.text, text, "{format:?}");
    }
    bench.format = Format::Secret;
    assert_eq!(bench.fails(&["--env", "dev"]).await.code(), Code::Usage);
    assert!(bench.ok(&["--env", "dev", "--reveal"]).await.text.contains("PW: \"aHVudGVyMjI"));
}

#[tokio::test]
async fn bad_input_is_an_error_that_quotes_nothing() {
    let cases: [(&str, Vec<u8>); 8] = [
        ("x.yaml", b"a: &a [x,x,x,x,x,x,x,x,x,x]\nb: &b [*a,*a,*a,*a,*a,*a,*a,*a,*a,*a]\nc: &c [*b,*b,*b,*b,*b,*b,*b,*b,*b,*b]\nd: &d [*c,*c,*c,*c,*c,*c,*c,*c,*c,*c]\ne: &e [*d,*d,*d,*d,*d,*d,*d,*d,*d,*d]\nf: [*e,*e,*e,*e,*e,*e,*e,*e,*e,*e]\n".to_vec()),
        ("x.toml", "\"caf\u{e9}\" = 1\n".into()),
        ("x.toml", "\"cafe\u{301}\" = 1\n".into()),
        ("x.toml", "Key = 1\nkey = 2\n".into()),
        ("x.json", format!("{{\"{CANARY} x\": 1}}").into()),
        ("x.ini", format!("[{CANARY} x]\na=1\n").into()),
        ("x.properties", format!("{CANARY}\\ x=1\n").into()),
        ("x.env", b"\xff\xfe".to_vec()),
    ];
    for (name, bytes) in cases {
        let bench = Bench::new(&format!("[config]\nlayers = [\"config/{name}\"]\n"));
        bench.file(&format!("config/{name}"), &bytes);
        let (outcome, said) = bench.run(&["check", "--env", "dev"]).await;
        assert_eq!(outcome.as_ref().unwrap_err().code(), Code::ConfigInvalid, "{name}");
        assert!(!all_output(&outcome, &said).contains(CANARY), "{name}");
    }
    let bench = Bench::new("[config]\nlayers = [\"config/x.toml\"]\n");
    std::fs::File::create(bench.root().join("config/x.toml")).unwrap().set_len(100 * 1024 * 1024).unwrap();
    assert!(bench.resolve().await.unwrap_err().to_string().contains("more than"));
}

#[tokio::test]
async fn fmt_brings_all_layers_into_form() {
    let bench = Bench::new("[config]\nlayers = [\"config/a.toml\", \"config/{{env}}.toml?\", \".env?\"]\n");
    bench.file("config/a.toml", "a=1 # x\n").file("config/prod.toml", "a = 2\n").file(".env", "A = 1");
    let fault = bench.fails(&["fmt", "--check"]).await;
    assert_eq!((fault.code(), &fault.details()["files"]), (Code::ConfigInvalid, &json!(["config/a.toml"])));
    assert_eq!(bench.text("config/a.toml"), "a=1 # x\n");
    bench.ok(&["fmt"]).await;
    assert_eq!(bench.text("config/a.toml"), "a = 1 # x\n");
    assert_eq!(bench.ok(&["fmt", "--check"]).await.json["unchanged"], 2);
    for bad in [&["fmt", ".env"][..], &["fmt", "gone.toml"], &["fmt", "../x.toml"]] {
        assert!(matches!(bench.fails(bad).await.code(), Code::Usage | Code::ConfigInvalid), "{bad:?}");
    }
}

#[tokio::test]
async fn schema_describes_a_layer_and_requires_nothing() {
    let bench =
        Bench::new("[config]\nlayers = [\"config/a.toml\"]\nschema = \"s.json\"\nsecrets = [\"db.password\"]\n");
    bench.file("config/a.toml", "debug = true\n[db]\nport = 1\npassword = \"abcdef\"\n").file(
        "s.json",
        r#"{"required": ["x"], "properties": {"required": {"type": "string"}, "db": {"required": ["y"], "properties": {
            "port": {"type": "integer", "minimum": 1}, "password": {"type": "string", "minLength": 6}}}}}"#,
    );
    let schema = bench.ok(&["schema", "--env", "dev"]).await.json;
    assert_eq!(schema["properties"]["debug"], json!({ "description": "Set in config/a.toml:1.", "type": "boolean" }));
    assert_eq!(schema["properties"]["db"]["properties"]["port"]["minimum"], 1);
    assert_eq!(schema["properties"]["db"]["properties"]["password"]["anyOf"][1]["minLength"], 6);
    assert_eq!(schema["properties"]["required"]["type"], "string");
    assert!(schema.get("required").is_none() && schema["properties"]["db"].get("required").is_none(), "{schema}");
    assert!(!schema.to_string().contains("abcdef"));
}

#[tokio::test]
async fn a_layer_of_another_store_may_stand_twice() {
    let bench =
        repository("[config]\nlayers = [\"git:v1:config/a.toml\", \"config/a.toml\", \"git:v1:config/a.toml\"]\n");
    bench.file("config/a.toml", "a = 1\n");
    commit(&bench, "v1");
    bench.file("config/a.toml", "a = 2\nb = 2\n");
    assert_eq!(bench.ok(&["--env", "dev"]).await.json, json!({ "a": 1, "b": 2 }));
}
