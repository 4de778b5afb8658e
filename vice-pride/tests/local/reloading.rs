//! Another configuration for a process that goes on.

use std::collections::BTreeMap;
use std::os::unix::fs::PermissionsExt;

use vice_core::manifest::ReloadSignal;
use vice_core::port::command::EnvValue;
use vice_core::port::target::{CONFIG_FACT, Change, Observed, Op, Reload, ReloadBy, Target, UnitHealth, Workload};
use vice_core::{Code, Millis, Secret};

use crate::support::{Client, Ground, place, service, until};

fn configured(greeting: &str, by: ReloadBy, confirm: bool) -> Workload {
    let mut workload = service("1", &["--reload"]);
    workload.release.config = Some(format!("hmac-sha256:{greeting}"));
    workload.environment = BTreeMap::from([
        ("GREETING".to_owned(), EnvValue::Plain(greeting.to_owned())),
        ("TOKEN".to_owned(), EnvValue::Secret(Secret::new("hunter22-canary"))),
    ]);
    workload.reload = Some(Reload { by, confirm: confirm.then(|| "/config".to_owned()) });
    workload.ready_timeout = Millis::from_secs(3);
    workload
}

fn hup(greeting: &str) -> Workload {
    configured(greeting, ReloadBy::Signal(ReloadSignal::Hup), true)
}

/// What the service says of its configuration.
async fn told(ground: &Ground) -> String {
    let url = ground.inventory().await.units[0].url.clone().unwrap();
    Client::connect(&url).await.unwrap().get("/config").await
}

fn live(ground: &Ground) -> std::path::PathBuf {
    std::fs::read_dir(ground.dir.join("live")).unwrap().next().unwrap().unwrap().path()
}

#[tokio::test]
async fn a_process_takes_up_a_configuration_and_gives_it_back() {
    for by in [ReloadBy::Signal(ReloadSignal::Hup), ReloadBy::Http("/reload".to_owned())] {
        let ground = Ground::new();
        let target = ground.target();
        let (one, two) = (configured("hello", by.clone(), true), configured("salut", by, true));
        target.apply(&place("a/1", 1, "1", &one, None), Some(&one)).await.unwrap();
        let first = ground.instances();
        assert_eq!(told(&ground).await, format!("{} hello", one.release.full_name()));
        assert_eq!(std::fs::metadata(live(&ground)).unwrap().permissions().mode() & 0o777, 0o600);

        let op = place("a/2", 1, "1", &two, Some(&one));
        target.apply(&op, Some(&two)).await.unwrap();
        assert_eq!(ground.instances(), first, "the process was replaced");
        assert_eq!(told(&ground).await, format!("{} salut", two.release.full_name()));
        assert_eq!(ground.inventory().await.units[0].release.as_ref(), Some(&two.release));
        assert_eq!(target.observe(&op).await.unwrap(), Observed::Applied);
        target.apply(&op, Some(&two)).await.unwrap();

        target.undo(&op, Some(&one)).await.unwrap();
        assert_eq!((ground.instances(), told(&ground).await.ends_with(" hello")), (first, true));
    }
}

#[tokio::test]
async fn what_starts_it_again_has_the_configuration_that_it_was_given() {
    let ground = Ground::new();
    let target = ground.target();
    let (one, two) = (hup("hello"), hup("salut"));
    target.apply(&place("a/1", 1, "1", &one, None), Some(&one)).await.unwrap();
    target.apply(&place("a/2", 1, "1", &two, Some(&one)), Some(&two)).await.unwrap();
    let before = ground.instances();
    let restart = Op { change: Change::Restart, ..place("a/3", 1, "1", &two, None) };
    target.apply(&restart, None).await.unwrap();
    until("it has been replaced", async || ground.instances().len() == 1).await;
    assert_ne!(ground.instances(), before);
    assert!(told(&ground).await.ends_with(" salut"));
    until("the old file is gone", async || std::fs::read_dir(ground.dir.join("live")).unwrap().count() == 1).await;
}

