//! Who asks at the front end, so that many failures of one client are one event: a client that retries, or whose data
//! is broken, says once that something is wrong, however often it asks.
//!
//! Owns fixed tables of moments, without keys: a client's place follows from a hash, and two clients may share one.
//! Of k clients that fail within one window about k/32,768 of them go unnoticed for that (1.5 % of 500). That can only
//! make a failure count for less, never for more.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};

use tokio::time::Instant;
use vice_core::Millis;

/// Places in each table, of four bytes. There is one table for all that ask, and one a version for those that fail.
const PLACES: usize = 16_384;

/// With fewer clients than this in a window, each request counts: it is a proxy or a load tool that asks, and behind it
/// are clients that can't be told apart.
const CLIENTS_MIN: u64 = 20;

/// The same where each client asks more often than this in a window, on average.
const REQUESTS_MAX: u64 = 50;

/// How often in a window it is looked whether clients can be told apart.
const LOOKS: u32 = 4;

/// The shortest window, in milliseconds.
const WINDOW_MIN: u32 = 100;

/// A client, as far as it can be told from others.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct ClientId(u64);

impl ClientId {
    pub(super) fn of(bytes: &[u8]) -> Self {
        let mut hasher = DefaultHasher::new();
        bytes.hash(&mut hasher);
        Self(hasher.finish())
    }

    fn place(self) -> usize {
        usize::try_from(self.0 % PLACES as u64).unwrap_or(0)
    }
}

/// Moments by client: when each did something last, in milliseconds since the front end began, from 1; 0 is never.
/// After 49 days moments begin again, and one window may then be taken for another.
struct Moments(Box<[AtomicU32]>);

impl Moments {
    fn new() -> Self {
        Self((0..PLACES).map(|_| AtomicU32::new(0)).collect())
    }

    fn of(&self, client: ClientId) -> Option<&AtomicU32> {
        self.0.get(client.place())
    }

    fn since(&self, window: u32, now: u32) -> u64 {
        self.0.iter().filter(|moment| is_within(moment.load(Ordering::Relaxed), window, now)).count() as u64
    }
}

fn is_within(moment: u32, window: u32, now: u32) -> bool {
    moment != 0 && now.wrapping_sub(moment) < window
}

/// Everybody who asks at one front end.
pub(super) struct Audience {
    began: Instant,
    /// The length of a window in milliseconds.
    window: AtomicU32,
    seen: Moments,
    requests: AtomicU64,
    /// Whether clients could be told apart when that was looked at last, when that was, and after how many requests.
    apart: AtomicBool,
    looked_at: AtomicU32,
    looked_after: AtomicU64,
}

impl Audience {
    pub(super) fn new(window: Millis) -> Self {
        let audience = Self {
            began: Instant::now(),
            window: AtomicU32::new(0),
            seen: Moments::new(),
            requests: AtomicU64::new(0),
            apart: AtomicBool::new(false),
            looked_at: AtomicU32::new(0),
            looked_after: AtomicU64::new(0),
        };
        audience.set_window(window);
        audience
    }

    pub(super) fn set_window(&self, window: Millis) {
        let window = u32::try_from(window.0).unwrap_or(u32::MAX / 2).clamp(WINDOW_MIN, u32::MAX / 2);
        self.window.store(window, Ordering::Relaxed);
    }

    fn now(&self) -> u32 {
        // Wraps after 49 days, which `Moments` speaks of.
        u32::try_from(self.began.elapsed().as_millis() % u128::from(u32::MAX)).unwrap_or(0).max(1)
    }

    /// A client asks.
    pub(super) fn asks(&self, client: ClientId) {
        self.asks_at(client, self.now());
    }

    fn asks_at(&self, client: ClientId, now: u32) {
        self.requests.fetch_add(1, Ordering::Relaxed);
        if let Some(moment) = self.seen.of(client) {
            moment.store(now, Ordering::Relaxed);
        }
    }

