//! Artifacts that hosts fetch from each other, over real ssh between them.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::sync::{Arc, Mutex};

use futures::future::join_all;
use vice_core::port::notifier::Severity;
use vice_core::port::target::{Target, Workload};
use vice_core::ui::{Format, Progress, Ui};
use vice_core::{Code, Digest, Fault, Result};
use vice_pride::target::ssh::{Sharing, SshTarget};

use crate::support::{Ground, lab, place, service, with_files};

/// Hears what is told.
#[derive(Default)]
struct Ears(Mutex<Vec<String>>);

impl Ui for Ears {
    fn format(&self) -> Format {
        Format::Text
    }
    fn say(&self, _: Severity, text: &str) {
        self.0.lock().unwrap().push(text.to_owned());
    }
    fn progress(&self, _: Progress) {}
    fn emit(&self, _: &str, _: &serde_json::Value) -> bool {
        true
    }
    fn ask(&self, question: &str, _: &str) -> Result<String> {
        Err(Fault::new(Code::NoInput, question))
    }
    fn width(&self) -> usize {
        100
    }
}

const HOSTS: [&str; 4] = ["h1", "h2", "h3", "h4"];

/// Hosts in domains, which call each other by this command.
fn ground(domains: [&str; 4], ssh: &[String]) -> (Ground, Arc<Ears>) {
    let mut ground = Ground::on(&HOSTS);
    let domains: BTreeMap<String, String> =
        HOSTS.into_iter().zip(domains).map(|(host, domain)| (host.to_owned(), domain.to_owned())).collect();
    let ears = Arc::new(Ears::default());
    ground.options.sharing = Some(Sharing { domains, ssh: ssh.to_vec() });
    ground.options.ui = Some(ears.clone());
    (ground, ears)
}

fn lab_ssh() -> Vec<String> {
    vec!["ssh".to_owned(), "-F".to_owned(), lab().join("config").display().to_string()]
}

/// A release with about a megabyte of files.
fn big(dir: &Path, version: &str) -> Workload {
    with_files(service(version, &[]), &dir.join(version), &version.repeat(1_000_000))
}

/// Brings the release to all hosts at once.
async fn to_all(target: &SshTarget, release: &Workload) {
    let placing = HOSTS.map(|host| {
        let op = place(&format!("{host}-{}", release.release.version), 1, host, release, None);
        async move {
            target.apply(&op, Some(release)).await.unwrap_or_else(|fault| panic!("{host}: {:?}", fault.chain()));
        }
    });
    join_all(placing).await;
}

/// On how many hosts the release is whole.
fn whole(ground: &Ground, release: &Workload) -> usize {
    let digest = release.release.artifact.unwrap().to_string();
    let has = |host: &&&str| {
        let content = fs::read(ground.root(host).join("releases").join(&digest).join("content"));
        content.is_ok_and(|content| Digest::of(&content).to_string() == digest)
    };
    HOSTS.iter().filter(has).count()
}

/// Who keeps an archive for others.
fn keepers(ground: &Ground) -> Vec<&'static str> {
    let keeps = |host: &&str| fs::read_dir(ground.root(host).join("shared")).is_ok_and(|found| found.count() == 1);
    HOSTS.into_iter().filter(keeps).collect()
}

