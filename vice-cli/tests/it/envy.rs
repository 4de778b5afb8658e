//! Files of the configuration under commands that are killed, that meet each other, and that ask a person.

use std::collections::BTreeMap;
use std::fs;
use std::io::Write;
use std::process::{Command, Stdio};
use std::time::Duration;

use crate::lab::{Lab, hello_project, ran};

const LAYERS: usize = 8;

/// A project with layers that each hold some secrets, readable by a first key.
fn project() -> Lab {
    let lab = Lab::new();
    let layers: Vec<String> = (0..LAYERS).map(|layer| format!("\"config/{layer}.toml\"")).collect();
    lab.write(
        "vice.toml",
        &format!(
            "name = \"shop\"\nartifact = \"x\"\ncommand = [\"./x\"]\n[env.dev]\n[config]\nlayers = [{}]\n",
            layers.join(", ")
        ),
    );
    for layer in 0..LAYERS {
        lab.write(&format!("config/{layer}.toml"), &format!("kept = {layer} # a comment\n"));
    }
    lab.vice(&["envy", "init"]).expect(0);
    for layer in 0..LAYERS {
        for key in 0..3 {
            let (file, key) = (format!("config/{layer}.toml"), format!("l{layer}.k{key}"));
            lab.write("value", &format!("secret-{layer}-{key}"));
            lab.vice(&["envy", "set", &key, "--secret", "--from-file", "value", "--layer", &file]).expect(0);
        }
    }
    fs::remove_file(lab.path("value")).expect("the value");
    lab
}

fn layers(lab: &Lab) -> BTreeMap<usize, String> {
    (0..LAYERS).map(|layer| (layer, lab.read(&format!("config/{layer}.toml")))).collect()
}

/// What stands in `config` beside the layers and the readers.
fn unfinished(lab: &Lab) -> usize {
    let names = fs::read_dir(lab.path("config")).expect("a folder").flatten().map(|entry| entry.file_name());
    names.filter(|name| name.to_string_lossy().starts_with(".vice-")).count()
}

#[test]
fn a_rotation_that_is_killed_anywhere_leaves_whole_files_and_says_how_to_go_on() {
    let lab = project();
    let values = lab.vice(&["envy", "--reveal", "--format", "json"]).expect(0).json();
    let mut cut_off = 0;
    // One kill before anything is changed, and one after each number of layers.
    for at in 0..LAYERS {
        // One reader more, so that everything has to be encrypted again.
        let reader = Lab::new();
        reader.write("vice.toml", &lab.read("vice.toml"));
        let made = reader.vice(&["envy", "init", "--format", "json"]).expect(0).json();
        let public = made["public"].as_str().expect("a key").to_owned();
        lab.vice(&["envy", "init", "--recipient", &public]).expect(0);
        let before = layers(&lab);
        let mut child =
            lab.command(&["envy", "rotate"]).stdout(Stdio::null()).stderr(Stdio::null()).spawn().expect("vice");
        let changed =
            |now: &BTreeMap<usize, String>| now.iter().filter(|(layer, text)| before[layer] != **text).count();
        while changed(&layers(&lab)) < at && child.try_wait().expect("a child").is_none() {
            std::thread::sleep(Duration::from_micros(200));
        }
        drop(child.kill());
        let killed = child.wait().expect("its end").code().is_none();

        let after = layers(&lab);
        for (layer, text) in &after {
            assert!(text.ends_with('\n') && text.matches("age:v2:").count() == 3, "layer {layer} is not whole: {text}");
            assert!(text.starts_with(&format!("kept = {layer} # a comment\n")), "{text}");
        }
        let seen = lab.vice(&["envy", "--reveal", "--format", "json"]).expect(0).json();
        assert_eq!(seen, values, "killed after {at}");
        let again = lab.vice(&["envy", "rotate"]).expect(0);
        if killed && changed(&after) < LAYERS {
            cut_off += 1;
            let told = again.stderr.contains("`vice envy rotate` (pid") && again.stderr.contains("run it again");
            // Killed before it had the lock, it had begun nothing and left no note.
            assert!(told || changed(&after) == 0, "after {at}: {}", again.stderr);
        }
        let whole = layers(&lab);
        assert!(whole.iter().all(|(layer, text)| before[layer] != *text), "the second run completes the first");
        assert_eq!(unfinished(&lab), 0, "half-written files stay");
        let third = lab.vice(&["envy", "rotate"]).expect(0);
        assert!(!third.stderr.contains("cut off"), "{}", third.stderr);
        assert_eq!(layers(&lab), whole, "what is right stays byte for byte");
    }
    assert!(cut_off > 0, "no run was cut off in the middle");
}

