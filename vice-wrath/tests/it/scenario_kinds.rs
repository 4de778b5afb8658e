//! Steps that are no HTTP: TCP, TLS, DNS, commands; and HTTP/2.

use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, UdpSocket};
use vice_core::Class;
use vice_core::ui::Format;

use crate::stage::{Stage, messages, play_one, steps};
use crate::tls::Authority;

#[tokio::test]
async fn tcp_reads_a_greeting_and_an_answer() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            drop(stream.write_all(b"220 ready\r\n").await);
            let mut buffer = [0_u8; 64];
            while let Ok(count) = stream.read(&mut buffer).await
                && count > 0
            {
                drop(stream.write_all(&[b"250 ", &buffer[..count]].concat()).await);
            }
        }
    });
    let scenario = format!(
        "[[step]]\nname = \"greets\"\ntcp = \"{address}\"\nexpect.body = {{ starts_with = \"220 \" }}\ncapture = {{ code = \"regex:^(\\\\d+)\" }}\n\
         [[step]]\nname = \"talks\"\ntcp = \"{address}\"\nsend = \"EHLO {{{{code}}}}\\r\\n\"\nexpect.body = {{ contains = \"250 EHLO 220\" }}\n\
         [[step]]\nname = \"closed\"\ntcp = \"127.0.0.1:1\"\n"
    );
    let outcome = play_one("http://127.0.0.1:9", &scenario).await;
    let all: Vec<String> = steps(&outcome).into_iter().map(|(name, outcome)| format!("{name} {outcome}")).collect();
    assert_eq!(all, ["greets passed", "talks passed", "closed errored"]);
    assert_eq!(messages(&outcome), ["can't connect: connection refused"]);
}

#[tokio::test]
async fn tls_shows_chain_expiry_and_versions() {
    let authority = Authority::new();
    let address = authority.server("localhost", 24 * 40).await;
    let stage = Stage::new("http://127.0.0.1:9", Format::Json);
    stage.write("wrath/ca.pem", &authority.pem());
    let port = address.port();
    stage.write(
        "wrath/a.toml",
        &format!(
            "keep_going = true\n[[step]]\nname = \"good\"\ntls = \"localhost:{port}\"\nca = \"ca.pem\"\n\
             expect.certificate = {{ days_left = 30, names = {{ contains = \"localhost\" }}, chain = 1 }}\n\
             expect.tls = {{ version = \"1.3\", accepts = [\"1.2\", \"1.3\"] }}\n\
             [[step]]\nname = \"soon\"\ntls = \"localhost:{port}\"\nca = \"ca.pem\"\nexpect.certificate = {{ days_left = 60 }}\n\
             [[step]]\nname = \"unknown issuer\"\ntls = \"localhost:{port}\"\n\
             [[step]]\nname = \"wrong name\"\ntls = \"localhost:{port}\"\nserver_name = \"shop.test\"\nca = \"ca.pem\"\n\
             [[step]]\nname = \"only looking\"\ntls = \"localhost:{port}\"\nverify = false\nexpect.certificate = {{ days_left = 1 }}\n\
             [[step]]\nname = \"https\"\nhttp = \"https://localhost:{port}/\"\nca = \"ca.pem\"\nexpect.certificate = {{ days_left = {{ above = 30, below = 41 }} }}\n\
             [[step]]\nname = \"https unknown\"\nhttp = \"https://localhost:{port}/\"\n"
        ),
    );
    let outcome = stage.play().await;
    let all: Vec<String> = steps(&outcome).into_iter().map(|(name, outcome)| format!("{name}: {outcome}")).collect();
    assert_eq!(
        all,
        [
            "good: passed",
            "soon: failed",
            "unknown issuer: errored",
            "wrong name: errored",
            "only looking: passed",
            "https: passed",
            "https unknown: errored"
        ],
        "{:?}",
        messages(&outcome)
    );
    let said = messages(&outcome).join("\n");
    for part in
        ["certificate days_left: expected at least 60, got ", "UnknownIssuer", "not valid for name \"shop.test\""]
    {
        assert!(said.contains(part), "{part}: {said}");
    }
}

