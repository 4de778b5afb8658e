use std::sync::Mutex;

use rustix::process::Signal;
use vice_core::port::target::{Change, LogSource, Op, Target, UnitHealth, UnitState};

use crate::support::{Client, Ground, example, kill, place, proc_file, service, signal, until, version_at};

#[tokio::test]
async fn instances_outlive_the_agent_and_are_adopted() {
    let (ground, one) = (Ground::new(), service("1", &[]));
    for unit in ["1", "2"] {
        ground.place(unit, &one).await;
    }
    let (before, url) = (ground.instances(), ground.url().await);
    assert_eq!(before.len(), 2);
    ground.kill_agent();
    until("the agent is gone", async || ground.agent().is_none()).await;
    let left = ground.inventory().await;
    let without = |unit: &UnitState| unit.health == UnitHealth::Unhealthy && unit.facts["agent"] == "not running";
    assert!(left.units.iter().all(without), "{left:?}");
    assert_eq!(ground.agent(), None, "looking has started an agent");
    ground.target().fence(2).await.unwrap();
    assert_eq!(ground.instances(), before);
    let adopted = ground.inventory().await;
    assert_eq!(adopted.url.as_deref(), Some(url.as_str()));
    let well = |unit: &UnitState| unit.health == UnitHealth::Healthy && !unit.facts.contains_key("agent");
    assert!(adopted.units.iter().all(well), "{adopted:?}");
    assert_eq!(version_at(&url).await, "1");

    // An adopted one is looked after, replaced and ended as any other.
    kill(before[0]);
    until("the crashed one runs again", async || {
        let units = ground.inventory().await.units;
        units.iter().all(|unit| unit.health == UnitHealth::Healthy) && units.iter().any(|unit| unit.restarts == 1)
    })
    .await;
    let two = service("2", &[]);
    for unit in ["1", "2"] {
        let op = place(&format!("two-{unit}"), 2, unit, &two, Some(&one));
        ground.target().apply(&op, Some(&two)).await.unwrap();
    }
    assert_eq!(ground.instances().len(), 2);
    assert!(!ground.instances().iter().any(|pid| before.contains(pid)));
}

#[tokio::test]
async fn a_crashed_instance_is_started_again_with_growing_pauses() {
    let (ground, one) = (Ground::new(), service("1", &["--crash-after-ms", "400"]));
    ground.place("1", &one).await;
    until("three restarts", async || ground.unit("1").await.restarts >= 3).await;
    assert!(ground.instances().len() <= 1);
    let op =
        Op { id: "stop".into(), epoch: 1, unit: "1".into(), change: Change::Stop, before: Some(one.release.clone()) };
    ground.target().apply(&op, None).await.unwrap();
    assert!(ground.instances().is_empty(), "a stopped unit has a process");
    assert_eq!(ground.unit("1").await.health, UnitHealth::Stopped);
}

#[tokio::test]
async fn an_agent_that_was_killed_starts_again_what_crashed_meanwhile() {
    let (ground, one) = (Ground::new(), service("1", &[]));
    ground.place("1", &one).await;
    ground.kill_agent();
    ground.instances().into_iter().for_each(kill);
    until("nothing runs", async || ground.instances().is_empty()).await;
    let left = ground.unit("1").await;
    assert_eq!((left.health, left.facts["agent"].as_str()), (UnitHealth::Crashed, "not running"));
    ground.target().fence(2).await.unwrap();
    until("it runs again", async || ground.unit("1").await.health == UnitHealth::Healthy).await;
    assert_eq!(version_at(&ground.url().await).await, "1");
}

#[tokio::test]
async fn the_agent_ends_with_the_last_unit_and_comes_back() {
    let (ground, one) = (Ground::new(), service("1", &[]));
    ground.place("1", &one).await;
    let url = ground.url().await;
    let op =
        Op { id: "gone".into(), epoch: 1, unit: "1".into(), change: Change::Remove, before: Some(one.release.clone()) };
    ground.target().apply(&op, None).await.unwrap();
    assert!(ground.instances().is_empty());
    until("the agent ends by itself", async || ground.agent().is_none()).await;
    assert!(std::fs::read_dir(ground.dir.join("releases")).unwrap().next().is_none(), "a release file is left");
    ground.place("1", &service("2", &[])).await;
    assert_eq!(ground.url().await, url, "the address has changed");
}

#[tokio::test]
async fn instances_find_only_what_they_are_given() {
    let (ground, one) = (Ground::new(), service("1", &[]));
    ground.place("1", &one).await;
    let pid = ground.instances()[0];
    let environ = proc_file(pid, "environ");
    let has = |entry: &str| environ.split('\0').any(|word| word == entry);
    let port = &ground.unit("1").await.facts["port"];
    for entry in [&format!("PORT={port}"), "VICE_PROJECT=shop", "VICE_ENV=dev", "VICE_VERSION=1", "VICE_UNIT=1"] {
        assert!(has(entry), "{entry} is not in {environ}");
    }
    assert!(!environ.contains("do-not-pass") && environ.contains("PATH=/usr/bin:/bin"));
}

