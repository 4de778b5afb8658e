//! Planted secrets in every encoding, through every way out of the binary: terminal, documents, history, reports, logs,
//! notices, and what other processes can see.

#[path = "../../../vice-core/tests/corpus/mod.rs"]
#[expect(dead_code, reason = "the tests of the masker use all of it")]
mod corpus;

use std::collections::HashMap;
use std::fs;
use std::path::Path;

use corpus::{base64, corpus, secrets};

use crate::lab::{Lab, hello_project};

const SEED: u64 = 77;
/// So many characters of a planted form in a row are a leak. By chance, none of the texts has them.
const WINDOW: usize = 12;

fn bare(text: &str) -> Vec<char> {
    text.chars().filter(|c| !c.is_whitespace()).collect()
}

/// Every window of every planted form, with what it is from.
struct Windows(HashMap<Vec<char>, String>);

impl Windows {
    fn new() -> Self {
        let mut windows = HashMap::new();
        for planted in corpus(SEED) {
            let form = bare(&planted.form);
            for window in form.windows(WINDOW) {
                windows.entry(window.to_vec()).or_insert_with(|| format!("{} {}", planted.name, planted.how));
            }
        }
        // What the corpus wrote around values is no secret.
        for lead in ["user:", "{\"password\":\"", "{\"a\":\""] {
            let lead = bare(&base64(lead.as_bytes(), false, false));
            lead.windows(WINDOW).for_each(|window| drop(windows.remove(window)));
        }
        let colour = bare("\\u{1b}[01;31m\\u{1b}[K");
        colour.windows(WINDOW).for_each(|window| drop(windows.remove(window)));
        Self(windows)
    }

    #[track_caller]
    fn assert_none(&self, place: &str, text: &str) {
        for window in bare(text).windows(WINDOW) {
            if let Some(from) = self.0.get(window) {
                let shown: String = window.iter().collect();
                panic!("{place} has {shown:?} of {from}");
            }
        }
    }
}

/// A project whose service, task, check and channel print the corpus or what they were given.
fn planted() -> Lab {
    let lab = Lab::new();
    hello_project(&lab, 1);
    let values: serde_json::Map<String, serde_json::Value> =
        secrets().into_iter().map(|(name, value)| (name.to_owned(), value.into())).collect();
    lab.write("config/secret.json", &serde_json::Value::Object(values).to_string());
    let text: String = corpus(SEED).into_iter().map(|planted| format!("{}\n", planted.text)).collect();
    lab.write("corpus.txt", &text);
    let corpus = lab.path("corpus.txt").display().to_string();
    let notices = lab.path("notices.txt").display().to_string();
    let names: Vec<String> = secrets().iter().map(|(name, _)| format!("{name:?}")).collect();
    let toml = lab.read("vice.toml").replace(
        "command  = [\"./hello\"",
        &format!("command  = [\"sh\", \"-c\", \"cat {corpus}; exec ./hello \\\"$@\\\"\", \"x\""),
    );
    assert!(toml.contains("cat "), "{toml}");
    lab.write(
        "vice.toml",
        &format!(
            "{toml}\n[config]\nlayers = [\"config/secret.json\"]\nsecrets = [{}]\n\
             [task.loud]\ncommand = [\"cat\", \"{corpus}\"]\nrun = \"before\"\nrollback = \"safe\"\n\
             [graph.loud]\nsay = {{ run = [\"cat\", \"{corpus}\"], out = {{ said = \"stdout\" }} }}\n\
             [channel.shell]\nkind = \"command\"\ncommand = [\"sh\", \"-c\", \"env >> {notices}; cat >> {notices}\"]\n\
             [[notify]]\non = [\"deployed\", \"rolled-back\"]\nto = \"shell\"\n",
            names.join(", ")
        ),
    );
    lab
}

fn every_file(dir: &Path, found: &mut Vec<std::path::PathBuf>) {
    for entry in fs::read_dir(dir).into_iter().flatten().flatten() {
        let path = entry.path();
        if path.is_dir() { every_file(&path, found) } else { found.push(path) }
    }
}

