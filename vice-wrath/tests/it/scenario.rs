//! Scenarios as files: what steps send, what they expect, and the order of things.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use serde_json::json;
use vice_core::Class;
use vice_core::payload::verification::VerificationFinished;
use vice_core::payload::verification_stream;
use vice_core::series::SeriesQuery;
use vice_core::store::Query;
use vice_core::ui::Format;

use crate::app::secret_config;
use crate::server::Server;
use crate::stage::{Stage, messages, play_one, steps};

/// A small shop: a login that sets a cookie, a page, an API, redirects, and an echo.
async fn shop() -> Server {
    Server::start(|request, mut conn| async move {
        let (method, path) = {
            let mut words = request.line().split(' ');
            (words.next().unwrap_or_default().to_owned(), words.next().unwrap_or_default().to_owned())
        };
        let lower = request.head.to_ascii_lowercase();
        match (method.as_str(), path.as_str()) {
            ("POST", "/login") => {
                let headers = "set-cookie: sid=s3cr3t-77; Path=/; HttpOnly\r\nx-version: 1.2\r\ncontent-type: application/json\r\n";
                conn.answer("201 Created", headers, r#"{"user": {"id": 7, "name": "ada"}, "token": "tok-99"}"#).await;
            }
            ("GET", "/me") if lower.contains("cookie: sid=s3cr3t-77") => conn.answer("200 OK", "", "hello ada\nbye\n").await,
            ("GET", "/page") => {
                let page = "<html><title>Shop</title><ul><li class=i>Tea</li><li class=i>Cup</li></ul><a href='/next'>more</a></html>";
                conn.answer("200 OK", "content-type: text/html\r\n", page).await;
            }
            ("GET", "/a") => conn.answer("302 Found", "location: /b\r\nset-cookie: hop=1\r\n", "").await,
            ("GET", "/b") => conn.answer("301 Moved", "location: /page\r\n", "").await,
            ("GET", "/loop") => conn.answer("302 Found", "location: /loop\r\n", "").await,
            (_, "/echo" | "/echo?a=1&b=x+y") => {
                let body = json!({ "head": request.head, "body": request.body }).to_string();
                conn.answer("200 OK", "content-type: application/json\r\n", &body).await;
            }
            _ => conn.answer("404 Not Found", "", "nothing here").await,
        }
    })
    .await
}

#[tokio::test]
async fn a_story_with_captures_cookies_and_all_kinds_of_questions() {
    let server = shop().await;
    let outcome = play_one(
        &server.url(),
        r##"
name = "Ada looks around"
tags = ["smoke"]
[vars]
user = "ada"
[defaults]
headers = { Accept = "application/json" }
[[step]]
name = "log in"
http = "POST /login"
body_json = { user = "{{user}}", n = 1 }
capture = { id = "json:/user/id", session_token = "json:$.token", sid = "cookie:sid", version = "header:X-Version" }
expect.status = 201
expect.headers = { Content-Type = { contains = "json" }, X-Gone = { exists = false }, x-version = "1.2" }
expect.cookies = { sid = { starts_with = "s3cr3t" }, "sid[HttpOnly]" = true }
expect.json = { "/user" = { id = 7, name = "{{user}}" }, "$.user.id" = { above = 6, at_most = 7, type = "integer" } }
expect.latency = "1m"
expect.vars = { id = 7 }
[[step]]
name = "me"
http = "/me"
expect.body = { contains = "ada", not_contains = "bob", matches = "(?m)^hello {{user}}$" }
expect.size = { above = 5 }
[[step]]
name = "page"
http = "GET {{env.url}}/a"
follow = true
expect.url = { ends_with = "/page" }
expect.redirects = 2
expect.cookies = { hop = "1" }
expect.css = { "li.i" = ["Tea", "Cup"], "a@href" = "/next", h1 = { exists = false } }
expect.xpath = { "count(//li)" = 2, "string(//title)" = "Shop", "//li[2]" = "Cup" }
expect.regex = { "<title>(.*?)</title>" = "Shop" }
expect.version = "HTTP/1.1"
capture = { item = "css:li:first-child", title = "xpath:string(//title)", next = "regex:href='(/\\w+)'" }
[[step]]
name = "echo"
http = "PUT /echo"
query = { a = 1, b = "x y" }
headers = { X-Item = "{{item}}", Authorization = "Bearer {{session_token}}" }
body = "{{title}} {{id}} {{next}}"
expect.json = { "/body" = "Shop 7 /next", "/head" = { contains = "x-item: Tea", matches = "(?i)cookie: .*sid=s3cr3t-77" } }
"##,
    )
    .await;
    assert_eq!(messages(&outcome), Vec::<String>::new());
    assert_eq!(outcome.class, Class::Done);
    let all: Vec<String> = steps(&outcome).into_iter().map(|(name, outcome)| format!("{name} {outcome}")).collect();
    assert_eq!(all, ["log in passed", "me passed", "page passed", "echo passed"]);
    let sent = server.requests().last().unwrap().head.clone();
    assert!(sent.contains("PUT /echo?a=1&b=x+y HTTP/1.1") && sent.contains("authorization: Bearer tok-99"), "{sent}");
}

#[tokio::test]
async fn what_does_not_hold_is_said_with_its_difference_and_its_line() {
    let server = shop().await;
    let outcome = play_one(
        &server.url(),
        r##"name = "wrong"
keep_going = true
[[step]]
name = "login"
http = "POST /login"
body = ""
expect.status = 200
expect.json = { "/user" = { id = 8, name = "ada" }, "/none" = 1 }
expect.headers = { X-Version = { matches = "^2" }, Set-Cookie = "x" }
[[step]]
name = "text"
http = "/me"
cookies = { sid = "s3cr3t-77" }
expect.body = "hello bob\nbye\n"
expect.latency = { below = 0 }
"##,
    )
    .await;
    assert_eq!(outcome.class, Class::Verification);
    let found = &outcome.json["scenarios"][0]["steps"][0]["findings"];
    let lines: Vec<(&str, u64)> = found
        .as_array()
        .unwrap()
        .iter()
        .map(|finding| (finding["message"].as_str().unwrap(), finding["line"].as_u64().unwrap()))
        .collect();
    assert_eq!(lines[0], ("status: expected 200, got 201", 7));
    assert!(lines[1].0.starts_with("the answer began: {\"user\""), "{lines:?}");
    assert_eq!(lines[2], ("header X-Version: expected to match /^2/, got \"1.2\"", 9));
    assert_eq!(lines[3], ("header Set-Cookie: expected \"x\", got a value that is not shown", 9));
    assert!(lines[4].0.starts_with("json /user: expected {\"id\":8"), "{lines:?}");
    assert_eq!(found[4]["diff"], json!(["/id: expected 8, got 7"]));
    assert_eq!(lines[5], ("json /none: expected 1, got nothing is at /none", 8));
    let text = &outcome.json["scenarios"][0]["steps"][1]["findings"];
    assert_eq!(text[0]["diff"], json!(["- hello bob", "+ hello ada", "  bye"]));
    assert!(text[1]["message"].as_str().unwrap().starts_with("latency: expected below 0, got "), "{text}");
}

#[tokio::test]
async fn teardown_runs_whatever_happens_and_what_follows_a_failure_does_not() {
    let server = shop().await;
    let outcome = play_one(
        &server.url(),
        r##"
[[setup]]
name = "make"
http = "POST /login"
body = ""
expect.status = 201
capture = { id = "json:/user/id" }
[[step]]
name = "fails"
http = "/nowhere"
capture = { never = "header:ETag" }
[[step]]
name = "after"
http = "/page"
[[teardown]]
name = "clean {{id}}"
http = "DELETE /echo"
body = "{{id}}"
expect.json = { "/body" = "7" }
[[teardown]]
name = "needs what never came"
http = "/{{never}}"
[[teardown]]
name = "clean up more"
http = "/page"
"##,
    )
    .await;
    let all: Vec<String> = steps(&outcome).into_iter().map(|(name, outcome)| format!("{name}: {outcome}")).collect();
    assert_eq!(
        all,
        [
            "make: passed",
            "fails: failed",
            "after: skipped",
            "clean {{id}}: passed",
            "needs what never came: skipped",
            "clean up more: passed"
        ]
    );
    assert_eq!(outcome.class, Class::Verification);
    assert!(messages(&outcome).contains(&"{{never}} was never captured".to_owned()), "{:?}", messages(&outcome));
}

#[tokio::test]
async fn a_teardown_runs_after_an_interrupt() {
    let stop: Arc<Mutex<Option<Arc<vice_core::app::StopSignal>>>> = Arc::default();
    let asked = Arc::clone(&stop);
    let server = Server::start(move |request, mut conn| {
        if request.line().contains("/stop") {
            asked.lock().unwrap().as_ref().unwrap().raise(true);
        }
        async move { conn.answer("200 OK", "", "").await }
    })
    .await;
    let stage = Stage::new(&server.url(), Format::Json);
    *stop.lock().unwrap() = Some(Arc::clone(&stage.setup.app.stop));
    stage.write(
        "wrath/a.toml",
        "[[step]]\nhttp = \"/stop\"\n[[step]]\nhttp = \"/never\"\n[[teardown]]\nhttp = \"DELETE /made\"\n",
    );
    let fault = stage.refused().await;
    assert_eq!(fault.code(), vice_core::Code::Interrupted);
    let paths: Vec<String> = server.requests().iter().map(|request| request.line().to_owned()).collect();
    assert_eq!(paths, ["GET /stop HTTP/1.1", "DELETE /made HTTP/1.1"]);
}

#[tokio::test]
async fn retries_go_on_until_it_holds() {
    let count = Arc::new(AtomicU64::new(0));
    let counted = Arc::clone(&count);
    let server = Server::start(move |_, mut conn| {
        let number = counted.fetch_add(1, Ordering::SeqCst);
        async move { conn.answer(if number < 3 { "503 Wait" } else { "200 OK" }, "", "").await }
    })
    .await;
    let outcome = play_one(&server.url(), "[[step]]\nhttp = \"/\"\nretry_for = \"1m\"\nretry_every = \"1ms\"\n").await;
    assert_eq!(outcome.json["scenarios"][0]["steps"][0]["attempts"], 4);
    count.store(0, Ordering::SeqCst);
    let outcome = play_one(&server.url(), "[[step]]\nhttp = \"/\"\nretries = 2\nretry_every = \"1ms\"\n").await;
    let step = &outcome.json["scenarios"][0]["steps"][0];
    assert_eq!((&step["attempts"], &step["outcome"]), (&json!(3), &json!("failed")));
}

#[tokio::test]
async fn a_parallel_group_is_under_way_at_the_same_time() {
    // Nobody is answered before all three have asked: one after the other would never end.
    let barrier = Arc::new(tokio::sync::Barrier::new(3));
    let server = Server::start(move |_, mut conn| {
        let barrier = Arc::clone(&barrier);
        async move {
            barrier.wait().await;
            conn.answer("200 OK", "", "x").await;
        }
    })
    .await;
    let step = |name: &str| {
        format!("[[step]]\nname = \"{name}\"\nhttp = \"/{name}\"\nparallel = \"all\"\ntimeout = \"20s\"\n")
    };
    let outcome = play_one(&server.url(), &[step("a"), step("b"), step("c")].concat()).await;
    assert_eq!(outcome.class, Class::Done, "{}", outcome.text);
}

#[tokio::test]
async fn tables_play_a_scenario_once_for_each_row() {
    let server = shop().await;
    let stage = Stage::new(&server.url(), Format::Json);
    stage.write("wrath/users.csv", "user,says\nada,\"Hello, Ada\"\nbob,Hi\n");
    let steps = "[[step]]\nhttp = \"POST /echo\"\nbody = \"{{user}}: {{says}}\"\nexpect.json = { \"/body\" = { starts_with = \"{{user}}: H\" } }\n";
    stage.write("wrath/csv.toml", &format!("data = \"users.csv\"\n{steps}"));
    stage.write(
        "wrath/inline.toml",
        &format!("data = [ {{ user = \"eve\", says = \"Hey\" }}, {{ user = \"mal\", says = \"No\" }} ]\n{steps}"),
    );
    let outcome = stage.play().await;
    let rows: Vec<String> = outcome.json["scenarios"]
        .as_array()
        .unwrap()
        .iter()
        .map(|one| format!("{} {} {}", one["name"], one["row"], one["outcome"]).replace('"', ""))
        .collect();
    assert_eq!(rows, ["csv 1 ada passed", "csv 2 bob passed", "inline 1 eve passed", "inline 2 mal failed"]);
}

#[tokio::test]
async fn files_include_others() {
    let server = shop().await;
    let stage = Stage::new(&server.url(), Format::Json);
    stage.write("wrath/_shared.toml", "[vars]\nuser = \"nobody\"\nkind = \"shared\"\n[[setup]]\nname = \"shared setup\"\nhttp = \"/page\"\n[[teardown]]\nname = \"shared teardown\"\nhttp = \"/page\"\n");
    stage.write("wrath/parts/_login.toml", "[[step]]\nname = \"log in\"\nhttp = \"POST /login\"\nbody_file = \"body.txt\"\nexpect.status = 201\ncapture = { id = \"json:/user/id\" }\n");
    stage.write("wrath/parts/body.txt", "from a file");
    stage.write(
        "wrath/main.toml",
        "include = [\"_shared.toml\"]\n[vars]\nuser = \"ada\"\n[[step]]\ninclude = \"parts/_login.toml\"\n[[step]]\nname = \"use\"\nhttp = \"POST /echo\"\nbody = \"{{id}} {{user}} {{kind}}\"\nexpect.json = { \"/body\" = \"7 ada shared\" }\n[[teardown]]\nname = \"own teardown\"\nhttp = \"/page\"\n",
    );
    let outcome = stage.play().await;
    let names: Vec<String> = steps(&outcome).into_iter().map(|(name, outcome)| format!("{name} {outcome}")).collect();
    assert_eq!(
        names,
        ["shared setup passed", "log in passed", "use passed", "own teardown passed", "shared teardown passed"]
    );
    let login = server.requests().into_iter().find(|request| request.line().contains("/login")).unwrap();
    assert_eq!(login.body, "from a file");
    let files: Vec<&str> = outcome.json["scenarios"][0]["steps"]
        .as_array()
        .unwrap()
        .iter()
        .map(|step| step["file"].as_str().unwrap())
        .collect();
    assert_eq!(files[..3], ["wrath/_shared.toml", "wrath/parts/_login.toml", "wrath/main.toml"]);
}

#[tokio::test]
async fn bodies_of_all_kinds_arrive() {
    let server = shop().await;
    let stage = Stage::new(&server.url(), Format::Json);
    stage.write("wrath/pic.bin", "PICTURE");
    stage.write(
        "wrath/a.toml",
        r#"[[step]]
http = "POST /echo"
body_form = { "a b" = "ü&", c = "{{project}}" }
expect.json = { "/body" = "a+b=%C3%BC%26&c=hello", "/head" = { contains = "application/x-www-form-urlencoded" } }
[[step]]
http = "POST /echo"
body_multipart = [ { name = "note", text = "hi {{env}}" }, { name = "pic", file = "pic.bin", type = "image/png" } ]
expect.json = { "/body" = { contains = "hi dev", matches = "(?s)filename=\"pic.bin\"\r\nContent-Type: image/png\r\n\r\nPICTURE\r\n--vice-" } }
[[step]]
http = "PUT /echo"
body_json = { n = [1, 2.5, true], t = "{{version_name}}" }
expect.json = { "/body" = { contains = "\"n\":[1,2.5,true],\"t\":\"x\"" } }
[[step]]
http = "/echo"
basic = "ada:"
expect.json = { "/head" = { contains = "authorization: Basic YWRhOg==" } }
[vars]
version_name = "x"
"#,
    );
    let outcome = stage.play().await;
    assert_eq!(messages(&outcome), Vec::<String>::new());
}

#[tokio::test]
async fn a_run_is_recorded_and_becomes_series_with_labels() {
    let server = shop().await;
    let stage = Stage::new(&server.url(), Format::Json);
    stage.write(
        "wrath/a.toml",
        "[[step]]\nname = \"page\"\nhttp = \"/page\"\n[[step]]\nname = \"gone\"\nhttp = \"/gone\"\n",
    );
    let outcome = stage.call(&["run", "--env", "dev", "--label", "region=eu"]).await.unwrap();
    assert_eq!(outcome.class, Class::Verification);
    let scope = vice_core::id::Scope::new("hello".parse().unwrap(), "dev".parse().unwrap());
    let events = stage.setup.app.events.read(&Query::stream(verification_stream(&scope), 0)).await.unwrap();
    let finished = events[0].event.decode::<VerificationFinished>().unwrap().unwrap();
    assert_eq!(finished.suite.checks[0].messages[0], "gone: status: expected 200, got 404");
    let query = |name: &str, step: &str| SeriesQuery {
        name: name.to_owned(),
        labels: [("region", "eu"), ("host", "box"), ("scenario", "a"), ("step", step), ("env", "dev")]
            .map(|(name, value)| (name.to_owned(), value.to_owned()))
            .into(),
        from: jiff::Timestamp::UNIX_EPOCH,
        until: jiff::Timestamp::MAX,
    };
    let value = async |name: &str, step: &str| {
        let points = stage.setup.app.series.query(&query(name, step)).await.unwrap();
        points.iter().map(|point| point.value).sum::<f64>()
    };
    assert_eq!((value("scenario_step_total", "page").await, value("scenario_step_bad", "page").await), (1.0, 0.0));
    assert_eq!((value("scenario_step_total", "gone").await, value("scenario_step_bad", "gone").await), (1.0, 1.0));
    assert_eq!(value("scenario_step_bucket", "page").await, 1.0);
    // Against an address by hand nothing is recorded: it is not known to be the environment.
    stage.call(&["run", "--env", "dev", "--url", &server.url()]).await.unwrap();
    assert_eq!(stage.setup.app.events.read(&Query::stream(verification_stream(&scope), 0)).await.unwrap().len(), 2);
}

#[tokio::test]
async fn tags_and_names_choose() {
    let server = shop().await;
    let stage = Stage::new(&server.url(), Format::Json);
    for (name, tags) in [("a", "[\"smoke\"]"), ("b", "[\"smoke\", \"slow\"]"), ("c", "[]")] {
        stage.write(&format!("wrath/{name}.toml"), &format!("tags = {tags}\n[[step]]\nhttp = \"/page\"\n"));
    }
    stage.write("wrath/_not_one.toml", "[[setup]]\nhttp = \"/page\"\n");
    let names = |outcome: &vice_core::ui::Outcome| {
        let all = outcome.json["scenarios"].as_array().unwrap();
        all.iter().map(|one| one["name"].as_str().unwrap().to_owned()).collect::<Vec<_>>().join(" ")
    };
    for (words, expected) in [
        (&["list"][..], "a b c"),
        (&["list", "--tag", "smoke"], "a b"),
        (&["list", "--tag", "smoke", "--not-tag", "slow"], "a"),
        (&["list", "c", "a"], "a c"),
        (&["list", "wrath/b.toml"], "wrath/b.toml"),
    ] {
        let outcome = stage.call(words).await.unwrap();
        let got = names(&outcome);
        assert!(got == expected || expected.ends_with(&format!("{got}.toml")), "{words:?}: {got}");
    }
    let fault = stage.call(&["list", "--tag", "smok"]).await.unwrap_err();
    assert_eq!(fault.hints()[0], "Did you mean smoke?");
    let fault = stage.call(&["run", "d"]).await.unwrap_err();
    assert!(fault.to_string().contains("no scenario \"d\""), "{fault}");
}

#[tokio::test]
async fn secrets_of_the_configuration_are_sent_and_never_shown() {
    const CANARY: &str = "canary-\"secret/4.2";
    let server = shop().await;
    for format in [Format::Text, Format::Json, Format::Junit, Format::Html, Format::Tap, Format::Github, Format::Gitlab]
    {
        let stage = Stage::with(Some(&server.url()), secret_config("password", CANARY), format);
        stage.write(
            "wrath/a.toml",
            "keep_going = true\n[vars]\nauth = \"Bearer {{config.password}}\"\n[[step]]\nname = \"one\"\nhttp = \"POST /echo\"\nheaders = { Authorization = \"{{auth}}\" }\nbody_json = { p = \"{{config.password}}\" }\n\
             expect.json = { \"/body\" = \"x {{config.password}}\", \"/head\" = { contains = \"nowhere {{auth}}\" } }\n\
             capture = { token = \"json:/body\" }\n[[step]]\nname = \"two\"\nhttp = \"POST /{{config.password}}?p={{config.password}}\"\nbody = \"{{auth}}\"\nexpect.body = \"{{auth}}\\nother\"\n",
        );
        let outcome = stage.play().await;
        let shown = [outcome.text, outcome.json.to_string(), stage.setup.told()].join("\n");
        assert!(shown.contains("«secret:"), "{format:?}: {shown}");
        let leak = shown.lines().find(|line| line.contains("canary") || line.contains("secret/4"));
        assert_eq!(leak, None, "{format:?}");
    }
    assert!(server.requests().iter().any(|request| request.head.contains(CANARY)), "the server did get it");
}

#[tokio::test]
async fn lint_names_what_makes_no_sense() {
    let stage = Stage::new("http://127.0.0.1:9", Format::Json);
    stage.write(
        "wrath/a.toml",
        "[vars]\nnobody = 1\n[[step]]\nname = \"one\"\nhttp = \"/\"\ncapture = { unused = \"json:/id\", used = \"json:/x\" }\n\
         [[step]]\nname = \"two\"\nhttp = \"/{{used}}\"\nparallel = \"alone\"\nexpect.body = { equals = \"a\" }\nexpect.json = { \"/a\" = { equals = 1, contains = 1 } }\n\
         [[step]]\nname = \"impossible\"\nhttp = \"/\"\nexpect.headers = { X = { equals = \"a\" }, x = { equals = \"b\" } }\n\
         [[step]]\nname = \"nothing\"\ndns = \"a.test\"\n",
    );
    let outcome = stage.call(&["lint"]).await.unwrap();
    let said: Vec<String> = outcome.json["warnings"]
        .as_array()
        .unwrap()
        .iter()
        .map(|one| format!("{} {}", one["line"], one["message"].as_str().unwrap()))
        .collect();
    assert_eq!(
        said,
        [
            "6 Nobody uses the capture unused.",
            "1 Nobody uses the variable nobody.",
            "7 The step two is in a parallel group of one.",
            "17 The step nothing expects nothing."
        ]
    );
    assert_eq!(stage.call(&["lint", "--deny-warnings"]).await.unwrap().class, Class::Usage);
    stage.write("wrath/a.toml", "[[step]]\nname = \"x\"\ntcp = \"a:1\"\nexpect.vars = { env = { equals = \"a\" } }\n");
    assert_eq!(stage.call(&["lint", "--deny-warnings"]).await.unwrap().class, Class::Done);
}

#[tokio::test]
async fn steps_behind_a_contradiction_are_unreachable() {
    let stage = Stage::new("http://127.0.0.1:9", Format::Json);
    stage.write("wrath/a.hurl", "GET http://x/\nHTTP 200\n[Asserts]\nstatus == 404\n\nGET http://x/next\nHTTP 200\n");
    let outcome = stage.call(&["lint"]).await.unwrap();
    let said = outcome.json["warnings"].to_string();
    assert!(said.contains("expects two different values of one thing"), "{said}");
    assert!(said.contains("The step GET http://x/next is never reached"), "{said}");
}

/// The example that the docs point to is played, against a server with the routes of the example service.
#[tokio::test]
async fn the_example_project_plays() {
    let server = Server::start(|request, mut conn| async move {
        let path = request.line().split(' ').nth(1).unwrap_or_default().to_owned();
        let name = path.split("name=").nth(1).unwrap_or_default().to_owned();
        let body = match path.split('?').next().unwrap_or_default() {
            "/healthz" => r#"{"status":"ok"}"#.to_owned(),
            "/version" => r#"{"version":"1"}"#.to_owned(),
            "/greet" => format!(r#"{{"greeting":"Hello, {name}!"}}"#),
            _ => request.body.clone(),
        };
        conn.answer("200 OK", "", &body).await;
    })
    .await;
    let stage = Stage::new(&server.url(), Format::Json);
    let example = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples/scenarios/wrath");
    for name in ["greet.toml", "guests.csv", "_ready.toml", "parts/_version.toml", "health.hurl"] {
        stage.write(&format!("wrath/{name}"), &std::fs::read_to_string(example.join(name)).unwrap());
    }
    assert_eq!(stage.call(&["lint"]).await.unwrap().json["warnings"], json!([]));
    let outcome = stage.play().await;
    assert_eq!((outcome.class, &outcome.json["passed"]), (Class::Done, &json!(3)), "{:?}", messages(&outcome));
}

/// The first scenario of the page, and its other blocks, are what the reader of files takes.
#[tokio::test]
async fn the_page_on_scenarios_shows_what_can_be_read() {
    let page = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/scenarios.md");
    let page = std::fs::read_to_string(page).unwrap();
    let block = page.split("```toml\n").nth(1).unwrap().split("```").next().unwrap();
    let stage = Stage::with(Some("http://127.0.0.1:9"), secret_config("password", "pw-long-enough"), Format::Json);
    stage.write("wrath/page.toml", block);
    assert_eq!(stage.call(&["lint", "--env", "dev", "--deny-warnings"]).await.unwrap().class, Class::Done);
}

#[tokio::test]
async fn a_scenario_can_be_a_check_and_gate_a_deploy() {
    use vice_core::payload::verification::CheckOutcome::{Failed, Passed};
    use vice_core::port::verifier::Verifier;
    let server = shop().await;
    let dir = tempfile::tempdir().unwrap();
    let write = |name: &str, text: &str| std::fs::write(dir.path().join(name), text).unwrap();
    write(
        "good.toml",
        "[[step]]\nname = \"page {{version}}\"\nhttp = \"/page\"\nexpect.css = { h1 = { exists = false } }\n",
    );
    write("bad.toml", "[[step]]\nname = \"gone\"\nhttp = \"/gone\"\n[[teardown]]\nhttp = \"/page\"\n");
    let text =
        "name = \"hello\"\n[env.dev]\n[check.good]\nscenario = \"good.toml\"\n[check.bad]\nscenario = \"bad.toml\"\n";
    let project = |text: &str| {
        let project = vice_core::manifest::Project::parse(dir.path().to_owned(), "vice.toml".into(), text.to_owned());
        Arc::new(project.unwrap())
    };
    let mut request = crate::support::request("", &server.url());
    request.project = project(text);
    let suite = crate::support::wrath(Arc::default()).verify(request.clone()).await.unwrap();
    let outcomes: Vec<_> =
        suite.checks.iter().map(|check| (check.name.as_str(), check.kind.as_str(), check.outcome)).collect();
    assert_eq!(outcomes, [("good", "scenario", Passed), ("bad", "scenario", Failed)]);
    assert_eq!(suite.checks[1].messages[0], "gone: status: expected 200, got 404");
    for (text, part) in [
        ("scenario = \"none.toml\"\n", "The scenario none.toml can't be read."),
        ("scenario = \"x.txt\"\n", "which is not a file of a scenario"),
        ("scenario = \"good.toml\"\nmethod = \"GET\"\n", "The scenario check a can't have `method`."),
    ] {
        request.project = project(&format!("name = \"hello\"\n[env.dev]\n[check.a]\n{text}"));
        let fault = crate::support::wrath(Arc::default()).verify(request.clone()).await.unwrap_err();
        assert!(fault.to_string().contains(part), "{fault}");
        assert_eq!(fault.place().unwrap().line_column().0, if part.contains("method") { 5 } else { 4 });
    }
    write("good.toml", "[[step]]\nhttp = \"/{{nobody}}\"\n");
    request.project = project("name = \"hello\"\n[env.dev]\n[check.a]\nscenario = \"good.toml\"\n");
    let fault = crate::support::wrath(Arc::default()).verify(request).await.unwrap_err();
    assert!(fault.to_string().contains("{{nobody}} is not known here"), "{fault}");
}

#[tokio::test]
async fn a_packed_answer_is_unpacked_unless_the_step_says_otherwise() {
    use std::io::Write as _;
    let server = Server::start(|request, mut conn| async move {
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        encoder.write_all(b"hello ada").unwrap();
        let offered = request.head.to_ascii_lowercase().contains("accept-encoding: gzip\r\n");
        let (coding, body) =
            if offered { ("gzip", encoder.finish().unwrap()) } else { ("identity", b"as it is".to_vec()) };
        let head = format!("HTTP/1.1 200 OK\r\ncontent-encoding: {coding}\r\ncontent-length: {}\r\n\r\n", body.len());
        conn.write(&[head.as_bytes(), &body].concat()).await;
    })
    .await;
    let outcome = play_one(
        &server.url(),
        r#"
[[step]]
name = "packed"
http = "/"
expect.headers = { Content-Encoding = "gzip" }
expect.body = "hello ada"
[[step]]
name = "plain"
http = "/"
compressed = false
expect.body = "as it is"
[[step]]
name = "packed by hand"
http = "/"
headers = { Accept-Encoding = "gzip" }
compressed = false
expect.size = { below = 40 }
expect.body = { matches = "^\\x1f" }
"#,
    )
    .await;
    assert_eq!(messages(&outcome), [] as [&str; 0]);
}
