//! A history on a ref of a real repository: two machines, servers that refuse, vanish or lose, answers that are lost.

use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;

use vice_core::app::ProcessEnv;
use vice_core::store::{Append, EventStore, Expected, Fence, Query};
use vice_core::testkit::event_store::event;
use vice_core::time::SystemClock;
use vice_core::{Code, Fault};

use crate::place::{Opening, StorePlace};

#[expect(clippy::disallowed_methods, reason = "tests prepare repositories as a person would")]
fn git(dir: &Path, arguments: &[&str]) -> String {
    let output = Command::new("git")
        .args(["-c", "user.name=t", "-c", "user.email=t@example.com"])
        .args(arguments)
        .current_dir(dir)
        .stdin(Stdio::null())
        .output()
        .unwrap();
    assert!(output.status.success(), "git {arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap().trim().to_owned()
}

#[expect(clippy::disallowed_methods, reason = "the test finds git where the machine has it")]
fn path() -> String {
    std::env::var("PATH").unwrap()
}

fn env(home: &Path, path: &str) -> Arc<ProcessEnv> {
    let vars = [("PATH", path), ("HOME", home.to_str().unwrap())];
    let vars = vars.into_iter().map(|(name, value)| (name.to_owned(), value.to_owned())).collect();
    Arc::new(ProcessEnv { vars, dir: home.to_owned(), ..ProcessEnv::default() })
}

/// A bare repository in the folder, made once.
fn remote(dir: &Path) -> String {
    let bare = dir.join("remote.git");
    if !bare.exists() {
        std::fs::create_dir_all(dir).unwrap();
        let making = format!("making-{}.git", std::process::id());
        git(dir, &["init", "--quiet", "--bare", &making]);
        // Another process may be first.
        std::fs::rename(dir.join(making), &bare).ok();
    }
    format!("git:{}", bare.display())
}

fn open_at(place: &str, dir: &Path, state: &str, path: &str) -> Arc<dyn EventStore> {
    let state = dir.join(state);
    std::fs::create_dir_all(&state).unwrap();
    let opening = Opening {
        clock: Arc::new(SystemClock),
        env: env(&state, path),
        notices: Arc::new(|_| {}),
        state: state.clone(),
    };
    StorePlace::parse(place, dir).unwrap().open(&opening).unwrap()
}

/// The history in the repository of a folder, as seen from the machine whose state is there too.
pub(crate) fn open(dir: &Path) -> Arc<dyn EventStore> {
    open_at(&remote(dir), dir, "state", &path())
}

/// As [`open`], from a machine by name.
fn from(dir: &Path, machine: &str) -> Arc<dyn EventStore> {
    open_at(&remote(dir), dir, machine, &path())
}

async fn append(store: &Arc<dyn EventStore>, id: &str) -> Result<Vec<u64>, Fault> {
    store.append(Append::of(vec![event(id, "s/1")])).await.map(|appended| appended.seqs)
}

async fn ids(store: &Arc<dyn EventStore>) -> Vec<String> {
    store.read(&Query::default()).await.unwrap().into_iter().map(|recorded| recorded.event.id).collect()
}

async fn problems(store: &Arc<dyn EventStore>) -> Vec<String> {
    store.verify().await.unwrap().problems
}

const REF: &str = "refs/vice/history";

#[tokio::test]
async fn two_machines_that_race_get_one_order() {
    let dir = tempfile::tempdir().unwrap();
    let machines = [from(dir.path(), "one"), from(dir.path(), "two")];
    let claims = async |machine: usize| {
        let mut won = 0;
        for round in 0..15_u64 {
            let claim = event(&format!("{machine}.{round}"), "claim");
            let append = Append::of(vec![claim]).expect("claim", Expected::from_version(round));
            match machines[machine].append(append).await {
                Ok(_) => won += 1,
                Err(fault) => assert_eq!(fault.code(), Code::Conflict, "{fault:?}"),
            }
            // The next round is for both only when this one is over.
            while machines[machine].head().await.unwrap().seq <= round {}
        }
        won
    };
    let (one, two) = futures::join!(claims(0), claims(1));
    assert_eq!(one + two, 15, "each version has one winner");
    let third = from(dir.path(), "three");
    assert_eq!(ids(&third).await.len(), 15);
    assert_eq!(problems(&third).await, Vec::<String>::new());
}

#[tokio::test]
async fn an_old_holder_on_another_machine_is_fenced() {
    let dir = tempfile::tempdir().unwrap();
    let (one, two) = (from(dir.path(), "one"), from(dir.path(), "two"));
    let claim = |id: &str, epoch| Append::of(vec![event(id, "s/1")]).fenced(Fence { scope: "shop/prod".into(), epoch });
    one.append(claim("a", 1)).await.unwrap();
    two.append(claim("b", 2)).await.unwrap();
    let fault = one.append(claim("c", 1)).await.unwrap_err();
    assert_eq!(fault.code(), Code::Fenced, "{fault:?}");
    // Also one that would write nothing, on a machine that has not heard of it yet.
    two.append(claim("d", 3)).await.unwrap();
    let idle = Append::of(Vec::new()).fenced(Fence { scope: "shop/prod".into(), epoch: 2 });
    assert_eq!(one.append(idle).await.unwrap_err().code(), Code::Fenced);
    assert_eq!(ids(&one).await, ["a", "b", "d"]);
}

#[tokio::test]
async fn a_commit_that_was_never_pushed_is_no_event() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    append(&store, "a").await.unwrap();
    store.close().await.unwrap();
    drop(store);
    // What a process leaves that was killed between the commit and the push.
    let cache = std::fs::read_dir(dir.path().join("state/shared")).unwrap().next().unwrap().unwrap().path();
    let bare = dir.path().join("remote.git");
    let tip = git(&bare, &["rev-parse", REF]);
    let tree = git(&cache.join("repository"), &["rev-parse", &format!("{tip}^{{tree}}")]);
    git(&cache.join("repository"), &["commit-tree", &tree, "-p", &tip, "-m", "lost"]);
    let store = open(dir.path());
    assert_eq!(append(&store, "b").await.unwrap(), [2]);
    assert_eq!(ids(&store).await, ["a", "b"]);
    assert_eq!(git(&bare, &["rev-list", "--count", REF]), "2");
    assert_eq!(problems(&store).await, Vec::<String>::new());
}

