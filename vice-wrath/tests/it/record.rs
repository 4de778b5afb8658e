//! `vice wrath record`: what passes is passed on as it is, and written without its secrets.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::Mutex;

use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use vice_core::app::StopSignal;
use vice_core::ui::{Format, Outcome};
use vice_core::{Code, Result};
use vice_wrath::cmd::run;

use crate::app::setup;
use crate::load::{line, wrath};
use crate::server::Server;

/// A recorder under way.
pub(crate) struct Recorder {
    pub(crate) address: SocketAddr,
    pub(crate) file: PathBuf,
    stop: Arc<StopSignal>,
    running: tokio::task::JoinHandle<Result<Outcome>>,
}

impl Recorder {
    pub(crate) async fn start(dir: &Path, to: &str, more: &[&str]) -> Self {
        let file = dir.join("recording.jsonl");
        let address = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let listen = address.to_string();
        let words = [&["record", "--listen", &listen, "--to", to, "--out", file.to_str().unwrap()], more].concat();
        let line = line(&words);
        let app = setup("[check.a]\nhttp = \"http://127.0.0.1:9\"\n", None, None, Format::Json).app;
        let stop = Arc::clone(&app.stop);
        let running = tokio::spawn(async move { run(&app, line).await });
        while TcpStream::connect(address).await.is_err() {
            assert!(!running.is_finished(), "the recorder ended at once");
            tokio::task::yield_now().await;
        }
        Self { address, file, stop, running }
    }

    /// Ends the recording; what was written, line by line.
    pub(crate) async fn end(self) -> Vec<Value> {
        self.stop.raise(true);
        self.running.await.unwrap().unwrap();
        let text = std::fs::read_to_string(&self.file).unwrap();
        text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }
}

/// Sends bytes and reads all that comes.
pub(crate) async fn raw(address: SocketAddr, request: &str) -> String {
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = Vec::new();
    // A connection that is reset has said what it had to say.
    drop(stream.read_to_end(&mut answer).await);
    String::from_utf8_lossy(&answer).into_owned()
}

