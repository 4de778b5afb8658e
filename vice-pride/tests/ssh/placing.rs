use std::os::unix::fs::PermissionsExt;
use std::sync::Mutex;

use vice_core::Code;
use vice_core::Secret;
use vice_core::port::command::EnvValue;
use vice_core::port::target::{Change, LogSource, Op, Target, UnitHealth};
use vice_core::{Digest, Millis};
use vice_pride::target::{Adoption, Keeper};

use crate::support::{Ground, place, processes, service, with_files};

#[tokio::test]
async fn lab_ssh_a_broken_release_is_found_on_the_first_host_and_comes_back() {
    let ground = Ground::on(&["h1", "h2", "h3"]);
    let target = ground.target();
    let first = service("1", &[]);
    for host in ["h1", "h2", "h3"] {
        target.apply(&place(&format!("a-{host}"), 1, host, &first, None), Some(&first)).await.unwrap();
    }
    let mut bad = service("2", &["--unhealthy"]);
    bad.ready_timeout = Millis::from_secs(2);
    let op = place("b-h1", 1, "h1", &bad, Some(&first));
    let fault = target.apply(&op, Some(&bad)).await.unwrap_err();
    assert_eq!(fault.code(), Code::Unhealthy);
    assert!(fault.to_string().contains("it answered 503"), "{fault}");
    let inventory = ground.inventory().await;
    let runs: Vec<(String, UnitHealth)> =
        inventory.units.iter().map(|unit| (unit.release.clone().unwrap().version, unit.health)).collect();
    assert_eq!(runs, vec![("1".to_owned(), UnitHealth::Healthy); 3]);
    // Nothing of it is left, and the others never heard of it.
    assert_eq!(ground.effects("h2").len(), 1);
    let placed = std::fs::read_dir(ground.root("h1").join("units/h1/placed")).unwrap().count();
    assert_eq!(placed, 1);
}

#[tokio::test]
async fn lab_ssh_an_artifact_goes_over_once_and_secrets_stay_in_one_file() {
    let ground = Ground::on(&["h1"]);
    let dir = tempfile::tempdir().unwrap();
    let secret = "s3cr3t-in-the-file";
    let mut release = with_files(service("1", &["--leak"]), &dir.path().join("1"), "content of the release");
    release.environment.insert("TOKEN".to_owned(), EnvValue::Secret(Secret::new(secret)));
    let target = ground.target();
    target.apply(&place("a", 1, "h1", &release, None), Some(&release)).await.unwrap();
    let digest = Digest::of(b"content of the release").to_string();
    let folder = ground.root("h1").join("releases").join(&digest);
    assert_eq!(std::fs::read_to_string(folder.join("content")).unwrap(), "content of the release");
    let made = std::fs::metadata(&folder).unwrap().modified().unwrap();

    let current = ground.root("h1").join("units/h1/current");
    assert_eq!(std::fs::metadata(current.join("env")).unwrap().permissions().mode() & 0o777, 0o600);
    let mark = ground.root("h1").display().to_string();
    for pid in processes(&[mark]) {
        let line = std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        assert!(!String::from_utf8_lossy(&line).contains(secret), "an argument has the secret");
    }
    let lines = Mutex::new(Vec::new());
    let sink = |line: vice_core::port::target::LogLine| {
        lines.lock().unwrap().push(line.text);
        true
    };
    target.logs(Some("h1"), 10, false, &sink).await.unwrap();
    assert_eq!(*lines.lock().unwrap(), [format!("token {secret}")], "the instance has it");

    // Another release with the same files sends them no more: the archive is not even made.
    let mut second = release.clone();
    second.release.version = "2".to_owned();
    let again = ground.target();
    again.apply(&place("b", 1, "h1", &second, Some(&release)), Some(&second)).await.unwrap();
    assert_eq!(std::fs::metadata(&folder).unwrap().modified().unwrap(), made);
    assert_eq!(std::fs::read_dir(ground.work()).unwrap().count(), 1, "only the first client has packed it");

    // What nothing needs goes; what is in use and what is named stays.
    let third = with_files(service("3", &[]), &dir.path().join("3"), "third");
    target.apply(&place("c", 1, "h1", &third, Some(&second)), Some(&third)).await.unwrap();
    let fourth = with_files(service("4", &[]), &dir.path().join("4"), "fourth");
    target.apply(&place("d", 1, "h1", &fourth, Some(&third)), Some(&fourth)).await.unwrap();
    let old = std::process::Command::new("touch").args(["-d", "2 days ago"]).arg(&folder).status().unwrap();
    assert!(old.success());
    assert!(target.prune(&[digest.parse().unwrap()].into(), Millis::from_secs(60)).await.unwrap().is_empty());
    let removed = target.prune(&std::collections::BTreeSet::new(), Millis::from_secs(60)).await.unwrap();
    assert_eq!(removed.iter().map(|one| one.artifact.as_str()).collect::<Vec<_>>(), [digest.as_str()]);
    assert!(!folder.exists());
}

