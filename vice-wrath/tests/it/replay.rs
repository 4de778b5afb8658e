//! `vice wrath replay` against small servers written for it: what differs is planted by seed, noise too.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use rand::{Rng, RngExt, SeedableRng};
use rand_pcg::Pcg64Mcg;
use serde_json::{Value, json};
use vice_core::{Class, Code};

use crate::load::wrath;
use crate::record::{Recorder, raw};
use crate::server::Server;

/// How many planted differences, and how many places of noise.
const PLANTED: usize = 20;
const NOISY: usize = 200;

/// What a server does at `/page/N`. All of it follows from the seed; nothing of wrath is asked.
#[derive(Clone)]
struct World {
    /// The pages of the second version that differ, each in a way of its own.
    planted: Arc<BTreeSet<usize>>,
    second: bool,
    calls: Arc<AtomicU64>,
    seed: u64,
}

impl World {
    /// One answer: status, headers, body. Ten noisy fields on each of twenty pages: always new, seldom new, sometimes
    /// absent, counters, lists whose length varies, moments.
    fn page(&self, page: usize) -> (String, String, String) {
        let call = self.calls.fetch_add(1, Ordering::SeqCst);
        let mut chance = Pcg64Mcg::seed_from_u64(self.seed ^ call.wrapping_mul(0x9e37_79b9_7f4a_7c15));
        let mut noise = serde_json::Map::new();
        for field in 0..NOISY / PLANTED {
            let name = format!("n{field}");
            match field {
                0 | 1 => drop(noise.insert(name, json!(format!("{:016x}", chance.next_u64())))),
                2 | 3 => drop(noise.insert(name, json!(if chance.random_bool(0.3) { "rare" } else { "usual" }))),
                4 if chance.random_bool(0.5) => drop(noise.insert(name, json!(1))),
                4 => {}
                5 => drop(noise.insert(name, json!(call))),
                6 => drop(noise.insert(name, json!(vec![1; chance.random_range(1..4)]))),
                7 => drop(noise.insert(name, if chance.random_bool(0.4) { json!(null) } else { json!("text") })),
                8 => drop(noise.insert(name, json!(chance.random_range(0.0..1.0)))),
                _ => drop(noise.insert(name, json!(1_700_000_000 + call))),
            }
        }
        let mut body = json!({ "page": page, "title": format!("Page {page}"), "price": 10 + page, "tags": ["a", "b"],
            "owner": { "name": "Ada", "active": true }, "noise": noise });
        let (mut status, mut headers) = ("200 OK", "content-type: application/json\r\nx-kind: page\r\n".to_owned());
        if self.second && self.planted.contains(&page) {
            match page % 10 {
                0 => status = "500 Oops",
                1 => body["price"] = json!(11 + page),
                2 => body["price"] = json!(format!("{}", 10 + page)),
                3 => drop(body.as_object_mut().unwrap().remove("title")),
                4 => body["extra"] = json!(true),
                5 => body["tags"] = json!(["a", "b", "c"]),
                6 => headers = headers.replace("x-kind: page", "x-kind: site"),
                7 => headers = headers.replace("x-kind: page\r\n", ""),
                8 => body["owner"]["active"] = json!(false),
                _ => headers.push_str("x-new: 1\r\n"),
            }
        }
        (status.to_owned(), headers, body.to_string())
    }

    async fn serve(self) -> Server {
        Server::start(move |request, mut conn| {
            let page =
                request.line().split(['/', ' ']).filter_map(|part| part.strip_prefix("page-")?.parse().ok()).next();
            let (status, headers, body) = self.page(page.unwrap_or(0));
            async move { conn.answer(&status, &headers, &body).await }
        })
        .await
    }
}

fn world(planted: BTreeSet<usize>, second: bool, seed: u64) -> World {
    World { planted: Arc::new(planted), second, calls: Arc::default(), seed }
}

/// A recording of one visit to each page.
async fn recorded(dir: &std::path::Path, pages: usize) -> String {
    let server = world(BTreeSet::new(), false, 1).serve().await;
    let recorder = Recorder::start(dir, &server.url(), &[]).await;
    for page in 0..pages {
        // Not an id, so that each page is a kind of request of its own.
        let request = format!("GET /page-{page} HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n");
        assert!(raw(recorder.address, &request).await.contains("200 OK"));
    }
    let file = recorder.file.to_str().unwrap().to_owned();
    recorder.end().await;
    file
}

