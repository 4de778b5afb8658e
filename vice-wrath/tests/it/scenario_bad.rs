//! Files that make no sense are refused at their place; servers that misbehave are reported for what they do.

use vice_core::Class;
use vice_core::ui::Format;

use crate::server::Server;
use crate::stage::{Stage, messages, play_one, steps};

/// What a file is refused for, with the line.
async fn refused(text: &str) -> String {
    let stage = Stage::new("http://127.0.0.1:9", Format::Text);
    stage.write("wrath/a.toml", text);
    let fault = stage.refused().await;
    assert_eq!(fault.class(), Class::Usage, "{fault}");
    let line = fault.place().map_or(0, |place| place.line_column().0);
    format!("{line}: {fault} {}", fault.hints().join(" "))
}

#[tokio::test]
async fn slips_are_refused_at_their_place() {
    let cases = [
        ("", "1: wrath/a.toml has no steps."),
        ("[[step]]\nhttp = \"/\"\nstatu = 1\n", "3: wrath/a.toml has an unknown key `statu`."),
        ("[[step]]\nname = \"x\"\n", "1: The step says nothing to do."),
        ("[[step]]\nhttp = \"/\"\ntcp = \"a:1\"\n", "3: The step does more than one thing"),
        ("[[step]]\ntcp = \"a:1\"\nheaders = { a = \"b\" }\n", "3: `headers` does not belong"),
        ("[[step]]\nhttp = \"ftp://x\"\n", "2: The step has a URL"),
        ("[[step]]\nhttp = \"/\"\nexpect.status = 99\n", "3: Here is 99, which is no status"),
        ("[[step]]\nhttp = \"/\"\nexpect.status = \"ok\"\n", "3: Here is \"ok\", which is no status"),
        (
            "[[step]]\nhttp = \"/\"\nexpect.body = { contain = \"x\" }\n",
            "3: Here is \"contain\", which is no condition (did you mean contains?)",
        ),
        (
            "[[step]]\nhttp = \"/\"\nexpect.body = { matches = \"(\" }\n",
            "3: Here is \"(\", which is not a regular expression",
        ),
        ("[[step]]\nhttp = \"/\"\nexpect.json = { \"a\" = 1 }\n", "3: Here is \"a\", which is neither a JSON Pointer"),
        (
            "[[step]]\nhttp = \"/\"\nexpect.css = { \"a:b:c(\" = 1 }\n",
            "3: Here is \"a:b:c(\", which is not a CSS selector",
        ),
        ("[[step]]\nhttp = \"/\"\nexpect.certificate = { days = 1 }\n", "3: Here is \"days\", which is not known"),
        ("[[step]]\nhttp = \"/\"\ncapture = { \"a b\" = \"status\" }\n", "3: A capture can't be called"),
        ("[[step]]\nhttp = \"/\"\ncapture = { a = \"nope\" }\n", "3: The capture a is \"nope\"; write json:/pointer"),
        ("[[step]]\nhttp = \"/{{usr}}\"\n[vars]\nuser = 1\n", "1: {{usr}} is not known here. Did you mean {{user}}?"),
        (
            "[[step]]\nhttp = \"/{{id}}\"\n[[step]]\nhttp = \"/\"\ncapture = { id = \"json:/id\" }\n",
            "1: {{id}} is used here before a step captures it.",
        ),
        ("[[step]]\nhttp = \"/{{id\"\n", "1: "),
        ("[[step]]\nhttp = \"/\"\nbody = \"x\"\nbody_json = 1\n", "3: The step has more than one body."),
        ("[[step]]\nhttp = \"/\"\nretry_every = \"1s\"\n", "3: The step has retry_every but no retry_for."),
        ("[[step]]\nhttp = \"/\"\nfollow = 500\n", "3: `follow` is true, false or a number up to 50."),
        ("[[step]]\nhttp = \"/\"\nprotocol = \"3\"\n", "3: There is no protocol \"3\" here."),
        ("[[step]]\ndns = \"XY a.example\"\n", "2: \"XY\" is no kind of record"),
        ("[[step]]\ncommand = []\n", "2: The command is empty."),
        ("data = \"none.csv\"\n[[step]]\nhttp = \"/\"\n", "1: The table wrath/none.csv can't be read."),
        ("include = [\"none.toml\"]\n[[step]]\nhttp = \"/\"\n", "1: wrath/none.toml can't be included."),
        (
            "include = [\"/etc/passwd\"]\n[[step]]\nhttp = \"/\"\n",
            "1: \"/etc/passwd\" is not the name of a file beside this one.",
        ),
        ("include = [\"a.toml\"]\n[[step]]\nhttp = \"/\"\n", "1: Includes go in a circle: a.toml → a.toml."),
        (
            "[[step]]\ncommand = [\"x\", \"{{token}}\"]\n[[setup]]\nhttp = \"/\"\ncapture = { token = \"body\" }\n",
            "1: The step command x {{token}} would pass the secret {{token}} as an argument.",
        ),
    ];
    for (text, expected) in cases {
        let got = refused(text).await;
        assert!(got.starts_with(expected), "{text}\nexpected {expected}\ngot      {got}");
    }
}

