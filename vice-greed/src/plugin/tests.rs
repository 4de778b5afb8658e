//! A history behind a program: the example of the docs, and programs that lie, forget and die.

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use vice_core::Code;
use vice_core::app::ProcessEnv;
use vice_core::store::{Append, EventStore, Expected, Query};
use vice_core::testkit::event_store::{self, event};
use vice_core::time::SystemClock;

use super::suite::{Tested, suite};
use crate::place::{Opening, StorePlace};

fn example() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples/plugin-store/vice-backend-drawer")
}

fn env(bin: &Path) -> Arc<ProcessEnv> {
    let vars = [("PATH".to_owned(), format!("{}:/usr/local/bin:/usr/bin:/bin", bin.display()))].into();
    Arc::new(ProcessEnv { vars, ..ProcessEnv::default() })
}

/// The example, with one thing about it changed, as a program in the folder.
fn put(dir: &Path, from: &str, to: &str) -> PathBuf {
    let text = std::fs::read_to_string(example()).unwrap();
    assert!(text.contains(from), "{from}");
    let program = dir.join("vice-backend-drawer");
    std::fs::write(&program, text.replace(from, to)).unwrap();
    std::fs::set_permissions(&program, std::fs::Permissions::from_mode(0o755)).unwrap();
    program
}

fn tested(dir: &Path, program: PathBuf) -> Tested {
    Tested { name: "drawer".to_owned(), program, env: env(dir), dir: dir.to_owned() }
}

/// The history in the folder `kept`, as the machine of that name has it.
fn machine(dir: &Path, name: &str) -> Arc<dyn EventStore> {
    let opening =
        Opening { clock: Arc::new(SystemClock), env: env(dir), notices: Arc::new(|_| {}), state: dir.join(name) };
    StorePlace::parse("drawer:kept", dir).unwrap().open(&opening).unwrap()
}

#[tokio::test]
async fn the_example_keeps_the_rules_of_a_store() {
    let dir = tempfile::tempdir().unwrap();
    let tested = tested(dir.path(), example());
    suite(|number| tested.plugin(number)).await;
}

#[tokio::test]
async fn a_history_behind_the_example_conforms() {
    let dir = tempfile::tempdir().unwrap();
    let tested = tested(dir.path(), example());
    let number = std::sync::atomic::AtomicUsize::new(0);
    event_store::suite(async || tested.history(number.fetch_add(1, std::sync::atomic::Ordering::SeqCst))).await;
    event_store::durable_suite(async || tested.history(1000)).await;
}

#[tokio::test]
async fn of_two_machines_one_is_first() {
    let dir = tempfile::tempdir().unwrap();
    put(dir.path(), "a drawer", "a drawer");
    let machines = ["1", "2"].map(|name| machine(dir.path(), name));
    let mut won = 0;
    for round in 0..10_u64 {
        let claim = |n: usize| {
            let event = event(&format!("{round}.{n}"), "claim");
            machines[n].append(Append::of(vec![event]).expect("claim", Expected::from_version(round)))
        };
        let (one, two) = futures::join!(claim(0), claim(1));
        won += u64::from(one.is_ok()) + u64::from(two.is_ok());
        assert_eq!(won, round + 1, "exactly one of two gets each version");
    }
    let found = machine(dir.path(), "3").verify().await.unwrap();
    assert_eq!((found.events, found.problems), (10, Vec::new()));
}

/// The first rule that a changed example breaks.
async fn broken(from: &str, to: &str) -> String {
    let dir = tempfile::tempdir().unwrap();
    let tested = tested(dir.path(), put(dir.path(), from, to));
    let ended = tokio::spawn(async move { suite(|number| tested.plugin(number)).await }).await;
    let panic = ended.expect_err(to).into_panic();
    let text = panic.downcast_ref::<String>().cloned();
    text.or_else(|| panic.downcast_ref::<&str>().map(|text| (*text).to_owned())).unwrap()
}

#[tokio::test]
async fn programs_that_can_hold_no_history_are_found_out() {
    let looks_first = "if os.path.exists(self.path(name)): return False\n            __import__('time').sleep(0.05)\n            os.rename(new, self.path(name)); open(new, 'w').close()";
    for (from, to, rule) in [
        ("            return False\n        finally", "            return True\n        finally", "is not made again"),
        ("os.link(new, self.path(name))", looks_first, "exactly one of 6 processes"),
        (")[:limit]", ")[:limit][::-1]", "names are listed in order"),
        ("name > after and", "name >= after and", "only names behind the given one"),
        ("[:limit]", "", "no more names are listed than wanted"),
        (
            "newline=\"\", encoding=\"utf-8\") as file:\n                return",
            "encoding=\"utf-8\") as file:\n                return",
            "exactly as it was",
        ),
        ("sys.stdout.flush()", "sys.stdout.write(json.dumps(answer) + \"\\n\"); sys.stdout.flush()", "one answer"),
        (
            "raise Refused(\"backend.unsupported\"",
            "os._exit(3) or Refused(\"backend.unsupported\"",
            "is answered, and is not its end",
        ),
    ] {
        let said = broken(from, to).await;
        assert!(said.contains(rule), "{to}: {said}");
    }
}

