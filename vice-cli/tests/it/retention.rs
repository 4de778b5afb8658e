//! `vice greed archive` as it is used: what a history says before and after, with its archive at hand, away and damaged;
//! that a copy and a backup of it are what the documentation says; and SIGKILLs in the middle of the work.

use std::collections::BTreeSet;
use std::io::Write;
use std::path::Path;
use std::process::Stdio;
use std::time::{Duration, Instant};

use jiff::Timestamp;
use serde_json::{Value, json};

use crate::doomed::{command, project};
use crate::lab::{Lab, Ran, ran};

/// The type of the event that names a file of an archive.
const ARCHIVED: &str = "dev.cdeventsx.vice-history.archived.0.1.0";

/// Where an archive lies, and the variables that lead there.
struct Place {
    url: String,
    vars: Vec<(String, String)>,
}

impl Place {
    fn folder(lab: &Lab) -> Self {
        Self { url: format!("file://{}", lab.path("archive").display()), vars: Vec::new() }
    }

    fn vice(&self, lab: &Lab, args: &[&str]) -> Ran {
        let mut command = command(lab, args);
        ran(&command.envs(self.vars.iter().cloned()).output().expect("vice runs"))
    }

    /// The history as another program gets it, without what it says of itself.
    fn exported(&self, lab: &Lab) -> Vec<Value> {
        let said = self.vice(lab, &["greed", "export"]).expect(0);
        let lines = said.stdout.lines().map(|line| serde_json::from_str::<Value>(line).expect("a line is JSON"));
        lines.filter(|event| event["type"] != ARCHIVED).collect()
    }

    fn why(&self, lab: &Lab, rollout: &str) -> Value {
        self.vice(lab, &["why", rollout, "--format", "json"]).expect(0).json()
    }
}

