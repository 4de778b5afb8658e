//! Layers from programs: the protocol, and the example for password managers against stand-ins for their command lines.

use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::sync::Arc;

use vice_core::port::command::{CommandOutput, CommandRunner, CommandSpec, Ended};
use vice_core::port::config::{ConfigSource, ConfigValue, ResolvedConfig};
use vice_core::{Code, Millis};

use super::{Bench, CANARY, all_output};

fn bench(layer: &str) -> Bench {
    let mut bench = Bench::new(&format!("[config]\nlayers = [\"credential:{layer}\"]\n"));
    let bin = bench.dir.path().join("bin");
    std::fs::create_dir(&bin).unwrap();
    // Only these tools: a machine may have the command line of a password manager.
    for tool in ["python3", "cat", "head", "env"] {
        let found = ["/usr/local/bin", "/usr/bin", "/bin"].map(|dir| PathBuf::from(dir).join(tool));
        let found = found.into_iter().find(|path| path.exists()).unwrap_or_else(|| panic!("{tool} is not installed"));
        std::os::unix::fs::symlink(found, bin.join(tool)).unwrap();
    }
    let path = bin.display().to_string();
    bench.var("PATH", &path);
    bench
}

fn program(bench: &Bench, name: &str, script: &str) -> PathBuf {
    let path = bench.dir.path().join("bin").join(name);
    std::fs::write(&path, format!("#!/bin/sh\n{script}\n")).unwrap();
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
    path
}

fn secret(config: &ResolvedConfig, key: &str) -> String {
    match &config.entries[key].value {
        ConfigValue::Secret(secret) => secret.reveal().to_owned(),
        ConfigValue::Plain(value) => panic!("{key} is plain: {value}"),
    }
}

#[tokio::test]
async fn a_program_is_asked_on_standard_input_and_gives_secrets() {
    let mut bench = bench("test/team/shop");
    bench.var("VICE_AGE_IDENTITY", "AGE-SECRET-KEY-1X");
    let seen = bench.dir.path().join("seen");
    let script = format!(
        "cat > '{0}'; echo \"$#\" >> '{0}'; env >> '{0}'\nprintf '{{\"values\": {{\"db\": {{\"password\": \"{CANARY}\", \"port\": 5432}}, \"token\": \"x\"}}}}'",
        seen.display()
    );
    program(&bench, "vice-credential-test", &script);
    let config = bench.resolve().await.unwrap();
    assert_eq!((secret(&config, "db.password").as_str(), secret(&config, "db.port").as_str()), (CANARY, "5432"));
    assert_eq!(config.entries["token"].origin.layer, "credential:test/team/shop");
    let seen = std::fs::read_to_string(seen).unwrap();
    let asked: serde_json::Value = serde_json::from_str(
        seen.lines().next().unwrap().split("}").next().map(|t| format!("{t}}}")).unwrap().as_str(),
    )
    .unwrap();
    assert_eq!(
        asked,
        serde_json::json!({ "version": 1, "operation": "get", "path": "team/shop", "project": "shop", "env": "dev" })
    );
    assert!(seen.contains("}0\n") && !seen.contains("AGE-SECRET"), "no arguments, and no key of ours: {seen}");
}

#[tokio::test]
async fn programs_that_misbehave_are_told_apart_and_nothing_of_them_is_shown() {
    for (script, why) in [
        (format!("echo '{CANARY}'"), "answered no JSON"),
        ("echo '{\"error\": \"the vault is locked\"}'".to_owned(), "the vault is locked"),
        ("echo 'not logged in' >&2; exit 3".to_owned(), "not logged in"),
        (format!("echo '{{\"values\": {{\"a\": \"{CANARY}\"}}}}'; exit 1"), "exit status 1"),
        ("echo '{}'".to_owned(), "gave no values"),
        (format!("echo '{{\"values\": {{\"a b\": \"{CANARY}\"}}}}'"), "other characters"),
        (format!("echo '{{\"values\": {{\"a\": null, \"b\": \"{CANARY}\"}}}}'"), "null"),
        ("head -c 2000000 /dev/zero".to_owned(), "more than"),
    ] {
        let bench = bench("test/x");
        program(&bench, "vice-credential-test", &script);
        let fault = bench.resolve().await.unwrap_err();
        assert_eq!(fault.code(), Code::ConfigInvalid);
        let text = all_output(&Err(fault), "");
        assert!(text.contains(why) && !text.contains(CANARY), "{why}: {text}");
    }
}

