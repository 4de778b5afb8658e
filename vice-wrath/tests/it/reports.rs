//! Reports of one run in all their shapes.

use serde_json::Value;
use vice_core::Class;
use vice_core::ui::{Format, Outcome};

use crate::server::Server;
use crate::stage::Stage;

const GOOD: &str = "name = \"good one\"\nabout = \"Everything is fine.\"\n[[step]]\nname = \"ok\"\nhttp = \"/ok\"\n";
const BAD: &str = "name = \"bad, <one>\"\n[[setup]]\nname = \"ready\"\ntcp = \"ADDRESS\"\n[[step]]\nname = \"text 100%\"\nhttp = \"/ok\"\nexpect.body = \"a\\nB\\nc\\n\"\n[[step]]\nname = \"later # not a comment\"\nhttp = \"/ok\"\n";

async fn server() -> Server {
    Server::start(|_, mut conn| async move { conn.answer("200 OK", "", "a\n<b>\nc\n").await }).await
}

async fn run(format: Format, more: &[&str]) -> (Stage, Outcome) {
    let server = server().await;
    let stage = Stage::new(&server.url(), format);
    stage.write("wrath/good.toml", GOOD).write("wrath/bad.toml", &BAD.replace("ADDRESS", &server.address.to_string()));
    let outcome = stage.call(&[&["run", "--env", "dev"], more].concat()).await.unwrap();
    assert_eq!(outcome.class, Class::Verification);
    (stage, outcome)
}

/// Without styles, as it is where there is no colour.
fn plain(text: &str) -> String {
    let pattern = regex::Regex::new("\u{1b}\\[[0-9;]*m").unwrap();
    pattern.replace_all(text, "").into_owned()
}

#[tokio::test]
async fn people_see_what_failed_first() {
    let (_, outcome) = run(Format::Text, &[]).await;
    let text = plain(&outcome.text);
    let lines: Vec<&str> = text.lines().collect();
    assert_eq!(lines[0], "✗ bad, <one> › text 100%  wrath/bad.toml:5");
    assert!(lines[1].starts_with("    GET http://127.0.0.1:"), "{text}");
    assert_eq!(lines[2], "    body: expected \"a\\nB\\nc\\n\", got \"a\\n<b>\\nc\\n\"  line 8");
    assert_eq!(lines[3..7], ["        a", "      - B", "      + <b>", "        c"]);
    assert!(text.contains("✓  good one"), "{text}");
    let last = lines.last().unwrap();
    assert!(last.starts_with("2 scenarios with 4 steps against hello/dev: 1 passed, 1 failed, in "), "{last}");
    assert!(lines.len() < 24, "one screen: {text}");
}

#[tokio::test]
async fn many_failures_still_fit_on_a_screen() {
    let server = server().await;
    let stage = Stage::new(&server.url(), Format::Text);
    stage.write(
        "wrath/all.toml",
        &format!("keep_going = true\n{}", "[[step]]\nhttp = \"/ok\"\nexpect.status = 418\n".repeat(200)),
    );
    let text = plain(&stage.play().await.text);
    assert!(text.lines().count() < 50 && text.contains("… and 192 more that did not pass"), "{text}");
}

#[tokio::test]
async fn tap_has_a_point_for_each_step() {
    let (_, outcome) = run(Format::Tap, &[]).await;
    let lines: Vec<&str> = outcome.text.lines().collect();
    assert_eq!(lines[..3], ["TAP version 14", "1..4", "ok 1 - bad, <one> - ready"]);
    assert_eq!(lines[3], "not ok 2 - bad, <one> - text 100%");
    let message = lines[5].strip_prefix("  message: ").unwrap();
    assert!(serde_json::from_str::<String>(message).unwrap().starts_with("body: expected"), "{message}");
    assert!(
        outcome.text.contains("ok 3 - bad, <one> - later \\# not a comment # SKIP text 100% did not pass"),
        "{}",
        outcome.text
    );
    assert!(outcome.text.ends_with("ok 4 - good one - ok\n"), "{}", outcome.text);
}

