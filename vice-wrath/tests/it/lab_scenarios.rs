//! Scenarios against servers that others wrote: nginx, Caddy, and an API of Fastify on PostgreSQL.
#![expect(clippy::disallowed_methods, reason = "the lab is described by the environment")]

use vice_core::Class;
use vice_core::ui::Format;

use crate::stage::{Stage, messages};

fn lab(name: &str) -> String {
    std::env::var(name).unwrap_or_else(|_| panic!("{name} is not set: run scripts/test or scripts/lab/run COMMAND"))
}

const SITE: &str = r#"
tags = ["site"]
[[step]]
name = "nobody is logged in"
http = "/me"
expect.status = 401
[[step]]
name = "log in"
http = "/login"
expect.json = { "/user" = "ada", "/token" = { matches = "^[0-9a-f-]{32,36}$" } }
expect.cookies = { sid = { empty = false }, "sid[HttpOnly]" = true }
capture = { sid = "cookie:sid" }
[[step]]
name = "the session is known"
http = "/me"
expect.json = { "/session" = "{{sid}}" }
[[step]]
name = "all items"
http = "/items/{{n}}"
expect.json = { "/id" = "{{n}}", "/price" = { above = 0 } }
expect.headers = { Content-Type = { contains = "json" } }
[[step]]
name = "moved"
http = "/old"
follow = true
expect.redirects = 1
expect.css = { title = "Lab" }
[[step]]
name = "broken"
http = "/broken"
expect.status = 500
"#;

async fn plays(url: &str) {
    let stage = Stage::new(url, Format::Json);
    let rows: Vec<String> = (1..=10).map(|n| format!("{{ n = {n} }}")).collect();
    stage.write("wrath/site.toml", &format!("data = [{}]\n{SITE}", rows.join(", ")));
    let outcome = stage.play().await;
    assert_eq!((outcome.class, &outcome.json["passed"]), (Class::Done, &10.into()), "{:?}", messages(&outcome));
}

#[tokio::test]
async fn lab_nginx_and_caddy_play_their_part() {
    plays(&lab("VICE_LAB_NGINX_URL")).await;
    plays(&lab("VICE_LAB_CADDY_URL")).await;
}

#[tokio::test]
async fn lab_http_2_without_tls_is_spoken_with_nginx_and_caddy() {
    for url in [lab("VICE_LAB_NGINX_H2"), lab("VICE_LAB_CADDY_URL")] {
        let stage = Stage::new(&url, Format::Json);
        stage.write("wrath/a.toml", "[[step]]\nhttp = \"/items/3\"\nprotocol = \"2\"\nexpect.version = \"HTTP/2\"\nexpect.json = { \"/id\" = 3 }\n");
        let outcome = stage.play().await;
        assert_eq!(messages(&outcome), Vec::<String>::new());
    }
}

#[tokio::test]
async fn lab_http_2_over_tls_is_agreed_on_with_nginx() {
    crate::support::provider();
    let (url, ca) = (lab("VICE_LAB_NGINX_TLS"), lab("VICE_LAB_NGINX_CA"));
    let stage = Stage::new(&url, Format::Json);
    stage.write("wrath/root.pem", &std::fs::read_to_string(&ca).unwrap());
    let step = |more: &str| {
        format!("[[step]]\nhttp = \"/items/3\"\nca = \"root.pem\"\nexpect.json = {{ \"/id\" = 3 }}\n{more}\n")
    };
    let address = url.strip_prefix("https://").unwrap();
    let tls = format!(
        "[[step]]\ntls = \"{address}\"\nca = \"root.pem\"\nexpect.certificate = {{ days_left = 1 }}\nexpect.tls = {{ version = \"1.3\" }}\n"
    );
    let all = [
        step("expect.version = \"HTTP/2\""),
        step("protocol = \"2\"\nexpect.version = \"HTTP/2\""),
        step("protocol = \"1.1\"\nexpect.version = \"HTTP/1.1\""),
        tls,
    ];
    stage.write("wrath/a.toml", &all.concat());
    let outcome = stage.play().await;
    assert_eq!(messages(&outcome), Vec::<String>::new());
    assert_eq!(outcome.class, Class::Done);
    // What was agreed on is not what was expected, and a root that nobody named is not trusted.
    stage.write("wrath/a.toml", &step("expect.version = \"HTTP/1.1\""));
    assert_eq!(stage.play().await.class, Class::Verification);
    stage.write("wrath/a.toml", "[[step]]\nhttp = \"/\"\n");
    assert_eq!(stage.play().await.class, Class::Failed);
    // A load speaks it as well.
    let words = [
        "load",
        &format!("{url}/items/3"),
        "--http2",
        "--ca",
        &ca,
        "--users",
        "5",
        "--for",
        "500ms",
        "--fail-if",
        "errors>0",
    ];
    assert_eq!(crate::load::wrath(&words).await.unwrap().class, Class::Done);
}

