//! What is remembered is what the events say, and a copy that says otherwise is found and replaced.

use jiff::Timestamp;
use rand::{RngExt as _, SeedableRng as _};
use rand_pcg::Pcg64Mcg;
use vice_core::Millis;
use vice_core::event::{Actor, Event, Head};
use vice_core::fold::{self, Fold, environment::EnvironmentState};
use vice_core::id::RolloutId;
use vice_core::payload::environment::{Direction, RolloutBegan, RolloutEnded, RolloutOutcome};
use vice_core::payload::{ReleaseRef, environment_stream};
use vice_core::store::{Append, Snapshot};
use vice_core::testkit::event_store::scope;

use super::bench;
use super::support::{Told, greed};

fn release(version: u64) -> ReleaseRef {
    ReleaseRef { version: version.to_string(), artifact: None, source: String::new(), config: None, recipe: None }
}

/// A deploy that began and ended well.
fn deploy(number: u64) -> Vec<Event> {
    let scope = scope("shop", "prod");
    let rollout = RolloutId { scope: scope.clone(), number };
    let head = |part: &str| Head {
        id: format!("{number}.{part}"),
        time: Timestamp::from_second(i64::try_from(number).unwrap()).unwrap(),
        stream: environment_stream(&scope),
        scope: Some(scope.clone()),
        actor: Actor::system("test"),
        chain_id: None,
    };
    let (direction, to, reason) = (Direction::Deploy, release(number), None);
    let began = RolloutBegan { rollout: rollout.clone(), direction, from: None, to, reason: reason.clone() };
    let ended = RolloutEnded {
        rollout,
        outcome: RolloutOutcome::Succeeded,
        running: Some(release(number)),
        proven: number.is_multiple_of(2),
        reason,
        took: Millis(5),
        split: false,
    };
    vec![Event::new(head("began"), &began).unwrap(), Event::new(head("ended"), &ended).unwrap()]
}

#[tokio::test]
async fn a_copy_that_says_something_else_than_the_events_is_replaced() {
    let bench = bench(Told::default());
    let stream = environment_stream(&scope("shop", "prod"));
    // Beyond the number of events after which a copy is kept, one by one as they happen.
    for number in 1..=121 {
        bench.app.events.append(Append::of(deploy(number))).await.unwrap();
        fold::load::<EnvironmentState>(&*bench.app.events, &stream).await.unwrap();
    }
    let kept = bench.app.events.snapshot(EnvironmentState::NAME, &stream).await.unwrap().expect("a copy was kept");
    let good = greed(&bench.app, &["memory"]).await.unwrap().json;
    assert_eq!(
        (&good["environments"][0]["version"], &good["environments"][0]["proven"]),
        (&"121".into(), &"120".into())
    );
    assert_eq!(good["differed"].as_array().map(Vec::len), Some(0), "{good}");

    let mut wrong: EnvironmentState = serde_json::from_str(&kept.state).unwrap();
    wrong.last_number = 999;
    let state = serde_json::to_string(&wrong).unwrap();
    let snapshot = Snapshot { state, ..kept };
    bench.app.events.put_snapshot(EnvironmentState::NAME, &stream, snapshot).await.unwrap();
    let found = greed(&bench.app, &["memory"]).await.unwrap().json;
    assert_eq!(found["differed"][0], stream.as_str());
    let (state, _) = fold::load::<EnvironmentState>(&*bench.app.events, &stream).await.unwrap();
    assert_eq!(state.last_number, 121, "the copy was replaced");
    assert_eq!(greed(&bench.app, &["memory"]).await.unwrap().json, good);
}

/// What happened, beside the events that tell it.
struct Happened {
    env: &'static str,
    deploy: bool,
    began: i64,
    ended: i64,
    outcome: RolloutOutcome,
    merged: Vec<i64>,
}

const DAY: i64 = 86_400;