/// How often a command is killed, each time a little later.
const KILLS: u32 = 12;

/// Kills a command at moments spread over the time that it takes. What `values` gives has to be what was there before, or
/// that with what the command adds; and whoever comes next gets the lock and finds nothing half written.
fn killed_at_any_moment(lab: &Lab, command: impl Fn(u32) -> Vec<String>, adds: impl Fn(u32) -> serde_json::Value) {
    let run = |number: u32| {
        let words = command(number);
        lab.command(&words.iter().map(String::as_str).collect::<Vec<_>>())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("vice")
    };
    let values = || lab.vice(&["envy", "--reveal", "--format", "json"]).expect(0).json();
    lab.vice(&["envy", "set", "next", "0", "--layer", "config/1.toml"]).expect(0);
    let began = std::time::Instant::now();
    assert!(run(0).wait().expect("its end").success());
    let whole = began.elapsed();
    let (mut killed, mut before) = (0, values());
    for number in 1..=KILLS {
        let mut child = run(number);
        // Whichever moment it is, the same has to hold afterwards.
        std::thread::sleep(whole * number / KILLS);
        drop(child.kill());
        let ended = child.wait().expect("its end").success();
        killed += u32::from(!ended);
        let mut with = before.clone();
        for (key, value) in adds(number).as_object().expect("a table") {
            with[key] = value.clone();
        }
        let after = values();
        assert!(after == with || (after == before && !ended), "killed at {number}: {after}");
        // Nobody holds the lock any more, and what was half written is taken away.
        lab.vice(&["envy", "set", "next", &number.to_string(), "--layer", "config/1.toml"]).expect(0);
        assert_eq!(unfinished(lab), 0, "half-written files stay");
        before = values();
        assert_eq!(before["next"].to_string().trim_matches('"'), number.to_string());
        let mut same = before.clone();
        same["next"] = after["next"].clone();
        assert_eq!(same, after, "nothing else changed");
    }
    assert!(killed > 0, "no run was cut off");
}

#[test]
fn a_set_that_is_killed_anywhere_loses_nothing() {
    let lab = project();
    lab.write("value", "a-secret-of-some-length");
    let command = |number: u32| {
        let key = format!("fresh{number}");
        ["envy", "set", &key, "--secret", "--from-file", "value", "--layer", "config/0.toml"]
            .map(str::to_owned)
            .to_vec()
    };
    killed_at_any_moment(
        &lab,
        command,
        |number| serde_json::json!({ (format!("fresh{number}")): "a-secret-of-some-length" }),
    );
}

#[test]
fn an_import_that_is_killed_anywhere_loses_nothing() {
    let lab = project();
    let keys = |number: u32| (0..20).map(move |key| (format!("i{number}x{key}"), format!("imported-{number}-{key}")));
    let command = |number: u32| {
        let text: String = keys(number).map(|(key, value)| format!("{}={value}\n", key.to_uppercase())).collect();
        lab.write(&format!("import{number}.env"), &text);
        ["envy", "import", &format!("import{number}.env"), "--env", "dev"].map(str::to_owned).to_vec()
    };
    let adds = |number| {
        let pairs = keys(number).map(|(key, value)| (key, serde_json::Value::from(value)));
        pairs.collect::<serde_json::Map<_, _>>().into()
    };
    killed_at_any_moment(&lab, command, adds);
}

#[test]
fn commands_at_the_same_time_lose_nothing() {
    let lab = project();
    let set = |key: &str| {
        lab.command(&["envy", "set", key, "there", "--layer", "config/0.toml"])
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("vice")
    };
    let keys: Vec<String> = (0..8).map(|number| format!("at_once.k{number}")).collect();
    let children: Vec<_> = keys.iter().map(|key| set(key)).collect();
    for child in children {
        ran(&child.wait_with_output().expect("its end")).expect(0);
    }
    let seen = lab.vice(&["envy", "--format", "json"]).expect(0).json();
    for key in 0..8 {
        assert_eq!(seen["at_once"][format!("k{key}")], "there", "{}", lab.read("config/0.toml"));
    }
}

