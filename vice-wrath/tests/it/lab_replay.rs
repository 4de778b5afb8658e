//! Recording, replaying, load and models against servers written by others: nginx and Caddy from `scripts/lab`.
#![expect(clippy::disallowed_methods, reason = "the lab is described by the environment")]

use serde_json::Value;
use vice_core::Class;

use crate::load::wrath;
use crate::record::Recorder;

fn lab(name: &str) -> String {
    std::env::var(name)
        .unwrap_or_else(|_| panic!("{name} is not set; run this test with scripts/test or scripts/lab/run"))
}

/// A customer: looks around, logs in, comes back with the cookie, follows a redirect, meets errors.
async fn customer(url: &str, items: std::ops::RangeInclusive<u32>) {
    let client = reqwest::Client::builder().no_proxy().redirect(reqwest::redirect::Policy::none()).build().unwrap();
    let get = async |path: &str, cookie: Option<&str>| {
        let mut request = client.get(format!("{url}{path}"));
        if let Some(cookie) = cookie {
            request = request.header("cookie", cookie);
        }
        request.send().await.unwrap()
    };
    assert_eq!(get("/", None).await.status(), 200);
    assert_eq!(get("/me", None).await.status(), 401);
    let login = get("/login", None).await;
    let cookie = login.headers()["set-cookie"].to_str().unwrap().split(';').next().unwrap().to_owned();
    for _ in 0..2 {
        let me: Value = serde_json::from_str(&get("/me", Some(&cookie)).await.text().await.unwrap()).unwrap();
        assert_eq!(format!("sid={}", me["session"].as_str().unwrap()), cookie);
    }
    for item in items {
        assert_eq!(get(&format!("/items/{item}"), Some(&cookie)).await.status(), 200);
    }
    assert_eq!(get("/old", None).await.status(), 301);
    assert_eq!(get("/broken", None).await.status(), 500);
    assert_eq!(get("/nothing", None).await.status(), 404);
}

/// Records three customers, and replays them to the same server and to itself side by side: every answer is the same
/// but for noise.
async fn all_answers_come_again(url: &str) {
    let dir = tempfile::tempdir().unwrap();
    let recorder = Recorder::start(dir.path(), url, &[]).await;
    let front = format!("http://{}", recorder.address);
    tokio::join!(customer(&front, 1..=3), customer(&front, 2..=6), customer(&front, 4..=9));
    let file = recorder.file.to_str().unwrap().to_owned();
    let lines = recorder.end().await;
    let exchanges = lines.len() - 2;
    assert_eq!(exchanges, 3 * 8 + 3 + 5 + 6);
    for more in [vec![], vec!["--once"], vec!["--against", url]] {
        let words = [vec!["replay", &file, "--to", url, "--speed", "max", "--session", "cookie:sid"], more].concat();
        let outcome = wrath(&words).await.unwrap();
        assert_eq!(outcome.class, Class::Done, "{words:?} {:#}", outcome.json);
        assert_eq!(
            (&outcome.json["sent"], &outcome.json["equal"]),
            (&exchanges.into(), &exchanges.into()),
            "{words:?}"
        );
        assert_eq!(outcome.json["masked"], 0, "{words:?}");
    }
}

#[tokio::test]
async fn lab_nginx_answers_a_replay_as_it_did() {
    crate::support::provider();
    all_answers_come_again(&lab("VICE_LAB_NGINX_URL")).await;
}

#[tokio::test]
async fn lab_caddy_answers_a_replay_as_it_did() {
    crate::support::provider();
    all_answers_come_again(&lab("VICE_LAB_CADDY_URL")).await;
}

#[tokio::test]
async fn lab_load_speaks_both_versions_of_http() {
    for (name, more) in [
        ("VICE_LAB_NGINX_URL", vec!["--rate", "500/s"]),
        ("VICE_LAB_NGINX_H2", vec!["--rate", "500/s", "--http2"]),
        ("VICE_LAB_NGINX_H2", vec!["--users", "20", "--http2"]),
        ("VICE_LAB_CADDY_URL", vec!["--users", "20", "--threads", "2"]),
        ("VICE_LAB_CADDY_URL", vec!["--rate", "200/s", "--http2", "--poisson"]),
    ] {
        let url = format!("{}/items/3", lab(name));
        let words = [vec!["load", &url, "--for", "1s", "--status", "200", "--fail-if", "errors>0"], more].concat();
        let outcome = wrath(&words).await.unwrap();
        assert_eq!(outcome.class, Class::Done, "{words:?} {:#}", outcome.json);
    }
    // nginx answers with chunks when it packs, and ends connections after so many requests.
    let url = format!("{}/large.txt", lab("VICE_LAB_NGINX_URL"));
    let words = ["load", &url, "-H", "Accept-Encoding: gzip", "--users", "5", "--for", "1s", "--fail-if", "errors>0"];
    assert_eq!(wrath(&words).await.unwrap().class, Class::Done);
}

#[tokio::test]
async fn lab_access_logs_of_both_are_learnt_from() {
    crate::support::provider();
    for (url, log) in [("VICE_LAB_NGINX_URL", "VICE_LAB_NGINX_LOG"), ("VICE_LAB_CADDY_URL", "VICE_LAB_CADDY_LOG")] {
        customer(&lab(url), 1..=4).await;
        let learnt = wrath(&["traffic", &lab(log), "--sessions", "100"]).await.unwrap().json;
        let kinds: Vec<&str> =
            learnt["kinds"].as_array().unwrap().iter().filter_map(|it| it["request"].as_str()).collect();
        for kind in ["GET /items/{id}", "GET /login", "GET /me"] {
            assert!(kinds.contains(&kind), "{log}: {kinds:?}");
        }
    }
}
