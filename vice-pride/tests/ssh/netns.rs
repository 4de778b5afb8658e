//! Hosts that are cut off and killed: network namespaces with addresses, processes and names of their own.

use std::path::PathBuf;
use std::process::Command;

use vice_core::manifest::HealthAt;
use vice_core::port::target::{Observed, Op, Target, UNREACHABLE, UnitHealth};
use vice_core::{Code, Fault, Millis};

use crate::support::{Ground, place, service, with_files};

fn lab() -> PathBuf {
    let lab = std::env::var("VICE_LAB_NETNS").unwrap_or_else(|_| {
        panic!("VICE_LAB_NETNS is not set. Run the test as root with scripts/test or scripts/lab/run COMMAND: it needs network namespaces.")
    });
    PathBuf::from(lab)
}

fn link(host: &str, state: &str) {
    let hub = std::fs::read_to_string(lab().join("hub")).unwrap();
    let name = host.replace('n', "v");
    let done = Command::new("ip").args(["-n", hub.trim(), "link", "set", &name, state]).status().unwrap();
    assert!(done.success(), "ip link set {name} {state}");
}

fn ground(hosts: &[&str]) -> Ground {
    let mut ground = Ground::in_lab(&lab(), hosts);
    ground.options.health_at = HealthAt::Address;
    ground.options.connect_timeout = Millis::from_secs(2);
    ground
}

/// One test, because it takes hosts away from whoever else would use them.
#[tokio::test]
async fn lab_netns_hosts_that_are_cut_off_or_die_are_told_and_taken_up_again() {
    let ground = ground(&["n1", "n2", "n3"]);
    let (target, first) = (ground.target(), service("1", &[]));
    for host in ["n1", "n2", "n3"] {
        let op = place(&format!("a-{host}"), 1, host, &first, None);
        target.apply(&op, Some(&first)).await.unwrap();
    }
    // The same port on each: these are machines of their own.
    let inventory = ground.inventory().await;
    assert!(inventory.units.iter().all(|unit| unit.health == UnitHealth::Healthy), "{inventory:?}");

    // The link is cut in the middle of an operation, which goes on without anybody who listens.
    let slow = service("2", &["--slow-start-ms", "3000"]);
    let op = place("b-n2", 1, "n2", &slow, Some(&first));
    let (asking, asked, release) = (ground.target(), op.clone(), slow.clone());
    let task = tokio::spawn(async move { asking.apply(&asked, Some(&release)).await });
    let pending = ground.root("n2").join("units/n2/pending");
    let deadline = tokio::time::Instant::now() + std::time::Duration::from_secs(30);
    while !pending.exists() {
        assert!(tokio::time::Instant::now() < deadline, "the operation never began");
        tokio::time::sleep(std::time::Duration::from_millis(10)).await;
    }
    link("n2", "down");
    let fault = task.await.unwrap().unwrap_err();
    assert_eq!(fault.code(), Code::Unreachable, "{fault:?}");
    let silent = target.observe(&op).await.unwrap_err();
    assert_eq!(silent.code(), Code::Unreachable, "nobody can tell");
    let inventory = ground.inventory().await;
    assert!(inventory.units[1].facts.contains_key(UNREACHABLE), "{inventory:?}");
    assert_eq!(inventory.units[2].health, UnitHealth::Healthy);
    link("n2", "up");
    let next = ground.target();
    next.fence(2).await.unwrap();
    let seen = next.observe(&Op { epoch: 2, ..op }).await.unwrap();
    assert_eq!(seen, Observed::Applied, "it was carried out while nobody could see it");
    assert_eq!(ground.unit("n2").await.release.unwrap().version, "2");

    // A host that dies takes everything on it along; the others do not care.
    let pid: i32 = std::fs::read_to_string(lab().join("hosts/n3.pid")).unwrap().trim().parse().unwrap();
    rustix::process::kill_process(rustix::process::Pid::from_raw(pid).unwrap(), rustix::process::Signal::KILL).unwrap();
    let third = service("3", &[]);
    let op = place("c-n3", 2, "n3", &third, Some(&first));
    let fault = ground.target().apply(&op, Some(&third)).await.unwrap_err();
    assert_eq!(fault.code(), Code::Unreachable, "{fault:?}");
    let op = place("c-n1", 2, "n1", &third, Some(&first));
    ground.target().apply(&op, Some(&third)).await.unwrap();
    assert_eq!(ground.unit("n1").await.release.unwrap().version, "3");
}

#[tokio::test]
async fn lab_netns_a_full_and_a_read_only_disk_are_told_apart() {
    let dir = tempfile::tempdir().unwrap();
    let mut ground = ground(&["n1"]);
    let root = ground.options.root.clone();
    let trouble = |fault: &Fault| fault.details().get("trouble").map(|name| name.as_str().unwrap().to_owned());

    ground.options.root = root.replace("~/", "~/readonly/");
    let fault = ground.target().fence(1).await.unwrap_err();
    assert_eq!((fault.code(), trouble(&fault).as_deref()), (Code::Io, Some("read-only")), "{fault:?}");
    assert!(ground.inventory().await.units.is_empty());

    ground.options.root = root.replace("~/", "~/small/");
    let first = service("1", &[]);
    let target = ground.target();
    target.apply(&place("a", 1, "n1", &first, None), Some(&first)).await.unwrap();
    let large = with_files(service("2", &[]), &dir.path().join("2"), &"x".repeat(3_000_000));
    let fault = target.apply(&place("b", 1, "n1", &large, Some(&first)), Some(&large)).await.unwrap_err();
    assert_eq!((fault.code(), trouble(&fault).as_deref()), (Code::Io, Some("no-space")), "{fault:?}");
    assert!(fault.to_string().contains("n1") && !fault.hints().is_empty(), "{fault:?}");
    // What runs is not disturbed, and what did not fit is gone.
    let unit = ground.unit("n1").await;
    assert_eq!((unit.release.unwrap().version.as_str(), unit.health), ("1", UnitHealth::Healthy));
    let small = with_files(service("3", &[]), &dir.path().join("3"), &"x".repeat(300_000));
    target.apply(&place("c", 1, "n1", &small, Some(&first)), Some(&small)).await.unwrap();
}
