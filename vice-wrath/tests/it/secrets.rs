//! A planted secret goes to the server and nowhere else.

use vice_core::event::Recorded;
use vice_core::store::Query;
use vice_core::ui::Format;
use vice_wrath::cmd::run;

use crate::app::{args, secret_config, setup};
use crate::server::Server;

const CANARY: &str = "canary-\"secret/4.2";
const MINTED: &str = "minted-canary-77";

/// Gives everything back that it gets, and mints a token.
async fn echo() -> Server {
    Server::start(|request, mut conn| async move {
        let everything = format!("{} {}", request.head.replace("\r\n", " "), request.body);
        let body = serde_json::json!({ "got": everything, "token": MINTED }).to_string();
        let headers = format!("x-echo: {everything}\r\nset-cookie: sid={MINTED}; path=/\r\n");
        conn.answer("200 OK", &headers, &body).await;
    })
    .await
}

const CHECKS: &str = "[check.login]\nhttp = \"{{env.url}}/login?password={{config.password}}\"\nbody_json = { password = \"{{config.password}}\" }\n\
    capture = { session = \"header:Set-Cookie\", access_token = \"json:/token\" }\n\
    [check.use]\nhttp = \"http://user:{{access_token}}@HOST/{{access_token}}\"\nstatus = 418\nmatches = \"nowhere\"\n\
    headers = { Authorization = \"Bearer {{config.password}}\", X-Session = \"{{session}}\", X-Token = \"{{access_token}}\" }\nbody = \"p={{config.password}}\"\n\
    expect_headers = { X-Echo = \"^nowhere {{config.password}}\", Set-Cookie = \"^nowhere\", content-length = \"nowhere\" }\n\
    json = { '/got' = \"x {{config.password}}\", '/token' = \"other\", '/none' = \"{{config.password}}\" }\n\
    [check.refused]\nhttp = \"http://127.0.0.1:1/{{config.password}}\"\nneeds = [\"login\"]\n\
    [check.bad_header]\nhttp = \"{{env.url}}\"\nheaders = { X = \"{{config.password}}\\n\" }\n\
    [check.bad_url]\nhttp = \"{{config.password}}://x\"\n";

#[tokio::test]
async fn a_canary_appears_nowhere() {
    let server = echo().await;
    let checks = CHECKS.replace("HOST", &server.address.to_string());
    for format in [Format::Text, Format::Json, Format::Junit] {
        let setup = setup(&checks, Some(server.url()), secret_config("password", CANARY), format);
        let outcome = run(&setup.app, args()).await.unwrap();
        let events = setup.app.events.read(&Query::default()).await.unwrap();
        let data: Vec<String> = events.iter().map(|Recorded { event, .. }| event.data.clone()).collect();
        let shown = [outcome.text, outcome.json.to_string(), setup.told(), data.join("\n")].join("\n");
        assert!(shown.contains("«secret:password»") && shown.contains("json /token: expected"), "{shown}");
        for needle in ["canary", "minted"] {
            let leak = shown.lines().find(|line| line.contains(needle));
            assert_eq!(leak, None, "{needle}");
        }
    }
    let sent = server.requests();
    assert!(sent.iter().any(|request| request.head.contains(CANARY)), "the server did get it");
    assert!(sent.iter().any(|request| request.head.contains(MINTED)));
}
