//! Two machines (two folders) on one git remote and one target: a lease between them, a rollout that one begins and the
//! other brings to its end, a holder that is passed over and comes back.

use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use vice_core::app::ProcessEnv;
use vice_core::event::{Actor, Event, Head};
use vice_core::id::{EnvName, ProjectName, Scope};
use vice_core::payload::lease::{Holder, LeaseAcquired};
use vice_core::payload::lease_stream;
use vice_core::store::{Append, EventStore, Fence};
use vice_core::time::SystemClock;
use vice_greed::{Opening, StorePlace};

use crate::doomed::{command, none_is_double, placed, project, runs};
use crate::lab::{Lab, Ran, ran};

/// How long a silent holder is waited for here, in milliseconds.
const TTL: &str = "3000";

/// Where nobody is to be passed over, however slow the machine is.
const PATIENT: (&str, &str) = ("VICE_TEST_LEASE_TTL_MS", "60000");

/// Two labs whose projects share a history on a git remote and a target; all is in the first one's folder.
fn machines() -> [Lab; 2] {
    let labs = [Lab::new(), Lab::new()];
    let made = Command::new("git").args(["init", "--quiet", "--bare"]).arg(labs[0].path("remote.git")).status();
    assert!(made.expect("git").success());
    for lab in &labs {
        let head = format!("history = {{ store = \"git:{}\" }}", labs[0].path("remote.git").display());
        project(lab, &head, "");
        let toml = lab.read("vice.toml").replace("instances = 3", "instances = 3\nshared = true");
        lab.write("vice.toml", &toml);
    }
    labs
}

fn on(labs: &[Lab; 2], machine: usize, vars: &[(&str, &str)], args: &[&str]) -> Command {
    let mut command = command(&labs[machine], args);
    command.env("FOLDER_TARGET", labs[0].path("deployed")).env("VICE_TEST_LEASE_TTL_MS", TTL);
    command.envs(vars.iter().copied());
    command
}

fn vice(labs: &[Lab; 2], machine: usize, vars: &[(&str, &str)], args: &[&str]) -> Ran {
    ran(&on(labs, machine, vars, args).output().expect("vice runs"))
}

fn all_run(lab: &Lab, version: &str) -> bool {
    let units = runs(lab);
    units.len() == 3 && units.values().all(|runs| runs == version)
}

#[test]
fn what_one_machine_left_another_brings_to_its_end() {
    let labs = machines();
    vice(&labs, 0, &[], &["deploy", "shop@1"]).expect(0);
    let status = vice(&labs, 1, &[], &["status", "--format", "json"]).expect(0).json();
    assert_eq!(status["environments"][0]["version"], "1", "the other machine knows: {status}");
    let died = vice(&labs, 0, &[("TEST_DOOM", "during:3")], &["deploy", "shop@2"]);
    assert_eq!(died.status, 137, "{died:?}");
    let listed = vice(&labs, 1, &[], &["pride", "lock", "ls"]).expect(0);
    assert!(listed.stdout.contains("ended") && listed.stdout.contains("deploy 2"), "{listed:?}");
    let ticked = vice(&labs, 1, &[], &["tick"]).expect(0);
    assert!(ticked.stdout.contains("succeeded"), "{ticked:?}");
    assert!(all_run(&labs[0], "2"));
    none_is_double(&labs[0], "taken over");
    assert!(placed(&labs[0], "2").values().all(|count| *count == 1));
    vice(&labs, 0, &[], &["greed", "verify"]).expect(0);
    let listed = vice(&labs, 0, &[], &["pride", "lock", "ls"]).expect(0);
    assert!(listed.stdout.contains("No lease is held"), "{listed:?}");
}

fn signal(child: &Child, name: &str) {
    let sent = Command::new("kill").args([&format!("-{name}"), &child.id().to_string()]).status();
    assert!(sent.expect("kill").success());
}