/// An event from outside of some size, as it was sent in the past.
fn outside(lab: &Lab, number: u32, size: usize, time: &str) -> Ran {
    let event = json!({
        "specversion": "1.0", "id": format!("b{number}"), "source": "https://ci.example", "type": "com.example.built",
        "subject": format!("build/{number}"), "time": time, "data": { "n": number, "log": "y".repeat(size) },
    });
    let mut child = lab
        .command(&["greed", "append", "--file", "-", "--project", "shop", "--format", "json"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("vice runs");
    child.stdin.take().expect("its input").write_all(event.to_string().as_bytes()).expect("written");
    ran(&child.wait_with_output().expect("it ends"))
}

const OLD: &str = "2024-02-01T10:00:00Z";
const OLD_EVENTS: u32 = 12;

/// Deploys and events of two ages; gives the moment between them.
fn grown(lab: &Lab, size: usize) -> String {
    project(lab, "", "");
    for number in 0..OLD_EVENTS {
        outside(lab, number, size, OLD).expect(0);
    }
    for version in ["1", "2", "1"] {
        ran(&command(lab, &["deploy", &format!("shop@{version}")]).output().expect("vice runs")).expect(0);
    }
    let middle = Timestamp::now();
    ran(&command(lab, &["deploy", "shop@2"]).output().expect("vice runs")).expect(0);
    outside(lab, 1_000, size, &Timestamp::now().to_string()).expect(0);
    middle.to_string()
}

fn without_data(events: &[Value]) -> BTreeSet<String> {
    let away = events.iter().filter(|event| event["vicearchived"] == true && event["data"].is_null());
    away.map(|event| event["id"].as_str().expect("an id").to_owned()).collect()
}

/// What there is to be archived in [`grown`]: what came from outside, and the journals of three rollouts.
fn goes(event: &Value, middle: &str) -> bool {
    let stream = event["vicestream"].as_str().unwrap_or_default();
    let old = event["time"].as_str().and_then(|time| time.parse::<Timestamp>().ok()) < middle.parse().ok();
    old && (stream.starts_with("rollout/") || stream.starts_with("inbox"))
}

fn archives_and_reads_back(lab: &Lab, place: &Place) -> (String, Vec<Value>, u64) {
    let middle = grown(lab, 2_000);
    let before = place.exported(lab);
    let whys = ["shop.dev.1", "shop.dev.3", "shop.dev.4"].map(|rollout| place.why(lab, rollout));
    let expected = before.iter().filter(|event| goes(event, &middle)).count() as u64;
    assert!(expected > u64::from(OLD_EVENTS) + 9, "three rollouts have journals: {expected}");
    let words = ["greed", "archive", "--before", &middle, "--keep", "1", "--to", &place.url, "--format", "json"];
    let dry = [&words[..], &["--dry-run"]].concat();
    assert_eq!(place.vice(lab, &dry).expect(0).json()["events"], expected, "a dry run says what will be");
    assert_eq!(place.vice(lab, &["greed", "archive", "--list"]).expect(0).stdout, "Nothing was archived.\n");
    let made = place.vice(lab, &words).expect(0).json();
    assert_eq!((&made["events"], &made["files"]), (&expected.into(), &1.into()), "{made}");
    let listed = place.vice(lab, &["greed", "archive", "--list", "--format", "json"]).expect(0).json();
    assert_eq!((&listed[0]["events"], &listed[0]["place"]), (&expected.into(), &place.url.as_str().into()));

    assert!(place.exported(lab) == before, "everything is said as before");
    assert_eq!(whys, ["shop.dev.1", "shop.dev.3", "shop.dev.4"].map(|rollout| place.why(lab, rollout)));
    let sound = place.vice(lab, &["greed", "verify", "--format", "json"]).expect(0);
    assert_eq!(sound.json()["sound"], true, "{sound:?}");
    assert!(!sound.stderr.contains("can't be read here"), "{sound:?}");
    let again = place.vice(lab, &words).expect(0).json();
    assert_eq!((&again["events"], &again["finished"]), (&0.into(), &0.into()), "{again}");
    (middle, before, expected)
}

#[test]
fn an_archived_history_says_what_it_said() {
    let lab = Lab::new();
    let place = Place::folder(&lab);
    let (middle, before, expected) = archives_and_reads_back(&lab, &place);

    // Away: the headers stay, nothing is damaged, and nothing is concluded from what is not there.
    std::fs::rename(lab.path("archive"), lab.path("elsewhere")).expect("moved away");
    let away = without_data(&place.exported(&lab));
    assert_eq!(away.len() as u64, expected);
    let gone = before.iter().filter(|event| goes(event, &middle)).map(|event| event["id"].as_str().expect("an id"));
    assert!(gone.eq(before.iter().filter_map(|event| event["id"].as_str()).filter(|id| away.contains(*id))));
    let log = place.vice(&lab, &["greed", "log", "-n", "1000", "--type", "com.example.built"]).expect(0);
    assert_eq!(log.stdout.matches("com.example.built").count(), OLD_EVENTS as usize + 1, "{log:?}");
    let shown = place.vice(&lab, &["greed", "show", "b3"]).expect(0);
    assert!(shown.stdout.contains("The data are archived in archive/"), "{shown:?}");
    let why = place.vice(&lab, &["why", "shop.dev.1"]).expect(1);
    assert!(why.stderr.contains("[history.archived]"), "{why:?}");
    let verified = place.vice(&lab, &["greed", "verify"]).expect(0);
    assert!(verified.stderr.contains("can't be read here"), "{verified:?}");
    assert_eq!(outside(&lab, 3, 2_000, OLD).expect(0).json()["repeated"], true, "it is recognised by its hash");
    assert!(outside(&lab, 3, 1_999, OLD).expect(4).stderr.contains("[refused.conflict]"));
    let copied = place.vice(&lab, &["greed", "copy", "sqlite:.vice", "jsonl:part"]).expect(1);
    assert!(copied.stderr.contains("[history.archived]"), "{copied:?}");
    ran(&command(&lab, &["deploy", "shop@1"]).output().expect("vice runs")).expect(0);

    // Back again, and damaged.
    std::fs::rename(lab.path("elsewhere"), lab.path("archive")).expect("moved back");
    assert!(place.exported(&lab)[..before.len()] == before[..]);
    brought_back(&lab, &place, &before);
    let file = std::fs::read_dir(lab.path("archive/archive")).expect("the archive").flatten().next().expect("a file");
    let mut bytes = std::fs::read(file.path()).expect("its bytes");
    let at = bytes.len() / 2;
    bytes[at] ^= 1;
    std::fs::set_permissions(file.path(), std::os::unix::fs::PermissionsExt::from_mode(0o600)).expect("writable");
    std::fs::write(file.path(), bytes).expect("damaged");
    let damaged = place.vice(&lab, &["greed", "verify"]).expect(1);
    let name = file.file_name().into_string().expect("a name");
    assert!(format!("{}{}", damaged.stdout, damaged.stderr).contains(&name), "{damaged:?}");
    assert_eq!(without_data(&place.exported(&lab)).len() as u64, expected, "what is damaged is not shown");
}

/// A backup of an archived history is one with the same archive; a copy is whole, and needs the archive no more.
fn brought_back(lab: &Lab, place: &Place, before: &[Value]) {
    let backups = format!("file://{}", lab.path("backups").display());
    place.vice(lab, &["greed", "backup", &backups]).expect(0);
    place.vice(lab, &["greed", "restore", &backups, "--yes"]).expect(0);
    assert!(place.exported(lab)[..before.len()] == *before, "a restored history reads from the archive");
    place.vice(lab, &["greed", "verify"]).expect(0);
    let whole = lab.path("whole");
    place.vice(lab, &["greed", "copy", "sqlite:.vice", &format!("jsonl:{}", whole.display())]).expect(0);
    std::fs::rename(lab.path("archive"), lab.path("elsewhere")).expect("moved away");
    let toml = lab.read("vice.toml");
    std::fs::rename(lab.path(".vice"), lab.path("kept")).expect("moved away");
    lab.write("vice.toml", &format!("history = {{ store = \"jsonl:whole\" }}\n{toml}"));
    assert!(place.exported(lab)[..before.len()] == *before, "a copy has all of it");
    place.vice(lab, &["greed", "verify"]).expect(0);
    lab.write("vice.toml", &toml);
    std::fs::remove_dir_all(lab.path(".vice")).ok();
    std::fs::rename(lab.path("kept"), lab.path(".vice")).expect("moved back");
    std::fs::rename(lab.path("elsewhere"), lab.path("archive")).expect("moved back");
}

#[test]
fn lab_s3_archives_into_a_bucket_and_reads_from_there() {
    let lab = Lab::new();
    let var = |name: &str| {
        std::env::var(name)
            .unwrap_or_else(|_| panic!("{name} is not set: run scripts/test, which starts the S3 server"))
    };
    let unique = lab.root().parent().and_then(Path::file_name).expect("a name").to_string_lossy().into_owned();
    let vars = [
        ("AWS_ENDPOINT_URL", "VICE_LAB_S3_ENDPOINT"),
        ("AWS_ACCESS_KEY_ID", "VICE_LAB_S3_ACCESS_KEY"),
        ("AWS_SECRET_ACCESS_KEY", "VICE_LAB_S3_SECRET_KEY"),
    ];
    let vars = vars.map(|(name, lab)| (name.to_owned(), var(lab))).to_vec();
    let place = Place { url: format!("s3://{}/retention-{unique}", var("VICE_LAB_S3_BUCKET")), vars };
    let (_, before, expected) = archives_and_reads_back(&lab, &place);
    // Without the keys nobody reads what is there, and the history says where it is.
    let stranger = Place { url: place.url.clone(), vars: Vec::new() };
    assert_eq!(without_data(&stranger.exported(&lab)).len() as u64, expected);
    let verified = stranger.vice(&lab, &["greed", "verify"]).expect(0);
    assert!(verified.stderr.contains(&place.url), "{verified:?}");
    assert!(place.exported(&lab) == before);
}

/// So many kills that reach the process while it works, at moments that follow from the seed.
const KILLS: usize = 12;
const SEED: u64 = 20_261_129;

/// A number from 0 to 999 for each turn (splitmix64).
fn thousandths(turn: u64) -> u64 {
    let mut z = SEED.wrapping_add(turn.wrapping_mul(0x9e37_79b9_7f4a_7c15));
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    (z ^ (z >> 31)) % 1_000
}

fn copy_folder(from: &Path, to: &Path) {
    std::fs::remove_dir_all(to).ok();
    std::fs::create_dir_all(to).expect("a folder");
    for entry in std::fs::read_dir(from).expect("the folder").flatten() {
        let target = to.join(entry.file_name());
        if entry.path().is_dir() {
            copy_folder(&entry.path(), &target);
        } else {
            std::fs::copy(entry.path(), target).expect("a copy");
        }
    }
}

#[test]
fn a_kill_in_the_middle_of_archiving_loses_nothing() {
    let lab = Lab::new();
    let place = Place::folder(&lab);
    // Two files of eight mebibytes, so that there is a middle.
    let middle = grown(&lab, 900_000);
    let before = place.exported(&lab);
    let expected = before.iter().filter(|event| goes(event, &middle)).count() as u64;
    let words = ["greed", "archive", "--before", &middle, "--keep", "1", "--to", &place.url, "--format", "json"];
    std::fs::rename(lab.path(".vice"), lab.path("master")).expect("moved");
    let fresh = || {
        std::fs::remove_dir_all(lab.path("archive")).ok();
        copy_folder(&lab.path("master"), &lab.path(".vice"));
    };
    fresh();
    let began = Instant::now();
    place.vice(&lab, &words).expect(0);
    let whole = began.elapsed();

    let (mut reached, mut midway) = (0, 0);
    for turn in 0..10 * KILLS as u64 {
        if reached == KILLS {
            break;
        }
        fresh();
        let mut process = command(&lab, &words).stdout(Stdio::null()).stderr(Stdio::null()).spawn().expect("vice");
        std::thread::sleep(Duration::from_micros(whole.as_micros() as u64 * thousandths(turn) / 1_000));
        let ended = process.try_wait().expect("its state").is_some();
        process.kill().expect("killed");
        process.wait().expect("it ends");
        reached += usize::from(!ended);
        let begun = std::fs::read_dir(lab.path("archive/archive")).is_ok_and(|mut files| files.next().is_some());
        place.vice(&lab, &["greed", "verify"]).expect(0);
        assert!(place.exported(&lab) == before, "something is lost by the kill of turn {turn}");
        let made = place.vice(&lab, &words).expect(0).json();
        let moved = made["events"].as_u64().expect("a number") + made["finished"].as_u64().expect("a number");
        // It had stored something, and something was left to do.
        midway += usize::from(begun && moved > 0);
        assert!(moved <= expected, "nothing is moved twice: {made}");
        place.vice(&lab, &["greed", "verify"]).expect(0);
        let listed = place.vice(&lab, &["greed", "archive", "--list", "--format", "json"]).expect(0).json();
        let named = listed.as_array().expect("a list").iter().map(|file| file["events"].as_u64().expect("a number"));
        assert_eq!(named.sum::<u64>(), expected, "turn {turn}: all of it was moved, once: {listed}");
    }
    assert!(place.exported(&lab) == before, "something is lost by a run after a kill");
    std::fs::rename(lab.path("archive"), lab.path("elsewhere")).expect("moved away");
    assert_eq!(without_data(&place.exported(&lab)).len() as u64, expected, "the history has let go of all of it");
    assert_eq!(reached, KILLS, "so many kills reached a process that worked");
    assert!(midway > 0, "no kill came in the middle of the work");
}