const ORDERS: &str = r#"
name = "A customer orders"
[vars]
user = "ada-{{run.id}}"
[[setup]]
name = "make the user"
http = "POST /users"
body_json = { name = "{{user}}", born = "1815-12-10" }
expect.status = 201
expect.headers = { Location = { matches = "^/users/[0-9]+$" } }
capture = { user_id = "json:/id" }
[[step]]
name = "the name is taken"
http = "POST /users"
body_json = { name = "{{user}}" }
expect.status = 409
[[step]]
name = "a name is needed"
http = "POST /users"
body_json = { born = "1815-12-10" }
expect.status = 400
expect.json = { "/message" = { contains = "name" } }
[[step]]
name = "log in"
http = "POST /login"
body_json = { name = "{{user}}" }
expect.json = { "/token" = { type = "uuid" } }
[[step]]
name = "order tea"
http = "POST /orders"
body_json = { item = "tea", price = 3.5 }
expect.status = 201
capture = { order = "json:/id" }
[[step]]
name = "order a cup"
http = "POST /orders"
body_json = { item = "cup", price = 12 }
expect.status = 201
[[step]]
name = "only the dear one"
http = "/orders"
query = { min = 10 }
expect.json = { "/count" = 1, "$.orders[?(@.item == 'cup')].price" = "12.00", "$.orders[*].made" = { type = "date" } }
[[step]]
name = "it is shipped at last"
http = "/orders/{{order}}"
retry_for = "20s"
retry_every = "50ms"
expect.json = { "/state" = "shipped" }
[[step]]
name = "the database knows it too"
postgres = "{{database}}"
sql = "SELECT item, price FROM lab_api.orders WHERE id = {{order}}"
expect.rows = [{ item = "tea", price = "3.50" }]
[[teardown]]
name = "remove the user"
http = "DELETE /users/{{user_id}}"
expect.status = 204
[[teardown]]
name = "nothing is left"
postgres = "{{database}}"
sql = "SELECT count(*) AS n FROM lab_api.orders WHERE id = {{order}}"
expect.json = { "/0/n" = 0 }
"#;

#[tokio::test]
async fn lab_an_api_on_a_database_is_walked_through() {
    let (api, database) = (lab("VICE_LAB_API"), lab("VICE_LAB_POSTGRES"));
    let stage = Stage::new(&api, Format::Json);
    stage.write("wrath/orders.toml", ORDERS);
    let words = ["run", "--env", "dev", "--var", &format!("database={database}")];
    for _ in 0..2 {
        let outcome = stage.call(&words).await.unwrap();
        assert_eq!(messages(&outcome), Vec::<String>::new());
        assert_eq!(outcome.class, Class::Done);
        let shipped = &outcome.json["scenarios"][0]["steps"][7];
        assert!(shipped["attempts"].as_u64().unwrap() > 1, "it had to be waited for: {shipped}");
    }
}

#[tokio::test]
async fn lab_postgres_is_asked_and_can_not_be_changed() {
    let stage = Stage::new("http://127.0.0.1:9", Format::Json);
    stage.write(
        "wrath/a.toml",
        "keep_going = true\n[[step]]\nname = \"ping\"\npostgres = \"{{database}}\"\nexpect.rows = { count = 1 }\n\
         [[step]]\nname = \"writes\"\npostgres = \"{{database}}\"\nsql = \"CREATE TABLE lab_api_never (a int)\"\n\
         [[step]]\nname = \"nobody\"\npostgres = \"postgres://nobody@127.0.0.1:1/x\"\n",
    );
    let outcome =
        stage.call(&["run", "--env", "dev", "--var", &format!("database={}", lab("VICE_LAB_POSTGRES"))]).await.unwrap();
    let said = messages(&outcome);
    assert!(said[0].contains("read-only transaction (25006)"), "{said:?}");
    assert_eq!(said[1], "can't connect: connection refused");
    assert_eq!(said.len(), 2, "{said:?}");
}
