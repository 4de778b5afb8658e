//! Load with keep-alive connections that counts everything: `load ADDRESS WORKERS`, until standard input ends.
//!
//! Each worker has one connection and asks in turn: GET /version, and POST /echo with 1500 bytes that must come back.
//! A request fails when its answer is not 200, is not what was sent, or does not come. A connection that breaks is
//! counted (resets) together with the request that was on it, and is opened again. A connection that the server closes
//! by `Connection: close` after a whole answer is no reset; those are counted apart (closed).

use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// Longer than any drain; an answer that takes so long is counted as failed.
const ANSWER_WITHIN: Duration = Duration::from_secs(20);

#[derive(Default)]
struct Counts {
    stop: AtomicBool,
    requests: AtomicU64,
    posts: AtomicU64,
    failed: AtomicU64,
    resets: AtomicU64,
    closed: AtomicU64,
    slowest_us: AtomicU64,
}

struct Connection {
    stream: BufReader<TcpStream>,
}

struct Answer {
    status: u16,
    body: Vec<u8>,
    closes: bool,
}

fn wrong(what: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what)
}

impl Connection {
    fn open(address: &str) -> io::Result<Self> {
        let stream = TcpStream::connect(address)?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(ANSWER_WITHIN))?;
        Ok(Self { stream: BufReader::new(stream) })
    }

    fn ask(&mut self, host: &str, body: Option<&[u8]>) -> io::Result<Answer> {
        let mut request = match body {
            Some(body) => format!("POST /echo HTTP/1.1\r\nHost: {host}\r\nContent-Length: {}\r\n\r\n", body.len()),
            None => format!("GET /version HTTP/1.1\r\nHost: {host}\r\n\r\n"),
        }
        .into_bytes();
        request.extend_from_slice(body.unwrap_or_default());
        self.stream.get_mut().write_all(&request)?;
        self.answer()
    }

    fn answer(&mut self) -> io::Result<Answer> {
        let mut line = String::new();
        if self.stream.read_line(&mut line)? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        let status = line.split(' ').nth(1).and_then(|code| code.parse().ok()).ok_or_else(|| wrong("no status"))?;
        let (mut length, mut closes) = (None, false);
        loop {
            line.clear();
            if self.stream.read_line(&mut line)? == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            let Some((name, value)) = line.trim_end().split_once(':') else { break };
            match name.to_ascii_lowercase().as_str() {
                "content-length" => length = value.trim().parse().ok(),
                "connection" => closes = value.trim().eq_ignore_ascii_case("close"),
                _ => {}
            }
        }
        let mut body = vec![0; length.ok_or_else(|| wrong("no content-length"))?];
        self.stream.read_exact(&mut body)?;
        Ok(Answer { status, body, closes })
    }
}

fn work(address: &str, number: u8, counts: &Counts) {
    let body = vec![b'a' + number % 26; 1500];
    let mut connection: Option<Connection> = None;
    for turn in 0_u64.. {
        if counts.stop.load(Ordering::Relaxed) {
            return;
        }
        let sent = (turn % 2 == 1).then_some(body.as_slice());
        let began = Instant::now();
        let asked = match connection.take().map_or_else(|| Connection::open(address), Ok) {
            Ok(mut open) => open.ask(address, sent).map(|answer| (open, answer)),
            Err(error) => Err(error),
        };
        counts.requests.fetch_add(1, Ordering::Relaxed);
        counts.posts.fetch_add(u64::from(sent.is_some()), Ordering::Relaxed);
        let took = u64::try_from(began.elapsed().as_micros()).unwrap_or(u64::MAX);
        counts.slowest_us.fetch_max(took, Ordering::Relaxed);
        match asked {
            Ok((open, answer)) => {
                let good = answer.status == 200 && sent.is_none_or(|sent| sent == answer.body);
                counts.failed.fetch_add(u64::from(!good), Ordering::Relaxed);
                counts.closed.fetch_add(u64::from(answer.closes), Ordering::Relaxed);
                connection = (!answer.closes).then_some(open);
            }
            Err(error) => {
                eprintln!("worker {number}: {error}");
                counts.failed.fetch_add(1, Ordering::Relaxed);
                counts.resets.fetch_add(1, Ordering::Relaxed);
            }
        }
    }
}

fn main() {
    let mut args = std::env::args().skip(1);
    let address: Arc<str> = args.next().expect("usage: load ADDRESS WORKERS").into();
    let workers: u8 = args.next().and_then(|number| number.parse().ok()).expect("usage: load ADDRESS WORKERS");
    let counts = Arc::new(Counts::default());
    let threads: Vec<_> = (0..workers)
        .map(|number| {
            let (address, counts) = (Arc::clone(&address), Arc::clone(&counts));
            std::thread::spawn(move || work(&address, number, &counts))
        })
        .collect();
    // Each line that comes in is answered with the number of requests so far.
    for line in io::stdin().lines() {
        if line.is_err() {
            break;
        }
        println!("{}", counts.requests.load(Ordering::Relaxed));
    }
    counts.stop.store(true, Ordering::Relaxed);
    for thread in threads {
        thread.join().expect("a worker does not panic");
    }
    let get = |count: &AtomicU64| count.load(Ordering::Relaxed);
    println!(
        "{} requests ({} POST), {} failed, {} resets, {} connections closed by the server, slowest answer {:.1} ms",
        get(&counts.requests),
        get(&counts.posts),
        get(&counts.failed),
        get(&counts.resets),
        get(&counts.closed),
        get(&counts.slowest_us) as f64 / 1000.0
    );
    if get(&counts.failed) > 0 {
        std::process::exit(1);
    }
}
