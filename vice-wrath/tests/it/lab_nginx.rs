//! The same checks against a real server. `VICE_LAB_NGINX` names the nginx binary; `scripts` installs it.
#![expect(
    clippy::disallowed_methods,
    reason = "the lab is described by the environment, and its server is started here"
)]

use std::path::Path;
use std::process::{Child, Command, Stdio};

use vice_core::payload::verification::CheckOutcome::{Failed, Passed};

use crate::support::{outcomes, verify};

struct Nginx(Child);

impl Drop for Nginx {
    fn drop(&mut self) {
        drop(self.0.kill());
        drop(self.0.wait());
    }
}

fn start(binary: &str, dir: &Path, port: u16) -> Nginx {
    std::fs::write(dir.join("index.json"), r#"{"status":"ok","version":"1.2"}"#).unwrap();
    let dir_text = dir.display();
    let config = format!(
        "daemon off; master_process off; pid {dir_text}/pid; error_log {dir_text}/error.log;\n\
         events {{}}\nhttp {{ access_log off; client_body_temp_path {dir_text}/a; proxy_temp_path {dir_text}/b;\n\
         fastcgi_temp_path {dir_text}/c; uwsgi_temp_path {dir_text}/d; scgi_temp_path {dir_text}/e;\n\
         gzip on; gzip_types *; gzip_min_length 1;\n\
         server {{ listen 127.0.0.1:{port}; root {dir_text};\n\
         location = /old {{ return 301 /index.json; }}\n\
         location = /index.json {{ default_type application/json; add_header X-Version 1.2; }} }} }}\n"
    );
    let file = dir.join("nginx.conf");
    std::fs::write(&file, config).unwrap();
    let child = Command::new(binary).arg("-p").arg(dir).arg("-c").arg(&file).stderr(Stdio::null()).spawn().unwrap();
    Nginx(child)
}

#[tokio::test]
async fn lab_nginx_answers_are_checked() {
    let binary = std::env::var("VICE_LAB_NGINX")
        .expect("VICE_LAB_NGINX must name nginx; install it with: apt-get install nginx-light");
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let dir = tempfile::tempdir().unwrap();
    let _server = start(&binary, dir.path(), port);
    let checks = "[check.up]\ntcp = \"127.0.0.1:PORT\"\nretry_for = \"30s\"\nretry_every = \"20ms\"\n\
        [check.json]\nhttp = \"{{env.url}}/index.json\"\nneeds = [\"up\"]\nexpect_headers = { Server = \"nginx\", X-Version = \"^{{version}}$\" }\n\
        json = { '' = { status = \"ok\", version = \"{{version}}\" } }\ncapture = { etag = \"header:ETag\" }\n\
        [check.again]\nhttp = \"{{env.url}}/index.json\"\nheaders = { If-None-Match = '{{etag}}' }\nstatus = 304\n\
        [check.moved]\nhttp = \"{{env.url}}/old\"\nneeds = [\"up\"]\nstatus = 301\nexpect_headers = { Location = \"/index.json$\" }\n\
        [check.gone]\nhttp = \"{{env.url}}/nothing\"\nneeds = [\"up\"]\n"
        .replace("PORT", &port.to_string());
    let suite = verify(&checks, &format!("http://127.0.0.1:{port}")).await;
    let expected = [("up", Passed), ("json", Passed), ("again", Passed), ("moved", Passed), ("gone", Failed)];
    assert_eq!(outcomes(&suite), expected, "{suite:?}");
    assert_eq!(suite.checks[4].messages, ["status: expected 200, got 404"]);
}