#[tokio::test]
async fn only_a_program_of_that_name_on_an_absolute_path_is_run() {
    let mut bench = bench("test/x");
    assert!(bench.resolve().await.unwrap_err().to_string().contains("no vice-credential-test on PATH"));
    // The project itself is no place for programs that are given secrets.
    bench.file("vice-credential-test", "#!/bin/sh\necho '{\"values\": {}}'\n");
    std::fs::set_permissions(bench.root().join("vice-credential-test"), std::fs::Permissions::from_mode(0o755))
        .unwrap();
    bench.var("PATH", ".::/usr/bin:/bin");
    assert!(bench.resolve().await.unwrap_err().to_string().contains("no vice-credential-test on PATH"));
    let path = bench.dir.path().join("bin").display().to_string();
    bench.var("PATH", &path);
    let program = program(&bench, "vice-credential-test", "echo '{\"values\": {}}'");
    std::fs::set_permissions(&program, std::fs::Permissions::from_mode(0o777)).unwrap();
    assert!(bench.resolve().await.unwrap_err().to_string().contains("written by everybody"));
}

/// The command lines of password managers, each with an answer in the form that its manual documents, and the argument
/// list that it has to be called with.
const MANAGERS: [(&str, &str, &str, &str, &str); 10] = [
    (
        "op",
        "Team/shop",
        "op",
        "item get shop --vault Team --format json --reveal",
        r#"{"id":"x","fields":[{"id":"password","type":"CONCEALED","label":"password","value":"CANARY"},{"label":"notesPlain"}]}"#,
    ),
    (
        "bw",
        "shop",
        "bw",
        "get item shop",
        r#"{"object":"item","login":{"username":"app","password":"CANARY"},"fields":[{"name":"API key","value":"k"}]}"#,
    ),
    ("bws", "p1", "bws", "secret list p1 --output json", r#"[{"id":"1","key":"PASSWORD","value":"CANARY"}]"#),
    ("pass", "shop/prod", "pass", "show shop/prod", "CANARY\nuser: app\n"),
    ("gopass", "shop/prod", "gopass", "show --noparsing shop/prod", "CANARY\nuser: app\n"),
    (
        "vault",
        "secret/shop",
        "vault",
        "kv get -format=json secret/shop",
        r#"{"data":{"data":{"password":"CANARY"},"metadata":{"version":3}}}"#,
    ),
    (
        "aws",
        "prod/shop",
        "aws",
        "secretsmanager get-secret-value --secret-id prod/shop --output json",
        r#"{"Name":"prod/shop","SecretString":"{\"password\":\"CANARY\"}"}"#,
    ),
    (
        "gcloud",
        "proj/shop",
        "gcloud",
        "secrets versions access latest --secret=shop --project=proj",
        r#"{"password": "CANARY"}"#,
    ),
    (
        "doppler",
        "shop/prd",
        "doppler",
        "secrets download --no-file --format json --project shop --config prd",
        r#"{"PASSWORD":"CANARY","DOPPLER_CONFIG":"prd"}"#,
    ),
    (
        "lastpass",
        "shop",
        "lpass",
        "show --json shop",
        r#"[{"id":"1","name":"shop","username":"app","password":"CANARY","note":""}]"#,
    ),
];

#[tokio::test]
async fn the_example_asks_the_usual_password_managers() {
    let example = concat!(env!("CARGO_MANIFEST_DIR"), "/../examples/credentials/vice-credential");
    for (name, path, cli, arguments, answer) in MANAGERS {
        let bench = bench(&format!("{name}/{path}"));
        std::os::unix::fs::symlink(example, bench.dir.path().join("bin").join(format!("vice-credential-{name}")))
            .unwrap();
        let absent = all_output(&Err(bench.resolve().await.unwrap_err()), "");
        assert!(absent.contains(&format!("{cli} is not installed")), "{name}: {absent}");
        let answer = answer.replace("CANARY", CANARY);
        program(&bench, cli, &format!("[ \"$*\" = '{arguments}' ] || exit 9\ncat <<'END'\n{answer}\nEND"));
        let config = bench.resolve().await.unwrap_or_else(|fault| panic!("{name}: {fault:?}"));
        assert_eq!(secret(&config, "password"), CANARY, "{name}");
        program(&bench, cli, "echo 'session expired' >&2; exit 1");
        let text = all_output(&Err(bench.resolve().await.unwrap_err()), "");
        assert!(text.contains("ended with status 1"), "{name}: {text}");
        program(&bench, cli, &format!("echo '[{CANARY}'"));
        let told = bench.resolve().await;
        if let Err(fault) = told {
            assert!(!all_output(&Err(fault), "").contains(CANARY), "{name}");
        }
    }
}

/// A runner under which every program takes too long.
struct Slow(std::sync::Mutex<Vec<CommandSpec>>);

#[async_trait::async_trait]
impl CommandRunner for Slow {
    async fn run(&self, spec: CommandSpec) -> vice_core::Result<CommandOutput> {
        let took = spec.timeout;
        self.0.lock().unwrap().push(spec);
        let (stdout, stderr) = (format!("{{\"values\": {{\"a\": \"{CANARY}\""), "waiting for a finger".to_owned());
        Ok(CommandOutput { ended: Ended::TimedOut, stdout, stderr, truncated: false, took })
    }
}

#[tokio::test]
async fn a_program_that_takes_too_long_is_ended_and_told() {
    let bench = bench("test/x");
    program(&bench, "vice-credential-test", "true");
    let slow = Arc::new(Slow(std::sync::Mutex::default()));
    let envy = bench.envy().with_runner(Arc::<Slow>::clone(&slow));
    let fault = envy.resolve(&bench.project(), &"dev".parse().unwrap()).await.unwrap_err();
    assert!(fault.to_string().contains("took longer than"), "{fault}");
    let text = all_output(&Err(fault), "");
    assert!(text.contains("waiting for a finger") && !text.contains(CANARY), "{text}");
    let ran = slow.0.lock().unwrap();
    assert_eq!((ran.len(), ran[0].timeout, ran[0].argv.len()), (1, Millis(60_000), 1));
}

#[tokio::test]
async fn a_single_value_may_come_from_a_program() {
    let mut bench = bench("test/none");
    let layers = "[config]\nlayers = [\"config/a.toml\", \"config/b.toml\"]\ninterpolate = true\n";
    bench.remanifest(layers);
    let asked = bench.dir.path().join("asked");
    let script = format!(
        "cat >> '{}'; printf '{{\"values\": {{\"pw\": \"{CANARY}\", \"n\": {{\"port\": 5432}}}}}}'",
        asked.display()
    );
    program(&bench, "vice-credential-test", &script);
    bench.file("config/a.toml", "pw = \"cred://test/gone/x\"\nsame = \"cred://test/team/shop/pw\"\n");
    bench.file(
        "config/b.toml",
        "pw = \"cred://test/team/shop/pw\"\nport = \"cred://test/team/shop/n.port\"\nurl = \"x:${pw}@h\"\n",
    );
    let config = bench.resolve().await.unwrap();
    for (key, value) in [("pw", CANARY), ("same", CANARY), ("port", "5432"), ("url", &format!("x:{CANARY}@h"))] {
        assert_eq!(secret(&config, key), value);
    }
    // Once for all, and not for what is overridden.
    assert_eq!(std::fs::read_to_string(&asked).unwrap().matches("\"path\":\"team/shop\"").count(), 1);
    assert!(!std::fs::read_to_string(&asked).unwrap().contains("gone"));
    let shown = bench.ok(&["--env", "dev"]).await;
    assert!(shown.text.contains("«secret:pw»") && !shown.text.contains(CANARY), "{}", shown.text);

    for (value, why) in [
        ("cred://test/team/shop/nothing", "has no nothing there"),
        ("cred://absent/x/y", "no vice-credential-absent on PATH"),
        ("cred://test", "names no key"),
        ("cred://TEST/x/y", "no usable name"),
    ] {
        bench.file("config/b.toml", format!("pw = \"{value}\"\n"));
        bench.file("config/a.toml", "");
        let fault = bench.resolve().await.unwrap_err();
        assert!(fault.to_string().contains("pw (config/b.toml:1)"), "{fault}");
        assert!(all_output(&Err(fault), "").contains(why), "{why}");
    }
}
