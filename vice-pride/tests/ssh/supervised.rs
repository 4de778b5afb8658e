//! Instances that a supervisor of the host looks after.

use std::path::Path;
use std::process::{Child, Command};

use vice_core::manifest::RunBy;
use vice_core::port::target::{Change, Op, Target, UnitHealth};
use vice_core::{Code, Millis};

use crate::support::{Ground, place, service};

/// A supervisor that ends with the test.
struct Scanner(Child);

impl Scanner {
    fn start(program: &str, args: &[&str], dir: &Path) -> Self {
        let started = Command::new(program).args(args).arg(dir).spawn();
        Self(started.unwrap_or_else(|error| panic!("{program}: {error}; apt-get install -y s6 runit")))
    }
}

impl Drop for Scanner {
    fn drop(&mut self) {
        drop(self.0.kill());
        drop(self.0.wait());
    }
}

async fn goes_there_and_back(run: RunBy, program: &str, args: &[&str]) {
    let services = tempfile::tempdir().unwrap();
    let mut ground = Ground::on(&["h1"]);
    ground.options.run = run;
    ground.options.services = services.path().display().to_string();
    let _scanner = Scanner::start(program, args, services.path());
    let (target, first) = (ground.target(), service("1", &[]));
    target.apply(&place("a", 1, "h1", &first, None), Some(&first)).await.unwrap();
    let unit = ground.unit("h1").await;
    assert_eq!((unit.health, unit.facts["run"].as_str()), (UnitHealth::Healthy, run.word()));

    let mut bad = service("2", &["--unhealthy"]);
    bad.ready_timeout = Millis::from_secs(2);
    let refused = target.apply(&place("b", 1, "h1", &bad, Some(&first)), Some(&bad)).await.unwrap_err();
    assert_eq!(refused.code(), Code::Unhealthy, "{refused:?}");
    let unit = ground.unit("h1").await;
    assert_eq!((unit.health, unit.release.unwrap().version.as_str()), (UnitHealth::Healthy, "1"));

    let second = service("3", &[]);
    target.apply(&place("c", 1, "h1", &second, Some(&first)), Some(&second)).await.unwrap();
    let before = ground.unit("h1").await.facts["pid"].clone();
    let op = |id: &str, change: Change| Op {
        id: id.to_owned(),
        epoch: 1,
        unit: "h1".to_owned(),
        change,
        before: Some(second.release.clone()),
    };
    target.apply(&op("d", Change::Restart), None).await.unwrap();
    let unit = ground.unit("h1").await;
    assert!(unit.health == UnitHealth::Healthy && unit.facts["pid"] != before, "{unit:?}");
    target.apply(&op("e", Change::Stop), None).await.unwrap();
    assert_eq!(ground.unit("h1").await.health, UnitHealth::Stopped);
    target.apply(&op("f", Change::Remove), None).await.unwrap();
    assert!(ground.inventory().await.units.is_empty());
    let left = std::fs::read_dir(services.path()).unwrap().flatten();
    let left: Vec<_> =
        left.map(|entry| entry.file_name()).filter(|name| !name.to_string_lossy().starts_with('.')).collect();
    assert!(left.is_empty(), "{left:?}");
}

#[tokio::test]
async fn lab_ssh_s6_looks_after_instances() {
    goes_there_and_back(RunBy::S6, "s6-svscan", &[]).await;
}

#[tokio::test]
async fn lab_ssh_runit_looks_after_instances() {
    goes_there_and_back(RunBy::Runit, "runsvdir", &["-P"]).await;
}

/// Where systemd does not run, asking it is a fault that leaves nothing behind. What it would be told is checked by its
/// own `systemd-analyze` in the unit tests; a machine that it does run is not what this test may change.
#[tokio::test]
async fn lab_ssh_a_host_without_systemd_says_so() {
    if Path::new("/run/systemd/system").exists() {
        return;
    }
    let mut ground = Ground::on(&["h1"]);
    ground.options.run = RunBy::Systemd;
    let first = service("1", &[]);
    let fault = ground.target().apply(&place("a", 1, "h1", &first, None), Some(&first)).await.unwrap_err();
    assert!(matches!(fault.code(), Code::Unhealthy | Code::Unsupported), "{fault:?}");
    assert!(ground.inventory().await.units.is_empty());
    let unit = Path::new("/etc/systemd/system/vice-shop-prod-h1.service");
    assert!(!unit.exists(), "a unit file is left behind");
}