#[test]
fn no_planted_secret_comes_out_of_any_command() {
    let (lab, windows) = (planted(), Windows::new());
    let corpus = lab.path("corpus.txt").display().to_string();
    lab.vice(&["envy", "check"]).expect(0);
    let mut masks = 0;
    let mut say = |args: &[&str]| {
        for format in ["text", "json", "ndjson"] {
            let ran = lab.vice(&[args, &["--format", format]].concat());
            let place = format!("vice {} --format {format}", args.join(" "));
            windows.assert_none(&place, &ran.stdout);
            windows.assert_none(&place, &ran.stderr);
            masks += (ran.stdout.matches("«secret:").count() + ran.stderr.matches("«secret:").count()).min(1);
        }
    };
    say(&["deploy", "hello"]);
    say(&["logs", "hello", "-n", "5000"]);
    say(&["pride", "logs", "hello", "-n", "5000"]);
    // From here on, a check fails and says everything that it saw.
    let check = format!("[check.loud]\ncommand = [\"sh\", \"-c\", \"cat {corpus}; exit 1\"]\n");
    lab.write("vice.toml", &format!("{}{check}", lab.read("vice.toml")));
    say(&["deploy", "hello@2"]);
    for args in [
        &["envy", "--env", "dev", "hello"][..],
        &["envy", "check"],
        &["envy", "explain", "token"],
        &["envy", "history"],
        &["envy", "keys"],
        &["envy", "schema"],
        &["envy", "diff", "dev", "--deployed", "--all"],
        &["envy", "render", "out", "--check"],
        &["doctor"],
        &["pride", "hold", "list"],
        &["verify", "hello"],
        &["why", "hello"],
        &["history"],
        &["status"],
        &["plan", "hello"],
        &["report", "hello"],
        &["events", "log"],
        &["sloth", "run", "loud"],
    ] {
        say(args);
    }
    say(&["envy", "exec", "--env", "dev", "--", "cat", &corpus]);
    say(&["envy", "exec", "--env", "dev", "--", "no-such-program"]);
    assert!(masks >= 8, "masks stand where secrets were: {masks}");
    windows.assert_none("the notices", &lab.read("notices.txt"));

    let mut files = Vec::new();
    every_file(&lab.path(".vice"), &mut files);
    let mut looked = 0;
    for file in files {
        let shown = file.display().to_string();
        // The local target keeps what instances print and are given in files of mode 0600; see docs/secrets.md.
        if shown.contains("/local/") || shown.contains("/artifacts/") {
            use std::os::unix::fs::PermissionsExt;
            let own = fs::metadata(&file).map_or(0o600, |meta| meta.permissions().mode());
            let private = shown.ends_with(".log") || shown.contains("/live/") || shown.contains("/releases/");
            assert!(!private || own & 0o077 == 0, "{shown} can be read by others");
            continue;
        }
        windows.assert_none(&shown, &String::from_utf8_lossy(&fs::read(&file).unwrap_or_default()));
        looked += 1;
    }
    assert!(looked >= 2, "the history was looked at");
}

#[test]
fn processes_that_are_not_given_the_configuration_do_not_have_it() {
    let lab = planted();
    lab.vice_with(&[("VICE_AGE_IDENTITY", "AGE-SECRET-KEY-1CANARYCANARYCANARY")], &["deploy", "hello"]).expect(0);
    assert!(lab.read("notices.txt").contains("PATH="), "the channel was told");
    let mut agents = 0;
    for entry in fs::read_dir("/proc").into_iter().flatten().flatten() {
        let line = fs::read(entry.path().join("cmdline")).unwrap_or_default();
        let line = String::from_utf8_lossy(&line).into_owned();
        if !line.contains(&lab.root().display().to_string()) {
            continue;
        }
        for (name, value) in secrets() {
            assert!(!line.contains(&value), "the secret {name} is an argument: {line}");
        }
        if line.contains("agent") {
            agents += 1;
            let environ = fs::read(entry.path().join("environ")).unwrap_or_default();
            let environ = String::from_utf8_lossy(&environ).into_owned();
            assert!(!environ.contains("CANARYCANARY"), "the agent was given the key");
            for (name, value) in secrets() {
                assert!(!environ.contains(&value), "the agent was given {name}");
            }
        }
    }
    assert!(agents > 0, "the agent runs");
    assert!(!lab.read("notices.txt").contains("CANARYCANARY"));
}

/// Who is given the configuration, in the order in which a deploy comes to them; and who is not.
const CHILDREN: [(&str, bool); 4] = [("task", true), ("instance", true), ("check", true), ("channel", false)];