#[tokio::test]
async fn lab_ssh_an_artifact_goes_over_the_line_once_for_hosts_near_each_other() {
    let dir = tempfile::tempdir().unwrap();
    let release = big(dir.path(), "1");
    let apart = Ground::on(&HOSTS);
    let target = apart.target();
    to_all(&target, &release).await;
    let before = target.bytes_sent();

    let (near, ears) = ground(["r1", "r1", "r1", "r1"], &lab_ssh());
    let target = near.target();
    to_all(&target, &release).await;
    let after = target.bytes_sent();
    assert_eq!(*ears.0.lock().unwrap(), Vec::<String>::new());
    assert_eq!((whole(&apart, &release), whole(&near, &release)), (4, 4));
    assert_eq!((before, keepers(&near).len()), (after * 4, 1), "{before} bytes before, {after} after");

    // The next release has a seed of its own, and the old archive goes.
    let second = big(dir.path(), "2");
    to_all(&target, &second).await;
    assert_eq!((whole(&near, &second), keepers(&near).len() <= 2), (4, true));

    let (racks, ears) = ground(["r1", "r1", "r2", "r2"], &lab_ssh());
    let target = racks.target();
    to_all(&target, &release).await;
    assert_eq!(*ears.0.lock().unwrap(), Vec::<String>::new());
    assert_eq!((target.bytes_sent(), whole(&racks, &release)), (after * 2, 4));
    assert_eq!(keepers(&racks).len(), 2);
}

#[tokio::test]
async fn lab_ssh_hosts_that_can_not_fetch_are_sent_it_and_somebody_hears_of_it_once() {
    let dir = tempfile::tempdir().unwrap();
    let release = big(dir.path(), "1");
    let script = dir.path().join("no-ssh");
    fs::write(
        &script,
        format!(
            "#!/bin/sh\necho x >>{}\necho 'Permission denied (publickey).' >&2\nexit 255\n",
            dir.path().join("tries").display()
        ),
    )
    .unwrap();
    fs::set_permissions(&script, fs::Permissions::from_mode(0o755)).unwrap();
    let (ground, ears) = ground(["r1"; 4], &[script.display().to_string()]);
    let target = ground.target();
    to_all(&target, &release).await;
    assert_eq!(whole(&ground, &release), 4);
    let heard = ears.0.lock().unwrap().clone();
    assert_eq!(heard.len(), 1, "{heard:?}");
    assert!(heard[0].contains("could not fetch") && heard[0].contains("Permission denied"), "{heard:?}");
    let tries = fs::read_to_string(dir.path().join("tries")).unwrap().lines().count();
    assert_eq!(tries, 3);
    // With nobody to fetch from there is nothing to try any more.
    let second = big(dir.path(), "2");
    to_all(&target, &second).await;
    assert_eq!(whole(&ground, &second), 4);
    assert_eq!(fs::read_to_string(dir.path().join("tries")).unwrap().lines().count(), tries);
}

/// (25) A host that gives something else than what was asked for.
#[tokio::test]
async fn lab_ssh_what_another_host_gives_is_checked() {
    let dir = tempfile::tempdir().unwrap();
    let release = big(dir.path(), "1");
    let canary = dir.path().join("canary");
    // Whatever is asked, an archive with another content comes.
    let evil = dir.path().join("evil");
    fs::create_dir(&evil).unwrap();
    fs::write(evil.join("content"), "evil").unwrap();
    let archive = dir.path().join("evil.tar");
    let tar =
        std::process::Command::new("tar").arg("-cf").arg(&archive).arg("-C").arg(&evil).arg(".").status().unwrap();
    assert!(tar.success());
    let script = dir.path().join("evil-ssh");
    fs::write(&script, format!("#!/bin/sh\ntouch {}\ncat {}\n", canary.display(), archive.display())).unwrap();
    fs::set_permissions(&script, fs::Permissions::from_mode(0o755)).unwrap();
    let (ground, ears) = ground(["r1"; 4], &[script.display().to_string()]);
    to_all(&ground.target(), &release).await;
    assert!(canary.exists(), "the others tried to fetch it");
    assert_eq!(whole(&ground, &release), 4);
    let heard = ears.0.lock().unwrap().clone();
    assert!(heard.len() == 1 && heard[0].contains("SHA-256"), "{heard:?}");
    for host in HOSTS {
        let left = fs::read_dir(ground.root(host).join("incoming")).unwrap().count();
        assert_eq!(left, 0, "what was not good is gone from {host}");
    }
}
