//! Imports: what others recorded becomes a scenario that can be played.

use serde_json::json;
use vice_core::ui::Format;

use crate::server::Server;
use crate::stage::{Stage, messages};

async fn echo() -> Server {
    Server::start(|request, mut conn| async move {
        let body = json!({ "head": request.head, "body": request.body }).to_string();
        let status = if request.line().starts_with("DELETE") { "204 No Content" } else { "201 Created" };
        conn.answer(status, "content-type: application/json\r\n", &body).await;
    })
    .await
}

async fn refused(words: &[&str]) -> String {
    let stage = Stage::new("http://127.0.0.1:9", Format::Text);
    stage.write("a.har", "{\"log\": {\"entries\": [{\"request\": {}}]}}");
    stage.write("cut.har", "{\"log\": {\"entries\": [{\"requ");
    stage.write("none.har", "{\"log\": {}}");
    stage.write("two.yml", "modules:\n  a: { prober: http }\n  b: { prober: icmp }\n");
    stage.call(&[&["import"], words].concat()).await.unwrap_err().to_string()
}

#[tokio::test]
async fn a_curl_command_becomes_a_scenario_that_plays() {
    let server = echo().await;
    let stage = Stage::new(&server.url(), Format::Text);
    let command = format!(
        "curl -sS -XPOST '{0}/users?x=1' \\\n -H 'Content-Type: application/json' -H \"X-A: it's\" -H 'Authorization: Bearer s3cret' -b 'theme=dark' --data-raw $'{{\"name\": \"a\\u00fc\"}}' --compressed -L ; curl {0}/form -d a=1 -d 'b=x y' ; curl -X DELETE --url={0}/users/1",
        server.url()
    );
    let outcome = stage.call(&["import", &command]).await.unwrap();
    assert!(!outcome.text.contains("s3cret"), "{}", outcome.text);
    assert!(outcome.text.contains("vice envy set authorization --secret"), "{}", outcome.text);
    let played = outcome.text.replace("{{config.authorization}}", "Bearer x");
    stage.write("wrath/a.toml", &played);
    let run = stage.call(&["run", "--env", "dev"]).await.unwrap();
    assert_eq!(run.json["passed"], 1, "{}\n{}", run.text, played);
    let sent = server.requests();
    assert!(sent[0].line().starts_with("POST /users?x=1") && sent[0].head.contains("x-a: it's"), "{}", sent[0].head);
    assert!(sent[0].head.contains("cookie: theme=dark"), "{}", sent[0].head);
    assert_eq!(sent[0].body, "{\"name\":\"aü\"}");
    assert_eq!(sent[1].body, "a=1&b=x y");
    assert!(sent[1].head.contains("application/x-www-form-urlencoded"));
    assert_eq!(sent[2].line(), "DELETE /users/1 HTTP/1.1");
}

#[tokio::test]
async fn a_recording_of_a_browser_becomes_a_scenario_that_plays() {
    let server = echo().await;
    let entry = |method: &str, path: &str, more: serde_json::Value, status: u64| {
        json!({
            "request": {
                "method": method, "url": format!("{}{path}", server.url()),
                "headers": [{ "name": "Host", "value": "x" }, { "name": "X-B", "value": "1" }, { "name": "sec-fetch-mode", "value": "cors" }],
                "postData": more,
            },
            "response": { "status": status, "content": { "mimeType": "application/json; charset=utf-8" } },
        })
    };
    let har = json!({ "log": { "version": "1.2", "pages": [{ "title": "Shop" }], "entries": [
        entry("GET", "/style.css", json!(null), 200),
        entry("POST", "/items", json!({ "mimeType": "application/json", "text": "{\"a\": {\"b\": {\"c\": 1}}}" }), 201),
        entry("POST", "/form#top", json!({ "mimeType": "application/x-www-form-urlencoded", "params": [{ "name": "q", "value": "{{x}}" }] }), 201),
    ] } });
    let stage = Stage::new(&server.url(), Format::Json);
    stage.write("s.har", &har.to_string());
    let outcome = stage.call(&["import", "s.har", "--name", "Buying"]).await.unwrap();
    assert_eq!((&outcome.json["steps"], &outcome.json["url"]), (&json!(2), &json!(server.url())));
    assert!(outcome.json["notes"][0].as_str().unwrap().starts_with("1 requests for styles"), "{}", outcome.json);
    stage.write("wrath/a.toml", &outcome.text);
    let run = stage.play().await;
    assert_eq!(messages(&run), Vec::<String>::new(), "{}", outcome.text);
    let sent = server.requests();
    assert_eq!(sent[0].body, "{\"a\":{\"b\":{\"c\":1}}}");
    assert!(!sent[0].head.contains("sec-fetch") && sent[0].head.contains("x-b: 1"), "{}", sent[0].head);
    assert_eq!(sent[1].body, "q=%7B+%7Bx%7D%7D");
}

