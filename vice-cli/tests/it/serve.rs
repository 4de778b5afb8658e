//! `vice serve` and whoever uses its history: two machines (two folders) with a token each, and one that has none.

use std::io::{BufRead, BufReader};
use std::os::unix::fs::PermissionsExt;
use std::process::{Child, Command, Stdio};

use crate::doomed::{command, placed, project, runs};
use crate::lab::{Lab, Ran, ran};

const WRITER: &str = "canary-writer-0123456789abcdef";
const READER: &str = "canary-reader-0123456789abcdef";
const SENDER: &str = "canary-sender-0123456789abcdef";
/// Those that are bound to the project shop.
const SHOP_READER: &str = "canary-shop-reader-0123456789abcdef";
const SHOP_SENDER: &str = "canary-shop-sender-0123456789abcdef";

/// A service that ends with the test.
struct Served {
    child: Child,
    address: String,
    // Nobody else reads what it says later; a closed pipe would end it.
    _said: BufReader<std::process::ChildStdout>,
}

impl Served {
    fn begin(lab: &Lab) -> Self {
        Self::begin_with(lab, &[], &[])
    }

    fn begin_with(lab: &Lab, vars: &[(&str, &str)], more: &[&str]) -> Self {
        let tokens = format!(
            "deploys write {WRITER}\neyes read {READER}\nbuilds send {SENDER}\n\
             shop-eyes read:shop {SHOP_READER}\nshop-builds send:shop {SHOP_SENDER}\n"
        );
        lab.write("tokens", &tokens);
        std::fs::set_permissions(lab.path("tokens"), std::fs::Permissions::from_mode(0o600)).expect("a private file");
        let mut arguments = vec!["serve", "--tokens", "tokens", "--listen", "127.0.0.1:0", "--format", "ndjson"];
        arguments.extend_from_slice(more);
        let mut command = lab.command(&arguments);
        let mut child = command.envs(vars.iter().copied()).stdout(Stdio::piped()).spawn().expect("vice serves");
        let mut said = BufReader::new(child.stdout.take().expect("its output"));
        let mut line = String::new();
        said.read_line(&mut line).expect("it says where it listens");
        let found: serde_json::Value = serde_json::from_str(&line).unwrap_or_else(|error| panic!("{error}: {line}"));
        let address = found["address"].as_str().expect("an address").to_owned();
        Self { child, address, _said: said }
    }

    fn end(mut self) -> i32 {
        let told = Command::new("kill").args(["-TERM", &self.child.id().to_string()]).status();
        assert!(told.expect("kill").success());
        self.child.wait().expect("it ends").code().unwrap_or(-1)
    }

    fn ask(&self, path: &str, token: Option<&str>) -> (u16, String) {
        let authorization = token.map(|token| format!("authorization: Bearer {token}"));
        let headers: Vec<&str> = authorization.iter().map(String::as_str).collect();
        self.send(path, &headers, path.starts_with("/v1").then_some("{}"))
    }

    fn send(&self, path: &str, headers: &[&str], body: Option<&str>) -> (u16, String) {
        let mut curl = Command::new("curl");
        curl.args(["-s", "-m", "10", "-w", "\n%{http_code}"]).arg(format!("http://{}{path}", self.address));
        for header in headers {
            curl.args(["-H", header]);
        }
        if let Some(body) = body {
            curl.args(["-d", body]);
        }
        let answer = String::from_utf8(curl.output().expect("curl").stdout).expect("text");
        let (body, status) = answer.rsplit_once('\n').expect("a status");
        (status.parse().expect("a number"), body.to_owned())
    }
}

