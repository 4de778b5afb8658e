//! What is remembered is what the events say, and a copy that says otherwise is found and replaced.

use jiff::Timestamp;
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
