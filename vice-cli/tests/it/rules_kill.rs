//! SIGKILL of the real process in the middle of a run of the rules: each event has exactly one effect for each rule.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Write};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use serde_json::{Value, json};

use crate::lab::Lab;

/// So many kills, and so many events before each.
const KILLS: usize = 40;
const EVENTS: usize = 12;

const PROJECT: &str = r#"
name = "shop"
[env.dev]
[channel.log]
kind = "file"
path = "notices.jsonl"

[[rule]]
name = "derive"
on = "com.example.made"
then.transform = { type = "com.example.derived", subject = "{{subject}}", data = { n = "data.n" } }

[[rule]]
name = "keep"
on = "com.example.derived"
then.store = { stream = "all" }

[[rule]]
name = "say"
on = "com.example.made"
then.notify = { title = "{{subject}}", to = "log" }

[[rule]]
name = "hook"
on = "com.example.made"
when = 'data.n % 4 == 0'
then.run = { command = ["sh", "-c", "echo $VICE_EVENT_KEY >> hooks"] }

[[rule]]
name = "count"
on = "com.example.made"
window = { size = "1s", late = "0s", keep_late = true }
then.store = { stream = "counts" }
"#;

/// Takes events in for as long as the test runs, and leaves the rules to others.
struct Intake {
    child: Child,
    url: String,
}

impl Intake {
    fn begin(lab: &Lab) -> Self {
        let words = ["greed", "ingest", "--no-rules", "--listen", "127.0.0.1:0", "--format", "ndjson"];
        let mut child = lab.command(&words).stdout(Stdio::piped()).spawn().expect("vice listens");
        let mut line = String::new();
        BufReader::new(child.stdout.as_mut().expect("its output")).read_line(&mut line).expect("an address");
        let said: Value = serde_json::from_str(&line).expect("a record");
        Self { child, url: format!("{}/events", said["listening"].as_str().expect("an address")) }
    }

    fn send(&self, round: usize) {
        let events: Vec<Value> = (round * EVENTS..(round + 1) * EVENTS)
            .map(|n| json!({ "specversion": "1.0", "id": format!("e{n}"), "source": "/t", "type": "com.example.made", "subject": format!("s{n}"), "data": { "n": n } }))
            .collect();
        let mut curl = Command::new("curl")
            .args([
                "-sf",
                "-m",
                "20",
                "-o",
                "/dev/null",
                "-H",
                "content-type: application/cloudevents-batch+json",
                "-d",
                "@-",
                &self.url,
            ])
            .stdin(Stdio::piped())
            .spawn()
            .expect("curl");
        let body = Value::Array(events).to_string();
        curl.stdin.take().expect("its input").write_all(body.as_bytes()).expect("written");
        assert!(curl.wait().expect("curl ends").success());
    }
}

impl Drop for Intake {
    fn drop(&mut self) {
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

/// What the log has below a stream, by subject.
fn subjects(lab: &Lab, words: &[&str]) -> BTreeMap<String, usize> {
    let log = [&["greed", "log", "-n", "10000", "--format", "json"], words].concat();
    let mut found = BTreeMap::new();
    for event in lab.vice(&log).expect(0).json().as_array().expect("a list") {
        *found.entry(event["subject"].as_str().expect("a subject").to_owned()).or_default() += 1;
    }
    found
}

/// How many of the events of the rounds until now the rules have not come to.
fn open(lab: &Lab, sent: usize) -> usize {
    sent - subjects(lab, &["--type", "com.example.derived"]).len().min(sent)
}

#[test]
fn a_kill_in_the_middle_of_the_rules_leaves_exactly_one_effect() {
    let lab = Lab::new();
    lab.write("vice.toml", PROJECT);
    let intake = Intake::begin(&lab);
    // How long the rules run before they are killed: longer after a kill that came before their end, shorter after one
    // that came too late, so that most kills are in the middle of the work on a machine of any speed.
    let (mut pause, mut midway) = (Duration::from_millis(100), 0);
    for round in 0..KILLS {
        intake.send(round);
        let mut rules = lab.command(&["greed", "rules", "run", "--follow"]).spawn().expect("vice runs");
        std::thread::sleep(pause);
        rules.kill().expect("killed");
        rules.wait().expect("it ends");
        let left = open(&lab, (round + 1) * EVENTS);
        midway += usize::from(left > 0);
        pause = if left > 0 { pause * 5 / 4 } else { pause * 3 / 4 };
    }
    // A claim that a killed process left is taken over when it is old. Ten minutes later it is.
    for _ in 0..3 {
        later(&lab, &["greed", "rules", "run"]);
    }
    let rules = lab.vice(&["greed", "rules", "list", "--format", "json"]).expect(0).json();
    let waiting = rules["rules"].as_array().expect("rules").iter().map(|rule| rule["waiting"].as_u64());
    assert_eq!(waiting.map(Option::unwrap_or_default).sum::<u64>(), 0, "{rules}");
    let all: BTreeMap<String, usize> = (0..KILLS * EVENTS).map(|n| (format!("s{n}"), 1)).collect();
    assert_eq!(subjects(&lab, &["--type", "com.example.made"]), all);
    let derived = subjects(&lab, &["--type", "com.example.derived", "--stream", "derived/shop/derive"]);
    assert_eq!(derived, all);
    assert!(midway > 0, "no kill came in the middle of the work");
    assert_eq!(subjects(&lab, &["--stream", "kept/shop/all"]), all);
    let notices = lab.vice(&[
        "greed",
        "log",
        "-n",
        "10000",
        "--type",
        "dev.cdeventsx.vice-notification.queued.*",
        "--format",
        "json",
    ]);
    assert_eq!(notices.expect(0).json().as_array().expect("a list").len(), all.len());
    // What reaches beyond the log may be done twice, under the same key; and none is left out.
    let keys: std::collections::BTreeSet<String> = lab.read("hooks").lines().map(str::to_owned).collect();
    assert_eq!(keys.len(), all.len() / 4);
    assert_eq!(counted(&lab), all.len() as u64);
    lab.vice(&["greed", "verify"]).expect(0);
}

fn later(lab: &Lab, words: &[&str]) {
    let now = jiff::Timestamp::now() + jiff::SignedDuration::from_mins(10);
    lab.vice_with(&[("VICE_TEST_NOW", &now.to_string())], words).expect(0);
}

/// What windows have counted, and what was too late for them.
fn counted(lab: &Lab) -> u64 {
    let log = |words: &[&str]| {
        let all = [&["greed", "log", "-n", "10000", "--format", "json"], words].concat();
        lab.vice(&all).expect(0).json().as_array().expect("a list").clone()
    };
    let closed = log(&["--type", "dev.cdeventsx.vice-window.closed.*", "--stream", "window/shop/count"]);
    let late = log(&["--stream", "late/shop/count"]);
    closed.iter().map(|event| event["data"]["subject"]["content"]["count"].as_u64().unwrap_or(0)).sum::<u64>()
        + late.len() as u64
}