#[tokio::test]
async fn lab_ssh_several_instances_share_a_host() {
    let mut ground = Ground::on(&["h1"]);
    ground.options.instances = 2;
    let (target, release) = (ground.target(), service("1", &[]));
    for unit in ["h1.1", "h1.2"] {
        target.apply(&place(unit, 1, unit, &release, None), Some(&release)).await.unwrap();
    }
    let units = ground.inventory().await.units;
    let ports: Vec<u16> = units.iter().map(|unit| unit.facts["port"].parse().unwrap()).collect();
    assert_eq!(ports[1], ports[0] + 1);
    assert!(units.iter().all(|unit| unit.health == UnitHealth::Healthy), "{units:?}");
    let nobody = target.apply(&place("x", 1, "h9", &release, None), Some(&release)).await.unwrap_err();
    assert_eq!(nobody.code(), Code::UnknownName);
}

#[tokio::test]
async fn lab_ssh_a_crashed_instance_is_started_again() {
    let ground = Ground::on(&["h1"]);
    let (target, release) = (ground.target(), service("1", &[]));
    target.apply(&place("a", 1, "h1", &release, None), Some(&release)).await.unwrap();
    let pid = |unit: &vice_core::port::target::UnitState| unit.facts.get("pid").and_then(|pid| pid.parse::<i32>().ok());
    let before = pid(&ground.unit("h1").await).unwrap();
    rustix::process::kill_process(rustix::process::Pid::from_raw(before).unwrap(), rustix::process::Signal::KILL)
        .unwrap();
    let deadline = tokio::time::Instant::now() + std::time::Duration::from_secs(30);
    loop {
        let unit = ground.unit("h1").await;
        if unit.health == UnitHealth::Healthy && pid(&unit) != Some(before) {
            assert_eq!(unit.restarts, 1);
            break;
        }
        assert!(tokio::time::Instant::now() < deadline, "{unit:?}");
    }
}

/// A reboot takes the loop along that looks after an instance; what was to run is started when somebody says so.
#[tokio::test]
async fn lab_ssh_what_a_reboot_has_ended_is_started_again() {
    let ground = Ground::on(&["h1"]);
    let (target, release) = (ground.target(), service("1", &[]));
    target.apply(&place("a", 1, "h1", &release, None), Some(&release)).await.unwrap();
    for pid in processes(&[ground.root("h1").display().to_string()]) {
        let pid = rustix::process::Pid::from_raw(pid).unwrap();
        let _gone = rustix::process::kill_process(pid, rustix::process::Signal::KILL);
    }
    assert_eq!(ground.unit("h1").await.health, UnitHealth::Crashed);
    let op = Op {
        id: "start".to_owned(),
        epoch: 1,
        unit: "h1".to_owned(),
        change: Change::Start,
        before: Some(release.release.clone()),
    };
    target.apply(&op, None).await.unwrap();
    assert_eq!(ground.unit("h1").await.health, UnitHealth::Healthy);
    assert_eq!(ground.effects("h1").len(), 2);
}

#[tokio::test]
async fn lab_ssh_what_runs_is_adopted_and_comes_back() {
    let ground = Ground::on(&["h1"]);
    let folder = tempfile::tempdir().unwrap();
    let port = ground.options.port.unwrap();
    // A service of before vice, in the folder that it belongs to.
    let program = folder.path().join("old");
    std::fs::copy(crate::support::example("fixture_server"), &program).unwrap();
    let mut old = std::process::Command::new(&program)
        .args(["--host", "127.0.1.1", "--port", &port.to_string(), "--version", "old"])
        .current_dir(folder.path())
        .spawn()
        .unwrap();
    let mut release = service("old", &[]);
    release.command[0] = "./old".to_owned();
    let target = ground.target();
    let adoption = Adoption { op: "adopt/1".to_owned(), epoch: 1, workload: &release, path: None, pid: Some(old.id()) };
    let adopted = target.adopt(&adoption).await.unwrap();
    assert_eq!((adopted[0].pid, adopted[0].path.as_str()), (Some(old.id()), folder.path().to_str().unwrap()));
    assert_eq!(target.adopt(&adoption).await.unwrap()[0].pid, None, "a repeat does nothing");
    let unit = ground.unit("h1").await;
    assert_eq!((unit.facts["pid"].clone(), unit.facts["run"].as_str()), (old.id().to_string(), "adopted"));

    let next = service("2", &[]);
    let op = place("b", 1, "h1", &next, Some(&release));
    let waiting = std::thread::spawn(move || old.wait().unwrap());
    target.apply(&op, Some(&next)).await.unwrap();
    waiting.join().unwrap();
    target.undo(&op, None).await.unwrap();
    let unit = ground.unit("h1").await;
    assert_eq!((unit.release.unwrap().version.as_str(), unit.health), ("old", UnitHealth::Healthy));
    assert_eq!(unit.facts["run"], "process");
}