/// Rollouts of two environments over seven weeks, one after the other in each, with the changes that they bring.
fn weeks(seed: u64, now: i64) -> Vec<Happened> {
    use RolloutOutcome::{Aborted, Failed, NotRestored, RolledBack, Succeeded};
    let mut rng = Pcg64Mcg::seed_from_u64(seed);
    let mut all = Vec::new();
    for env in ["dev", "prod"] {
        let mut at = now - 49 * DAY;
        loop {
            let began = at + rng.random_range(600..3 * DAY);
            let ended = began + rng.random_range(5..4_000);
            if ended >= now {
                break;
            }
            let outcome =
                [Succeeded, Succeeded, Succeeded, RolledBack, NotRestored, Failed, Aborted][rng.random_range(0..7)];
            let merged = (0..rng.random_range(0..4)).map(|_| began - rng.random_range(1..9 * DAY)).collect();
            all.push(Happened { env, deploy: rng.random_range(0..5) > 0, began, ended, outcome, merged });
            at = ended;
        }
    }
    all
}

/// The events of what happened.
fn told(all: &[Happened]) -> Vec<Event> {
    let mut events = Vec::new();
    let mut numbers = std::collections::BTreeMap::new();
    for happened in all {
        let scope = scope("shop", happened.env);
        let number = *numbers.entry(happened.env).and_modify(|number| *number += 1).or_insert(1_u64);
        let (rollout, version) = (RolloutId { scope: scope.clone(), number }, format!("{}-{number}", happened.env));
        let head = |part: &str, second: i64| Head {
            id: format!("{version}.{part}"),
            time: Timestamp::from_second(second).unwrap(),
            stream: environment_stream(&scope),
            scope: Some(scope.clone()),
            actor: Actor::system("test"),
            chain_id: None,
        };
        let direction = if happened.deploy { Direction::Deploy } else { Direction::Rollback };
        let to = ReleaseRef { version: version.clone(), ..release(0) };
        let began = RolloutBegan { rollout: rollout.clone(), direction, from: None, to, reason: None };
        events.push(Event::new(head("began", happened.began), &began).unwrap());
        let (outcome, took) = (happened.outcome, Millis(5));
        let ended = RolloutEnded { rollout, outcome, running: None, proven: false, reason: None, took, split: false };
        events.push(Event::new(head("ended", happened.ended), &ended).unwrap());
        for (n, merged) in happened.merged.iter().enumerate() {
            events.push(Event {
                id: format!("{version}.{n}"),
                kind: "dev.cdevents.change.merged.0.3.0".to_owned(),
                subject: format!("change-{version}-{n}"),
                time: Timestamp::from_second(*merged).unwrap(),
                data: serde_json::json!({ "subject": { "content": { "tag": version } } }).to_string(),
                ..vice_core::testkit::event_store::event("x", "webhook/shop/gh")
            });
        }
    }
    events
}

/// The middle of some seconds, in milliseconds.
fn middle(mut seconds: Vec<i64>) -> Option<i64> {
    seconds.sort_unstable();
    let n = seconds.len();
    (n > 0).then(|| (seconds[(n - 1) / 2] * 1_000 + seconds[n / 2] * 1_000) / 2)
}

/// The figures by their definitions, word for word.
fn by_definition(all: &[&Happened], since: i64) -> serde_json::Value {
    use RolloutOutcome::{Aborted, NotRestored, RolledBack, Succeeded};
    let deploys: Vec<_> = all.iter().filter(|one| one.deploy && one.ended >= since).collect();
    let failures = deploys.iter().filter(|one| matches!(one.outcome, RolledBack | NotRestored | Aborted)).count();
    let good = deploys.iter().filter(|one| one.outcome == Succeeded);
    let leads: Vec<i64> = good.flat_map(|one| one.merged.iter().map(|merged| one.ended - merged)).collect();
    let (mut restores, mut open) = (Vec::new(), 0);
    for env in ["dev", "prod"] {
        let own: Vec<_> = all.iter().filter(|one| one.env == env).collect();
        let is_well = |one: &Happened| matches!(one.outcome, Succeeded | RolledBack);
        let is_broken = |one: &Happened| matches!(one.outcome, NotRestored | Aborted);
        for (i, one) in own.iter().enumerate().filter(|(_, one)| is_well(one)) {
            // Since the last time that something wanted ran.
            let last = own[..i].iter().rposition(|earlier| is_well(earlier)).map_or(0, |last| last + 1);
            let broken = own[last..i].iter().find(|earlier| is_broken(earlier)).map(|earlier| earlier.began);
            let broken = broken.or((one.outcome == RolledBack).then_some(one.began));
            restores.extend(broken.filter(|_| one.ended >= since).map(|from| one.ended - from));
        }
        let after = own.iter().rposition(|one| is_well(one)).map_or(0, |last| last + 1);
        open += usize::from(own[after..].iter().any(|one| is_broken(one)));
    }
    let n = deploys.len();
    serde_json::json!({
        "deploys_per_week": { "value": (n > 0).then(|| n as f64 * 7.0 / 28.0), "deploys": n },
        "lead_time_ms": { "changes": leads.len(), "value": middle(leads) },
        "change_failure_rate": { "value": (n > 0).then(|| failures as f64 / n as f64), "failures": failures, "deploys": n },
        "time_to_restore_ms": { "restored": restores.len(), "value": middle(restores), "open": open },
    })
}