/// A hook of the repository that says something and ends with a status.
fn hook(dir: &Path, name: &str, script: &str) -> std::path::PathBuf {
    use std::os::unix::fs::PermissionsExt;
    let file = dir.join("remote.git/hooks").join(name);
    std::fs::create_dir_all(file.parent().unwrap()).unwrap();
    std::fs::write(&file, format!("#!/bin/sh\n{script}\n")).unwrap();
    std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o755)).unwrap();
    file
}

#[tokio::test]
async fn a_server_that_declines_is_told_with_its_reason() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    append(&store, "a").await.unwrap();
    let hook = hook(dir.path(), "pre-receive", "echo 'only the release manager may push'; exit 1");
    let fault = append(&store, "b").await.unwrap_err();
    assert_eq!(fault.code(), Code::Backend, "{fault:?}");
    let told = fault.chain().join(" ");
    assert!(told.contains("hook declined") && told.contains("release manager"), "{told}");
    assert!(fault.hints().iter().any(|hint| hint.contains(REF)), "{fault:?}");
    assert_eq!(ids(&store).await, ["a"], "nothing was recorded");
    std::fs::remove_file(hook).unwrap();
    assert_eq!(append(&store, "b").await.unwrap(), [2]);
}

#[tokio::test]
async fn a_server_that_vanishes_loses_nothing_and_is_named() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    append(&store, "a").await.unwrap();
    let (bare, away) = (dir.path().join("remote.git"), dir.path().join("away.git"));
    std::fs::rename(&bare, &away).unwrap();
    let fault = append(&store, "b").await.unwrap_err();
    assert_eq!(fault.code(), Code::Backend, "{fault:?}");
    assert!(fault.to_string().contains("no git repository at git:"), "{fault:?}");
    std::fs::rename(&away, &bare).unwrap();
    assert_eq!(append(&store, "b").await.unwrap(), [2]);
    assert_eq!(problems(&store).await, Vec::<String>::new());
}

#[tokio::test]
async fn a_host_that_refuses_is_unreachable() {
    let dir = tempfile::tempdir().unwrap();
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let store = open_at(&format!("git:git://127.0.0.1:{port}/h.git"), dir.path(), "state", &path());
    let fault = append(&store, "a").await.unwrap_err();
    assert_eq!(fault.code(), Code::Unreachable, "{fault:?}");
    assert!(fault.hints()[0].contains("git ls-remote"), "{fault:?}");
}

#[tokio::test]
async fn a_ref_that_was_moved_back_or_removed_is_damage() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    for id in ["a", "b", "c"] {
        append(&store, id).await.unwrap();
    }
    store.close().await.unwrap();
    drop(store);
    let bare = dir.path().join("remote.git");
    let (whole, earlier) = (git(&bare, &["rev-parse", REF]), git(&bare, &["rev-parse", &format!("{REF}~1")]));
    for change in [vec!["update-ref", REF, &earlier], vec!["update-ref", "-d", REF]] {
        git(&bare, &change);
        let store = open(dir.path());
        let fault = store.head().await.unwrap_err();
        assert_eq!(fault.code(), Code::HistoryDamaged, "{change:?}: {fault:?}");
        let fault = append(&store, "d").await.unwrap_err();
        assert_eq!(fault.code(), Code::HistoryDamaged, "{change:?}: {fault:?}");
        assert!(!problems(&store).await.is_empty(), "{change:?}");
        drop(store);
        // Also where the copy is gone and only the witness is left.
        let cache = std::fs::read_dir(dir.path().join("state/shared")).unwrap().next().unwrap().unwrap().path();
        let kept = tempfile::tempdir().unwrap();
        for name in ["00000000000000000001.jsonl", "tip"] {
            std::fs::rename(cache.join(name), kept.path().join(name)).unwrap();
        }
        let fault = open(dir.path()).head().await.unwrap_err();
        assert_eq!(fault.code(), Code::HistoryDamaged, "{change:?}: {fault:?}");
        for name in ["00000000000000000001.jsonl", "tip"] {
            std::fs::rename(kept.path().join(name), cache.join(name)).unwrap();
        }
        git(&bare, &["update-ref", REF, &whole]);
    }
    assert_eq!(ids(&open(dir.path())).await, ["a", "b", "c"]);
}