#[tokio::test]
async fn a_configuration_that_does_not_do_leaves_everything_as_it_was() {
    for (greeting, survives) in [("bad", true), ("deaf", true), ("deadly", false)] {
        let ground = Ground::new();
        let target = ground.target();
        let (one, two) = (hup("hello"), hup(greeting));
        target.apply(&place("a/1", 1, "1", &one, None), Some(&one)).await.unwrap();
        let first = ground.instances();
        let op = place("a/2", 1, "1", &two, Some(&one));
        let fault = target.apply(&op, Some(&two)).await.unwrap_err();
        assert_eq!(fault.code(), Code::Unhealthy, "{greeting}: {fault:?}");
        assert!(fault.to_string().contains("did not take up"), "{fault}");
        assert_eq!(target.observe(&op).await.unwrap(), Observed::NotApplied);
        let unit = ground.inventory().await.units[0].clone();
        assert_eq!((unit.release.as_ref(), unit.health), (Some(&one.release), UnitHealth::Healthy), "{greeting}");
        assert!(told(&ground).await.ends_with(" hello"), "{greeting}");
        assert_eq!(ground.instances() == first, survives, "{greeting}");
    }
}

#[tokio::test]
async fn what_differs_in_more_than_its_configuration_is_replaced() {
    let ground = Ground::new();
    let target = ground.target();
    let (one, mut two) = (hup("hello"), hup("salut"));
    two.command.push("--delay-ms=1".to_owned());
    target.apply(&place("a/1", 1, "1", &one, None), Some(&one)).await.unwrap();
    let first = ground.instances();
    target.apply(&place("a/2", 1, "1", &two, Some(&one)), Some(&two)).await.unwrap();
    until("the old one has ended", async || ground.instances().len() == 1).await;
    assert_ne!(ground.instances(), first);
    assert!(told(&ground).await.ends_with(" salut"));
}

#[tokio::test]
async fn a_file_that_somebody_else_changed_is_drift() {
    let ground = Ground::new();
    let one = hup("hello");
    ground.target().apply(&place("a/1", 1, "1", &one, None), Some(&one)).await.unwrap();
    let drift = async || ground.inventory().await.units[0].facts.get(CONFIG_FACT).cloned();
    assert_eq!(drift().await, None);
    let text = std::fs::read_to_string(live(&ground)).unwrap();
    std::fs::write(live(&ground), text.replace("hello", "salut")).unwrap();
    assert!(drift().await.unwrap().contains("somebody else"));
    // Put right again, while the process still uses what it read in between.
    let other = text.replace(&one.release.full_name(), "1~other");
    std::fs::write(live(&ground), other).unwrap();
    crate::support::signal(ground.instances()[0], rustix::process::Signal::HUP);
    until("it has read it", async || told(&ground).await.starts_with("1~other")).await;
    std::fs::write(live(&ground), text).unwrap();
    assert!(drift().await.unwrap().contains("it says"));
}

#[tokio::test]
async fn an_agent_that_was_killed_in_between_leaves_what_was_noted() {
    let ground = Ground::new();
    let one = hup("hello");
    ground.target().apply(&place("a/1", 1, "1", &one, None), Some(&one)).await.unwrap();
    let first = ground.instances();
    ground.kill_agent();
    until("the agent is gone", async || ground.agent().is_none()).await;
    // As if it had written the next configuration and told the process, and had not come to note it.
    let text = std::fs::read_to_string(live(&ground)).unwrap();
    std::fs::write(live(&ground), text.replace("hello", "salut")).unwrap();
    crate::support::signal(first[0], rustix::process::Signal::HUP);
    ground.target().fence(2).await.unwrap();
    assert_eq!(ground.instances(), first);
    assert!(told(&ground).await.ends_with(" hello"));
}
