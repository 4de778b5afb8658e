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

/// A customer of the API: a user is made, logs in, orders, looks, meets errors, and is removed.
async fn orders(url: &str, name: &str) {
    let client = reqwest::Client::builder().no_proxy().build().unwrap();
    let mut cookie = String::new();
    let call = async |method: &str, path: &str, cookie: &str, body: Option<Value>| {
        let mut request = client.request(method.parse().unwrap(), format!("{url}{path}")).header("x-customer", name);
        if !cookie.is_empty() {
            request = request.header("cookie", cookie);
        }
        if let Some(body) = body {
            request = request.header("content-type", "application/json").body(body.to_string());
        }
        request.send().await.unwrap()
    };
    let made = call("POST", "/users", &cookie, Some(serde_json::json!({ "name": name, "born": "1815-12-10" }))).await;
    assert_eq!(made.status(), 201);
    let user: Value = serde_json::from_str(&made.text().await.unwrap()).unwrap();
    assert_eq!(call("GET", "/orders", &cookie, None).await.status(), 401);
    let login = call("POST", "/login", &cookie, Some(serde_json::json!({ "name": name }))).await;
    cookie.push_str(login.headers()["set-cookie"].to_str().unwrap().split(';').next().unwrap());
    let mut last = Value::Null;
    for (item, price) in [("tea", 3.5), ("cup", 12.0), ("pot", 40.25)] {
        let body = serde_json::json!({ "item": item, "price": price });
        let ordered = call("POST", "/orders", &cookie, Some(body)).await;
        assert_eq!(ordered.status(), 201);
        last = serde_json::from_str(&ordered.text().await.unwrap()).unwrap();
    }
    let dear = call("GET", "/orders?min=10", &cookie, None).await;
    let dear: Value = serde_json::from_str(&dear.text().await.unwrap()).unwrap();
    assert_eq!(dear["count"], 2);
    let id = last["id"].as_str().map_or_else(|| last["id"].to_string(), str::to_owned);
    assert_eq!(call("GET", &format!("/orders/{id}"), &cookie, None).await.status(), 200);
    assert_eq!(call("GET", "/orders/0", &cookie, None).await.status(), 404);
    let id = user["id"].as_str().map_or_else(|| user["id"].to_string(), str::to_owned);
    assert_eq!(call("DELETE", &format!("/users/{id}"), &cookie, None).await.status(), 204);
}

/// An API of npm packages in front of PostgreSQL: what was recorded is carried out again, with users, sessions and orders of
/// their own, and every answer is the same but for ids, tokens and moments.
#[tokio::test]
async fn lab_an_api_on_a_database_answers_a_replay_as_it_did() {
    crate::support::provider();
    let url = lab("VICE_LAB_API");
    let dir = tempfile::tempdir().unwrap();
    let recorder = Recorder::start(dir.path(), &url, &[]).await;
    let front = format!("http://{}", recorder.address);
    tokio::join!(orders(&front, "replay-ada"), orders(&front, "replay-bob"), orders(&front, "replay-eve"));
    let file = recorder.file.to_str().unwrap().to_owned();
    let exchanges = recorder.end().await.len() - 2;
    assert_eq!(exchanges, 3 * 10);
    // Whether an order is shipped depends on how long ago it was made, and at full speed that is never as it was.
    let rules = dir.path().join("rules.toml");
    std::fs::write(&rules, "[[ignore]]\njson = \"/state\"\non = \"GET /orders/{id}\"\n").unwrap();
    let rules = rules.to_str().unwrap();
    for _ in 0..3 {
        let words = [
            vec!["replay", &file, "--to", &url, "--speed", "max"],
            vec!["--session", "header:x-customer", "--once", "--rules", rules],
        ]
        .concat();
        let outcome = wrath(&words).await.unwrap();
        assert_eq!(outcome.class, Class::Done, "{:#}", outcome.json);
        assert_eq!((&outcome.json["sent"], &outcome.json["equal"]), (&exchanges.into(), &exchanges.into()));
    }
    // A server without that database behind it is another one.
    let nginx = lab("VICE_LAB_NGINX_URL");
    let words = ["replay", &file, "--to", &nginx, "--speed", "max", "--session", "header:x-customer", "--once"];
    assert_eq!(wrath(&words).await.unwrap().class, Class::Verification);
}
