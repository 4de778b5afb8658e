use std::time::Duration;

use tokio::time::sleep;
use vice_core::port::target::{Observed, Target};

use crate::support::{Ground, place, service, until, version_at};

const ROUNDS: u64 = 20;

/// The whole of an apply, from before the agent is asked until after the old process has ended, takes about this long.
const SPAN_MS: u64 = 500;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_agent_killed_at_any_moment_leaves_a_definite_state() {
    let ground = Ground::new();
    let mut running = service("0", &["--slow-start-ms", "80"]);
    ground.place("1", &running).await;
    let mut outcomes = [0, 0];
    for round in 1..=ROUNDS {
        let wanted = service(&round.to_string(), &["--slow-start-ms", "80"]);
        let op = place(&format!("op-{round}"), round * 2, "1", &wanted, Some(&running));
        let (target, sent, release) = (ground.target(), op.clone(), wanted.clone());
        let apply = tokio::spawn(async move { target.apply(&sent, Some(&release)).await });
        // Any moment will do; these are spread evenly and in no order.
        sleep(Duration::from_millis(round * 7 % ROUNDS * SPAN_MS / ROUNDS)).await;
        ground.agent().into_iter().for_each(crate::support::kill);
        let answered = apply.await.unwrap();
        ground.target().fence(op.epoch + 1).await.unwrap();
        let observed = ground.target().observe(&op).await.unwrap();
        match observed {
            Observed::Applied => running = wanted,
            Observed::NotApplied => assert!(answered.is_err(), "round {round}: it was acknowledged and is not there"),
            Observed::Unknown { reason } => panic!("round {round}: {reason}"),
        }
        outcomes[usize::from(running.release.version == round.to_string())] += 1;
        until("exactly one instance runs", async || ground.instances().len() == 1).await;
        assert_eq!(ground.unit("1").await.release.as_ref(), Some(&running.release), "round {round}");
        until("it answers", async || ground.unit("1").await.health == vice_core::port::target::UnitHealth::Healthy)
            .await;
        assert_eq!(version_at(&ground.url().await).await, running.release.version, "round {round}");
    }
    println!("not applied, applied: {outcomes:?}");
    assert!(outcomes.iter().all(|count| *count > 0), "all rounds ended the same way: {outcomes:?}");
}