#[tokio::test]
async fn keys_of_checks_are_led_to_their_place() {
    for (key, instead) in [
        ("status = 201", "expect.status = "),
        ("json = { \"/a\" = 1 }", "expect.json = "),
        ("matches = \"x\"", "expect.body = { matches"),
        ("latency_max = \"1s\"", "expect.latency = "),
        ("expect_headers = { a = \"b\" }", "expect.headers = "),
        ("tls_expiry_min = \"7d\"", "expect.certificate = "),
    ] {
        let got = refused(&format!("[[step]]\nhttp = \"/\"\n{key}\n")).await;
        assert!(got.contains(&format!("stands under `expect`: {instead}")), "{key}: {got}");
    }
    // A slip of the pen is one, and no key of a check.
    assert!(!refused("[[step]]\nhttp = \"/\"\nfolow = true\n").await.contains("stands under"));
}

#[tokio::test]
async fn circles_of_includes_are_named() {
    let stage = Stage::new("http://127.0.0.1:9", Format::Text);
    stage.write("wrath/a.toml", "[[step]]\ninclude = \"x/_b.toml\"\n");
    stage.write("wrath/x/_b.toml", "[[step]]\ninclude = \"_c.toml\"\n");
    stage.write("wrath/x/_c.toml", "[[step]]\ninclude = \"../a.toml\"\n");
    let fault = stage.refused().await;
    assert!(fault.to_string().contains("a.toml → _b.toml → _c.toml → a.toml"), "{fault}");
    // Twice the same file beside each other is no circle.
    stage.write("wrath/a.toml", "[[step]]\ninclude = \"_d.toml\"\n[[step]]\ninclude = \"_d.toml\"\n");
    stage.write("wrath/_d.toml", "[[step]]\ntcp = \"127.0.0.1:1\"\n");
    assert_eq!(stage.call(&["list"]).await.unwrap().json["scenarios"][0]["steps"].as_array().unwrap().len(), 2);
}

#[tokio::test]
async fn includes_that_multiply_stay_bounded() {
    let stage = Stage::new("http://127.0.0.1:9", Format::Text);
    // Ten files, each of which includes the next one ten times: ten to the tenth steps.
    for number in 0..10 {
        let line = format!("[[step]]\ninclude = \"_f{}.toml\"\n", number + 1);
        stage.write(&format!("wrath/_f{number}.toml"), &line.repeat(10));
    }
    stage.write("wrath/_f10.toml", "[[step]]\ntcp = \"127.0.0.1:1\"\n");
    stage.write("wrath/a.toml", "[[step]]\ninclude = \"_f0.toml\"\n");
    let fault = stage.refused().await;
    assert!(fault.to_string().contains("more than 10000 steps"), "{fault}");
}

async fn error_of(server: &Server, more: &str) -> String {
    let outcome = play_one(&server.url(), &format!("[[step]]\nname = \"s\"\nhttp = \"/\"\n{more}")).await;
    assert_eq!(steps(&outcome), [("s".to_owned(), "errored".to_owned())], "{:?}", messages(&outcome));
    assert_eq!(outcome.class, Class::Failed);
    messages(&outcome).remove(0)
}

#[tokio::test]
async fn servers_that_misbehave_are_reported_for_what_they_do() {
    let raw = |text: &str| Server::raw(text.to_owned());
    let many: String = (0..100_000).map(|n| format!("x-{n}: y\r\n")).collect();
    let cases = [
        (raw("").await, "the request got no answer: "),
        (raw("SSH-2.0-x\r\n\r\n").await, "the request got no answer: "),
        (
            raw("HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\nshort").await,
            "the answer (status 200 OK) broke off after",
        ),
        (
            raw("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\nZZZ\r\n").await,
            "the answer (status 200 OK) broke off after",
        ),
        (raw(&format!("HTTP/1.1 200 OK\r\n{many}\r\n")).await, "the request got no answer: "),
        (
            raw("HTTP/1.1 200 OK\r\ncontent-length: 2\r\ncontent-length: 4\r\n\r\nokok").await,
            "the request got no answer: ",
        ),
    ];
    for (server, expected) in &cases {
        let got = error_of(server, "timeout = \"60s\"\n").await;
        assert!(got.starts_with(expected), "expected {expected}, got {got}");
    }
}

