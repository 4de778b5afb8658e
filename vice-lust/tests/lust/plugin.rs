//! Channels that are programs: the example of the docs, and programs that die, refuse and give secrets away.

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use vice_core::app::ProcessEnv;
use vice_core::port::notifier::{Delivery, Notifier};
use vice_core::{Code, Millis};
use vice_lust::payload::{Dead, Delivered, Failed};
use vice_lust::suite::{suite, under_test};

use crate::support::{CANARY, World, notice};

const BOARD: &str = "[channel.board]\nkind = \"noticeboard\"\nsettings = { file = \"board.txt\" }\nsecrets = { token = \"env:HOOK_SECRET\" }\n";

fn example() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples/plugin-notifier/vice-backend-noticeboard")
}

/// A world whose `PATH` has the example, with one thing about it changed.
fn world(more: &str, from: &str, to: &str) -> World {
    let mut world = World::new(more);
    let bin = world.folder.path().join("bin");
    std::fs::create_dir(&bin).unwrap();
    put(&bin, from, to);
    let mut env = ProcessEnv::clone(&world.env);
    env.vars.insert("PATH".to_owned(), format!("{}:/usr/local/bin:/usr/bin:/bin", bin.display()));
    world.env = Arc::new(env);
    world
}

fn put(bin: &Path, from: &str, to: &str) -> PathBuf {
    let text = std::fs::read_to_string(example()).unwrap();
    assert!(text.contains(from), "{from}");
    let program = bin.join("vice-backend-noticeboard");
    std::fs::write(&program, text.replace(from, to)).unwrap();
    std::fs::set_permissions(&program, std::fs::Permissions::from_mode(0o755)).unwrap();
    program
}

async fn post(world: &World, key: &str) -> Delivery {
    world.lust().notify(notice(world, key)).await.unwrap().remove(0)
}

/// The keys on the board.
fn board(world: &World) -> Vec<String> {
    let text = std::fs::read_to_string(world.folder.path().join("board.txt")).unwrap_or_default();
    let key = |line: &str| serde_json::from_str::<serde_json::Value>(line).unwrap()["key"].as_str().unwrap().to_owned();
    text.lines().map(key).collect()
}

fn tested(dir: &Path, program: PathBuf) -> impl Fn(usize) -> vice_plugin::Plugin + use<> {
    let vars = [("PATH".to_owned(), "/usr/local/bin:/usr/bin:/bin".to_owned())].into();
    let env = Arc::new(ProcessEnv { vars, ..ProcessEnv::default() });
    let dir = dir.to_owned();
    move |number| {
        let place = dir.join(number.to_string());
        std::fs::create_dir_all(&place).unwrap();
        under_test("noticeboard", program.clone(), Arc::clone(&env), &place)
    }
}

#[tokio::test]
async fn the_example_keeps_the_rules_of_a_notifier() {
    let dir = tempfile::tempdir().unwrap();
    suite(tested(dir.path(), example())).await;
}

/// The first rule that a changed example breaks.
async fn broken(from: &str, to: &str) -> String {
    let dir = tempfile::tempdir().unwrap();
    let open = tested(dir.path(), put(dir.path(), from, to));
    let panic = tokio::spawn(async move { suite(open).await }).await.expect_err(to).into_panic();
    let text = panic.downcast_ref::<String>().cloned();
    text.or_else(|| panic.downcast_ref::<&str>().map(|text| (*text).to_owned())).unwrap()
}

#[tokio::test]
async fn what_breaks_a_rule_is_found_out() {
    for (from, to, rule) in [
        ("if any(line[\"key\"]", "if False and any(line[\"key\"]", "sends a key once"),
        ("if self.under_test and", "if False and", "with the title `bad` is not taken"),
        ("                file.write(json", "                False and file.write(json", "what was taken was sent"),
        ("message[name] for", "str(message[name])[:50] for", "arrives as it was given"),
        (
            "request[\"settings\"].get(\"file\", \"noticeboard.jsonl\")",
            "f\"board-{os.getpid()}\"",
            "so that it can be killed",
        ),
        ("return \"was there already\"", "return 17", "the answer to send is a text"),
        (
            "def deliver(self, message):",
            "def deliver(self, message):\n        assert len(message) < 10",
            "members of a later vice",
        ),
    ] {
        let said = broken(from, to).await;
        assert!(said.contains(rule), "{to}: {said}");
    }
}