/// Seeds 1 to 6.
#[tokio::test]
async fn the_four_figures_are_what_their_definitions_say() {
    let now: Timestamp = super::NOW.parse().unwrap();
    let (now, mut restored, mut led) = (now.as_second(), 0, 0);
    for seed in 1..=6 {
        let (bench, all) = (bench(Told::default()), weeks(seed, now));
        bench.app.events.append(Append::of(told(&all))).await.unwrap();
        let found = greed(&bench.app, &["memory"]).await.unwrap().json;
        let since = now - 28 * DAY;
        for listed in found["environments"].as_array().unwrap() {
            let env = listed["environment"].as_str().unwrap().trim_start_matches("shop/");
            let own: Vec<&Happened> = all.iter().filter(|one| one.env == env).collect();
            assert_eq!(listed["delivery"], by_definition(&own, since), "seed {seed}, {env}");
        }
        assert_eq!(found["delivery"], by_definition(&all.iter().collect::<Vec<_>>(), since), "seed {seed}");
        restored += found["delivery"]["time_to_restore_ms"]["restored"].as_u64().unwrap();
        led += found["delivery"]["lead_time_ms"]["changes"].as_u64().unwrap();
    }
    assert!(restored > 6 && led > 6, "there was something to compute: {restored} {led}");
}

#[tokio::test]
async fn where_nothing_happened_there_are_no_data() {
    let bench = bench(Told::default());
    let none = greed(&bench.app, &["memory"]).await.unwrap();
    assert!(!none.text.contains("DEPLOYS A WEEK"), "{}", none.text);
    assert_eq!(none.json["delivery"], by_definition(&[], 0));
    // A deploy of long ago is remembered, and says nothing of the last weeks.
    bench.app.events.append(Append::of(deploy(1))).await.unwrap();
    let long_ago = greed(&bench.app, &["memory"]).await.unwrap();
    let row = long_ago.text.lines().skip_while(|line| !line.contains("DEPLOYS A WEEK")).nth(1).unwrap();
    assert_eq!(row.matches("no data").count(), 4, "{}", long_ago.text);
    assert_eq!(long_ago.json["environments"][0]["delivery"]["deploys_per_week"]["value"], serde_json::Value::Null);

    // One failure on the way: each figure says on how much it rests.
    let now: Timestamp = super::NOW.parse().unwrap();
    let now = now.as_second();
    let happened = |began, ended, outcome, merged| Happened { env: "dev", deploy: true, began, ended, outcome, merged };
    let all = [
        happened(now - 5_000, now - 4_000, RolloutOutcome::Succeeded, vec![now - 7_600]),
        happened(now - 3_000, now - 2_000, RolloutOutcome::RolledBack, vec![]),
    ];
    bench.app.events.append(Append::of(told(&all))).await.unwrap();
    let text = greed(&bench.app, &["memory"]).await.unwrap().text;
    let row = text.lines().skip_while(|line| !line.contains("DEPLOYS A WEEK")).find(|line| line.contains("shop/dev"));
    let row = row.unwrap();
    for part in ["0.5 (of 2)", "1h 00m (of 1)", "50 % (1 of 2)", "16m 40s (of 1)"] {
        assert!(row.contains(part), "{part}: {row}");
    }
    assert!(text.lines().any(|line| line.contains("all") && line.contains("0.5 (of 2)")), "{text}");
}