#[tokio::test]
async fn servers_that_stall_and_flood_are_left() {
    let stalls = Server::start(|_, mut conn| async move { conn.until_gone().await }).await;
    assert_eq!(error_of(&stalls, "timeout = \"200ms\"\n").await, "no answer within 200ms");
    let floods = Server::start(|_, mut conn| async move {
        conn.write(b"HTTP/1.1 200 OK\r\ncontent-length: 10000000000\r\n\r\n").await;
        let block = vec![b'x'; 64 * 1024];
        while conn.write(&block).await {}
    })
    .await;
    assert!(error_of(&floods, "timeout = \"60s\"\n").await.contains("larger than 8 MiB; the rest was not read"));
    let written = floods.written.load(std::sync::atomic::Ordering::SeqCst);
    assert!(written < 64 * 1024 * 1024, "{written} bytes left the server");
    let resets = Server::start(|_, mut conn| async move {
        conn.write(b"HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\nxx").await;
        conn.stream.set_zero_linger().unwrap();
    })
    .await;
    let got = error_of(&resets, "timeout = \"60s\"\n").await;
    assert!(got.contains("reset") || got.contains("broke off"), "{got}");
}

#[tokio::test]
async fn circles_of_redirects_end() {
    let circle =
        Server::start(|_, mut conn| async move { conn.answer("302 Found", "location: /\r\n", "").await }).await;
    let outcome = play_one(&circle.url(), "[[step]]\nhttp = \"/\"\nfollow = 5\n").await;
    let ends = format!("more than 5 redirects; the next one goes to {}/", circle.url());
    // The system has answered, and not as it should: that is a failure of the system.
    assert_eq!(messages(&outcome), [ends, "status: expected 200, got 302".to_owned()]);
    assert_eq!((circle.requests().len(), outcome.class), (6, Class::Verification));
    let odd =
        Server::start(
            |_, mut conn| async move { conn.answer("302 Found", "location: file:///etc/passwd\r\n", "").await },
        )
        .await;
    let outcome = play_one(&odd.url(), "[[step]]\nhttp = \"/\"\nfollow = true\n").await;
    assert_eq!(messages(&outcome)[0], "the answer redirects to file:, which is not followed");
}

#[tokio::test]
async fn credentials_do_not_follow_a_redirect_to_another_host() {
    let thief = Server::start(|_, mut conn| async move { conn.answer("200 OK", "", "").await }).await;
    let target = thief.url();
    let server = Server::start(move |_, mut conn| {
        let location = format!("location: {target}/steal\r\n");
        async move { conn.answer("307 Temporary", &location, "").await }
    })
    .await;
    let scenario = "[[step]]\nhttp = \"POST /\"\nbody = \"x\"\nheaders = { Authorization = \"Bearer t0k\", X-Fine = \"1\" }\nfollow = true\n";
    play_one(&server.url(), scenario).await;
    let stolen = &thief.requests()[0];
    assert!(stolen.head.contains("x-fine: 1") && !stolen.head.contains("t0k"), "{}", stolen.head);
    assert_eq!((stolen.line(), stolen.body.as_str()), ("POST /steal HTTP/1.1", "x"));
}

#[tokio::test]
async fn time_that_runs_out_is_said() {
    let server = Server::start(|request, mut conn| async move {
        if request.line().starts_with("DELETE") {
            conn.answer("200 OK", "", "").await;
        }
        conn.until_gone().await;
    })
    .await;
    let outcome = play_one(
        &server.url(),
        "timeout = \"300ms\"\nkeep_going = true\n[[step]]\nname = \"a\"\nhttp = \"/\"\n[[step]]\nname = \"b\"\nhttp = \"/\"\n[[teardown]]\nname = \"c\"\nhttp = \"DELETE /\"\n",
    )
    .await;
    let all: Vec<String> = steps(&outcome).into_iter().map(|(name, outcome)| format!("{name} {outcome}")).collect();
    assert_eq!(all, ["a errored", "b errored", "c passed"]);
    let said = messages(&outcome);
    assert!(said[0].starts_with("no answer within ") && said[1] == "not reached within 300ms", "{said:?}");
}
