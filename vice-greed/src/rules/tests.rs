//! Rules at work on a real history: exactly one effect for each event and rule, also where processes die at any append.

mod golden;

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::sync::atomic::AtomicUsize;

use jiff::{SignedDuration, Timestamp};
use vice_core::app::App;
use vice_core::event::Event;
use vice_core::fold;
use vice_core::manifest::Project;
use vice_core::store::{Append, Query};
use vice_core::testkit::event_store::event;
use vice_core::time::ManualClock;
use vice_core::{Code, Millis, Result};

use super::payload::{dead_stream, rules_stream};
use super::{DeadLetters, RuleState, Ruleset, pump};
use crate::cmd::testing::{NOW, Told, app_with};

const HEAD: &str = "name = \"shop\"\n[env.dev]\n[channel.ops]\nkind = \"stdout\"\n";

fn project(rules: &str) -> Project {
    Project::parse("/p".into(), "vice.toml".into(), format!("{HEAD}{rules}")).unwrap()
}

struct Bench {
    app: App,
    clock: Arc<ManualClock>,
    _dir: tempfile::TempDir,
}

fn bench(rules: &str) -> Bench {
    let dir = tempfile::tempdir().unwrap();
    let clock = Arc::new(ManualClock::new(NOW.parse().unwrap(), Millis::ZERO));
    let app = app_with(dir.path(), Arc::new(Told::default()), clock.clone(), vec![project(rules)]);
    Bench { app, clock, _dir: dir }
}

fn happened(id: &str, kind: &str, seconds: i64, data: &str) -> Event {
    let now: Timestamp = NOW.parse().unwrap();
    let time = now.checked_add(SignedDuration::from_secs(seconds)).unwrap();
    Event { kind: kind.to_owned(), time, data: data.to_owned(), scope: None, ..event(id, "inbox") }
}

async fn append(bench: &Bench, events: Vec<Event>) {
    bench.app.events.append(Append::of(events)).await.unwrap();
}

async fn all(bench: &Bench, prefix: &str) -> Vec<Event> {
    let query = Query { stream_prefix: Some(prefix.to_owned()), ..Query::default() };
    bench.app.events.read(&query).await.unwrap().into_iter().map(|recorded| recorded.event).collect()
}

async fn state(bench: &Bench) -> RuleState {
    let name = bench.app.workspace.projects.values().next().unwrap().name().clone();
    fold::load(bench.app.events.as_ref(), &rules_stream(&name)).await.unwrap().0
}

async fn dead(bench: &Bench) -> DeadLetters {
    let name = bench.app.workspace.projects.values().next().unwrap().name().clone();
    fold::load(bench.app.events.as_ref(), &dead_stream(&name)).await.unwrap().0
}

const MADE: &str = r#"
[[rule]]
name = "failed"
on = "com.example.test.*"
when = 'data.outcome == "failed" && data.n > 1'
then.transform = { type = "com.example.alarm", subject = "{{subject}}!", data = { n = "data.n * 10", from = "type" } }

[[rule]]
name = "keep"
when = 'type == "com.example.alarm"'
then.store = { stream = "alarms" }
"#;