fn is_stopped(child: &Child) -> bool {
    std::fs::read_to_string(format!("/proc/{}/stat", child.id())).is_ok_and(|stat| stat.contains(") T "))
}

#[test]
fn a_task_that_another_machine_had_begun_is_asked_about_and_not_run_again() {
    let labs = machines();
    vice(&labs, 0, &[PATIENT], &["deploy", "shop@1"]).expect(0);
    let told = labs[0].path("told");
    for lab in &labs {
        let (toml, told) = (lab.read("vice.toml"), told.display());
        // It kills whoever started it, once.
        let script = format!("echo ran >> {told}; [ -e {told}.died ] || {{ touch {told}.died; kill -9 $PPID; }}");
        lab.write("vice.toml", &format!("{toml}[task.migrate]\ncommand = [\"sh\", \"-c\", {script:?}]\n"));
    }
    assert_eq!(vice(&labs, 0, &[PATIENT], &["deploy", "shop@2"]).status, 137);
    assert_eq!(labs[0].read("told"), "ran\n");
    // The markers of the task are files of the other machine.
    let ticked = vice(&labs, 1, &[PATIENT], &["tick"]);
    assert!(ticked.stdout.contains("needs an operator"), "{ticked:?}");
    let listed = vice(&labs, 1, &[PATIENT], &["pride", "resolve", "--format", "json"]).expect(0).json();
    assert_eq!(listed["in_doubt"][0]["what"], "task migrate", "{listed}");
    let op = listed["in_doubt"][0]["op"].to_string();
    vice(&labs, 1, &[PATIENT], &["pride", "resolve", &op, "--applied", "--reason", "the table is there"]).expect(0);
    assert_eq!(labs[0].read("told"), "ran\n", "it ran once");
    assert!(all_run(&labs[0], "2"));
}

#[test]
fn a_parked_rollout_is_carried_on_by_a_scheduled_tick_on_another_machine() {
    let labs = machines();
    vice(&labs, 0, &[PATIENT], &["deploy", "shop@1"]).expect(0);
    let died = vice(&labs, 0, &[("TEST_DOOM", "after:2"), PATIENT], &["deploy", "shop@2"]);
    assert_eq!(died.status, 137, "{died:?}");
    vice(&labs, 0, &[PATIENT], &["pride", "pause", "shop", "--reason", "for the night"]).expect(0);
    let ticked = vice(&labs, 1, &[PATIENT], &["tick"]).expect(0);
    assert!(ticked.stdout.contains("needs an operator"), "it is paused: {ticked:?}");
    assert!(!all_run(&labs[0], "2"));
    // A second tick has nothing to do.
    vice(&labs, 1, &[PATIENT], &["tick"]).expect(0);
    vice(&labs, 1, &[PATIENT], &["pride", "resume", "shop", "--reason", "morning"]).expect(0);
    assert!(all_run(&labs[0], "2"));
    none_is_double(&labs[0], "parked");
}

#[test]
fn a_holder_that_was_passed_over_changes_nothing_when_it_wakes() {
    // One fence and three units; and appends before, between and after them.
    for point in [("TEST_DOOM", "stop:1"), ("TEST_DOOM", "stop:2"), ("TEST_DOOM", "stop:3"), ("TEST_DOOM", "stop:4")] {
        is_passed_over_at(point);
    }
    for point in ["stop-before:4", "stop-after:4", "stop-before:6", "stop-after:6"] {
        is_passed_over_at(("VICE_TEST_CRASH", point));
    }
}

