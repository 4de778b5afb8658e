//! Files of Hurl, played as they are.

use serde_json::json;
use vice_core::Class;
use vice_core::ui::Format;

use crate::server::Server;
use crate::stage::{Stage, messages, steps};

async fn server() -> Server {
    Server::start(|request, mut conn| async move {
        let line = request.line().to_owned();
        if line.contains("/login") {
            let headers = "content-type: application/json\r\nset-cookie: sid=abc; Path=/; Max-Age=60; Secure\r\n";
            conn.answer(
                "200 OK",
                headers,
                r#"{"id": 7, "items": [{"n": "a"}, {"n": "b"}], "at": "2026-03-01T00:00:00Z"}"#,
            )
            .await;
        } else if line.contains("/old") {
            conn.answer("302 Found", "location: /page\r\n", "").await;
        } else if line.contains("/page") {
            conn.answer("200 OK", "content-type: text/html\r\n", "<h1 class='t'>Shop</h1>\n<p>two</p>\n").await;
        } else {
            let body = json!({ "head": request.head, "body": request.body }).to_string();
            conn.answer("200 OK", "content-type: application/json\r\n", &body).await;
        }
    })
    .await
}

const FILE: &str = r##"# Log in
POST {{env.url}}/login # a comment
X-Kind: a\#b
[Options]
retry: 2
retry-interval: 10ms
variable: color=red
{
  "user": "ada",
  "deep": {"list": [1, "}"]}
}
HTTP/1.1 200
Content-Type: application/json
[Captures]
id: jsonpath "$.id"
second: jsonpath "$.items" nth 1 jsonpath "$.n"
word: header "Content-Type" split "/" last
[Asserts]
status < 300
jsonpath "$.items" count == 2
jsonpath "$.items[*].n" contains "b"
jsonpath "$.at" isIsoDate
jsonpath "$.at" daysBeforeNow > 0
jsonpath "$.none" not exists
jsonpath "$.id" isInteger
cookie "sid[Max-Age]" == 60
cookie "sid[Secure]" exists
duration < 60000
body contains "items"
bytes matches /"id": \d/
sha256 matches "^[0-9a-f]{64}$"
variable "id" == 7

GET {{env.url}}/old
[Options]
location: true
HTTP *
[Asserts]
url endsWith "/page"
xpath "string(//h1[@class='t'])" == "Shop"
xpath "//p" count == 1
regex "<p>(\\w+)</p>" == "two"
body == ```
<h1 class='t'>Shop</h1>
<p>two</p>
```

PUT {{env.url}}/echo
[QueryStringParams]
q: a b
[FormParams]
id: {{id}}
second: {{second}}
[BasicAuth]
ada: pw
HTTP 200
[Asserts]
jsonpath "$.body" == "id=7&second=b"
jsonpath "$.head" contains "PUT /echo?q=a+b HTTP/1.1"
jsonpath "$.head" contains "authorization: Basic YWRhOnB3"

POST {{env.url}}/echo
```
{{color}} {{word}}
line
```
HTTP 200
[Asserts]
jsonpath "$.body" == "red json\nline\n"

POST {{env.url}}/echo
`one line`
HTTP 200
{"head": "x"}
"##;

#[tokio::test]
async fn a_file_is_played_as_hurl_would() {
    let server = server().await;
    let stage = Stage::new(&server.url(), Format::Json);
    stage.write("wrath/shop.hurl", FILE);
    let outcome = stage.play().await;
    let outcomes: Vec<String> = steps(&outcome).into_iter().map(|(_, outcome)| outcome).collect();
    assert_eq!(outcomes, ["passed", "passed", "passed", "passed", "failed"], "{:?}", messages(&outcome));
    assert_eq!(steps(&outcome)[0].0, "Log in");
    assert!(messages(&outcome)[0].starts_with("json : expected {\"head\":\"x\"}"), "{:?}", messages(&outcome));
    assert_eq!(
        outcome.json["scenarios"][0]["steps"][4]["findings"][0]["line"],
        FILE.lines().count(),
        "the line of the body"
    );
    assert_eq!(outcome.class, Class::Verification);
    let login = &server.requests()[0];
    assert!(
        login.head.contains("x-kind: a#b") && login.head.contains("content-type: application/json"),
        "{}",
        login.head
    );
    assert_eq!(login.body, "{\n  \"user\": \"ada\",\n  \"deep\": {\"list\": [1, \"}\"]}\n}");
}

#[tokio::test]
async fn what_is_not_supported_is_named_with_its_line() {
    let cases = [
        ("GET http://x/\nHTTP 200\n[Asserts]\nmd5 == hex,00;\n", 4, "The query `md5` of Hurl is not known here."),
        (
            "GET http://x/\n[Options]\nproxy: localhost:1\nHTTP 200\n",
            3,
            "The option `proxy` of Hurl is not known here.",
        ),
        (
            "GET http://x/\nHTTP 200\n[Captures]\na: body toDate \"%Y\"\n",
            4,
            "The filter `toDate` of Hurl is not known here.",
        ),
        ("POST http://x/\nhex,00;\n", 2, "A body in `hex,` of Hurl is not known here."),
        ("POST http://x/\n```graphql\n{a}\n```\n", 2, "A body of the kind ```graphql of Hurl is not known here."),
        ("GET http://x/\nHTTP/3 200\n", 2, "The version HTTP/3 of Hurl is not known here."),
        ("GET http://x/\n[Nonsense]\na: b\n", 2, "The section [Nonsense] of Hurl is not known here."),
        ("GET http://x/\nHTTP 200\n[Asserts]\nstatus\n", 4, "The assert says nothing about its value"),
        ("GET http://x/\nHTTP abc\n", 2, "\"abc\" is no status"),
        ("hello\n", 1, "Here a request such as"),
        ("POST http://x/\n{\"a\":\n", 2, "The JSON that begins here does not end."),
        ("GET http://x/\nHTTP 200\n[Captures]\ntoken jsonpath \"$.a\"\n", 4, "Here `name: query` is expected."),
    ];
    for (text, line, message) in cases {
        let stage = Stage::new("http://127.0.0.1:9", Format::Text);
        stage.write("wrath/a.hurl", text);
        let fault = stage.refused().await;
        assert!(fault.to_string().starts_with(message), "{text}: {fault}");
        assert_eq!(fault.place().unwrap().line_column().0, line, "{text}");
    }
}

#[tokio::test]
async fn every_beginning_of_a_file_is_read_or_refused() {
    // A file cut anywhere must neither panic nor hang.
    let stage = Stage::new("http://127.0.0.1:9", Format::Json);
    for end in 0..FILE.len() {
        stage.write("wrath/cut.hurl", &FILE[..end]);
        drop(stage.call(&["lint", "wrath/cut.hurl"]).await);
    }
}
