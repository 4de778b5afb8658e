use rustix::process::Signal;
use tokio::time::timeout;
use vice_core::port::target::{Target, Traffic};
use vice_core::{Code, Fault};

use crate::support::{Ground, PATIENCE, place, service, signal, version_at};

#[tokio::test]
async fn an_agent_that_does_not_answer_is_named_by_every_command() {
    let (ground, one, two) = (Ground::new(), service("1", &[]), service("2", &[]));
    ground.place("1", &one).await;
    let agent = ground.agent().unwrap();
    signal(agent, Signal::STOP);
    let target = ground.target();
    let op = place("two", 2, "1", &two, Some(&one));
    let asked = async {
        tokio::join!(
            async { target.inventory().await.unwrap_err() },
            async { target.table().await.unwrap_err() },
            async { target.fence(2).await.unwrap_err() },
            async { target.observe(&op).await.unwrap_err() },
            async { target.apply(&op, Some(&two)).await.unwrap_err() },
            async { target.undo(&op, Some(&one)).await.unwrap_err() },
            async { target.shut_down(true).await.unwrap_err() },
        )
    };
    let (inventory, table, fence, observe, apply, undo, shut_down) =
        timeout(PATIENCE, asked).await.expect("a command waits for ever");
    let named = |fault: &Fault| {
        assert_eq!(fault.code(), Code::Unreachable, "{fault:?}");
        assert_eq!(fault.to_string(), format!("The agent of shop/dev does not answer (pid {agent})."));
        let hints = fault.hints().join(" ");
        assert!(hints.contains(&format!("kill -CONT {agent}")) && hints.contains("agent.log"), "{hints}");
    };
    [inventory, table, fence, observe, apply, undo, shut_down].iter().for_each(named);
    signal(agent, Signal::CONT);
    // Whoever gave up has left nothing behind that is still carried out.
    assert_eq!(ground.agent(), Some(agent));
    assert_eq!(version_at(&ground.url().await).await, "1");
    ground.target().fence(2).await.unwrap();
    ground.target().apply(&op, Some(&two)).await.unwrap();
    assert_eq!(version_at(&ground.url().await).await, "2");
}