#[tokio::test]
async fn a_program_gets_the_message_its_key_settings_and_secrets() {
    let world = world(
        BOARD,
        "def __init__(self, request):",
        "def __init__(self, request):\n        json.dump(request, open(os.path.join(request['dir'], 'opened'), 'w'))",
    );
    let delivery = post(&world, "n1").await;
    assert!(delivery.delivered && delivery.detail == "written to board.txt", "{delivery:?}");
    let delivered = world.history::<Delivered>().await;
    assert_eq!(board(&world), [delivered[0].key.clone()]);
    let opened: serde_json::Value =
        serde_json::from_str(&std::fs::read_to_string(world.folder.path().join("opened")).unwrap()).unwrap();
    assert_eq!((opened["secrets"]["token"].as_str(), opened["channel"].as_str()), (Some(CANARY), Some("board")));
    assert!(!world.everything().await.contains(CANARY));
}

/// It dies after it has written, before it answers: nobody knows, so that the next attempt is a repeat.
#[tokio::test]
async fn one_that_dies_after_it_sent_sends_no_second_time() {
    let once = "if not os.path.exists(self.path + '.died'): open(self.path + '.died', 'w').close(); sys.stderr.write('no c4n4ry-s3cret\\n'); os._exit(9)\n        return f\"written";
    let world = world(BOARD, "return f\"written", once);
    let delivery = post(&world, "n1").await;
    assert!(!delivery.delivered && delivery.detail.contains("ended in the middle"), "{delivery:?}");
    let failed = world.history::<Failed>().await;
    assert!(failed[0].uncertain && failed[0].reason.contains("«secret:"), "{failed:?}");
    world.clock.advance(Millis::from_secs(10));
    assert_eq!(world.lust().pump().await.unwrap(), 1);
    let delivered = world.history::<Delivered>().await;
    assert_eq!((delivered[0].answer.as_str(), delivered[0].attempt), ("was there already", 2));
    assert_eq!(board(&world).len(), 1);
    assert!(!world.everything().await.contains(CANARY));
}

#[tokio::test]
async fn what_it_says_decides_whether_it_is_tried_again() {
    let refuse = |code: &str| format!("raise Refused(\"{code}\", \"No c4n4ry-s3cret.\")\n        with open");
    for (code, dead, uncertain) in
        [("usage", true, false), ("backend.failed", false, false), ("backend.unreachable", false, true)]
    {
        let world = world(BOARD, "with open(self.path + \".lock\"", &format!("{}(self.path + \".lock\"", refuse(code)));
        let delivery = post(&world, "n1").await;
        assert!(!delivery.delivered && delivery.detail.contains("No «secret:"), "{code}: {delivery:?}");
        assert_eq!(world.history::<Dead>().await.len(), usize::from(dead), "{code}");
        let failed = world.history::<Failed>().await;
        assert_eq!(failed.iter().filter(|failed| failed.uncertain).count(), usize::from(uncertain), "{code}");
        assert!(board(&world).is_empty() && !world.everything().await.contains(CANARY), "{code}");
    }
}

/// Nothing was sent, so that nothing can have arrived.
#[tokio::test]
async fn one_that_can_not_begin_keeps_the_message() {
    for (from, to, said) in [
        ("\"port\": \"notifier\"", "\"port\": \"target\"", "is not a notifier: it is a target"),
        ("board = Board(request)", "raise Refused(\"usage\", \"There is no board.\")", "There is no board."),
        ("#!/usr/bin/env python3", "#!/nowhere/python3", "can't be started"),
    ] {
        let world = world(BOARD, from, to);
        let delivery = post(&world, "n1").await;
        assert!(!delivery.delivered && delivery.detail.contains(said), "{to}: {delivery:?}");
        let failed = world.history::<Failed>().await;
        assert!(failed.len() == 1 && !failed[0].uncertain, "{to}: {failed:?}");
    }
}

#[tokio::test]
async fn a_kind_that_nobody_has_is_told_with_the_nearest() {
    let world = World::new("[channel.ops]\nkind = \"webhok\"\n");
    let project = world.project();
    let fault = vice_lust::check_programs(&project, &world.env).unwrap_err();
    assert_eq!((fault.code(), fault.hints()), (Code::BackendMissing, &["Did you mean webhook?".to_owned()][..]));
    assert!(fault.place().is_some());
    let delivery = post(&world, "n1").await;
    assert!(!delivery.delivered && delivery.detail.contains("vice-backend-webhok"), "{delivery:?}");
}
