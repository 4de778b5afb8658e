//! `vice wrath traffic`, and loads that follow a model or a recording.

use std::sync::Arc;
use std::sync::Mutex;

use vice_core::{Class, Code};

use crate::load::wrath;
use crate::record::{Recorder, raw};
use crate::server::Server;

async fn counted() -> (Server, Arc<Mutex<Vec<String>>>) {
    let seen: Arc<Mutex<Vec<String>>> = Arc::default();
    let place = Arc::clone(&seen);
    let server = Server::start(move |request, mut conn| {
        place.lock().unwrap().push(request.line().to_owned());
        async move { conn.answer("200 OK", "", "hello").await }
    })
    .await;
    (server, seen)
}

/// An access log of 200 visitors: home, then two items a second apart.
fn log() -> String {
    let mut lines = Vec::new();
    for visitor in 0..200 {
        for (step, path) in ["/", "/items/1", "/items/2"].into_iter().enumerate() {
            let (minute, second) = (visitor / 30, (visitor % 30) + step);
            lines.push(format!(
                r#"10.0.0.{visitor} - - [29/Nov/2026:10:{minute:02}:{second:02} +0000] "GET {path} HTTP/1.1" 200 5 "-" "test""#
            ));
        }
    }
    lines.join("\n")
}

#[tokio::test]
async fn a_log_becomes_a_model_that_a_load_follows() {
    let dir = tempfile::tempdir().unwrap();
    let (file, model) = (dir.path().join("access.log"), dir.path().join("model.toml"));
    std::fs::write(&file, log()).unwrap();
    let words = ["traffic", file.to_str().unwrap(), "--out", model.to_str().unwrap(), "--sessions", "500"];
    let learnt = wrath(&words).await.unwrap().json;
    assert_eq!((&learnt["requests"], &learnt["sessions"]), (&600.into(), &200.into()));
    for kind in learnt["kinds"].as_array().unwrap() {
        assert!(kind["transitions"]["chance"].as_f64().unwrap() > 0.001, "{kind}");
    }
    // Without pauses, so that the sessions are over at once.
    let text = std::fs::read_to_string(&model).unwrap();
    let cut = text.find("[persona.visitor.think]").unwrap();
    std::fs::write(&model, &text[..cut]).unwrap();
    let (server, seen) = counted().await;
    let words = ["load", &server.url(), "--model", model.to_str().unwrap(), "--rate", "50/s", "--for", "1s"];
    let outcome = wrath(&words).await.unwrap();
    assert_eq!((outcome.class, &outcome.json["counts"]["failed"]), (Class::Done, &0.into()), "{:#}", outcome.json);
    let seen = seen.lock().unwrap().clone();
    let of = |line: &str| seen.iter().filter(|it| it.starts_with(line)).count();
    assert_eq!(of("GET / "), 50, "each session begins at home");
    // From an item half of all go to another, half leave.
    let items = of("GET /items/");
    assert!((75..=140).contains(&items), "{items}");
}

#[tokio::test]
async fn a_load_repeats_a_recording_at_its_times() {
    let dir = tempfile::tempdir().unwrap();
    let (server, _) = counted().await;
    let recorder = Recorder::start(dir.path(), &server.url(), &[]).await;
    for path in ["/a", "/b", "/c?d=e"] {
        raw(recorder.address, &format!("GET {path} HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")).await;
    }
    let file = recorder.file.to_str().unwrap().to_owned();
    recorder.end().await;
    let (server, seen) = counted().await;
    let outcome = wrath(&["load", &server.url(), "--recording", &file]).await.unwrap();
    assert_eq!(outcome.json["counts"]["requests"], 3, "{:#}", outcome.json);
    let mut lines = seen.lock().unwrap().clone();
    lines.sort();
    assert_eq!(lines, ["GET /a HTTP/1.1", "GET /b HTTP/1.1", "GET /c?d=e HTTP/1.1"]);
    // As fast as asked for instead, over and over.
    let (server, _) = counted().await;
    let words = ["load", &server.url(), "--recording", &file, "--rate", "30/s", "--for", "1s"];
    assert_eq!(wrath(&words).await.unwrap().json["counts"]["requests"], 30);
    let learnt = wrath(&["traffic", &file]).await.unwrap().json;
    assert_eq!((&learnt["requests"], &learnt["sessions"]), (&3.into(), &3.into()));
}