/// A project whose children each say who they are and wait until they were looked at.
fn waiting() -> Lab {
    let lab = Lab::new();
    hello_project(&lab, 1);
    lab.write("config/secret.toml", "token = \"hunter22-canary-token\"\n[db]\npassword = \"correct horse canary\"\n");
    fs::create_dir_all(lab.path("seen")).expect("a folder");
    let wait = |name: &str| {
        let seen = lab.path("seen").display().to_string();
        format!(
            "echo $$ > {seen}/{name}.new; mv {seen}/{name}.new {seen}/{name}; while [ ! -e {seen}/{name}.go ]; do sleep 0.02; done"
        )
    };
    let toml = lab.read("vice.toml").replace(
        "command  = [\"./hello\"",
        &format!("command  = [\"sh\", \"-c\", \"{}; exec ./hello \\\"$@\\\"\", \"x\"", wait("instance")),
    );
    assert!(toml.contains("seen/instance"), "{toml}");
    lab.write(
        "vice.toml",
        &format!(
            "{toml}\n[config]\nlayers = [\"config/secret.toml\"]\nsecrets = [\"token\", \"db.password\"]\n\
             [task.slow]\ncommand = [\"sh\", \"-c\", \"{}\"]\nrun = \"before\"\nrollback = \"safe\"\n\
             [check.slow]\ncommand = [\"sh\", \"-c\", \"{}\"]\n\
             [channel.shell]\nkind = \"command\"\ncommand = [\"sh\", \"-c\", \"{}; cat > /dev/null\"]\n\
             [[notify]]\non = [\"deployed\", \"rolled-back\"]\nto = \"shell\"\n",
            wait("task"),
            wait("check"),
            wait("channel")
        ),
    );
    lab
}

fn proc_text(pid: &str, file: &str) -> String {
    let bytes = fs::read(format!("/proc/{pid}/{file}")).unwrap_or_default();
    String::from_utf8_lossy(&bytes).into_owned()
}

/// Looks at every process that has to do with the lab: arguments of none have a secret, and the environments of those
/// that were given the configuration only. Gives how many had it.
fn look(lab: &Lab, secrets: &[&str], key: &str, caller: u32) -> usize {
    let root = lab.root().display().to_string();
    let given: Vec<String> = CHILDREN
        .iter()
        .filter(|(_, given)| *given)
        .map(|(name, _)| lab.read(&format!("seen/{name}")).trim().to_owned())
        .collect();
    let mut having = 0;
    for entry in fs::read_dir("/proc").into_iter().flatten().flatten() {
        let Some(pid) = entry.file_name().to_str().filter(|name| name.parse::<u32>().is_ok()).map(str::to_owned) else {
            continue;
        };
        let (line, environ) = (proc_text(&pid, "cmdline"), proc_text(&pid, "environ"));
        let folder = fs::read_link(entry.path().join("cwd")).unwrap_or_default();
        if !line.contains(&root) && !environ.contains(&root) && !folder.starts_with(&root) {
            continue;
        }
        let line = line.replace('\0', " ");
        for secret in secrets.iter().chain([&key]) {
            assert!(!line.contains(secret), "an argument of {pid} has a secret: {line}");
        }
        assert!(!environ.contains(key) || pid == caller.to_string(), "{pid} was given the key: {line}");
        // `sleep` is a child of a child and has what that has.
        let parent =
            proc_text(&pid, "stat").rsplit(") ").next().and_then(|rest| rest.split(' ').nth(1).map(str::to_owned));
        let is_given = given.contains(&pid) || parent.is_some_and(|parent| given.contains(&parent));
        let has = secrets.iter().filter(|secret| environ.contains(**secret)).count();
        assert!(has == 0 || is_given, "{pid} was given {has} secrets: {line}");
        having += usize::from(has == secrets.len());
    }
    having
}

#[test]
fn of_all_running_children_only_those_that_asked_have_a_secret() {
    let lab = waiting();
    let (secrets, key) = (["hunter22-canary-token", "correct horse canary"], "AGE-SECRET-KEY-1CANARYCANARYCANARY");
    let mut deploy = lab.command(&["deploy", "hello"]);
    let mut deploy = deploy.env("VICE_AGE_IDENTITY", key).spawn().expect("vice");
    for (name, given) in CHILDREN {
        let began = std::time::Instant::now();
        while !lab.path(&format!("seen/{name}")).exists() {
            assert!(began.elapsed().as_secs() < 60, "the {name} never came");
            std::thread::sleep(std::time::Duration::from_millis(10));
        }
        let pid = lab.read(&format!("seen/{name}")).trim().to_owned();
        let has = secrets.iter().filter(|secret| proc_text(&pid, "environ").contains(**secret)).count();
        assert_eq!(has, if given { secrets.len() } else { 0 }, "the {name} was given {has}");
        let having = look(&lab, &secrets, key, deploy.id());
        assert!(having > 0 || name == "channel" || !given);
        lab.write(&format!("seen/{name}.go"), "");
    }
    assert!(deploy.wait().expect("its end").success());
    assert!(look(&lab, &secrets, key, 0) > 0, "the instance goes on with them");
}
