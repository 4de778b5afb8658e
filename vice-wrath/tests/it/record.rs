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

/// A server that answers the wish for a WebSocket with 101 and then says everything back in upper case.
async fn echo() -> Server {
    Server::start(|request, mut conn| async move {
        if !request.head.to_ascii_lowercase().contains("upgrade: websocket\r\n") {
            return conn.answer("426 Upgrade Required", "", "").await;
        }
        let head = "HTTP/1.1 101 Switching Protocols\r\nconnection: Upgrade\r\nupgrade: websocket\r\nsec-websocket-accept: x\r\n\r\n";
        conn.write(head.as_bytes()).await;
        let mut buffer = [0; 1024];
        while let Ok(count @ 1..) = conn.stream.read(&mut buffer).await {
            let shouted = buffer[..count].to_ascii_uppercase();
            conn.write(&shouted).await;
        }
    })
    .await
}

const WISH: &str = "GET /live HTTP/1.1\r\nHost: a\r\nConnection: keep-alive, Upgrade\r\nUpgrade: websocket\r\n\
    Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n";

async fn until(stream: &mut TcpStream, end: &str) -> String {
    let mut read = Vec::new();
    while !read.ends_with(end.as_bytes()) {
        assert_ne!(stream.read_buf(&mut read).await.unwrap(), 0, "{}", String::from_utf8_lossy(&read));
    }
    String::from_utf8(read).unwrap()
}

#[tokio::test]
async fn a_websocket_passes_and_a_replay_leaves_it_out() {
    let server = echo().await;
    let dir = tempfile::tempdir().unwrap();
    let recorder = Recorder::start(dir.path(), &server.url(), &[]).await;
    let mut client = TcpStream::connect(recorder.address).await.unwrap();
    client.write_all(WISH.as_bytes()).await.unwrap();
    let head = until(&mut client, "\r\n\r\n").await;
    assert!(head.starts_with("HTTP/1.1 101 ") && head.contains("sec-websocket-accept: x"), "{head}");
    for word in ["canary-one", "canary-two"] {
        client.write_all(word.as_bytes()).await.unwrap();
        until(&mut client, &word.to_ascii_uppercase()).await;
    }
    // Beside it others are served, and a wish that is refused is an answer like any other.
    let plain = raw(recorder.address, "GET /live HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n").await;
    assert!(plain.starts_with("HTTP/1.1 426"), "{plain}");
    let file = recorder.file.to_str().unwrap().to_owned();
    // A conversation that goes on does not hold the end of the recording up.
    let lines = recorder.end().await;
    assert_eq!(client.read(&mut [0; 1]).await.unwrap_or(0), 0, "it ended with the recording");
    let live = lines.iter().find(|line| line["upgraded"] == "websocket").unwrap();
    assert_eq!((&live["answer"]["status"], &live["error"]), (&101.into(), &Value::Null), "{live}");
    assert!(!std::fs::read_to_string(&file).unwrap().to_lowercase().contains("canary"));
    let replayed = wrath(&["replay", &file, "--to", &server.url(), "--speed", "max"]).await.unwrap();
    assert_eq!((&replayed.json["left_out"], &replayed.json["sent"]), (&1.into(), &1.into()), "{:#}", replayed.json);
    assert_eq!(replayed.class, vice_core::Class::Done);
    // And HAR keeps that it was one.
    let har = dir.path().join("a.har").to_str().unwrap().to_owned();
    wrath(&["recording", &file, "--to", &har]).await.unwrap();
    assert_eq!(wrath(&["replay", &har, "--to", &server.url(), "--speed", "max"]).await.unwrap().json["left_out"], 1);
}

#[tokio::test]
async fn a_server_that_switches_unasked_is_refused() {
    let server = Server::raw("HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: x\r\n\r\n").await;
    let dir = tempfile::tempdir().unwrap();
    let recorder = Recorder::start(dir.path(), &server.url(), &[]).await;
    let answer = raw(recorder.address, "GET /a HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n").await;
    assert!(answer.starts_with("HTTP/1.1 502"), "{answer}");
    let lines = recorder.end().await;
    assert!(lines[1]["error"].as_str().is_some(), "{}", lines[1]);
}

#[tokio::test]
async fn secrets_in_pages_are_masked_by_patterns_and_because_they_were_seen() {
    let server = Server::start(|_, mut conn| async move {
        let page = "<p>canary-session-1</p><input name=\"csrf\" value=\"canary-2\"><b>kept</b>";
        conn.answer("200 OK", "content-type: text/html\r\nset-cookie: sid=canary-session-1\r\n", page).await;
    })
    .await;
    let dir = tempfile::tempdir().unwrap();
    let rules = ["--mask-text", "name=\"csrf\" value=\"([^\"]+)\""];
    let recorder = Recorder::start(dir.path(), &server.url(), &rules).await;
    let answer = raw(recorder.address, "GET /a HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n").await;
    assert!(answer.contains("canary-session-1") && answer.contains("canary-2"), "the client gets all: {answer}");
    let file = recorder.file.clone();
    let lines = recorder.end().await;
    assert!(!std::fs::read_to_string(file).unwrap().contains("canary"), "{}", lines[1]);
    let body = lines[1]["answer"]["body"]["text"].as_str().unwrap();
    assert!(body.contains("<b>kept</b>") && body.matches("masked-").count() == 2, "{body}");
    let out = dir.path().join("x.jsonl");
    let words = ["record", "--listen", "127.0.0.1:0", "--to", "http://127.0.0.1:9", "--out", out.to_str().unwrap()];
    for more in [["--mask-text", "("], ["--mask-text", "x*"], ["--mask-env", "VICE_NOT_SET"]] {
        assert_eq!(wrath(&[&words[..], &more].concat()).await.unwrap_err().code(), Code::Usage, "{more:?}");
    }
}

/// A figure of this process in KiB.
fn status(name: &str) -> u64 {
    let text = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':')).unwrap();
    line.trim().trim_end_matches(" kB").parse().unwrap()
}

/// 2 GiB through server, recorder and client of this one process.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_gibibytes_pass_in_flat_memory() {
    const SIZE: u64 = 2 << 30;
    const PIECE: usize = 1 << 20;
    let server = Server::start(|_, mut conn| async move {
        conn.write(format!("HTTP/1.1 200 OK\r\ncontent-length: {SIZE}\r\n\r\n").as_bytes()).await;
        let piece = vec![b'x'; PIECE];
        for _ in 0..SIZE / PIECE as u64 {
            conn.write(&piece).await;
        }
    })
    .await;
    let dir = tempfile::tempdir().unwrap();
    let recorder = Recorder::start(dir.path(), &server.url(), &[]).await;
    let before = status("VmRSS");
    let mut client = TcpStream::connect(recorder.address).await.unwrap();
    client.write_all(b"GET /a HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n").await.unwrap();
    let (mut buffer, mut read) = (vec![0; PIECE], 0_u64);
    while let Ok(count @ 1..) = client.read(&mut buffer).await {
        read += count as u64;
    }
    assert!(read > SIZE && read < SIZE + 4096, "{read}");
    let grown = status("VmHWM").saturating_sub(before);
    assert!(grown < 64 * 1024, "{grown} KiB more than before");
    let lines = recorder.end().await;
    assert_eq!((&lines[1]["answer"]["body"]["size"], &lines[1]["error"]), (&SIZE.into(), &Value::Null), "{}", lines[1]);
}
