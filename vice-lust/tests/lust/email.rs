//! E-mail against a real SMTP server, and against none. The server is the sink of `scripts/lab`.

use std::path::PathBuf;

use crate::support::World;
use vice_core::port::notifier::{Delivery, Notice, Notifier, Severity};
use vice_core::{Clock, Millis};
use vice_lust::payload::{Dead, Failed};

fn lab() -> (String, PathBuf) {
    match (std::env::var("VICE_LAB_SMTP"), std::env::var("VICE_LAB_SMTP_DIR")) {
        (Ok(server), Ok(folder)) => (server, folder.into()),
        _ => panic!("this test needs the SMTP server of the lab: run scripts/test"),
    }
}

fn channel(server: &str, to: &str) -> World {
    World::new(&format!(
        "[channel.mail]\nkind = \"email\"\nserver = \"smtp://{server}\"\nfrom = \"vice <vice@sink.test>\"\nto = [\"{to}\"]\n"
    ))
}

async fn send(world: &World) -> Delivery {
    let notice = Notice {
        key: "n1".into(),
        project: world.project(),
        scope: None,
        severity: Severity::Info,
        title: "Grüße\r\nBcc: all@example.test".into(),
        body: "one\n.\ntwo".into(),
        time: world.clock.now(),
        channels: vec![],
    };
    world.lust().notify(notice).await.unwrap().remove(0)
}

/// A recipient that no other test and no other run has.
fn recipient(prefix: &str) -> String {
    let name = tempfile::Builder::new().prefix(prefix).rand_bytes(10).tempdir().unwrap();
    let name = name.path().file_name().unwrap().to_str().unwrap().to_lowercase();
    format!("{name}@sink.test")
}

/// The mails to a recipient, as the server wrote them.
fn mails(folder: &PathBuf, to: &str) -> Vec<String> {
    let files = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let mails = files.filter(|path| path.extension().is_some_and(|end| end == "eml"));
    let texts = mails.map(|path| String::from_utf8_lossy(&std::fs::read(path).unwrap()).into_owned());
    texts.filter(|text| text.lines().any(|line| line == format!("X-Envelope-To: {to}"))).collect()
}

fn message_id(mail: &str) -> String {
    mail.lines().find(|line| line.starts_with("Message-ID:")).unwrap().to_owned()
}

#[tokio::test]
async fn lab_smtp_delivers() {
    let (server, folder) = lab();
    let to = recipient("plain-");
    let delivery = send(&channel(&server, &to)).await;
    assert!(delivery.delivered && delivery.detail.starts_with("250"), "{delivery:?}");
    let found = mails(&folder, &to);
    assert_eq!(found.len(), 1);
    let (head, body) =
        found[0].replace("\r\n", "\n").split_once("\n\n").map(|(h, b)| (h.to_owned(), b.to_owned())).unwrap();
    assert!(!head.lines().any(|line| line.starts_with("Bcc")), "{head}");
    assert!(head.contains("Subject: ") && head.contains("Auto-Submitted: auto-generated"), "{head}");
    assert!(body.contains("one\n.\ntwo") || head.contains("base64"), "{body}");
}

#[tokio::test]
async fn lab_smtp_refusals_for_now_are_tried_again_and_others_are_not() {
    let (server, folder) = lab();
    let to = recipient("refuse-451-1-");
    let world = channel(&server, &to);
    let first = send(&world).await;
    assert!(!first.delivered && first.detail.contains("451") && first.detail.contains("stays queued"), "{first:?}");
    assert!(!world.history::<Failed>().await[0].uncertain);
    world.clock.advance(Millis::from_secs(5));
    assert_eq!(world.lust().pump().await.unwrap(), 1);
    assert_eq!(mails(&folder, &to).len(), 1);

    let world = channel(&server, &recipient("refuse-550-0-"));
    let refused = send(&world).await;
    assert!(!refused.delivered && refused.detail.contains("550"), "{refused:?}");
    assert_eq!(world.history::<Dead>().await.len(), 1);
}

#[tokio::test]
async fn lab_smtp_a_lost_answer_repeats_with_the_same_message_id() {
    let (server, folder) = lab();
    let to = recipient("drop-1-");
    let world = channel(&server, &to);
    let first = send(&world).await;
    assert!(!first.delivered, "{first:?}");
    assert!(world.history::<Failed>().await[0].uncertain);
    world.clock.advance(Millis::from_secs(5));
    assert_eq!(world.lust().pump().await.unwrap(), 1);
    let found = mails(&folder, &to);
    assert_eq!(found.len(), 2);
    assert_eq!(message_id(&found[0]), message_id(&found[1]));
}

#[tokio::test]
async fn a_server_that_is_down_delays_the_mail() {
    let closed = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    let world = channel(&closed.to_string(), "ann@sink.test");
    let delivery = send(&world).await;
    assert!(delivery.detail.contains(&closed.to_string()), "{delivery:?}");
    assert!(delivery.detail.contains("stays queued"), "{delivery:?}");
    assert!(!world.history::<Failed>().await[0].uncertain, "nothing was sent");
}
