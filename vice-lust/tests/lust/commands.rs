//! `vice lust …` as typed, against an application of fakes.

use crate::receiver::{Answer, Receiver};
use crate::support::World;
use clap::Parser;
use vice_core::ui::Outcome;
use vice_core::{App, Class, Code, Result};
use vice_lust::cmd::{LustArgs, run};

#[derive(Parser)]
struct Cli {
    #[command(flatten)]
    lust: LustArgs,
}

async fn lust(app: &App, args: &[&str]) -> Result<Outcome> {
    let cli = Cli::try_parse_from(std::iter::once(&"lust").chain(args)).unwrap();
    run(app, cli.lust).await
}

#[tokio::test]
async fn a_message_in_a_minimal_project_is_shown() {
    let world = World::new("");
    let outcome = lust(&world.app(), &["hello", "-m", "Everything's looking good, guys"]).await.unwrap();
    assert_eq!(outcome.class, Class::Done);
    assert_eq!(outcome.text, "", "the terminal has shown it already");
    assert_eq!(outcome.json["deliveries"][0]["channel"], "stdout");
    let shown = world.ui.shown.lock().unwrap();
    assert!(shown[0].0.contains("Everything's looking good, guys"), "{shown:?}");
}

#[tokio::test]
async fn a_failed_delivery_fails_the_command_and_can_be_retried() {
    let mut receiver = Receiver::start([Answer::Status(404, ""), Answer::Status(500, "")]).await;
    let world = World::new(&format!("[channel.ops]\nkind = \"webhook\"\nurl = \"{}\"\n", receiver.url));
    let app = world.app();
    let outcome = lust(&app, &["hello", "--title", "T", "--severity", "error", "-m", "x"]).await.unwrap();
    assert_eq!(outcome.class, Class::Failed);
    assert!(outcome.text.contains("ops") && outcome.text.contains("404"), "{}", outcome.text);
    let dead = lust(&app, &["dead"]).await.unwrap();
    let key = dead.json["dead"][0]["message"]["key"].as_str().unwrap().to_owned();
    assert!(dead.text.contains(&key[..12]) && dead.text.contains("404"), "{}", dead.text);

    let again = lust(&app, &["retry", &key[..8]]).await.unwrap();
    assert_eq!((again.class, &again.json["delivered"]), (Class::Failed, &0.into()));
    let outbox = lust(&app, &["outbox"]).await.unwrap();
    assert_eq!(outbox.json["pending"][0]["attempts"], 1);
    assert!(outbox.text.contains("in 5.0s") && outbox.text.contains("500"), "{}", outbox.text);

    let third = lust(&app, &["retry", &key]).await.unwrap();
    assert_eq!((third.class, third.text.as_str()), (Class::Done, "1 of 1 delivered.\n"));
    let keys: Vec<_> = receiver.all().iter().map(|r| r.header("idempotency-key").map(str::to_owned)).collect();
    assert_eq!(keys, [Some(key.clone()), Some(key.clone()), Some(key)]);
    assert_eq!(lust(&app, &["retry", "--all"]).await.unwrap().class, Class::Done);
    assert_eq!(lust(&app, &["retry", "ffff"]).await.unwrap_err().code(), Code::UnknownName);
    assert_eq!(lust(&app, &["outbox"]).await.unwrap().text, "Nothing waits to be sent.\n");
    assert_eq!(lust(&app, &["pump"]).await.unwrap().json["delivered"], 0);
}

#[tokio::test]
async fn channels_are_listed_with_their_rules_and_without_secrets() {
    let more = "[channel.ops]\nkind = \"webhook\"\nurl = \"https://ann:pw123@h.example/in?token=t0k\"\n\
                [channel.screen]\nkind = \"stdout\"\n\
                [[notify]]\non = [\"failed\", \"rolled-back\"]\nto = \"ops\"\nenv = [\"prod\"]\n";
    let outcome = lust(&World::new(more).app(), &["channels", "hello"]).await.unwrap();
    assert_eq!(outcome.json["channels"][0]["rules"][0]["on"][1], "rolled-back");
    assert!(outcome.text.contains("failed, rolled-back in prod"), "{}", outcome.text);
    assert!(!outcome.text.contains("pw123") && !outcome.json.to_string().contains("t0k"));
    let none = lust(&World::new("").app(), &["channels"]).await.unwrap();
    assert!(none.text.contains("[channel.ops]"), "{}", none.text);
}

#[tokio::test]
async fn a_test_message_goes_to_one_channel() {
    let world = World::new("[channel.a]\nkind = \"stdout\"\n[channel.b]\nkind = \"stdout\"\n");
    let outcome = lust(&world.app(), &["test", "b"]).await.unwrap();
    assert_eq!(outcome.json["deliveries"].as_array().unwrap().len(), 1);
    assert_eq!(outcome.json["deliveries"][0]["channel"], "b");
    assert_eq!(lust(&world.app(), &["test", "c"]).await.unwrap_err().code(), Code::UnknownName);
    assert_eq!(lust(&world.app(), &["hello", "-m", " \n "]).await.unwrap_err().code(), Code::Usage);
    assert_eq!(lust(&world.app(), &["hello", "-e", "nope", "-m", "x"]).await.unwrap_err().code(), Code::UnknownName);
}

#[tokio::test]
async fn the_action_has_the_same_effect() {
    let world = World::new("[channel.bad]\nkind = \"file\"\npath = \"../x\"\n");
    let action = vice_lust::actions(&world.app()).remove(0);
    assert_eq!(action.describe().name, "notify");
    let given = serde_json::json!({ "project": "hello", "message": "x", "channels": ["stdout"] });
    assert_eq!(action.run(given).await.unwrap()["deliveries"][0]["delivered"], true);
    let given = serde_json::json!({ "project": "hello", "message": "x" });
    assert_eq!(action.run(given).await.unwrap_err().code(), Code::DeliveryFailed);
    let given = serde_json::json!({ "project": "hello", "massage": "x" });
    assert_eq!(action.run(given).await.unwrap_err().code(), Code::Usage);
}
