use vice_core::port::target::{Change, Op, Target, Workload};

use crate::support::{Ground, kill, place, proc_file, service, until};

/// A release whose service leaves a process behind that has a session of its own.
fn escaping(version: &str) -> Workload {
    let mut release = service(version, &[]);
    let script = "setsid sleep 300 & exec \"$@\"";
    release.command.splice(0..0, ["sh", "-c", script, "sh"].map(str::to_owned));
    release
}

fn escaped(ground: &Ground) -> Vec<u32> {
    let sleeps = |pid: &u32| proc_file(*pid, "cmdline").starts_with("sleep\0");
    ground.instances().into_iter().filter(sleeps).collect()
}

#[tokio::test]
async fn what_left_the_group_of_an_instance_ends_with_it() {
    let (ground, one, two) = (Ground::new(), escaping("1"), escaping("2"));
    for unit in ["1", "2"] {
        ground.place(unit, &one).await;
    }
    until("both have left something", async || escaped(&ground).len() == 2).await;
    let first = escaped(&ground);

    // Replaced: that of the old one is gone, those of the new one and of the other unit stay.
    let op = place("two", 1, "1", &two, Some(&one));
    ground.target().apply(&op, Some(&two)).await.unwrap();
    until("the new one has left something", async || escaped(&ground).len() == 2).await;
    assert_eq!(escaped(&ground).iter().filter(|pid| first.contains(pid)).count(), 1);

    // Crashed: it goes before the next one comes.
    let left = escaped(&ground);
    let pid = ground.unit("1").await.facts["pid"].parse().unwrap();
    kill(pid);
    until("it runs again", async || ground.unit("1").await.restarts == 1 && escaped(&ground).len() == 2).await;
    assert_eq!(escaped(&ground).iter().filter(|pid| left.contains(pid)).count(), 1);

    // Stopped, once by the agent that started it and once by the next one, which is no parent of anything.
    stop(&ground, "1", 1).await;
    assert_eq!(ground.instances().len(), 2);
    ground.kill_agent();
    until("the agent is gone", async || ground.agent().is_none()).await;
    stop(&ground, "2", 2).await;
    assert!(ground.instances().is_empty(), "something has survived");
}

async fn stop(ground: &Ground, unit: &str, epoch: u64) {
    let op = Op { id: format!("stop-{unit}"), epoch, unit: unit.to_owned(), change: Change::Stop, before: None };
    ground.target().apply(&op, None).await.unwrap();
}