#[tokio::test]
async fn logs_show_the_end_and_follow() {
    let (ground, one) = (Ground::new(), service("1", &["--say", "first words"]));
    ground.place("1", &one).await;
    let seen = Mutex::new(Vec::new());
    let note = |line: vice_core::port::target::LogLine| {
        let mut seen = seen.lock().unwrap();
        seen.push(line.text);
        seen.len() < 2
    };
    let target = ground.target();
    let (followed, placed) = tokio::join!(target.logs(Some("1"), 10, true, &note), async {
        ground.place("1", &service("2", &["--say", "second words"])).await
    });
    followed.unwrap();
    drop(placed);
    assert_eq!(*seen.lock().unwrap(), ["first words", "second words"]);
}

#[tokio::test]
async fn one_agent_a_folder_even_when_many_start_it() {
    let ground = Ground::new();
    let clients: Vec<_> = (0..8).map(|_| ground.target()).collect();
    let fences = clients.iter().map(|client| client.fence(1));
    for fenced in futures::future::join_all(fences).await {
        fenced.unwrap();
    }
    let agent = ground.agent().unwrap();
    ground.target().fence(1).await.unwrap();
    assert_eq!(ground.agent(), Some(agent));
    ground.place("1", &service("1", &[])).await;
    assert!(Client::connect(&ground.url().await).await.unwrap().ask(None).await.is_ok());
}

#[tokio::test]
async fn a_hanging_instance_gets_no_requests_until_it_answers_again() {
    let (ground, mut one) = (Ground::new(), service("1", &[]));
    let probe = one.health.as_mut().unwrap();
    (probe.timeout, probe.unhealthy_after) = (vice_core::Millis(300), 2);
    for unit in ["1", "2"] {
        ground.place(unit, &one).await;
    }
    let pid = ground.unit("1").await.facts["pid"].parse().unwrap();
    signal(pid, Signal::STOP);
    until("it is found out", async || ground.unit("1").await.health == UnitHealth::Unhealthy).await;
    let mut client = Client::connect(&ground.url().await).await.unwrap();
    for _ in 0..20 {
        let (status, who, _) = client.ask(None).await.unwrap();
        assert!(status == 200 && who != format!("1 {pid}"), "{who}");
    }
    signal(pid, Signal::CONT);
    until("it is back", async || ground.unit("1").await.health == UnitHealth::Healthy).await;
    let mut seen = 0;
    for _ in 0..20 {
        seen += usize::from(client.ask(None).await.unwrap().1 == format!("1 {pid}"));
    }
    assert_eq!(seen, 10);
    assert_eq!(ground.unit("1").await.restarts, 0);
}

#[tokio::test]
async fn an_agent_that_is_told_to_end_leaves_its_instances() {
    let (ground, one) = (Ground::new(), service("1", &[]));
    ground.place("1", &one).await;
    let before = ground.instances();
    ground.target().shut_down(false).await.unwrap();
    until("the agent has ended", async || ground.agent().is_none()).await;
    assert_eq!(ground.instances(), before);
    ground.target().shut_down(true).await.unwrap();
    until("the agent has ended again", async || ground.agent().is_none()).await;
    assert!(ground.instances().is_empty() && ground.inventory().await.units.is_empty());
}

#[tokio::test]
#[expect(clippy::disallowed_methods, reason = "a process that no agent knows is what is tested")]
async fn a_process_that_only_its_token_gives_away_is_ended() {
    let ground = Ground::new();
    ground.target().fence(1).await.unwrap();
    ground.kill_agent();
    // As if the agent had died between the start of a process and the note of its pid.
    let mut command = tokio::process::Command::new(example("fixture_server"));
    command.args(["--port", "0", "--ignore-term"]).env("VICE_INSTANCE", format!("{}7", ground.token()));
    let mut orphan = command.kill_on_drop(true).spawn().unwrap();
    until("it is seen", async || ground.instances().len() == 1).await;
    ground.target().fence(2).await.unwrap();
    assert!(ground.instances().is_empty());
    assert!(!orphan.wait().await.unwrap().success());
}

#[tokio::test]
async fn placing_again_after_the_agent_was_killed_starts_one_and_ends_healthy() {
    let (ground, one) = (Ground::new(), service("1", &[]));
    for unit in ["1", "2"] {
        ground.place(unit, &one).await;
    }
    let url = ground.url().await;
    ground.kill_agent();
    until("the agent is gone", async || ground.agent().is_none()).await;
    // What a deploy does with units that are not healthy.
    ground.target().fence(2).await.unwrap();
    for unit in ["1", "2"] {
        let op = place(&format!("again-{unit}"), 2, unit, &one, Some(&one));
        ground.target().apply(&op, Some(&one)).await.unwrap();
    }
    let units = ground.inventory().await.units;
    assert!(units.iter().all(|unit| unit.health == UnitHealth::Healthy), "{units:?}");
    assert_eq!(ground.instances().len(), 2);
    assert_eq!(version_at(&url).await, "1");
}

#[tokio::test]
async fn what_was_stopped_is_stopped_also_when_no_agent_runs() {
    let (ground, one) = (Ground::new(), service("1", &[]));
    ground.place("1", &one).await;
    let op = Op { id: "stop".into(), epoch: 1, unit: "1".into(), change: Change::Stop, before: None };
    ground.target().apply(&op, None).await.unwrap();
    ground.kill_agent();
    until("the agent is gone", async || ground.agent().is_none()).await;
    let left = ground.unit("1").await;
    assert_eq!((left.health, left.facts.get("agent")), (UnitHealth::Stopped, None));
    ground.target().fence(2).await.unwrap();
    assert_eq!(ground.unit("1").await.health, UnitHealth::Stopped);
    assert!(ground.instances().is_empty());
}