#[tokio::test]
async fn modules_of_the_blackbox_exporter_become_scenarios() {
    let server = echo().await;
    let stage = Stage::new("http://127.0.0.1:9", Format::Json);
    let modules = "modules:\n  web:\n    prober: http\n    timeout: 5s\n    http:\n      method: POST\n      valid_status_codes: [201]\n      valid_http_versions: [HTTP/1.1, HTTP/2.0]\n      headers: { X-P: q }\n      body: hello\n      fail_if_body_not_matches_regexp: ['hello']\n      fail_if_body_matches_regexp: ['nope', 'never']\n      fail_if_header_not_matches: [{ header: Content-Type, regexp: json }]\n      body_size_limit: 1MB\n  ssh:\n    prober: tcp\n    tcp: { query_response: [{ expect: '^SSH-2.0-' }] }\n  name:\n    prober: dns\n    dns: { query_name: shop.test, query_type: AAAA }\n";
    stage.write("blackbox.yml", modules);
    let web = stage.call(&["import", "blackbox.yml", "--module", "web", "--target", &server.url()]).await.unwrap();
    assert_eq!(web.json["notes"], json!(["`body_size_limit` of the module was not taken over."]));
    stage.write("wrath/web.toml", &web.text);
    let run = stage.play().await;
    assert_eq!(messages(&run), Vec::<String>::new(), "{}", web.text);
    for (module, part) in [("ssh", "tcp  = \"{{target}}\""), ("name", "AAAA shop.test")] {
        let made =
            stage.call(&["import", "blackbox.yml", "--module", module, "--target", "127.0.0.1:1"]).await.unwrap();
        assert!(made.text.contains(part), "{}", made.text);
        stage.write(&format!("wrath/{module}.toml"), &made.text);
    }
    assert_eq!(stage.call(&["lint"]).await.unwrap().json["scenarios"], 3);
}

#[tokio::test]
async fn what_is_not_understood_is_said() {
    let cases: [(&[&str], &str); 12] = [
        (&["curl"], "curl can't be read."),
        (&["curl -H 'x"], "A quote is not closed."),
        (&["curl http://x/ --max-time"], "The option --max-time has no value."),
        (&["curl --frobnicate 1 http://x/"], "The option --frobnicate of curl is not known here."),
        (&["curl http://a/ http://b/"], "The command has more than one URL"),
        (&["curl -d x"], "The command has no URL."),
        (&["curl http://x/ ; rm -rf y"], "\"rm\" is not curl"),
        (&["a.har"], "Entry 1 of the HAR file has no request.url."),
        (&["cut.har"], "The HAR file is not JSON"),
        (&["none.har"], "The HAR file has no log.entries."),
        (&["two.yml"], "Which module? Name it with --module; there are a, b."),
        (&["two.yml", "--module", "b"], "A prober \"icmp\" is not known here"),
    ];
    for (words, expected) in cases {
        let got = refused(words).await;
        assert!(got.starts_with(expected), "{words:?}: {got}");
    }
}