#[tokio::test]
async fn a_copy_that_is_damaged_or_gone_is_fetched_again() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    for id in ["a", "b", "c"] {
        append(&store, id).await.unwrap();
    }
    store.close().await.unwrap();
    drop(store);
    let cache = std::fs::read_dir(dir.path().join("state/shared")).unwrap().next().unwrap().unwrap().path();
    let segment = cache.join("00000000000000000001.jsonl");
    let whole = std::fs::read(&segment).unwrap();
    let damages: [fn(&mut Vec<u8>); 4] = [
        |bytes| bytes[200] ^= 1,
        |bytes| bytes.truncate(bytes.len() - 5),
        |bytes| bytes.truncate(bytes.len() / 2),
        Vec::clear,
    ];
    for (number, damage) in damages.iter().enumerate() {
        let mut bytes = whole.clone();
        damage(&mut bytes);
        std::fs::write(&segment, bytes).unwrap();
        let store = open(dir.path());
        assert_eq!(ids(&store).await, ["a", "b", "c"], "damage {number}");
        assert_eq!(problems(&store).await, Vec::<String>::new(), "damage {number}");
        store.close().await.unwrap();
    }
    std::fs::remove_dir_all(&cache).unwrap();
    let store = open(dir.path());
    assert_eq!(append(&store, "d").await.unwrap(), [4]);
}

#[tokio::test]
async fn a_lost_answer_does_not_store_twice() {
    use std::os::unix::fs::PermissionsExt;
    let dir = tempfile::tempdir().unwrap();
    let bin = dir.path().join("bin");
    std::fs::create_dir_all(&bin).unwrap();
    // A git whose first push gets through and whose answer does not.
    let script = format!(
        "#!/bin/sh\nPATH='{real}'\ncase \" $* \" in *' push '*) if [ ! -e '{flag}' ]; then : > '{flag}'; git \"$@\" >/dev/null; exit 128; fi;; esac\nexec git \"$@\"\n",
        real = path(),
        flag = dir.path().join("flag").display(),
    );
    std::fs::write(bin.join("git"), script).unwrap();
    std::fs::set_permissions(bin.join("git"), std::fs::Permissions::from_mode(0o755)).unwrap();
    let store = open_at(&remote(dir.path()), dir.path(), "state", &format!("{}:{}", bin.display(), path()));
    assert_eq!(append(&store, "a").await.unwrap(), [1]);
    assert!(dir.path().join("flag").exists(), "the answer was lost");
    assert_eq!(git(&dir.path().join("remote.git"), &["rev-list", "--count", REF]), "1");
}

#[tokio::test]
async fn a_ref_of_something_else_is_left_alone() {
    let dir = tempfile::tempdir().unwrap();
    let place = remote(dir.path());
    let bare = dir.path().join("remote.git");
    let tree = git(&bare, &["hash-object", "-t", "tree", "-w", "/dev/null"]);
    let commit = git(&bare, &["commit-tree", &tree, "-m", "source code"]);
    git(&bare, &["update-ref", "refs/heads/main", &commit]);
    let store = open_at(&format!("{place}#main"), dir.path(), "state", &path());
    let fault = append(&store, "a").await.unwrap_err();
    assert_eq!(fault.code(), Code::HistoryDamaged, "{fault:?}");
    assert_eq!(git(&bare, &["rev-parse", "refs/heads/main"]), commit);
}

#[tokio::test]
async fn a_remote_of_the_project_is_found_by_name() {
    let dir = tempfile::tempdir().unwrap();
    remote(dir.path());
    let project = dir.path().join("project");
    std::fs::create_dir_all(&project).unwrap();
    git(&project, &["init", "--quiet", "."]);
    git(&project, &["remote", "add", "origin", "../remote.git"]);
    let store = open_at("git:origin", &project, "state", &path());
    assert_eq!(append(&store, "a").await.unwrap(), [1]);
    assert_eq!(ids(&open(dir.path())).await, ["a"]);
    let fault = append(&open_at("git:upstream", &project, "other", &path()), "a").await.unwrap_err();
    assert_eq!(fault.code(), Code::UnknownName, "{fault:?}");
}

#[tokio::test]
async fn the_history_is_readable_with_git_alone() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    append(&store, "a").await.unwrap();
    let bare = dir.path().join("remote.git");
    assert_eq!(git(&bare, &["log", "-1", "--format=%s", REF]), "event 1: dev.test.thing.made");
    let shown = git(&bare, &["show", &format!("{REF}:00000000000000000001.jsonl")]);
    assert_eq!(shown.lines().count(), 2, "a head and an event: {shown}");
}
