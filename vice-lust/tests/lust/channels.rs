//! What each channel sends, and what it never shows.

use crate::receiver::{Answer, Receiver};
use crate::support::{CANARY, FakeUi, World, dev};
use sha2::{Digest as _, Sha256};
use vice_core::payload::environment::HoldPlaced;
use vice_core::port::command::Ended;
use vice_core::port::notifier::{Delivery, Notice, Notifier, Severity};
use vice_core::ui::Format;
use vice_core::{Clock, Code, Fault, Millis};
use vice_lust::payload::{Dead, Delivered, MessagePosted};

fn notice(world: &World, title: &str, body: &str) -> Notice {
    Notice {
        key: world.ids.next(world.clock.now()),
        project: world.project(),
        scope: Some(dev()),
        severity: Severity::Warning,
        title: title.into(),
        body: body.into(),
        time: world.clock.now(),
        channels: vec![],
    }
}

async fn send(world: &World, title: &str, body: &str) -> Delivery {
    world.lust().notify(notice(world, title, body)).await.unwrap().remove(0)
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// HMAC-SHA256 by the book (RFC 2104), so that the signature is checked by something other than what made it.
fn hmac(key: &[u8], text: &[u8]) -> String {
    let mut block = [0_u8; 64];
    block[..key.len()].copy_from_slice(key);
    let pad = |with: u8| block.map(|byte| byte ^ with);
    let inner = Sha256::new().chain_update(pad(0x36)).chain_update(text).finalize();
    hex(&Sha256::new().chain_update(pad(0x5c)).chain_update(inner).finalize())
}

#[tokio::test]
async fn webhooks_are_signed_cloudevents() {
    let mut receiver = Receiver::start([]).await;
    let more = format!("[channel.ops]\nkind = \"webhook\"\nurl = \"{}\"\nsecret = \"env:HOOK_SECRET\"\n", receiver.url);
    let world = World::new(&more);
    let delivery = send(&world, "hi \"you\"", "two\nlines").await;
    assert!(delivery.delivered, "{delivery:?}");
    assert_eq!(delivery.detail, "200 ok");
    let request = receiver.all().remove(0);
    assert!(request.head.starts_with("POST /in HTTP/1.1"));
    assert!(request.header("content-type").unwrap().starts_with("application/cloudevents+json"));
    let at = world.clock.now().as_second();
    let signature = hmac(CANARY.as_bytes(), format!("{at}.{}", request.body).as_bytes());
    assert_eq!(request.header("x-vice-signature").unwrap(), format!("v1,t={at},s={signature}"));
    let event = request.json();
    assert_eq!(event["specversion"], "1.0");
    assert_eq!(event["type"], "dev.cdeventsx.vice-notification.sent.0.1.0");
    assert_eq!((event["viceproject"].as_str(), event["viceenv"].as_str()), (Some("hello"), Some("dev")));
    assert_eq!(event["id"].as_str(), request.header("idempotency-key"));
    assert_eq!(event["data"]["subject"]["content"]["body"], "two\nlines");
    assert!(!request.head.contains(CANARY) && !world.everything().await.contains(CANARY));
}

#[tokio::test]
async fn what_may_be_secret_is_never_shown() {
    let receiver = Receiver::start([Answer::Status(403, "")]).await;
    let url = receiver.url.replace("http://", "http://ann:hunter22@") + "?token=t0psecret";
    let world = World::new(&format!("[channel.ops]\nkind = \"webhook\"\nurl = \"{url}\"\n"));
    let delivery = send(&world, "hi", "").await;
    assert!(!delivery.delivered && delivery.detail.contains("403"), "{delivery:?}");
    let world_2 = World::new("[channel.chat]\nkind = \"slack\"\nurl = \"chat.url\"\n");
    let hook = "http://127.0.0.1:1/services/T0/B0/t0psecret";
    world_2.config.0.lock().unwrap().insert("chat.url".into(), hook.into());
    let other = send(&world_2, "hi", "").await;
    assert!(!other.delivered && other.detail.contains("chat.url"), "{other:?}");
    let wrong = World::new("[channel.chat]\nkind = \"slack\"\nurl = \"https://hooks.example/t0psecret\"\n");
    let misplaced = send(&wrong, "hi", "").await;
    let listed = vice_core::ui::Outcome::done("", serde_json::json!(format!("{delivery:?}{other:?}{misplaced:?}")));
    let told =
        format!("{listed:?}{}{}{}", world.everything().await, world_2.everything().await, wrong.everything().await);
    for secret in ["hunter22", "t0psecret", "T0/B0"] {
        assert!(!told.contains(secret), "{secret} in {told}");
    }
}

#[tokio::test]
async fn an_answer_that_repeats_the_secret_is_masked() {
    let world = World::new("[channel.chat]\nkind = \"slack\"\nurl = \"chat.url\"\nchannel = \"#dev\"\n");
    let mut receiver = Receiver::start([]).await;
    world.config.0.lock().unwrap().insert("chat.url".into(), receiver.url.clone());
    assert!(send(&world, "<!channel> & co", "hi @all <x>").await.delivered);
    let body = receiver.all()[0].json();
    assert_eq!(body["text"], "&lt;!channel&gt; &amp; co\nhi @\u{200b}all &lt;x&gt;");
    assert_eq!(body["channel"], "#dev");
}

#[tokio::test]
async fn a_missing_secret_says_what_to_do_and_the_message_waits() {
    let world = World::new("[channel.chat]\nkind = \"slack\"\nurl = \"chat.ulr\"\n");
    world.config.0.lock().unwrap().insert("chat.url".into(), "http://127.0.0.1:1/".into());
    let delivery = send(&world, "hi", "").await;
    assert!(delivery.detail.contains("Did you mean chat.url?"), "{delivery:?}");
    assert!(delivery.detail.contains("stays queued"), "{delivery:?}");
    let world = World::new("[channel.chat]\nkind = \"slack\"\nurl = \"env:NOPE\"\n");
    assert!(send(&world, "hi", "").await.detail.contains("NOPE is not set"));
}

#[tokio::test]
async fn without_channels_messages_are_shown_and_nothing_hostile_reaches_the_terminal() {
    let world = World::new("");
    let delivery = send(&world, "a\u{1b}]0;x\u{7}b\r\nc", "d\u{1b}[2J\u{202e}e\nf").await;
    assert_eq!((delivery.channel.as_str(), delivery.delivered), ("stdout", true));
    let shown = world.ui.shown.lock().unwrap();
    let (text, value) = &shown[0];
    assert_eq!(without_style(text), "a ]0;x b c\n  d[2J\\u{202e}e\n  f");
    assert_eq!(value["severity"], "warning");
}

/// The text without the two styles that the channel itself puts around the title.
fn without_style(text: &str) -> String {
    text.replace("\u{1b}[33m", "").replace("\u{1b}[0m", "")
}

#[tokio::test]
async fn machine_readable_output_stays_clean() {
    for format in [Format::Json, Format::Ndjson] {
        let world = World::with_ui("", FakeUi { format, ..FakeUi::default() });
        assert!(send(&world, "hi", "").await.delivered);
        assert!(world.ui.shown.lock().unwrap().is_empty());
        assert_eq!(*world.ui.said.lock().unwrap(), ["hi"]);
    }
    let world = World::with_ui("", FakeUi { closed: true, ..FakeUi::default() });
    assert!(!send(&world, "hi", "").await.delivered, "nobody reads");
}

#[tokio::test]
async fn files_get_one_line_a_message() {
    let world = World::new("[channel.log]\nkind = \"file\"\npath = \"out/notices.jsonl\"\n");
    assert!(send(&world, "one", "a\nb").await.delivered);
    assert!(send(&world, "two", "").await.delivered);
    let text = std::fs::read_to_string(world.folder.path().join("out/notices.jsonl")).unwrap();
    let lines: Vec<serde_json::Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!((&lines[0]["title"], &lines[0]["body"]), (&"one".into(), &"a\nb".into()));
    assert_eq!(lines[1]["title"], "two");
    let outside = World::new("[channel.log]\nkind = \"file\"\npath = \"../x\"\n");
    assert!(send(&outside, "one", "").await.detail.contains("not inside the project"));
    assert_eq!(outside.history::<Dead>().await.len(), 1);
}

#[tokio::test]
async fn commands_get_the_message_on_standard_input() {
    let world = World::new("[channel.bell]\nkind = \"command\"\ncommand = [\"./ring\", \"--now\"]\n");
    let delivery = send(&world, "; rm -rf / #", "").await;
    assert_eq!((delivery.delivered, delivery.detail.as_str()), (true, "taken"));
    let ends = [Ok(Ended::Exited(3)), Err(Fault::new(Code::Usage, "There is no program ./ring."))];
    world.runner.ends.lock().unwrap().extend(ends);
    assert!(send(&world, "x", "").await.detail.contains("exit status 3: it broke"));
    assert!(send(&world, "x", "").await.detail.contains("no program"));
    assert_eq!(world.history::<Dead>().await.len(), 1, "only what can't get better is given up");
    let ran = world.runner.ran.lock().unwrap();
    assert_eq!(ran[0].argv, ["./ring", "--now"]);
    let stdin: serde_json::Value = serde_json::from_str(ran[0].stdin.as_ref().unwrap().reveal()).unwrap();
    assert_eq!(stdin["title"], "; rm -rf / #");
    assert_eq!(stdin["key"], ran[0].env["VICE_NOTICE_KEY"].reveal());
}

#[tokio::test]
async fn a_channel_that_is_gone_gives_its_messages_up() {
    let world = World::new("[channel.ops]\nkind = \"webhook\"\nurl = \"http://127.0.0.1:1/\"\n");
    send(&world, "x", "").await;
    let mut later = World::new("");
    later.store = world.store.clone();
    later.clock.advance(Millis::from_secs(10));
    later.lust().pump().await.unwrap();
    let dead = later.history::<Dead>().await;
    assert!(dead[0].reason.contains("channel ops does not exist any more"), "{dead:?}");
}

#[tokio::test]
async fn unknown_channels_are_refused_before_anything_is_stored() {
    let world = World::new("[channel.ops]\nkind = \"stdout\"\n");
    let asked = Notice { channels: vec!["osp".into()], ..notice(&world, "x", "") };
    let fault = world.lust().notify(asked).await.unwrap_err();
    assert_eq!((fault.code(), fault.hints()), (Code::UnknownName, ["Did you mean ops?".to_owned()].as_slice()));
    assert!(world.everything().await.is_empty());
}

#[tokio::test]
async fn a_repeat_of_a_notice_is_not_sent_again() {
    let world = World::new("");
    let once = notice(&world, "hi", "");
    assert!(world.lust().notify(once.clone()).await.unwrap()[0].delivered);
    let again = world.lust().notify(once.clone()).await.unwrap();
    assert!(again[0].delivered && again[0].detail.contains("before"), "{again:?}");
    assert_eq!(world.ui.shown.lock().unwrap().len(), 1);
    assert_eq!(world.history::<MessagePosted>().await.len(), 1);
    // Long after the state has forgotten it, the log still knows.
    let lust = world.lust();
    for _ in 0..210 {
        lust.notify(notice(&world, "other", "")).await.unwrap();
    }
    let late = world.lust().notify(once).await.unwrap();
    assert!(late[0].delivered && late[0].detail.contains("before"), "{late:?}");
    assert_eq!(world.ui.shown.lock().unwrap().len(), 211);
}

#[tokio::test]
async fn rules_choose_the_channels_of_messages() {
    let more = "[channel.a]\nkind = \"stdout\"\n[channel.b]\nkind = \"stdout\"\n[channel.c]\nkind = \"stdout\"\n";
    let names = |deliveries: Vec<Delivery>| deliveries.into_iter().map(|d| d.channel).collect::<Vec<_>>();
    let world = World::new(more);
    assert_eq!(names(world.lust().notify(notice(&world, "x", "")).await.unwrap()), ["a", "b", "c"]);
    let rule =
        "[[notify]]\non = [\"message\"]\nto = [\"c\", \"a\"]\n[[notify]]\non = [\"*\"]\nenv = [\"prod\"]\nto = \"b\"\n";
    let world = World::new(&format!("{more}{rule}"));
    assert_eq!(names(world.lust().notify(notice(&world, "x", "")).await.unwrap()), ["c", "a"]);
    assert_eq!(world.history::<Delivered>().await.len(), 2);
}

#[tokio::test]
async fn a_broken_template_costs_the_text_and_not_the_message() {
    use vice_core::manifest::{NotifySpec, OneOrMany};
    let mut world = World::new("");
    let mut project = (*world.project()).clone();
    project.manifest.notify.push(NotifySpec {
        on: vec!["hold".into()],
        to: OneOrMany(vec!["stdout".into()]),
        env: vec![],
        title: Some("{{verson}}".into()),
        body: None,
    });
    let fault = vice_lust::check(&project).unwrap_err();
    assert_eq!((fault.code(), fault.hints()), (Code::Template, ["Did you mean version?".to_owned()].as_slice()));
    let mut workspace = (*world.workspace).clone();
    workspace.projects.insert(project.name().clone(), project.into());
    world.workspace = workspace.into();
    let hold = HoldPlaced { scope: dev(), version: "2".into(), reason: "bad".into(), rollout: None };
    world.happen("environment/hello/dev", &hold).await;
    assert_eq!(world.lust().pump().await.unwrap(), 1);
    let shown = world.ui.shown.lock().unwrap();
    assert!(shown[0].0.contains("on hold") && shown[0].0.contains("verson"), "{}", shown[0].0);
}

#[test]
fn rules_are_checked_with_suggestions() {
    let base = "name = \"hello\"\n[env.dev]\n[channel.ops]\nkind = \"stdout\"\n[[notify]]\n";
    for (rule, hint) in [
        ("on = [\"deploied\"]\nto = \"ops\"\n", "Did you mean deployed?"),
        ("on = [\"failed\"]\nto = \"opps\"\n", "Did you mean ops?"),
        ("on = [\"failed\"]\nto = \"ops\"\nenv = [\"dv\"]\n", "Did you mean dev?"),
        ("on = [\"failed\"]\nto = \"ops\"\nbody = \"{{#if projekt}}x{{/if}}\"\n", "Did you mean project?"),
    ] {
        let text = format!("{base}{rule}");
        let project = vice_core::manifest::Project::parse("/p".into(), "vice.toml".into(), text.as_str()).unwrap();
        let fault = vice_lust::check(&project).unwrap_err();
        assert_eq!(fault.hints(), [hint], "{rule}");
        assert!(fault.place().is_some(), "{rule}");
    }
}
