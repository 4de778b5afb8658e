//! Instances that a real systemd looks after, which restarts them, brings them back after a power cut, and forgets them.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Mutex;

use vice_core::manifest::RunBy;
use vice_core::port::target::{Change, LogLine, LogSource, Observed, Op, Target, UnitHealth, UnitState};
use vice_core::{Code, Millis};

use crate::support::{Ground, place, service, until};

fn lab() -> PathBuf {
    let lab = std::env::var("VICE_LAB_SYSTEMD").unwrap_or_else(|_| {
        panic!("VICE_LAB_SYSTEMD is not set. Run the test as root with scripts/test or scripts/lab/run COMMAND: it needs namespaces and control groups.")
    });
    PathBuf::from(lab)
}

/// What a command on the host says; none when it fails.
fn on_host(lab: &Path, command: &str) -> Option<String> {
    let config = lab.join("config");
    let mut ssh = Command::new("ssh");
    ssh.args(["-o", "BatchMode=yes", "-o", "ConnectTimeout=2", "-F"]).arg(config).args(["d1", command]);
    let said = ssh.output().unwrap();
    said.status.success().then(|| String::from_utf8_lossy(&said.stdout).trim().to_owned())
}

/// Ends the host at once, with everything on it, and waits until it has started again.
async fn pull_the_plug(lab: &Path) {
    let pid = || std::fs::read_to_string(lab.join("d1.pid")).unwrap();
    let before = pid();
    let killed = Command::new("kill").args(["-KILL", before.trim()]).status().unwrap();
    assert!(killed.success());
    until("the host is up again", || pid() != before && on_host(lab, "true").is_some()).await;
}

async fn settled(ground: &Ground, so: impl Fn(&UnitState) -> bool) -> UnitState {
    for _ in 0..200 {
        let unit = ground.unit("d1").await;
        if so(&unit) {
            return unit;
        }
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    }
    panic!("it never came to this: {:?}", ground.unit("d1").await);
}

/// One test, because there is one host and it loses its power.
#[tokio::test]
async fn lab_systemd_instances_are_restarted_brought_back_after_a_power_cut_and_forgotten() {
    let lab = lab();
    let mut ground = Ground::in_lab(&lab, &["d1"]);
    ground.options.run = RunBy::Systemd;
    let (target, first) = (ground.target(), service("1", &["--say", "hello from the first"]));
    target.apply(&place("a", 1, "d1", &first, None), Some(&first)).await.unwrap();
    let unit = ground.unit("d1").await;
    assert_eq!((unit.health, unit.facts["run"].as_str()), (UnitHealth::Healthy, "systemd"));
    assert_eq!(on_host(&lab, "systemctl is-enabled vice-shop-prod-d1.service").as_deref(), Some("enabled"));
    let lines = Mutex::new(Vec::new());
    let sink = |line: LogLine| {
        lines.lock().unwrap().push(line.text);
        true
    };
    target.logs(Some("d1"), 10, false, &sink).await.unwrap();
    assert!(lines.lock().unwrap().iter().any(|line| line == "hello from the first"), "{lines:?}");

    // What ends is started again, and that is counted.
    on_host(&lab, &format!("kill -KILL {}", unit.facts["pid"])).unwrap();
    let again =
        settled(&ground, |now| now.health == UnitHealth::Healthy && now.facts["pid"] != unit.facts["pid"]).await;
    assert_eq!(again.restarts, 1, "{again:?}");

    // Two that are no good, and what ran before is back each time.
    let mut sick = service("2", &["--unhealthy", "--say", "I do not feel well"]);
    sick.ready_timeout = Millis::from_secs(2);
    let refused = target.apply(&place("b", 1, "d1", &sick, Some(&first)), Some(&sick)).await.unwrap_err();
    assert_eq!(refused.code(), Code::Unhealthy, "{refused:?}");
    assert!(refused.chain().join(" ").contains("I do not feel well"), "{refused:?}");
    let broken = service("3", &["--no-such-flag"]);
    let refused = target.apply(&place("c", 1, "d1", &broken, Some(&first)), Some(&broken)).await.unwrap_err();
    assert_eq!(refused.code(), Code::Unhealthy, "{refused:?}");
    let unit = ground.unit("d1").await;
    assert_eq!((unit.health, unit.release.unwrap().version.as_str()), (UnitHealth::Healthy, "1"));

    pull_the_plug(&lab).await;
    let unit = settled(&ground, |now| now.health == UnitHealth::Healthy).await;
    assert_eq!(unit.release.unwrap().version, "1");

    // In the middle of an operation: whoever asks next finds it not carried out, and what ran before running.
    let slow = service("4", &["--slow-start-ms", "30000"]);
    let op = place("d", 1, "d1", &slow, Some(&first));
    let (other, asked, release) = (ground.target(), op.clone(), slow.clone());
    let asking = tokio::spawn(async move { other.apply(&asked, Some(&release)).await });
    let pending = ground.root("d1").join("units/d1/pending");
    until("the operation is under way", || pending.exists()).await;
    until("it has been switched", || {
        let current = std::fs::read_link(ground.root("d1").join("units/d1/current"));
        current.is_ok_and(|to| to.to_string_lossy().contains(".1."))
            && on_host(&lab, "systemctl is-active vice-shop-prod-d1.service").as_deref() == Some("active")
    })
    .await;
    pull_the_plug(&lab).await;
    asking.await.unwrap().unwrap_err();
    let next = ground.target();
    assert_eq!(next.observe(&Op { epoch: 2, ..op }).await.unwrap(), Observed::NotApplied);
    let unit = ground.unit("d1").await;
    assert_eq!((unit.health, unit.release.unwrap().version.as_str()), (UnitHealth::Healthy, "1"));

    let op = |id: &str, change: Change| Op {
        id: id.to_owned(),
        epoch: 2,
        unit: "d1".to_owned(),
        change,
        before: Some(first.release.clone()),
    };
    next.apply(&op("e", Change::Stop), None).await.unwrap();
    assert_eq!(ground.unit("d1").await.health, UnitHealth::Stopped);
    assert_eq!(on_host(&lab, "systemctl is-active vice-shop-prod-d1.service"), None);
    next.apply(&op("f", Change::Start), None).await.unwrap();
    assert_eq!(ground.unit("d1").await.health, UnitHealth::Healthy);
    next.apply(&op("g", Change::Remove), None).await.unwrap();
    assert!(ground.inventory().await.units.is_empty());
    // systemd itself removes folders of links that have become empty.
    let left = |dir: &str| {
        let entries = std::fs::read_dir(lab.join("units").join(dir)).into_iter().flatten().flatten();
        entries.filter(|entry| entry.file_name().to_string_lossy().starts_with("vice-")).count()
    };
    assert_eq!((left("."), left("multi-user.target.wants")), (0, 0));
    assert_eq!(on_host(&lab, "systemctl is-active vice-shop-prod-d1.service"), None);
}