    /// Whether enough clients ask, and each seldom enough, that one is a person or a machine and not a proxy.
    fn tells_apart(&self, window: u32, now: u32) -> bool {
        let looked_at = self.looked_at.load(Ordering::Relaxed);
        if looked_at == 0 || now.wrapping_sub(looked_at) >= window / LOOKS {
            let clients = self.seen.since(window, now);
            let requests = self.requests.load(Ordering::Relaxed);
            let passed = u64::from(if looked_at == 0 { now } else { now.wrapping_sub(looked_at) }).max(1);
            let new = requests.saturating_sub(self.looked_after.swap(requests, Ordering::Relaxed));
            let in_a_window = new.saturating_mul(u64::from(window)) / passed.max(u64::from(window / LOOKS));
            let apart = clients >= CLIENTS_MIN && in_a_window <= clients.saturating_mul(REQUESTS_MAX);
            self.apart.store(apart, Ordering::Relaxed);
            self.looked_at.store(now, Ordering::Relaxed);
        }
        self.apart.load(Ordering::Relaxed)
    }
}

/// The clients of one version that had something go wrong.
pub(super) struct Failing(Moments);

impl Failing {
    pub(super) fn new() -> Self {
        Self(Moments::new())
    }

    /// Whether a failure of this client counts: not when one has within a window, where clients can be told apart.
    pub(super) fn counts(&self, audience: &Audience, client: ClientId) -> bool {
        self.counts_at(audience, client, audience.now())
    }

    fn counts_at(&self, audience: &Audience, client: ClientId, now: u32) -> bool {
        let window = audience.window.load(Ordering::Relaxed);
        let Some(moment) = self.0.of(client) else { return true };
        let before = moment.load(Ordering::Relaxed);
        let again = is_within(before, window, now);
        if !again {
            // Of two at the same moment one is the first.
            let first = moment.compare_exchange(before, now, Ordering::Relaxed, Ordering::Relaxed).is_ok();
            return first || !audience.tells_apart(window, now);
        }
        !audience.tells_apart(window, now)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn client(number: u64) -> ClientId {
        ClientId::of(&number.to_le_bytes())
    }

    /// So many clients ask once each, in the first second, which is a window.
    fn audience(clients: u64) -> Audience {
        let audience = Audience::new(Millis(1_000));
        ask(&audience, clients, clients, 500);
        audience
    }

    fn ask(audience: &Audience, clients: u64, requests: u64, now: u32) {
        (0..requests).for_each(|number| audience.asks_at(client(number % clients), now));
    }

    /// How many of twenty failures of a client count.
    fn counted(failing: &Failing, audience: &Audience, number: u64, now: u32) -> usize {
        (0..20).filter(|_| failing.counts_at(audience, client(number), now)).count()
    }

    #[test]
    fn a_client_counts_once_a_window() {
        let (audience, failing) = (audience(50), Failing::new());
        let counted = |number, now| counted(&failing, &audience, number, now);
        assert_eq!((counted(1, 600), counted(2, 600), counted(1, 1_400)), (1, 1, 0));
        ask(&audience, 50, 50, 1_700);
        assert_eq!((counted(1, 1_700), counted(1, 1_800)), (1, 0), "and once more in the next");
    }

    #[test]
    fn each_request_counts_where_clients_can_not_be_told_apart() {
        assert_eq!(counted(&Failing::new(), &audience(19), 1, 900), 20, "too few");
        let busy = audience(30);
        ask(&busy, 30, 30 * 60, 900);
        assert_eq!(counted(&Failing::new(), &busy, 1, 900), 20, "proxies, by how often they ask");
        // Old clients are forgotten, and with them that they could be told apart.
        let quiet = audience(50);
        ask(&quiet, 1, 100, 3_000);
        assert_eq!(counted(&Failing::new(), &quiet, 1, 3_000), 20);
    }

    #[test]
    fn sharing_a_place_costs_what_is_said() {
        let (audience, failing) = (audience(500), Failing::new());
        let counted = (0..500).filter(|number| failing.counts_at(&audience, client(*number), 900)).count();
        assert!((480..=500).contains(&counted), "{counted} of 500");
    }
}