#[tokio::test]
async fn what_fits_is_transformed_and_kept_once() {
    let bench = bench(MADE);
    let events = (0..4).map(|n| {
        let data = format!(r#"{{"outcome": "{}", "n": {n}}}"#, if n == 3 { "passed" } else { "failed" });
        happened(&format!("e{n}"), "com.example.test.ended", 0, &data)
    });
    append(&bench, events.collect()).await;
    let first = pump(&bench.app).await.unwrap();
    assert_eq!((first.fired, first.dead), (2, 0));
    assert_eq!(pump(&bench.app).await.unwrap().fired, 0, "nothing is done twice");
    let made = all(&bench, "derived/").await;
    assert_eq!(made.len(), 1);
    assert_eq!(made[0].data, r#"{"n":20,"from":"com.example.test.ended"}"#);
    assert!(made[0].subject.ends_with('!') && made[0].id.starts_with("r1-"));
    let kept = all(&bench, "kept/shop/alarms").await;
    assert_eq!(
        (kept.len(), kept[0].kind.as_str(), kept[0].data.as_str()),
        (1, "com.example.alarm", made[0].data.as_str())
    );
    assert!(kept[0].id.starts_with("r2-"));
}

#[tokio::test]
async fn drop_hides_events_from_later_rules_and_old_news_stays_old() {
    let rules = "[[rule]]\nname = \"noise\"\non = \"a.noise\"\nthen = \"drop\"\n[[rule]]\nname = \"all\"\non = \"a.*\"\nthen.store = { stream = \"all\" }\n";
    let bench = bench(rules);
    append(
        &bench,
        vec![happened("old", "a.x", -7200, "1"), happened("n", "a.noise", 0, "1"), happened("x", "a.x", 0, "1")],
    )
    .await;
    pump(&bench.app).await.unwrap();
    let kept = all(&bench, "kept/").await;
    assert_eq!(kept.len(), 1, "{kept:?}");
}

#[tokio::test]
async fn a_rule_that_never_ends_is_stopped_and_named() {
    let rule = "[[rule]]\nname = \"forever\"\non = \"a\"\nwhen = 'data.all(a, data.all(b, data.all(c, data.all(d, a + b + c + d >= 0))))'\nthen.store = { stream = \"x\" }\n";
    let bench = bench(rule);
    let long: Vec<u32> = (0..100).collect();
    append(&bench, vec![happened("e", "a", 0, &format!("{long:?}")), happened("ok", "a", 0, "[1]")]).await;
    let pumped = pump(&bench.app).await.unwrap();
    assert_eq!((pumped.fired, pumped.dead), (1, 1));
    let dead = dead(&bench).await;
    let letter = &dead.letters.values().next().unwrap().letter;
    assert_eq!((letter.rule.as_str(), letter.effect.is_none()), ("forever", true));
    assert!(letter.reason.contains("stopped after"), "{}", letter.reason);
}

/// Whoever may append can give the next id of a rule to something else; the rules say so and go on.
#[tokio::test]
async fn an_id_that_somebody_has_taken_holds_nothing_up() {
    let window = "\n[[rule]]\nname = \"many\"\non = \"com.example.hit\"\nwindow = { size = \"1m\", measure = \"count\" }\nthen.notify = { title = \"many\", to = [\"ops\"] }\n";
    let rules = format!("{MADE}{window}");
    let sent = |data: &str| {
        let failed = |id: &str| happened(id, "com.example.test.ended", -120, r#"{"outcome": "failed", "n": 2}"#);
        vec![failed(data), happened(&format!("hit-{data}"), "com.example.hit", -120, "1")]
    };
    // What the ids will be is no secret: the same rules elsewhere say it.
    let elsewhere = bench(&rules);
    append(&elsewhere, sent("e1")).await;
    pump(&elsewhere.app).await.unwrap();
    let made = [all(&elsewhere, "derived/").await, all(&elsewhere, "window/").await].concat();
    assert_eq!(made.len(), 2);

    let bench = bench(&rules);
    let squat =
        |event: Event| Event { stream: "inbox".to_owned(), data: "{}".to_owned(), kind: "a.b".to_owned(), ..event };
    append(&bench, made.into_iter().map(squat).collect()).await;
    append(&bench, sent("e1")).await;
    let pumped = pump(&bench.app).await.unwrap();
    assert_eq!(pumped.dead, 2);
    let letters = dead(&bench).await.letters;
    assert!(letters.values().all(|buried| buried.letter.reason.contains("under the id of what it makes")));
    assert_eq!(pump(&bench.app).await.unwrap().dead, 0, "each is buried once");

    append(&bench, sent("e2")).await;
    pump(&bench.app).await.unwrap();
    assert_eq!(all(&bench, "derived/").await.len(), 1, "the rules go on");
}

#[tokio::test]
async fn a_circle_of_rules_ends() {
    let rules = "[[rule]]\nname = \"one\"\non = \"a\"\nthen.transform = { type = \"b\" }\n[[rule]]\nname = \"two\"\non = \"b\"\nthen.transform = { type = \"a\" }\n";
    let bench = bench(rules);
    append(&bench, vec![happened("e", "a", 0, "1")]).await;
    for _ in 0..5 {
        pump(&bench.app).await.unwrap();
    }
    assert_eq!(all(&bench, "derived/").await.len(), 8);
    let dead = dead(&bench).await;
    assert!(dead.letters.values().all(|buried| buried.letter.reason.contains("circle")) && dead.letters.len() == 1);
}

#[tokio::test]
async fn windows_give_one_result_each_and_count_what_is_late() {
    let rules = r#"
[[rule]]
name = "burst"
on = "req"
window = { size = "1m", key = "data.host", measure = "quantile", q = 0.5, of = "data.ms", late = "10s", keep_late = true, having = "count > 1" }
then.transform = { type = "alarm", subject = "{{key}}", data = { median = "value", n = "count" } }
"#;
    let bench = bench(rules);
    let request =
        |id: &str, at: i64, host: &str, ms: u32| happened(id, "req", at, &format!(r#"{{"host":"{host}","ms":{ms}}}"#));
    append(&bench, vec![request("1", 0, "a", 100), request("2", 1, "a", 100), request("3", 2, "b", 5)]).await;
    pump(&bench.app).await.unwrap();
    assert_eq!(all(&bench, "window/").await.len(), 0, "the minute is not over");
    bench.clock.advance(Millis::from_secs(200));
    for _ in 0..3 {
        pump(&bench.app).await.unwrap();
    }
    let results = all(&bench, "window/").await;
    assert_eq!(results.len(), 2);
    let alarms = all(&bench, "derived/").await;
    assert_eq!(alarms.len(), 1);
    assert_eq!(alarms[0].subject, "a");
    let data: serde_json::Value = serde_json::from_str(&alarms[0].data).unwrap();
    assert!((data["median"].as_f64().unwrap() - 100.0).abs() <= 2.0 && data["n"] == 2, "{data}");
    append(&bench, vec![request("4", 3, "a", 7)]).await;
    pump(&bench.app).await.unwrap();
    assert_eq!(all(&bench, "late/shop/burst").await.len(), 1);
    assert_eq!(all(&bench, "window/").await.len(), 2);
    assert_eq!(state(&bench).await.panes["burst"].late, 1);
}

#[tokio::test]
async fn what_keeps_failing_becomes_a_dead_letter_that_can_be_tried_again() {
    // Nobody runs commands here: every attempt fails in a way that may pass.
    let rule = "[[rule]]\nname = \"hook\"\non = \"a\"\nthen.run = { command = [\"./hook\"] }\n";
    let bench = bench(rule);
    append(&bench, vec![happened("e", "a", 0, "1")]).await;
    for _ in 0..8 {
        pump(&bench.app).await.unwrap();
        assert_eq!(pump(&bench.app).await.unwrap().dead, 0, "not before its time");
        bench.clock.advance(Millis::from_secs(3_700));
    }
    assert_eq!(state(&bench).await.pending.len(), 0);
    let dead = dead(&bench).await;
    let buried = dead.letters.values().next().unwrap();
    assert_eq!((buried.letter.attempts, buried.letter.rule.as_str()), (8, "hook"));
}

/// A history whose user is killed at its n-th append: the call never comes back.
async fn killed_at(bench: &Bench, n: usize, written: bool) {
    let left = Arc::new(AtomicUsize::new(n));
    let died = Arc::new(tokio::sync::Notify::new());
    let store = crate::tests::mortal::Mortal::new(Arc::clone(&bench.app.events), left, written, Arc::clone(&died));
    let app = App { events: Arc::new(store), ..bench.app.clone() };
    tokio::select! {
        done = pump(&app) => drop(done.unwrap()),
        () = died.notified() => {}
    }
}

#[tokio::test]
async fn a_kill_at_any_append_leaves_exactly_one_effect() -> Result<()> {
    let rules = format!(
        "{MADE}\n[[rule]]\nname = \"count\"\non = \"com.example.test.*\"\nwindow = {{ size = \"10s\", late = \"0s\" }}\nthen.store = {{ stream = \"counts\" }}\n"
    );
    for (n, written) in (0..8).flat_map(|n| [(n, false), (n, true)]) {
        let bench = bench(&rules);
        for round in 0..5 {
            let one = |k: i64| {
                let id = format!("{round}.{k}");
                happened(&id, "com.example.test.ended", round * 10, r#"{"outcome":"failed","n":2}"#)
            };
            append(&bench, (0..20).map(one).collect()).await;
            killed_at(&bench, n, written).await;
            bench.clock.advance(Millis::from_secs(10));
        }
        bench.clock.advance(Millis::from_secs(60));
        for _ in 0..3 {
            pump(&bench.app).await?;
        }
        // The oracle: every event was derived from once, kept once and counted once.
        let mut derived: HashMap<String, usize> = HashMap::new();
        for made in all(&bench, "derived/").await {
            *derived.entry(made.id).or_default() += 1;
        }
        assert_eq!((derived.len(), derived.values().sum::<usize>()), (100, 100), "killed at {n}, written {written}");
        assert_eq!(all(&bench, "kept/shop/alarms").await.len(), 100);
        let mut counts: BTreeMap<String, u64> = BTreeMap::new();
        for result in all(&bench, "window/").await {
            let said: super::payload::WindowClosed = result.decode()?.unwrap();
            assert!(counts.insert(said.start.to_string(), said.count).is_none(), "a window has two results");
        }
        let late = state(&bench).await.panes.get("count").map_or(0, |panes| panes.late);
        assert_eq!(counts.values().sum::<u64>() + late, 100, "killed at {n}, written {written}: {counts:?}");
        assert_eq!(all(&bench, "kept/shop/counts").await.len(), counts.len());
        assert_eq!(bench.app.events.verify().await?.problems, Vec::<String>::new());
    }
    Ok(())
}

#[tokio::test]
async fn two_processes_at_once_do_everything_once() {
    let bench = bench(MADE);
    for round in 0..10 {
        let data = r#"{"outcome":"failed","n":2}"#;
        append(&bench, (0..30).map(|n| happened(&format!("{round}.{n}"), "com.example.test.x", 0, data)).collect())
            .await;
        let (one, two, three) = tokio::join!(pump(&bench.app), pump(&bench.app), pump(&bench.app));
        one.and(two).and(three).unwrap();
    }
    pump(&bench.app).await.unwrap();
    assert_eq!(all(&bench, "derived/").await.len(), 300);
    assert_eq!(all(&bench, "kept/").await.len(), 300);
    assert_eq!(state(&bench).await.fired["failed"], 300);
}

#[test]
fn rules_that_make_no_sense_point_at_the_key() {
    for (rule, key) in [
        ("name = \"A b\"\nthen = \"drop\"", "name"),
        ("name = \"a\"\nwhen = 'dta == 1'\nthen = \"drop\"", "when"),
        ("name = \"a\"\non = \"a*b\"\nthen = \"drop\"", "on"),
        ("name = \"a\"\nthen.run = {}", "then.run"),
        ("name = \"a\"\nthen.emit = { url = \"ftp://x\" }", "then.emit.url"),
        ("name = \"a\"\nthen.notify = { title = \"{{open\" }", "then.notify.title"),
        ("name = \"a\"\nwindow = { size = \"1s\", every = \"2s\" }\nthen.store = { stream = \"x\" }", "window.every"),
        (
            "name = \"a\"\nwindow = { size = \"1s\", measure = \"distinct\" }\nthen.store = { stream = \"x\" }",
            "window.of",
        ),
        ("name = \"a\"\nwindow = { size = \"1s\" }\nthen = \"drop\"", "then"),
    ] {
        let project = project(&format!("[[rule]]\nname = \"fine\"\non = \"x\"\nthen = \"drop\"\n[[rule]]\n{rule}\n"));
        let fault = Ruleset::of(&project).unwrap_err();
        assert_eq!(fault.code(), Code::ManifestInvalid);
        assert!(fault.to_string().contains(&format!("`{key}`")), "{rule}: {fault}");
        assert!(fault.place().unwrap().line_column().0 > 8, "{rule}: {:?}", fault.place());
    }
}

#[test]
fn types_are_taken_from_the_condition() {
    let rules = "[[rule]]\nname = \"a\"\nwhen = 'type == \"x\" && data.n > 1'\nthen = \"drop\"\n[[rule]]\nname = \"b\"\nwhen = 'type in [\"x\", \"y\"]'\nthen = \"drop\"\n[[rule]]\nname = \"c\"\nwhen = 'type.startsWith(\"z.\") && subject != \"\"'\nthen = \"drop\"\n[[rule]]\nname = \"d\"\nwhen = 'type == \"x\" || type == \"y\"'\nthen = \"drop\"\n";
    let rules = Ruleset::of(&project(rules)).unwrap();
    let kinds: Vec<String> = rules.lines().map(|line| line.kinds).collect();
    assert_eq!(kinds, ["x", "x, y", "z.*", "all"]);
}

#[test]
fn the_rules_and_webhooks_of_the_docs_make_sense() {
    let mut blocks = 0;
    for page in ["streams.md", "ingest.md"] {
        let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs").join(page);
        let text = std::fs::read_to_string(path).unwrap();
        for block in text.split("```toml\n").skip(1).filter_map(|rest| rest.split("```").next()) {
            let project = project(&block.replace("\"prod\"", "\"dev\""));
            super::check(&project).unwrap();
            let advice = super::lint(&project, &BTreeMap::new()).unwrap();
            assert!(advice.is_empty(), "{page}: {advice:?}");
            blocks += 1;
        }
    }
    assert_eq!(blocks, 3);
}