/// A name server that knows one name; `cut` makes it answer by TCP only.
async fn name_server(cut: bool) -> std::net::SocketAddr {
    let tcp = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = tcp.local_addr().unwrap();
    let udp = UdpSocket::bind(address).await.unwrap();
    let answer = |question: &[u8], cut: bool| {
        let known = question.windows(5).any(|five| five == b"\x04shop");
        // Behind the question stand four bytes of kind and class, and eleven of EDNS.
        let kind = question[question.len() - 15..][..2].to_vec();
        let mut out = question[..2].to_vec();
        out.extend([
            if cut { 0x83 } else { 0x81 },
            if known { 0x80 } else { 0x83 },
            0,
            1,
            0,
            u8::from(known && !cut),
            0,
            0,
            0,
            0,
        ]);
        out.extend(&question[12..question.len() - 11]);
        if known && !cut {
            out.extend([0xc0, 12, kind[0], kind[1], 0, 1, 0, 0, 0, 60]);
            out.extend(if kind == [0, 16] { b"\x00\x06\x05v=one".to_vec() } else { vec![0, 4, 127, 0, 0, 7] });
        }
        out
    };
    tokio::spawn(async move {
        let mut buffer = [0_u8; 512];
        while let Ok((count, from)) = udp.recv_from(&mut buffer).await {
            drop(udp.send_to(&answer(&buffer[..count], cut), from).await);
        }
    });
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = tcp.accept().await {
            let mut buffer = [0_u8; 512];
            let count = stream.read(&mut buffer).await.unwrap();
            let whole = answer(&buffer[2..count], false);
            let length = u16::try_from(whole.len()).unwrap().to_be_bytes();
            drop(stream.write_all(&[&length[..], &whole].concat()).await);
        }
    });
    address
}

#[tokio::test]
async fn dns_asks_a_server() {
    for cut in [false, true] {
        let server = name_server(cut).await;
        let scenario = format!(
            "keep_going = true\n[[step]]\nname = \"a\"\ndns = \"shop.test\"\nserver = \"{server}\"\nexpect.records = [\"127.0.0.7\"]\ncapture = {{ ip = \"records\" }}\n\
             [[step]]\nname = \"txt\"\ndns = \"TXT shop.test\"\nserver = \"{server}\"\nexpect.records = {{ contains = \"v=one\" }}\nexpect.vars = {{ ip = \"127.0.0.7\" }}\n\
             [[step]]\nname = \"none\"\ndns = \"gone.test\"\nserver = \"{server}\"\n\
             [[step]]\nname = \"none is fine\"\ndns = \"gone.test\"\nserver = \"{server}\"\nexpect.records = {{ empty = true }}\n\
             [[step]]\nname = \"nobody\"\ndns = \"shop.test\"\nserver = \"127.0.0.1:1\"\ntimeout = \"5s\"\n"
        );
        let outcome = play_one("http://127.0.0.1:9", &scenario).await;
        let all: Vec<String> =
            steps(&outcome).into_iter().map(|(name, outcome)| format!("{name}: {outcome}")).collect();
        let expected = ["a: passed", "txt: passed", "none: errored", "none is fine: passed", "nobody: errored"];
        assert_eq!(all, expected, "{:?}", messages(&outcome));
        assert_eq!(messages(&outcome)[0], "there is no name gone.test");
    }
}

#[tokio::test]
async fn commands_find_captures_in_their_environment() {
    let stage = Stage::new("http://127.0.0.1:9", Format::Json);
    stage.write(
        "wrath/a.toml",
        "[[step]]\nname = \"one\"\ncommand = [\"make\", \"{{env}}\"]\nstdin = \"in {{project}}\"\nexpect.output = \"\"\ncapture = { out = \"output\" }\n\
         [[step]]\nname = \"two\"\ncommand = [\"use\"]\nexpect.exit = 1\n",
    );
    let outcome = stage.play().await;
    assert_eq!(messages(&outcome), ["exit: expected 1, got 0"]);
    assert_eq!(outcome.class, Class::Verification);
}

#[tokio::test]
async fn http_2_is_spoken_where_it_is_asked_for() {
    // The preface of a client with prior knowledge; nothing else of the protocol is needed to see which one it speaks.
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let seen = tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        let mut preface = [0_u8; 24];
        stream.read_exact(&mut preface).await.unwrap();
        preface
    });
    let outcome =
        play_one(&format!("http://{address}"), "[[step]]\nhttp = \"/\"\nprotocol = \"2\"\ntimeout = \"20s\"\n").await;
    assert_eq!(&seen.await.unwrap(), b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n");
    assert_eq!(outcome.json["scenarios"][0]["steps"][0]["outcome"], json!("errored"));
}
