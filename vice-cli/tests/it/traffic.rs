//! Load on a service: connections that ask one after the other, and count what they get. It knows nothing of vice.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// The longest that a test waits for anything.
const PATIENCE: Duration = Duration::from_secs(60);

/// Requests to one path, until it is dropped.
pub(crate) struct Traffic {
    counts: Arc<Counts>,
    threads: Vec<JoinHandle<()>>,
}

#[derive(Default)]
struct Counts {
    over: AtomicBool,
    good: AtomicU64,
    bad: AtomicU64,
    broken: AtomicU64,
}

impl Traffic {
    /// Starts so many connections to `url`, each of which asks for `path` again and again.
    pub(crate) fn start(url: &str, path: &'static str, connections: usize) -> Self {
        let counts = Arc::new(Counts::default());
        let address = url.strip_prefix("http://").expect("an http URL").to_owned();
        let one = |_| {
            let (counts, address) = (Arc::clone(&counts), address.clone());
            std::thread::spawn(move || {
                while !counts.over.load(Ordering::Relaxed) {
                    if connection(&address, path, &counts).is_none() && !counts.over.load(Ordering::Relaxed) {
                        counts.broken.fetch_add(1, Ordering::Relaxed);
                    }
                }
            })
        };
        let threads = (0..connections).map(one).collect();
        Self { counts, threads }
    }

    /// Waits until so many requests were answered.
    pub(crate) fn wait_for(&self, requests: u64) {
        wait_until("requests are answered", || self.answered() >= requests);
    }

    /// Requests that were answered.
    pub(crate) fn answered(&self) -> u64 {
        self.counts.good.load(Ordering::Relaxed) + self.bad()
    }

    /// Requests that were answered with a failure.
    pub(crate) fn bad(&self) -> u64 {
        self.counts.bad.load(Ordering::Relaxed)
    }

    /// Connections that ended in the middle of a request.
    pub(crate) fn broken(&self) -> u64 {
        self.counts.broken.load(Ordering::Relaxed)
    }
}

impl Drop for Traffic {
    fn drop(&mut self) {
        self.counts.over.store(true, Ordering::Relaxed);
        for thread in self.threads.drain(..) {
            drop(thread.join());
        }
    }
}

/// Waits for a condition, for a bounded time.
#[track_caller]
pub(crate) fn wait_until(what: &str, mut condition: impl FnMut() -> bool) {
    let began = Instant::now();
    while !condition() {
        assert!(began.elapsed() < PATIENCE, "{what}: not within {PATIENCE:?}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// One connection until it ends; none when it ended in the middle of a request.
fn connection(address: &str, path: &str, counts: &Counts) -> Option<()> {
    let mut stream = TcpStream::connect(address).ok()?;
    stream.set_read_timeout(Some(Duration::from_secs(10))).ok()?;
    let mut input = BufReader::new(stream.try_clone().ok()?);
    while !counts.over.load(Ordering::Relaxed) {
        write!(stream, "GET {path} HTTP/1.1\r\nHost: {address}\r\n\r\n").ok()?;
        let count = if answer(&mut input)? < 500 { &counts.good } else { &counts.bad };
        count.fetch_add(1, Ordering::Relaxed);
    }
    Some(())
}

/// Reads one answer; gives its status.
fn answer(input: &mut impl BufRead) -> Option<u16> {
    let mut line = String::new();
    input.read_line(&mut line).ok()?;
    let status = line.split(' ').nth(1)?.parse().ok()?;
    let mut length = 0;
    loop {
        let mut line = String::new();
        if input.read_line(&mut line).ok()? == 0 {
            return None;
        }
        let header = line.trim().to_ascii_lowercase();
        if header.is_empty() {
            break;
        }
        length = header.strip_prefix("content-length:").map_or(Some(length), |text| text.trim().parse().ok())?;
    }
    input.take(length).read_to_end(&mut Vec::new()).ok()?;
    Some(status)
}
