//! Which versions of TLS a server takes, old ones among them. A handshake needs a library that speaks a version; to see
//! whether a server would, its first answer to a hand-made greeting is enough.

use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

/// A version with its number on the wire.
pub(super) type Version = (&'static str, [u8; 2]);

/// The versions that are asked for.
pub(super) const VERSIONS: [Version; 4] = [("1.0", [3, 1]), ("1.1", [3, 2]), ("1.2", [3, 3]), ("1.3", [3, 4])];

/// How long one server may take to answer a greeting.
const PATIENCE: Duration = Duration::from_secs(3);

/// Whether the server goes on with a handshake of exactly this version.
pub(super) async fn accepted(host: &str, port: u16, name: &str, version: Version) -> bool {
    timeout(PATIENCE, ask(host, port, name, version)).await.is_ok_and(|answer| answer == Some(true))
}

async fn ask(host: &str, port: u16, name: &str, version: Version) -> Option<bool> {
    let mut stream = TcpStream::connect((host, port)).await.ok()?;
    stream.write_all(&greeting(name, version.1)).await.ok()?;
    // A record's head (5), a handshake's head (4), and the version (2).
    let mut head = [0_u8; 11];
    stream.read_exact(&mut head).await.ok()?;
    let is_hello = head[0] == 22 && head[5] == 2;
    // 1.3 calls itself 1.2 there; that it is one shows in an extension, which only a server that takes it sends.
    let said = [head[9], head[10]];
    if version.0 != "1.3" {
        return Some(is_hello && said == version.1);
    }
    let length = usize::from(u16::from_be_bytes([head[3], head[4]])).min(4096);
    let mut rest = vec![0_u8; length.saturating_sub(6)];
    stream.read_exact(&mut rest).await.ok()?;
    Some(is_hello && rest.windows(6).any(|six| six == [0, 43, 0, 2, 3, 4]))
}

/// A greeting that offers one version.
fn greeting(name: &str, version: [u8; 2]) -> Vec<u8> {
    let modern = version == [3, 4];
    let mut body = Vec::new();
    body.extend(if modern { [3, 3] } else { version });
    body.extend([0x5a; 32]);
    body.push(0);
    let suites: &[u16] = if modern {
        &[0x1301, 0x1302, 0x1303]
    } else {
        &[0xc02b, 0xc02f, 0xc02c, 0xc030, 0xcca9, 0xcca8, 0xc009, 0xc013, 0xc00a, 0xc014, 0x002f, 0x0035, 0x009c]
    };
    list(&mut body, &suites.iter().flat_map(|suite| suite.to_be_bytes()).collect::<Vec<_>>());
    body.extend([1, 0]);
    list(&mut body, &extensions(name, modern));
    let mut message = vec![1, 0];
    list(&mut message, &body);
    let mut record = vec![22, 3, 1];
    list(&mut record, &message);
    record
}

fn extensions(name: &str, modern: bool) -> Vec<u8> {
    let mut out = Vec::new();
    let mut add = |kind: u16, content: &[u8]| {
        out.extend(kind.to_be_bytes());
        list(&mut out, content);
    };
    if name.parse::<std::net::IpAddr>().is_err() {
        let mut entry = vec![0];
        list(&mut entry, name.as_bytes());
        let mut names = Vec::new();
        list(&mut names, &entry);
        add(0, &names);
    }
    // Groups: x25519 and two of NIST. Points: uncompressed. Signatures: what servers of all ages have.
    add(10, &[0, 6, 0, 29, 0, 23, 0, 24]);
    add(11, &[1, 0]);
    add(13, &[0, 16, 4, 3, 5, 3, 6, 3, 8, 4, 8, 5, 8, 6, 4, 1, 2, 1]);
    if modern {
        add(43, &[2, 3, 4]);
        // A share of x25519 that nobody has to agree on: the base point is a valid one.
        let mut share = vec![0, 36, 0, 29, 0, 32, 9];
        share.extend([0; 31]);
        add(51, &share);
    }
    out
}

/// Content behind its length in two bytes.
fn list(out: &mut Vec<u8>, content: &[u8]) {
    out.extend(u16::try_from(content.len()).unwrap_or(u16::MAX).to_be_bytes());
    out.extend(content);
}