#[tokio::test]
async fn secrets_do_not_reach_the_disk() {
    let server = Server::start(|request, mut conn| async move {
        assert!(
            request.head.contains("Bearer canary-1") || request.head.contains("bearer canary-1"),
            "{}",
            request.head
        );
        let headers = "content-type: application/json\r\nset-cookie: sid=canary-2; Path=/\r\n";
        conn.answer("200 OK", headers, r#"{"token":"canary-2","user":"ada"}"#).await;
    })
    .await;
    let dir = tempfile::tempdir().unwrap();
    let recorder = Recorder::start(dir.path(), &server.url(), &[]).await;
    let body = r#"{"password":"canary-3","name":"ada"}"#;
    let request = format!(
        "POST /login?api_key=canary-4&x=1 HTTP/1.1\r\nHost: a\r\nConnection: close\r\nAuthorization: Bearer canary-1\r\n\
         Content-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    );
    let answer = raw(recorder.address, &request).await;
    assert!(answer.contains("canary-2") && answer.contains("ada"), "the client gets all: {answer}");
    assert_eq!(server.requests()[0].body, body, "and so does the server");
    let file = recorder.file.clone();
    let lines = recorder.end().await;
    let text = std::fs::read_to_string(&file).unwrap();
    assert!(!text.contains("canary"), "{text}");
    assert_eq!(lines.len(), 3);
    let exchange = &lines[1];
    let set = exchange["answer"]["headers"].as_array().unwrap().iter().find(|pair| pair[0] == "set-cookie").unwrap();
    let name = set[1].as_str().unwrap().strip_prefix("sid=").unwrap().split(';').next().unwrap();
    let answered: Value = serde_json::from_str(exchange["answer"]["body"]["text"].as_str().unwrap()).unwrap();
    assert_eq!((answered["token"].as_str(), answered["user"].as_str()), (Some(name), Some("ada")));
    use std::os::unix::fs::PermissionsExt as _;
    assert_eq!(std::fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
}

#[tokio::test]
async fn packed_bodies_are_looked_into_and_passed_on_packed() {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    std::io::Write::write_all(&mut encoder, br#"{"secret":"canary","a":1}"#).unwrap();
    let packed = encoder.finish().unwrap();
    let head = format!(
        "HTTP/1.1 200 OK\r\ncontent-encoding: gzip\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n",
        packed.len()
    );
    let server = Server::raw([head.into_bytes(), packed.clone()].concat()).await;
    let dir = tempfile::tempdir().unwrap();
    let recorder = Recorder::start(dir.path(), &server.url(), &[]).await;
    let request = "GET /a HTTP/1.1\r\nHost: a\r\nConnection: close\r\nAccept-Encoding: br, gzip\r\n\r\n";
    let answer = raw(recorder.address, request).await;
    assert!(answer.contains("content-encoding: gzip"));
    assert!(server.requests()[0].head.to_lowercase().contains("accept-encoding: gzip\r\n"));
    let lines = recorder.end().await;
    let body = &lines[1]["answer"]["body"];
    assert_eq!(body["size"], packed.len());
    assert!(body["text"].as_str().unwrap().contains("masked-"), "{body}");
}

#[tokio::test]
async fn servers_that_lie_are_passed_on_as_they_are_and_noted() {
    let many = format!("HTTP/1.1 200 OK\r\n{}\r\n", "a: b\r\n".repeat(100_000));
    for (bytes, noted) in [
        ("HTTP/1.1 200 OK\r\ncontent-length: 50\r\n\r\nhello", "too early"),
        ("nonsense\r\n\r\n", "the server gave no answer"),
        ("", "the server gave no answer"),
        (many.as_str(), "the server gave no answer"),
    ] {
        let server = Server::raw(bytes).await;
        let dir = tempfile::tempdir().unwrap();
        let recorder = Recorder::start(dir.path(), &server.url(), &[]).await;
        let answer = raw(recorder.address, "GET /a HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n").await;
        let lines = recorder.end().await;
        let error = lines[1]["error"].as_str().unwrap_or_default();
        assert!(error.contains(noted), "{bytes:.80}: {error} {answer:.200}");
    }
}

#[tokio::test]
async fn a_large_body_streams_and_only_its_size_is_kept() {
    const SIZE: usize = 40 * 1024 * 1024;
    let server = Server::start(|_, mut conn| async move {
        conn.write(format!("HTTP/1.1 200 OK\r\ncontent-length: {SIZE}\r\n\r\n").as_bytes()).await;
        let piece = vec![b'x'; 64 * 1024];
        for _ in 0..SIZE / piece.len() {
            conn.write(&piece).await;
        }
    })
    .await;
    let dir = tempfile::tempdir().unwrap();
    let recorder = Recorder::start(dir.path(), &server.url(), &["--body-max", "8"]).await;
    let answer = raw(recorder.address, "GET /a HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n").await;
    assert!(answer.len() > SIZE);
    let lines = recorder.end().await;
    let body = &lines[1]["answer"]["body"];
    assert_eq!((&body["size"], &body["text"]), (&SIZE.into(), &Value::Null));
    assert!(body["cut"].as_str().unwrap().contains("limit"));
}

fn pem(label: &str, der: &[u8]) -> String {
    use base64::Engine as _;
    let text = base64::engine::general_purpose::STANDARD.encode(der);
    let lines: Vec<&str> = text.as_bytes().chunks(64).map(|line| std::str::from_utf8(line).unwrap()).collect();
    format!("-----BEGIN {label}-----\n{}\n-----END {label}-----\n", lines.join("\n"))
}

#[tokio::test]
async fn clients_may_speak_http2_and_tls() {
    let server = Server::start(|_, mut conn| async move { conn.answer("200 OK", "", "hello").await }).await;
    let dir = tempfile::tempdir().unwrap();
    let issued = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap();
    let (cert, key) = (dir.path().join("cert.pem"), dir.path().join("key.pem"));
    std::fs::write(&cert, pem("CERTIFICATE", issued.cert.der())).unwrap();
    std::fs::write(&key, pem("PRIVATE KEY", &issued.signing_key.serialize_der())).unwrap();
    let tls = ["--cert", cert.to_str().unwrap(), "--key", key.to_str().unwrap()];
    let recorder = Recorder::start(dir.path(), &server.url(), &tls).await;
    let versions = Arc::new(Mutex::new(Vec::new()));
    for old in [false, true] {
        let root = reqwest::Certificate::from_der(issued.cert.der()).unwrap();
        let mut builder = reqwest::Client::builder().tls_certs_only([root]).no_proxy();
        if old {
            builder = builder.http1_only();
        }
        let url = format!("https://localhost:{}/a", recorder.address.port());
        let response = builder.build().unwrap().get(url).send().await.unwrap();
        versions.lock().unwrap().push(format!("{:?}", response.version()));
        assert_eq!(response.text().await.unwrap(), "hello");
    }
    assert_eq!(*versions.lock().unwrap(), ["HTTP/2.0", "HTTP/1.1"]);
    let lines = recorder.end().await;
    assert_eq!(
        (&lines[1]["request"]["version"], &lines[2]["request"]["version"]),
        (&"HTTP/2.0".into(), &"HTTP/1.1".into())
    );
}

#[tokio::test]
async fn a_recording_becomes_har_and_comes_back() {
    let server = Server::start(|_, mut conn| async move { conn.answer("200 OK", "", "hello").await }).await;
    let dir = tempfile::tempdir().unwrap();
    let recorder = Recorder::start(dir.path(), &server.url(), &[]).await;
    for path in ["/a", "/items/1", "/items/2"] {
        raw(recorder.address, &format!("GET {path} HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")).await;
    }
    let file = recorder.file.to_str().unwrap().to_owned();
    recorder.end().await;
    let har = dir.path().join("a.har").to_str().unwrap().to_owned();
    let first = wrath(&["recording", &file, "--to", &har]).await.unwrap().json;
    let second = wrath(&["recording", &har]).await.unwrap().json;
    assert_eq!((&first["exchanges"], &first["routes"]), (&3.into(), &second["routes"]));
    assert_eq!(first["routes"][0]["request"], "GET /items/{id}");
    // Nothing is overwritten.
    assert_eq!(wrath(&["recording", &file, "--to", &har]).await.unwrap_err().code(), Code::Io);
}

#[tokio::test]
async fn what_makes_no_sense_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("x.jsonl");
    let out = file.to_str().unwrap();
    for (more, code) in [
        (vec!["--to", "http://127.0.0.1:9/path"], Code::Usage),
        (vec!["--to", "gopher://127.0.0.1"], Code::Usage),
        (vec!["--to", "http://127.0.0.1:9", "--mask-json", "a"], Code::Usage),
        (vec!["--to", "http://127.0.0.1:9", "--cert", "/nothing", "--key", "/nothing"], Code::Io),
    ] {
        let words = [vec!["record", "--listen", "127.0.0.1:0", "--out", out], more].concat();
        assert_eq!(wrath(&words).await.unwrap_err().code(), code, "{words:?}");
    }
    std::fs::write(&file, "precious").unwrap();
    let words = ["record", "--listen", "127.0.0.1:0", "--out", out, "--to", "http://127.0.0.1:9"];
    assert_eq!(wrath(&words).await.unwrap_err().code(), Code::Io);
    assert_eq!(std::fs::read_to_string(&file).unwrap(), "precious");
    assert_eq!(wrath(&["recording", out]).await.unwrap_err().code(), Code::Decode);
}

#[tokio::test]
async fn a_client_that_stays_does_not_hold_the_end_up() {
    let server = Server::start(|_, mut conn| async move {
        // The head and a part, and then nothing.
        conn.write(b"HTTP/1.1 200 OK\r\ncontent-length: 50\r\n\r\nhello").await;
        conn.until_gone().await;
    })
    .await;
    let dir = tempfile::tempdir().unwrap();
    let recorder = Recorder::start(dir.path(), &server.url(), &[]).await;
    let mut client = TcpStream::connect(recorder.address).await.unwrap();
    client.write_all(b"GET /a HTTP/1.1\r\nHost: a\r\n\r\n").await.unwrap();
    let mut head = [0; 15];
    client.read_exact(&mut head).await.unwrap();
    let lines = recorder.end().await;
    assert_eq!((lines.len(), &lines[2]["exchanges"]), (3, &1.into()), "{lines:#?}");
    assert!(lines[1]["error"].as_str().unwrap().contains("not read to its end"), "{}", lines[1]);
}