#[tokio::test]
async fn several_reports_of_one_run() {
    let more = [
        "--report",
        "junit=r.xml",
        "--report",
        "gitlab=q.json",
        "--report",
        "html=r.html",
        "--report",
        "json=r.json",
        "--report",
        "github=g.txt",
    ];
    let (stage, _) = run(Format::Text, &more).await;
    let junit = quick_junit::Report::deserialize_from_str(&stage.read("r.xml")).unwrap();
    assert_eq!((junit.tests, junit.failures, junit.errors, junit.test_suites.len()), (4, 1, 0, 2));
    let issues: Value = serde_json::from_str(&stage.read("q.json")).unwrap();
    let issue = &issues[0];
    assert_eq!((issues.as_array().unwrap().len(), &issue["location"]["path"]), (1, &Value::from("wrath/bad.toml")));
    assert_eq!((&issue["severity"], issue["fingerprint"].as_str().unwrap().len()), (&Value::from("major"), 64));
    let json: Value = serde_json::from_str(&stage.read("r.json")).unwrap();
    assert_eq!(
        (&json["passed"], &json["failed"], &json["ok"]),
        (&Value::from(1), &Value::from(1), &Value::from(false))
    );
    let github = stage.read("g.txt");
    let first = github.lines().next().unwrap();
    assert!(
        first.starts_with("::error file=wrath/bad.toml,line=8,title=bad%2C <one> › text 100%25::body: expected"),
        "{first}"
    );
    assert!(first.contains("%0A- B%0A+ <b>"), "{first}");
    let html = stage.read("r.html");
    assert!(html.contains("bad, &lt;one&gt;") && !html.contains("<one>") && !html.contains("<b>\n"), "{html}");
    assert!(
        !html.contains("http-equiv=\"refresh\"") && !html.contains("<script") && !html.contains("src="),
        "self-contained"
    );
    let fault = stage.call(&["run", "--env", "dev", "--report", "pdf=x"]).await.unwrap_err();
    assert!(fault.hints()[0].contains("junit, html, tap"), "{fault:?}");
}

/// The page in a real browser. `VICE_LAB_KEEP=FOLDER` keeps its picture.
#[tokio::test]
#[expect(
    clippy::disallowed_methods,
    reason = "the lab is described by the environment, and the browser is started here"
)]
async fn lab_chromium_draws_the_waterfall() {
    let Ok(browser) = std::env::var("VICE_LAB_CHROMIUM") else {
        panic!("VICE_LAB_CHROMIUM is not set: run scripts/test, which finds or installs the browser");
    };
    let (stage, _) = run(Format::Text, &["--report", "html=page.html"]).await;
    let call = |more: &[&str]| {
        let profile = tempfile::tempdir_in(stage.path()).unwrap();
        let output = std::process::Command::new(&browser)
            .args(["--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"])
            .args(["--disable-background-networking", "--disable-component-update", "--disable-sync"])
            .args(["--enable-logging=stderr", "--virtual-time-budget=2000", "--window-size=1200,900"])
            .arg(format!("--user-data-dir={}", profile.path().display()))
            .args(more)
            .arg(format!("file://{}", stage.path().join("page.html").display()))
            .output()
            .unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        output
    };
    let dumped = call(&["--dump-dom"]);
    let said = String::from_utf8_lossy(&dumped.stderr).into_owned();
    assert_eq!(said.lines().filter(|line| line.contains("CONSOLE")).collect::<Vec<_>>(), Vec::<&str>::new());
    let dom = String::from_utf8(dumped.stdout).unwrap();
    assert!(dom.contains("<summary>") && dom.contains("class=\"ins\">+ &lt;b&gt;"), "{dom}");
    let picture = stage.path().join("page.png");
    call(&[&format!("--screenshot={}", picture.display())]);
    // An empty page makes a few kilobytes; this one has text and bars.
    assert!(std::fs::metadata(&picture).unwrap().len() > 15_000);
    if let Ok(keep) = std::env::var("VICE_LAB_KEEP") {
        std::fs::copy(&picture, std::path::Path::new(&keep).join("wrath.png")).unwrap();
    }
}