impl Drop for Served {
    fn drop(&mut self) {
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

fn machines(served: &Served) -> [Lab; 2] {
    let labs = [Lab::new(), Lab::new()];
    for lab in &labs {
        project(lab, &format!("history = {{ store = \"http://{}\" }}", served.address), "");
        let toml = lab.read("vice.toml").replace("instances = 3", "instances = 3\nshared = true");
        lab.write("vice.toml", &toml);
    }
    labs
}

fn vice(labs: &[Lab; 2], machine: usize, token: &str, vars: &[(&str, &str)], args: &[&str]) -> Ran {
    let mut command = command(&labs[machine], args);
    command.env("FOLDER_TARGET", labs[0].path("deployed")).env("VICE_HISTORY_TOKEN", token);
    ran(&command.env("VICE_TEST_LEASE_TTL_MS", "3000").envs(vars.iter().copied()).output().expect("vice runs"))
}

#[test]
fn two_machines_deploy_through_a_service() {
    let home = Lab::new();
    let served = Served::begin(&home);
    let labs = machines(&served);
    vice(&labs, 0, WRITER, &[], &["deploy", "shop@1"]).expect(0);
    let status = vice(&labs, 1, READER, &[], &["status", "--format", "json"]).expect(0).json();
    assert_eq!(status["environments"][0]["version"], "1", "the other machine knows: {status}");
    let died = vice(&labs, 0, WRITER, &[("TEST_DOOM", "during:3")], &["deploy", "shop@2"]);
    assert_eq!(died.status, 137, "{died:?}");
    let ticked = vice(&labs, 1, WRITER, &[], &["tick"]).expect(0);
    assert!(ticked.stdout.contains("succeeded"), "{ticked:?}");
    assert_eq!(runs(&labs[0]).values().filter(|version| *version == "2").count(), 3);
    assert!(placed(&labs[0], "2").values().all(|count| *count == 1));
    vice(&labs, 0, READER, &[], &["greed", "verify"]).expect(0);
    let refused = vice(&labs, 1, READER, &[], &["deploy", "shop@1"]).expect(1);
    assert!(refused.stderr.contains("does not let this token write"), "{refused:?}");
    let refused = vice(&labs, 1, "another-token-0123456789", &[], &["status"]).expect(1);
    assert!(refused.stderr.contains("does not know the token"), "{refused:?}");
    let refused = vice(&labs, 1, "", &[], &["status"]).expect(2);
    assert!(refused.stderr.contains("VICE_HISTORY_TOKEN_FILE"), "{refused:?}");
    assert_eq!(served.end(), 0);
    let silent = vice(&labs, 1, WRITER, &[], &["deploy", "shop@1"]).expect(1);
    assert!(silent.stderr.contains("does not answer"), "{silent:?}");
    for said in [died, ticked, refused, silent] {
        assert!(!said.stderr.contains("canary") && !said.stdout.contains("canary"), "{said:?}");
    }
}

#[test]
fn nothing_is_answered_without_a_token_but_the_probes() {
    let home = Lab::new();
    home.vice(&["greed", "append", "--type", "com.example.made"]).expect(0);
    let served = Served::begin(&home);
    assert_eq!(served.ask("/livez", None), (200, "alive\n".into()));
    assert_eq!(served.ask("/readyz", None), (200, "ready\n".into()));
    for path in ["/metrics", "/v1/history/read", "/v1/history/append", "/v1/history/head"] {
        for token in [None, Some("canary"), Some("")] {
            assert_eq!(served.ask(path, token).0, 401, "{path}");
        }
    }
    assert_eq!(served.ask("/v1/history/append", Some(READER)).0, 403);
    assert_eq!(served.ask("/anything", Some(WRITER)).0, 404);
    let (status, metrics) = served.ask("/metrics", Some(READER));
    assert!(status == 200 && metrics.contains("vice_history_events 1\n"), "{metrics}");
    assert_eq!(served.ask("/v1/history/head", Some(READER)).0, 200);
    assert_eq!(served.end(), 0);
}

/// A webhook with a rule that acts on it.
const LISTENING: &str = r#"
name = "shop"
[env.prod]
[webhook.lab]
kind = "gitlab"
secret = "env:HOOK"
env = "prod"
[[rule]]
name = "keep"
when = 'type == "com.example.cache.cleared" && data.took > 10'
then.store = { stream = "slow" }
"#;

#[test]
fn a_service_takes_events_and_webhooks_in_and_lets_rules_act() {
    let home = Lab::new();
    home.write("vice.toml", LISTENING);
    let secret = "canary-hook-0123456789abcdef";
    let served = Served::begin_with(&home, &[("HOOK", secret)], &["--rules"]);
    let kind = "content-type: application/cloudevents+json";
    let event =
        r#"{"specversion":"1.0","id":"n-7","source":"/cron","type":"com.example.cache.cleared","data":{"took":12}}"#;
    let post = |token: &str| served.send("/events", &[kind, &format!("authorization: Bearer {token}")], Some(event));
    assert_eq!(served.send("/events", &[kind], Some(event)).0, 401);
    assert_eq!(post("another-0123456789abcdef-x").0, 401);
    assert_eq!(post(READER).0, 403, "who may look may not send");
    let (status, said) = post(SENDER);
    assert_eq!(status, 201, "{said}");
    assert_eq!(post(WRITER).0, 200, "it was stored before");
    for path in ["/v1/history/read", "/v1/history/append", "/metrics"] {
        assert_eq!(served.ask(path, Some(SENDER)).0, 403, "who may send may do nothing else: {path}");
    }
    let push = r#"{"object_kind":"push","ref":"refs/heads/main","before":"0000000000000000000000000000000000000000","after":"cf8a3a4a","project":{"path_with_namespace":"shop/web","web_url":"http://g/shop/web"},"user_username":"ann"}"#;
    let json = "content-type: application/json";
    let hook = |headers: &[&str]| {
        served.send("/webhooks/shop/lab", &[&[json, "x-gitlab-event: Push Hook"], headers].concat(), Some(push))
    };
    assert_eq!(hook(&[]).0, 401);
    assert_eq!(hook(&[&format!("authorization: Bearer {WRITER}")]).0, 401, "a token is no signature");
    let (status, said) = hook(&[&format!("x-gitlab-token: {secret}")]);
    assert_eq!(status, 201, "{said}");
    let (_, metrics) = served.ask("/metrics", Some(READER));
    assert!(metrics.contains("vice_ingest_events_total{result=\"new\"} 2\n"), "{metrics}");
    let kept = || home.vice(&["greed", "log", "--stream", "kept/shop/slow", "--format", "json"]).expect(0).json();
    let patience = std::time::Instant::now() + std::time::Duration::from_secs(60);
    while kept().as_array().expect("a list").is_empty() {
        assert!(std::time::Instant::now() < patience, "no rule has acted");
        std::thread::sleep(std::time::Duration::from_millis(100));
    }
    let log = home
        .vice(&["greed", "log", "--type", "com.example.*", "--stream", "inbox", "--format", "json"])
        .expect(0)
        .json();
    assert_eq!(log[0]["viceactor"], "builds", "{log}");
    assert_eq!(served.end(), 0);
}

#[test]
fn a_service_that_could_not_be_trusted_does_not_start() {
    let lab = Lab::new();
    let serve = |more: &[&str]| lab.vice(&[&["serve", "--tokens", "tokens"], more].concat());
    assert!(serve(&[]).expect(2).stderr.contains("can't be read"));
    lab.write("tokens", &format!("ci write {WRITER}\n"));
    let open = serve(&[]).expect(2);
    assert!(open.stderr.contains("open to others") && open.stderr.contains("chmod 600"), "{open:?}");
    std::fs::set_permissions(lab.path("tokens"), std::fs::Permissions::from_mode(0o600)).expect("a private file");
    assert!(serve(&["--listen", "0.0.0.0:0"]).expect(2).stderr.contains("--behind-tls"));
    let taken = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = taken.local_addr().expect("its address").to_string();
    assert!(serve(&["--listen", &address]).expect(1).stderr.contains("target.port-in-use"));
}

#[test]
fn a_token_that_is_bound_to_a_project_is_good_for_it_alone() {
    let home = Lab::new();
    let served = Served::begin(&home);
    let labs = machines(&served);
    // Another project in the same history.
    let event = |id: &str, project: &str| {
        format!(
            r#"{{"specversion":"1.0","id":"{id}","source":"/cron","type":"com.example.made","viceproject":"{project}","viceenv":"dev"}}"#
        )
    };
    let kind = "content-type: application/cloudevents+json";
    let send = |token: &str, event: &str| {
        served.send("/events", &[kind, &format!("authorization: Bearer {token}")], Some(event))
    };
    assert_eq!(send(SENDER, &event("c1", "cart")).0, 201);
    assert_eq!(send(SHOP_SENDER, &event("s1", "shop")).0, 201);
    for (id, project) in [("c2", "cart"), ("c3", "shopping")] {
        let (status, said) = send(SHOP_SENDER, &event(id, project));
        assert!(status == 403 && said.contains("bound to the project shop"), "{status}: {said}");
    }
    let nowhere = r#"{"specversion":"1.0","id":"n1","source":"/cron","type":"com.example.made"}"#;
    let (status, said) = send(SHOP_SENDER, nowhere);
    assert!(status == 403 && said.contains("viceproject"), "{status}: {said}");

    vice(&labs, 0, WRITER, &[], &["deploy", "shop@1"]).expect(0);
    let status = vice(&labs, 1, SHOP_READER, &[], &["status", "--format", "json"]).expect(0).json();
    assert_eq!(status["environments"][0]["version"], "1", "{status}");
    vice(&labs, 1, SHOP_READER, &[], &["why", "shop.dev.1"]).expect(0);
    let refused = vice(&labs, 1, SHOP_READER, &[], &["deploy", "shop@2"]).expect(1);
    assert!(refused.stderr.contains("does not let this token write"), "{refused:?}");
    let log = |token: &str| {
        let said = vice(&labs, 1, token, &[], &["greed", "log", "-n", "1000", "--format", "json"]).expect(0).json();
        let ids = said.as_array().expect("a list").iter().map(|event| event["viceproject"].clone());
        ids.map(|project| project.as_str().unwrap_or("none").to_owned()).collect::<std::collections::BTreeSet<_>>()
    };
    assert!(log(READER).contains("cart"));
    assert_eq!(log(SHOP_READER).into_iter().collect::<Vec<_>>(), ["shop"]);
    let cart = vice(&labs, 1, SHOP_READER, &[], &["greed", "log", "--stream", "inbox/cart/dev"]).expect(1);
    assert!(cart.stderr.contains("bound to the project shop"), "{cart:?}");
    // A rollout that is named by an event from outside is told to nobody whose it is not.
    let forged = event("f1", "shop").replace("com.example.made", "dev.cdeventsx.vice-rollout.finished.0.1.0");
    let (status, said) = send(SHOP_SENDER, &forged);
    assert!(status == 403 && said.contains("only vice itself"), "{status}: {said}");
    // How far it was looked tells nothing of what others have.
    let asked = |prefix: &str| {
        let body = format!("{{\"stream_prefix\":\"{prefix}\"}}");
        served.send("/v1/history/read", &[&format!("authorization: Bearer {SHOP_READER}")], Some(&body))
    };
    assert_eq!(asked("inbox/cart/"), asked("inbox/nosuch/"));

    assert_eq!(served.ask("/metrics", Some(SHOP_READER)).0, 403);
    vice(&labs, 1, SHOP_READER, &[], &["greed", "verify"]).expect(0);
    assert_eq!(served.end(), 0);
}

#[test]
fn whoever_is_slow_holds_no_connection() {
    use std::io::{Read, Write};
    let home = Lab::new();
    let served = Served::begin(&home);
    let begin = |words: &str| {
        let mut stream = std::net::TcpStream::connect(&served.address).expect("a connection");
        stream.write_all(words.as_bytes()).expect("written");
        stream
    };
    let post = "POST /v1/history/append HTTP/1.1\r\nhost: x\r\ncontent-length: 1000\r\n";
    let known = format!("{post}authorization: Bearer {WRITER}\r\n\r\n{{");
    let slow = [begin(""), begin("GET /livez HT"), begin(&known), begin(&format!("{post}\r\n{{"))];
    let said = slow.map(|mut stream| {
        let mut said = Vec::new();
        // The test would not end if the connection did not; one that is reset has ended as well.
        stream.read_to_end(&mut said).ok();
        String::from_utf8(said).expect("text")
    });
    assert!(said[0].is_empty() && !said[1].contains("alive"), "{said:?}");
    assert!(said[2].starts_with("HTTP/1.1 408") && said[2].contains("too long to arrive"), "{said:?}");
    assert!(said[3].starts_with("HTTP/1.1 401"), "who is not known is told at once: {said:?}");
    let (_, metrics) = served.ask("/metrics", Some(READER));
    assert!(metrics.contains("vice_slow_total ") && !metrics.contains("vice_slow_total 0\n"), "{metrics}");
    assert_eq!(served.ask("/livez", None).0, 200);
    assert_eq!(served.end(), 0);
}