fn is_passed_over_at(point: (&str, &str)) {
    let labs = machines();
    vice(&labs, 0, &[], &["deploy", "shop@1"]).expect(0);
    let holder = on(&labs, 0, &[point], &["deploy", "shop@2"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("vice");
    let deadline = Instant::now() + Duration::from_secs(60);
    while !is_stopped(&holder) {
        assert!(Instant::now() < deadline, "{point:?} is never reached");
        std::thread::sleep(Duration::from_millis(20));
    }
    // It lives, so that nobody takes it over unasked, and everybody is told who it is.
    let refused = vice(&labs, 1, &[], &["pride", "resume", "shop"]).expect(0);
    assert!(refused.stdout.contains("which another process drives"), "{refused:?}");
    let refused = vice(&labs, 1, &[], &["deploy", "shop@1"]).expect(4);
    assert!(refused.stderr.contains("ada") && refused.stderr.contains("lock steal shop --env dev"), "{refused:?}");
    let stolen = vice(&labs, 1, &[], &["pride", "lock", "steal", "shop", "--reason", "it hangs"]).expect(0);
    assert!(stolen.stdout.contains("can write no more"), "{stolen:?}");
    vice(&labs, 1, &[], &["pride", "resume", "shop"]).expect(0);
    assert!(all_run(&labs[0], "2"));
    let before = crate::doomed::effects(&labs[0]).len();
    signal(&holder, "CONT");
    let woken = ran(&holder.wait_with_output().expect("it ends"));
    // It is refused, or it sees first that nobody can have heard of it for so long.
    let told = woken.stderr.contains("refused.fenced") || woken.stderr.contains("No sign of life");
    assert!([4, 7].contains(&woken.status) && told, "{point:?}: {woken:?}");
    assert_eq!(crate::doomed::effects(&labs[0]).len(), before, "a holder that was passed over had an effect");
    none_is_double(&labs[0], &format!("woken at {point:?}"));
}

/// The shared history as a third machine sees it.
fn third(labs: &[Lab; 2], state: &Path) -> Arc<dyn EventStore> {
    let vars = [("PATH", "/usr/local/bin:/usr/bin:/bin".to_owned()), ("HOME", state.display().to_string())];
    let vars = vars.into_iter().map(|(name, value)| (name.to_owned(), value)).collect();
    let opening = Opening {
        clock: Arc::new(SystemClock),
        env: Arc::new(ProcessEnv { vars, dir: state.to_owned(), ..ProcessEnv::default() }),
        notices: Arc::new(|_| {}),
        state: state.to_owned(),
    };
    let place = format!("git:{}", labs[0].path("remote.git").display());
    StorePlace::parse(&place, state).expect("a place").open(&opening).expect("a store")
}

fn scope() -> Scope {
    Scope::new(ProjectName::new("shop").expect("a name"), EnvName::new("dev").expect("a name"))
}

/// A process on a machine that is none of ours.
fn far_away() -> Holder {
    Holder {
        actor: "grace".into(),
        host: "far-away".into(),
        boot_id: "another".into(),
        pid: 7,
        pid_start: 7,
        pid_space: String::new(),
    }
}

/// An event of a type that only a later version has, in a rollout's stream.
async fn from_the_future(store: &Arc<dyn EventStore>, stream: &str) {
    let holder = far_away();
    let any = LeaseAcquired { scope: scope(), epoch: 1, holder, purpose: String::new(), takeover: None };
    let head = Head {
        id: "future-1".into(),
        time: "2026-01-01T00:00:00Z".parse().expect("a time"),
        stream: stream.to_owned(),
        scope: Some(scope()),
        actor: Actor::system("grace"),
        chain_id: None,
    };
    let mut event = Event::new(head, &any).expect("an event");
    event.kind = "dev.cdeventsx.vice-rollout.teleported.9.0.0".to_owned();
    store.append(Append::of(vec![event])).await.expect("an append");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_rollout_with_an_event_that_is_not_known_is_not_resumed() {
    let labs = machines();
    vice(&labs, 0, &[], &["deploy", "shop@1"]).expect(0);
    assert_eq!(vice(&labs, 0, &[("TEST_DOOM", "after:2")], &["deploy", "shop@2"]).status, 137);
    let state = tempfile::tempdir().expect("a folder");
    from_the_future(&third(&labs, state.path()), "rollout/shop/dev/2").await;
    let before = crate::doomed::effects(&labs[0]).len();
    let refused = tokio::task::block_in_place(|| vice(&labs, 1, &[], &["pride", "resume", "shop"]));
    assert!(refused.status != 0 && refused.stderr.contains("vice-rollout.teleported"), "{refused:?}");
    assert_eq!(crate::doomed::effects(&labs[0]).len(), before, "nothing was guessed");
    // It can be ended where it is.
    tokio::task::block_in_place(|| vice(&labs, 1, &[], &["pride", "abandon", "shop", "--reason", "too new"]));
    let status = tokio::task::block_in_place(|| vice(&labs, 1, &[], &["status", "--format", "json"])).expect(0).json();
    assert!(status["environments"][0]["active_rollout"].is_null(), "{status}");
}

/// A holder on a machine that is none of ours takes the lease, with a high epoch.
async fn held_elsewhere(store: &Arc<dyn EventStore>) {
    let holder = far_away();
    let acquired = LeaseAcquired { scope: scope(), epoch: 9, holder, purpose: "deploy 7".into(), takeover: None };
    let head = Head {
        id: "far-away-1".into(),
        time: "2026-01-01T00:00:00Z".parse().expect("a time"),
        stream: lease_stream(&scope()),
        scope: Some(scope()),
        actor: Actor::system("grace"),
        chain_id: None,
    };
    let event = Event::new(head, &acquired).expect("an event");
    let fence = Fence { scope: scope().to_string(), epoch: 9 };
    store.append(Append::of(vec![event]).fenced(fence)).await.expect("an append");
    store.beat(&scope().to_string(), "9 far-away 0").await.expect("a sign of life");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_holder_elsewhere_is_waited_for_as_long_as_it_lives() {
    let labs = machines();
    vice(&labs, 0, &[], &["deploy", "shop@1"]).expect(0);
    let state = tempfile::tempdir().expect("a folder");
    let store = third(&labs, state.path());
    held_elsewhere(&store).await;
    let beats = {
        let store = Arc::clone(&store);
        tokio::spawn(async move {
            for count in 1.. {
                store.beat(&scope().to_string(), &format!("9 far-away {count}")).await.expect("a sign of life");
                tokio::time::sleep(Duration::from_millis(300)).await;
            }
        })
    };
    let refused = tokio::task::block_in_place(|| vice(&labs, 1, &[], &["deploy", "shop@2"])).expect(4);
    for part in ["grace", "far-away", "deploy 7", "epoch 9"] {
        assert!(refused.stderr.contains(part), "{part} is not told: {refused:?}");
    }
    assert!(all_run(&labs[0], "1"));
    // It falls silent, and is passed over once its time is up, not before.
    beats.abort();
    drop(beats.await);
    let begun = Instant::now();
    tokio::task::block_in_place(|| vice(&labs, 1, &[], &["deploy", "shop@2"])).expect(0);
    assert!(begun.elapsed() >= Duration::from_millis(3000), "it was given its time");
    assert!(all_run(&labs[0], "2"));
    let late = Append::of(Vec::new()).fenced(Fence { scope: scope().to_string(), epoch: 9 });
    let fault = store.append(late).await.expect_err("its epoch was passed over");
    assert_eq!(fault.code(), vice_core::Code::Fenced);
}

#[test]
fn a_shared_environment_without_a_shared_history_is_refused_with_choices() {
    let lab = Lab::new();
    project(&lab, "", "");
    let toml = lab.read("vice.toml").replace("instances = 3", "instances = 3\nshared = true");
    lab.write("vice.toml", &toml);
    let refused = crate::doomed::vice(&lab, &[], &["deploy", "shop@1"]).expect(2);
    for choice in ["git:origin", "s3://BUCKET/PREFIX", "postgres://USER@HOST/DATABASE", "shared = false"] {
        assert!(refused.stderr.contains(choice), "{choice}: {refused:?}");
    }
    assert!(runs(&lab).is_empty(), "nothing was changed");
}