/// Of 20 pages each has one planted difference and ten places of noise: all 20 are found, and none of the 200.
#[tokio::test]
async fn planted_differences_are_found_and_noise_is_not() {
    let dir = tempfile::tempdir().unwrap();
    let file = recorded(dir.path(), PLANTED).await;
    for seed in [11, 12] {
        let first = world(BTreeSet::new(), false, seed).serve().await;
        let second = world((0..PLANTED).collect(), true, seed + 1000).serve().await;
        let words = ["replay", &file, "--to", &first.url(), "--against", &second.url(), "--speed", "max"];
        let outcome = wrath(&words).await.unwrap();
        assert_eq!(outcome.class, Class::Verification);
        let found = outcome.json["differences"].as_array().unwrap();
        let noise: Vec<&Value> =
            found.iter().filter(|it| it["pointer"].as_str().unwrap().starts_with("/noise")).collect();
        assert!(noise.is_empty(), "seed {seed}: {noise:#?}");
        let pages: BTreeSet<&str> = found.iter().filter_map(|it| it["request"].as_str()).collect();
        assert_eq!((pages.len(), found.len()), (PLANTED, PLANTED), "seed {seed}: {found:#?}");
    }
}

#[tokio::test]
async fn the_same_version_twice_shows_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let file = recorded(dir.path(), PLANTED).await;
    let first = world(BTreeSet::new(), false, 31).serve().await;
    let second = world(BTreeSet::new(), true, 32).serve().await;
    let words = ["replay", &file, "--to", &first.url(), "--against", &second.url(), "--speed", "max"];
    let outcome = wrath(&words).await.unwrap();
    assert_eq!((outcome.class, &outcome.json["differences"]), (Class::Done, &json!([])), "{:#}", outcome.json);
    assert_eq!(outcome.json["sent"], PLANTED);
}

