//! Downloads from a server that is not ours: a plain socket that says what each test tells it to.

use std::io::{Read, Write};
use std::net::TcpListener;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use vice_core::digest::Digest;
use vice_core::fault::{Code, Result};
use vice_core::time::Millis;

use super::corpus::{Tar, gz};
use super::{Bench, at, snapshot};
use crate::artifact::{Artifact, Patience, Reference, Resolver, configure, resolve};

/// Answers every request with what `answer` makes of its first line; counts them.
fn serve(answer: impl Fn(&str) -> Vec<u8> + Send + 'static) -> (String, Arc<AtomicUsize>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let count = Arc::new(AtomicUsize::new(0));
    let counter = Arc::clone(&count);
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            counter.fetch_add(1, Ordering::SeqCst);
            let mut request = Vec::new();
            let mut byte = [0];
            while !request.ends_with(b"\r\n\r\n") && stream.read(&mut byte).is_ok_and(|read| read == 1) {
                request.push(byte[0]);
            }
            stream.write_all(&answer(&String::from_utf8_lossy(&request))).ok();
        }
    });
    (address, count)
}

fn with_length(status: &str, body: &[u8]) -> Vec<u8> {
    let head = format!("HTTP/1.1 {status}\r\nconnection: close\r\ncontent-length: {}\r\n\r\n", body.len());
    [head.as_bytes(), body].concat()
}

fn archive() -> Vec<u8> {
    gz(&Tar::default().file("run", 0o755, b"x").end())
}

fn resolver(bench: &Bench) -> Resolver {
    rustls::crypto::ring::default_provider().install_default().ok();
    let http = Some(configure(reqwest::Client::builder().no_proxy()).build().unwrap());
    Resolver { http, ..Resolver::new(bench.store.clone(), bench.folder.path()) }
}

async fn get(resolver: &Resolver, text: &str) -> Result<Artifact> {
    resolve(&Reference::parse(text).unwrap(), resolver, at(1)).await
}

/// The reference fails with `code`, and nothing is left in the store.
async fn fails(resolver: &Resolver, text: &str, code: Code) -> String {
    let before = snapshot(&resolver.root);
    let fault = get(resolver, text).await.unwrap_err();
    assert_eq!(fault.code(), code, "{fault:?}");
    assert_eq!(snapshot(&resolver.root), before);
    format!("{fault:?}")
}

#[tokio::test]
async fn a_download_is_pinned_checked_and_remembered() {
    let bench = Bench::new();
    let resolver = resolver(&bench);
    let bytes = archive();
    let sha256 = Digest::of(&bytes);
    let (address, count) = serve(move |_| with_length("200 OK", &bytes));
    let url = format!("http://{address}/a.tar.gz");
    let first = get(&resolver, &url).await.unwrap();
    assert_eq!(first.origin.archive_sha256, Some(sha256));
    assert_eq!(std::fs::read(first.path.join("run")).unwrap(), b"x");
    let pinned = get(&resolver, &format!("{url}#sha256={sha256}")).await.unwrap();
    assert_eq!((pinned.digest, pinned.reused), (first.digest, true));
    assert_eq!(count.load(Ordering::SeqCst), 1, "what is pinned and stored is not downloaded again");
    let other = Digest::of(b"other");
    let text = fails(&resolver, &format!("{url}?token=hunter2#sha256={other}"), Code::ArtifactDigest).await;
    assert!(text.contains(&sha256.to_string()) && !text.contains("hunter2"), "{text}");
}

