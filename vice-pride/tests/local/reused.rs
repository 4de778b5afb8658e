use vice_core::Code;
use vice_core::port::target::{Change, Observed, Op, Target};

use crate::support::{Ground, place, service, until, version_at};

#[tokio::test]
async fn an_id_that_was_used_for_something_else_is_refused() {
    let (ground, one, two) = (Ground::new(), service("1", &[]), service("2", &[]));
    let target = ground.target();
    let first = place("shop.dev.1/3", 1, "1", &one, None);
    target.apply(&first, Some(&one)).await.unwrap();
    let before = ground.instances();
    // As after a restored history, which counts on from an earlier number.
    let others = [
        place("shop.dev.1/3", 1, "1", &two, Some(&one)),
        place("shop.dev.1/3", 1, "2", &one, None),
        place("shop.dev.1/3", 1, "1", &one, Some(&two)),
        Op { change: Change::Stop, ..first.clone() },
    ];
    for other in &others {
        let release = if other.change == Change::Place(two.release.clone()) { &two } else { &one };
        let fault = target.apply(other, Some(release)).await.unwrap_err();
        assert_eq!(fault.code(), Code::Conflict, "{fault:?}");
        assert!(fault.to_string().contains("shop.dev.1/3"), "{fault}");
        assert_eq!(target.observe(other).await.unwrap(), Observed::NotApplied);
    }
    // Nothing was done for it, so that nothing is to be taken back; but what would change the unit is refused.
    target.undo(&others[0], Some(&one)).await.unwrap();
    assert_eq!(target.undo(&others[2], Some(&two)).await.unwrap_err().code(), Code::Conflict);
    assert_eq!(ground.instances(), before);
    assert_eq!(ground.inventory().await.units.len(), 1);
    assert_eq!(version_at(&ground.url().await).await, "1");
    // The one that was carried out is still known, by the next agent and without any.
    ground.kill_agent();
    until("the agent is gone", async || ground.agent().is_none()).await;
    assert_eq!(ground.target().observe(&first).await.unwrap(), Observed::Applied);
    assert_eq!(ground.target().observe(&others[0]).await.unwrap(), Observed::NotApplied);
    ground.target().apply(&Op { epoch: 2, ..first }, Some(&one)).await.unwrap();
    assert_eq!(ground.instances(), before, "a repeat has an effect");
}