#[test]
fn a_secret_is_asked_for_on_a_terminal_and_not_shown_there() {
    let lab = project();
    let command = format!("{} envy set typed --secret --layer config/0.toml", env!("CARGO_BIN_EXE_vice"));
    // `script` gives it a terminal of its own, and shows what would be seen there.
    let mut child = lab.command(&[]);
    let mut script = Command::new("script");
    script.args(["-qec", &command, "/dev/null"]).current_dir(lab.root()).env_clear();
    script.envs(child.get_envs().filter_map(|(name, value)| Some((name.to_owned(), value?.to_owned()))));
    child.stdin(Stdio::null());
    let mut running =
        script.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("script");
    let mut keyboard = running.stdin.take().expect("a keyboard");
    // What is typed before the question is asked would be echoed by the terminal, as anywhere.
    let mut screen = running.stdout.take().expect("a screen");
    let mut seen = String::new();
    let mut byte = [0_u8; 256];
    while !seen.contains("The value of typed") {
        let read = std::io::Read::read(&mut screen, &mut byte).expect("the screen");
        assert!(read > 0, "it ended without asking: {seen}");
        seen.push_str(&String::from_utf8_lossy(&byte[..read]));
    }
    keyboard.write_all(b"hunter22-canary-typed\n").expect("typing");
    std::io::Read::read_to_string(&mut screen, &mut seen).expect("the rest");
    drop(keyboard);
    assert!(running.wait().expect("its end").success(), "{seen}");
    assert!(seen.contains("Set encrypted typed") && !seen.contains("hunter22-canary"), "{seen}");
    assert_eq!(lab.vice(&["envy", "--reveal", "--format", "json"]).expect(0).json()["typed"], "hunter22-canary-typed");
    assert!(!lab.read("config/0.toml").contains("hunter22"));
}

/// What each unit says of its greeting.
fn greetings(lab: &Lab) -> BTreeMap<String, String> {
    let status = lab.vice(&["status", "--format", "json"]).expect(0).json();
    let units = status["environments"][0]["units"].as_array().expect("units").clone();
    let text = |value: &serde_json::Value| value.as_str().expect("a text").to_owned();
    units.iter().map(|unit| (text(&unit["name"]), crate::rollout::get(&text(&unit["url"]), "/config"))).collect()
}

#[test]
fn each_target_has_its_own_configuration_and_gets_it_back() {
    let lab = Lab::new();
    hello_project(&lab, 1);
    let toml = lab.read("vice.toml");
    let (head, _) = toml.split_once("[env.dev]").expect("an environment");
    lab.write(
        "vice.toml",
        &format!(
            "{head}[env.dev.target.eu]\nkind = \"local\"\n[env.dev.target.us]\nkind = \"local\"\n\
             [config]\nlayers = [\"config/all.toml\", \"config/{{{{target}}}}.toml?\"]\n"
        ),
    );
    lab.write("config/all.toml", "greeting = \"hello\"\n").write("config/eu.toml", "greeting = \"salut\"\n");
    lab.vice(&["deploy"]).expect(0);
    let seen = greetings(&lab);
    assert!(seen["eu.1"].contains("salut") && seen["us.1"].contains("hello"), "{seen:?}");
    assert!(lab.vice(&["deploy"]).expect(0).stdout.contains("nothing to do"));

    lab.write("config/eu.toml", "greeting = \"bonjour\"\n");
    let plan = lab.vice(&["plan"]).expect(0);
    assert!(plan.stdout.contains("config greeting (config/eu.toml): salut → bonjour"), "{}", plan.stdout);
    let diff = lab.vice(&["envy", "diff", "dev", "--deployed", "--format", "json"]).expect(0).json();
    assert_eq!(diff["keys"][0]["key"], "greeting (config/eu.toml)", "{diff}");
    lab.vice(&["deploy"]).expect(0);
    assert!(greetings(&lab)["eu.1"].contains("bonjour"));
    lab.vice(&["envy", "rollback"]).expect(0);
    let seen = greetings(&lab);
    assert!(seen["eu.1"].contains("salut") && seen["us.1"].contains("hello"), "{seen:?}");
    let explained = lab.vice(&["envy", "explain", "greeting", "--target", "us", "--format", "json"]).expect(0).json();
    assert_eq!(explained["effective"]["value"], "hello", "{explained}");
}