#[tokio::test]
async fn an_answer_that_is_lost_is_no_second_event() {
    let dir = tempfile::tempdir().unwrap();
    let once = "if not os.path.exists(self.folder + '/died'): open(self.folder + '/died', 'w').close(); os._exit(1)\n        return True";
    put(dir.path(), "        return True", &format!("        {once}"));
    let store = machine(dir.path(), "1");
    let appended = store.append(Append::of(vec![event("a", "s/1")])).await.unwrap();
    assert_eq!(appended.seqs, [1]);
    store.append(Append::of(vec![event("b", "s/1")])).await.unwrap();
    let events = store.read(&Query::default()).await.unwrap();
    assert_eq!(events.iter().map(|found| found.event.id.as_str()).collect::<Vec<_>>(), ["a", "b"]);
}

#[tokio::test]
async fn what_a_program_says_is_not_believed_blindly() {
    for (from, to, code) in [
        (")[:limit]", ")[:limit] * 2", Code::Backend),
        ("return file.read()", "return file.read().replace('dev.test', 'dev.tset')", Code::HistoryDamaged),
        ("return file.read()", "return None", Code::HistoryDamaged),
        ("return file.read()", "return 17", Code::Backend),
        (
            "def list(self, after, limit):",
            "def list(self, after, limit):\n        return ['../../etc/passwd']",
            Code::Backend,
        ),
        ("def list(self, after, limit):", "def list(self, after, limit):\n        os._exit(3)", Code::Unreachable),
        ("def list(self, after, limit):", "def list(self, after, limit):\n        print('debug')", Code::Unreachable),
    ] {
        let dir = tempfile::tempdir().unwrap();
        put(dir.path(), "a drawer", "a drawer");
        machine(dir.path(), "1").append(Append::of(vec![event("a", "s/1")])).await.unwrap();
        put(dir.path(), from, to);
        let fault = machine(dir.path(), "2").read(&Query::default()).await.unwrap_err();
        assert_eq!(fault.code(), code, "{to}: {fault:?}");
    }
}

#[tokio::test]
async fn a_batch_that_is_gone_is_damage() {
    let dir = tempfile::tempdir().unwrap();
    put(dir.path(), "a drawer", "a drawer");
    let store = machine(dir.path(), "1");
    for id in ["a", "b", "c"] {
        store.append(Append::of(vec![event(id, "s/1")])).await.unwrap();
    }
    store.close().await.unwrap();
    std::fs::remove_file(dir.path().join("kept/00000000000000000003.jsonl")).unwrap();
    let fault = machine(dir.path(), "1").append(Append::of(vec![event("d", "s/1")])).await.unwrap_err();
    assert_eq!(fault.code(), Code::HistoryDamaged, "{fault:?}");
}

#[tokio::test]
async fn whether_it_is_shared_the_program_says() {
    let dir = tempfile::tempdir().unwrap();
    put(dir.path(), "\"location\": \"a drawer\"", "\"shared\": False");
    let store = machine(dir.path(), "1");
    assert!(store.describe().shared, "until it was asked");
    assert_eq!(store.head().await.unwrap().seq, 0);
    assert!(!store.describe().shared);
    assert!(!dir.path().join("kept").exists(), "looking creates nothing");
}

#[tokio::test]
async fn what_is_wrong_with_the_program_is_told() {
    for (from, to, code, part) in [
        ("\"port\": \"store\"", "\"port\": \"target\"", Code::Unsupported, "is not a store: it is a target"),
        ("\"protocol\": 1", "\"protocol\": 9", Code::Unsupported, "speaks protocol 9"),
        ("if not request[\"place\"]:", "if True:", Code::Usage, "has no folder"),
        ("#!/usr/bin/env python3", "#!/nowhere/python3", Code::BackendMissing, "can't be started"),
    ] {
        let dir = tempfile::tempdir().unwrap();
        put(dir.path(), from, to);
        let fault = machine(dir.path(), "1").append(Append::of(vec![event("a", "s/1")])).await.unwrap_err();
        assert_eq!(fault.code(), code, "{to}: {fault:?}");
        assert!(fault.to_string().contains(part), "{to}: {fault:?}");
    }
}