#[tokio::test]
async fn failures_are_told_apart() {
    let bench = Bench::new();
    let mut resolver = resolver(&bench);
    resolver.limits.download_bytes = 1000;
    resolver.patience = Patience { idle: Millis::from_secs(20), total: Millis::from_secs(60) };
    let (address, _) = serve(|request| match request.split([' ', '?']).nth(1).unwrap() {
        "/missing.zip" => with_length("404 Not Found", b""),
        "/secret.zip" => with_length("403 Forbidden", b""),
        "/broken.zip" => with_length("500 Oh no", b""),
        "/partial.zip" => with_length("206 Partial Content", b"x"),
        "/large.zip" => with_length("200 OK", &[0; 1001]),
        "/endless.zip" => [b"HTTP/1.1 200 OK\r\nconnection: close\r\n\r\n".to_vec(), vec![0; 5000]].concat(),
        "/short.zip" => b"HTTP/1.1 200 OK\r\ncontent-length: 500\r\n\r\nonly this".to_vec(),
        "/loop.zip" => {
            b"HTTP/1.1 302 Found\r\nlocation: /loop.zip\r\ncontent-length: 0\r\nconnection: close\r\n\r\n".to_vec()
        }
        "/moved.zip" => {
            b"HTTP/1.1 302 Found\r\nlocation: /junk.zip\r\ncontent-length: 0\r\nconnection: close\r\n\r\n".to_vec()
        }
        _ => with_length("200 OK", b"junk"),
    });
    for (name, code) in [
        ("missing", Code::ArtifactMissing),
        ("secret", Code::Backend),
        ("broken", Code::Backend),
        ("partial", Code::Backend),
        ("large", Code::ArtifactRejected),
        ("endless", Code::ArtifactRejected),
        ("short", Code::Unreachable),
        ("loop", Code::Backend),
        ("moved", Code::ArtifactRejected),
    ] {
        let text = fails(&resolver, &format!("http://{address}/{name}.zip?signature=hunter2"), code).await;
        assert!(text.contains(&address) && !text.contains("hunter2"), "{text}");
    }
    let closed = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    fails(&resolver, &format!("http://{closed}/a.zip"), Code::Unreachable).await;
    resolver.http = None;
    fails(&resolver, &format!("http://{address}/a.zip"), Code::BackendMissing).await;
}

#[tokio::test]
async fn a_server_that_says_nothing_is_given_up() {
    let bench = Bench::new();
    let mut resolver = resolver(&bench);
    resolver.patience.idle = Millis(50);
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let text = fails(&resolver, &format!("http://{}/a.zip", silent.local_addr().unwrap()), Code::Unreachable).await;
    assert!(text.contains("stalled"), "{text}");
}

#[tokio::test]
async fn bytes_are_kept_as_the_server_sent_them() {
    let bench = Bench::new();
    let resolver = resolver(&bench);
    let bytes = archive();
    let sha256 = Digest::of(&bytes);
    let (address, _) = serve(move |request| {
        assert!(request.to_lowercase().contains("accept-encoding: identity"), "{request}");
        let head = "HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-encoding: gzip\r\n\r\n";
        [head.as_bytes(), &bytes].concat()
    });
    let artifact = get(&resolver, &format!("http://{address}/a.tar.gz#sha256={sha256}")).await.unwrap();
    assert_eq!(artifact.files, 1);
}

#[tokio::test]
async fn local_references_resolve_below_the_root() {
    let bench = Bench::new();
    let resolver = Resolver::new(bench.store.clone(), bench.folder.path());
    std::fs::write(bench.path("run"), b"x").unwrap();
    std::fs::write(bench.path("a.tar.gz"), archive()).unwrap();
    std::fs::create_dir(bench.path("dist")).unwrap();
    std::fs::write(bench.path("dist/run"), b"x").unwrap();
    let single = get(&resolver, "run").await.unwrap();
    let packed = get(&resolver, "a.tar.gz").await.unwrap();
    assert_eq!(single.digest, packed.digest);
    assert_eq!((packed.origin.reference.as_str(), packed.files), ("a.tar.gz", 1));
    assert_ne!(get(&resolver, "dist").await.unwrap().digest, single.digest, "its file is not executable");
    let text = fails(&resolver, "a-2.tar.gz", Code::ArtifactMissing).await;
    assert!(text.contains("a.tar.gz"), "{text}");
}