#[tokio::test]
async fn what_is_no_log_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("x.log");
    let path = file.to_str().unwrap();
    for (text, code) in [("nonsense\n", Code::Decode), ("", Code::Decode)] {
        std::fs::write(&file, text).unwrap();
        assert_eq!(wrath(&["traffic", path]).await.unwrap_err().code(), code, "{text}");
    }
    assert_eq!(wrath(&["traffic", "/nothing.log"]).await.unwrap_err().code(), Code::Io);
    std::fs::write(&file, "[kind.a]\ntargets = [\"b\"]\n").unwrap();
    let words = ["load", "http://127.0.0.1:9/", "--model", path, "--rate", "1/s"];
    assert_eq!(wrath(&words).await.unwrap_err().code(), Code::Usage);
}

/// Robots read items as fast as they can, people look at the home page; one of three is a robot.
#[tokio::test]
async fn personas_are_learnt_from_a_log_and_sent_by_their_weights() {
    let dir = tempfile::tempdir().unwrap();
    let (file, model) = (dir.path().join("access.log"), dir.path().join("model.toml"));
    let line = |visitor: usize| {
        let (path, agent) = if visitor.is_multiple_of(3) { ("/items/1", "SomeBot/1.0") } else { ("/", "Firefox") };
        let (minute, second) = (visitor / 60, visitor % 60);
        format!(
            r#"10.0.0.{visitor} - - [29/Nov/2026:10:{minute:02}:{second:02} +0000] "GET {path} HTTP/1.1" 200 5 "-" "{agent}""#
        )
    };
    std::fs::write(&file, (0..240).map(line).collect::<Vec<_>>().join("\n")).unwrap();
    let (log, toml) = (file.to_str().unwrap(), model.to_str().unwrap());
    let words = ["traffic", log, "--persona", "robot=header:user-agent~(?i)bot", "--out", toml, "--sessions", "3000"];
    let learnt = wrath(&words).await.unwrap().json;
    let personas: Vec<(&str, f64)> = learnt["personas"]
        .as_array()
        .unwrap()
        .iter()
        .map(|it| (it["persona"].as_str().unwrap(), it["weight"].as_f64().unwrap()))
        .collect();
    assert_eq!(personas, [("robot", 80.0), ("visitor", 160.0)]);
    assert!(learnt["mix"]["chance"].as_f64().unwrap() > 0.001, "{learnt:#}");
    assert_eq!(learnt["begins"].as_array().unwrap().len(), 2);
    let (server, seen) = counted().await;
    let words = ["load", &server.url(), "--model", toml, "--rate", "300/s", "--for", "1s", "--seed", "3"];
    assert_eq!(wrath(&words).await.unwrap().json["counts"]["failed"], 0);
    let seen = seen.lock().unwrap().clone();
    let robots = seen.iter().filter(|line| line.starts_with("GET /items/1 ")).count() as f64;
    assert_eq!(seen.len(), 300);
    assert!((robots - 100.0).abs() < 4.0 * (300.0_f64 / 3.0 * 2.0 / 3.0).sqrt(), "{robots}");
    // A model is looked at without a log.
    let looked = wrath(&["traffic", toml, "--sessions", "3000"]).await.unwrap().json;
    assert_eq!(looked["personas"], learnt["personas"]);
    for words in [vec!["traffic", log, "--persona", "agent"], vec!["traffic", toml, "--persona", "first"]] {
        assert_eq!(wrath(&words).await.unwrap_err().code(), Code::Usage, "{words:?}");
    }
}