/// A shop whose ids and tokens are new for each customer: a login, an order under a new id, the order again.
async fn shop(price: u64) -> Server {
    let count = Arc::new(AtomicU64::new(price * 1000));
    Server::start(move |request, mut conn| {
        let number = count.fetch_add(1, Ordering::SeqCst);
        async move {
            let lower = request.head.to_lowercase();
            let sid = lower.split("sid=").nth(1).map(|rest| rest.split(['\r', ';', ' ']).next().unwrap_or_default());
            let line = request.line().to_owned();
            let json = "content-type: application/json\r\n";
            match (line.split(' ').nth(1).unwrap_or_default(), sid) {
                ("/login", _) => {
                    let headers = format!("{json}set-cookie: sid=s-{number:012}; Path=/\r\n");
                    conn.answer("200 OK", &headers, &format!(r#"{{"csrf_token":"c-{number:012}"}}"#)).await;
                }
                (_, None) => conn.answer("401 No", json, r#"{"error":"log in"}"#).await,
                ("/orders", _) if !request.body.contains("c-0") => conn.answer("403 No", json, "{}").await,
                ("/orders", Some(sid)) => {
                    let body = format!(r#"{{"id":{number},"by":"{sid}","price":{price}}}"#);
                    let headers = format!("{json}location: /orders/{number}\r\n");
                    conn.answer("201 Created", &headers, &body).await;
                }
                (path, Some(_)) => {
                    let id: u64 = path.rsplit('/').next().and_then(|id| id.parse().ok()).unwrap_or(0);
                    // Only ids that this server gave are known to it.
                    let known = id / 1000 == price;
                    let status = if known { "200 OK" } else { "404 Unknown" };
                    conn.answer(status, json, &format!(r#"{{"id":{id},"price":{price}}}"#)).await;
                }
            }
        }
    })
    .await
}

async fn customer(recorder: &Recorder) {
    let ask = async |request: String| raw(recorder.address, &request).await;
    let tail = "Host: shop.test\r\nConnection: close\r\n";
    let login = ask(format!("POST /login HTTP/1.1\r\n{tail}Content-Length: 0\r\n\r\n")).await;
    let cut =
        |text: &str, from: &str, to: &[char]| text.split(from).nth(1).unwrap().split(to).next().unwrap().to_owned();
    let (sid, csrf) = (cut(&login, "sid=", &[';']), cut(&login, "csrf_token\":\"", &['"']));
    let body = format!(r#"{{"csrf_token":"{csrf}","what":"tea"}}"#);
    let head = format!("{tail}Cookie: sid={sid}\r\n");
    let order = format!(
        "POST /orders HTTP/1.1\r\n{head}Content-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    );
    let order = ask(order).await;
    let id = cut(&order, "\"id\":", &[',']);
    let again = ask(format!("GET /orders/{id} HTTP/1.1\r\n{head}\r\n")).await;
    assert!(again.contains("200 OK"), "{again}");
}

#[tokio::test]
async fn live_tokens_ids_and_cookies_take_the_place_of_recorded_ones() {
    let dir = tempfile::tempdir().unwrap();
    let server = shop(7).await;
    let recorder = Recorder::start(dir.path(), &server.url(), &[]).await;
    for _ in 0..3 {
        customer(&recorder).await;
    }
    let file = recorder.file.to_str().unwrap().to_owned();
    recorder.end().await;
    for more in [vec![], vec!["--once"]] {
        // The recorder masked cookies and tokens, and each customer came on three connections.
        let words = [vec!["replay", &file, "--to", "", "--speed", "max", "--session", "cookie:sid"], more].concat();
        let server = shop(7).await;
        let url = server.url();
        let words: Vec<&str> =
            words.into_iter().map(|word| if word.is_empty() { url.as_str() } else { word }).collect();
        let outcome = wrath(&words).await.unwrap();
        assert_eq!(outcome.class, Class::Done, "{:#}", outcome.json);
        assert_eq!(
            (&outcome.json["sent"], &outcome.json["equal"], &outcome.json["sessions"]),
            (&9.into(), &9.into(), &3.into())
        );
        assert_eq!(outcome.json["masked"], 0, "{:#}", outcome.json);
    }
}

#[tokio::test]
async fn the_requests_that_lead_to_a_difference_are_saved_as_checks() {
    let dir = tempfile::tempdir().unwrap();
    let server = shop(7).await;
    let recorder = Recorder::start(dir.path(), &server.url(), &[]).await;
    customer(&recorder).await;
    let file = recorder.file.to_str().unwrap().to_owned();
    recorder.end().await;
    let (old, new) = (shop(7).await, shop(8).await);
    let saved = dir.path().join("saved.toml");
    let words = [
        "replay",
        &file,
        "--to",
        &old.url(),
        "--against",
        &new.url(),
        "--speed",
        "max",
        "--session",
        "cookie:sid",
        "--save",
        saved.to_str().unwrap(),
    ];
    let outcome = wrath(&words).await.unwrap();
    let found = outcome.json["differences"].as_array().unwrap();
    let prices: Vec<_> =
        found.iter().map(|it| (it["pointer"].as_str().unwrap(), it["after"].as_str().unwrap())).collect();
    assert_eq!(prices, [("/price", "8"), ("/price", "8")], "{found:#?}");
    // The checks pass against the old version and fail against the new one.
    let checks = std::fs::read_to_string(&saved).unwrap();
    for (server, passes) in [(&old, true), (&new, false)] {
        let suite = crate::support::verify(&checks, &server.url()).await;
        let failed: Vec<_> = suite.checks.iter().filter(|it| !it.messages.is_empty()).map(|it| &it.messages).collect();
        assert_eq!(failed.is_empty(), passes, "{failed:#?}\n{checks}");
    }
}

#[tokio::test]
async fn a_recording_that_was_cut_is_replayed_up_to_there() {
    let dir = tempfile::tempdir().unwrap();
    let file = recorded(dir.path(), 4).await;
    let text = std::fs::read_to_string(&file).unwrap();
    let half = dir.path().join("half.jsonl");
    let third = text.match_indices('\n').nth(2).unwrap().0;
    std::fs::write(&half, &text[..third + 40]).unwrap();
    let server = world(BTreeSet::new(), false, 3).serve().await;
    let outcome = wrath(&["replay", half.to_str().unwrap(), "--to", &server.url(), "--speed", "max"]).await.unwrap();
    assert_eq!(outcome.json["sent"], 2);
    let shown = wrath(&["recording", half.to_str().unwrap()]).await.unwrap().json;
    assert!(shown["warning"].as_str().unwrap().contains("up to line 4"), "{shown}");
}

#[tokio::test]
async fn servers_that_are_gone_or_lie_are_differences_and_no_panic() {
    let dir = tempfile::tempdir().unwrap();
    let file = recorded(dir.path(), 2).await;
    let many = format!("HTTP/1.1 200 OK\r\n{}\r\n", "a: b\r\n".repeat(100_000));
    for bytes in ["", "nonsense\r\n\r\n", "HTTP/1.1 200 OK\r\ncontent-length: 99\r\n\r\nx", many.as_str()] {
        let server = Server::raw(bytes).await;
        let words = ["replay", &file, "--to", &server.url(), "--speed", "max", "--timeout", "2s"];
        let outcome = wrath(&words).await.unwrap();
        assert_eq!((outcome.class, &outcome.json["equal"]), (Class::Verification, &0.into()), "{:#}", outcome.json);
    }
}

#[tokio::test]
async fn nonsense_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let file = recorded(dir.path(), 1).await;
    let to = "http://127.0.0.1:9";
    for (words, code) in [
        (vec!["replay", "/nothing.jsonl", "--to", to], Code::Io),
        (vec!["replay", &file, "--to", "http://127.0.0.1:9/path"], Code::Usage),
        (vec!["replay", &file, "--to", to, "--speed", "fast"], Code::Usage),
        (vec!["replay", &file, "--to", to, "--session", "moon"], Code::Usage),
        (vec!["replay", &file, "--to", to, "--rules", "/nothing.toml"], Code::Io),
        (vec!["replay", &file, "--to", to, "--concurrency", "0"], Code::Usage),
    ] {
        assert_eq!(wrath(&words).await.unwrap_err().code(), code, "{words:?}");
    }
}
