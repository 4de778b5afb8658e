//! How a history on NATS is written: `nats://HOST[:PORT]/STREAM`, with what the server can't be asked behind it.

use url::Url;
use vice_core::{Code, Fault, Result};

const FORMS: &str =
    "Write nats://HOST:PORT/STREAM; behind it ?replicas=3, ?sync=always, ?monitor=http://HOST:8222 or ?tls=off.";

/// The most replicas that JetStream keeps.
const REPLICAS_MAX: usize = 5;

/// A stream of a JetStream server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NatsPlace {
    url: Url,
    /// The name of the stream.
    pub(super) stream: String,
    /// How many servers keep it.
    pub(super) replicas: usize,
    /// Whether the server is said to sync before it acknowledges.
    pub(super) sync_always: bool,
    /// Where the server can be asked about that.
    pub(super) monitor: Option<Url>,
    /// Whether the connection must be encrypted.
    pub(super) tls: bool,
}

impl std::fmt::Display for NatsPlace {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.url.fmt(f)
    }
}

impl NatsPlace {
    /// Reads a URL.
    ///
    /// # Errors
    /// `Usage`, without repeating what may be a secret.
    pub(crate) fn parse(text: &str) -> Result<Self> {
        let url = Url::parse(text).map_err(|error| usage("The URL of the history on NATS is none.").because(error))?;
        if !url.username().is_empty() || url.password().is_some() {
            return Err(usage("The URL of a history must not hold credentials.").hint(
                "Set NATS_CREDS (a file), NATS_NKEY, NATS_TOKEN, or NATS_USER and NATS_PASSWORD in the environment.",
            ));
        }
        let host = url.host_str().filter(|host| !host.is_empty()).ok_or_else(|| usage("The URL names no server."))?;
        let stream = url.path().trim_start_matches('/').to_owned();
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_';
        if stream.is_empty() || stream.len() > 60 || !stream.bytes().all(plain) {
            return Err(usage("The stream of the history has up to 60 letters, digits, - and _."));
        }
        let tls = !crate::endpoint::is_local(host);
        let mut place = Self { stream, replicas: 1, sync_always: false, monitor: None, tls, url: url.clone() };
        for (key, value) in url.query_pairs() {
            place.set(&key, &value)?;
        }
        Ok(place)
    }

    fn set(&mut self, key: &str, value: &str) -> Result<()> {
        match (key, value) {
            ("replicas", number) => {
                let number = number.parse().ok().filter(|number| (1..=REPLICAS_MAX).contains(number));
                self.replicas = number.ok_or_else(|| usage("A stream has 1 to 5 replicas."))?;
            }
            ("sync", "always") => self.sync_always = true,
            ("tls", "off") => self.tls = false,
            ("tls", "require") => self.tls = true,
            ("monitor", url) => {
                let url =
                    Url::parse(url).map_err(|error| usage("The monitor of the server is no URL.").because(error))?;
                self.monitor = Some(url);
            }
            _ => {
                let shown: String = key.chars().take(40).collect();
                return Err(usage(format!("The parameter {shown:?} of the history on NATS means nothing.")));
            }
        }
        Ok(())
    }

    /// What the client connects to.
    pub(super) fn server(&self) -> String {
        let (host, port) = (self.url.host_str().unwrap_or_default(), self.url.port().unwrap_or(4222));
        format!("nats://{host}:{port}")
    }

    /// The place for people.
    pub(super) fn shown(&self) -> String {
        format!("{}/{}", self.server(), self.stream)
    }

    /// Whether what is acknowledged is said to survive a power cut: one server that syncs, or several that would have to
    /// lose power at once.
    pub(super) const fn is_durable(&self) -> bool {
        self.sync_always || self.replicas >= 3
    }
}

fn usage(message: impl Into<String>) -> Fault {
    Fault::new(Code::Usage, message).hint(FORMS)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_read() {
        let place = NatsPlace::parse("nats://127.0.0.1/shop").unwrap();
        assert_eq!((place.server().as_str(), place.tls, place.is_durable()), ("nats://127.0.0.1:4222", false, false));
        let place = NatsPlace::parse("nats://nats.example:4333/shop?replicas=3").unwrap();
        assert_eq!((place.shown().as_str(), place.tls), ("nats://nats.example:4333/shop", true));
        assert!(place.is_durable());
        let place = NatsPlace::parse("nats://h/shop?sync=always&tls=off&monitor=http://h:8222").unwrap();
        assert!(place.sync_always && !place.tls && place.monitor.is_some());
    }

    #[test]
    fn what_makes_no_sense_is_refused_and_not_repeated() {
        for text in [
            "nats://user:canary@h/x",
            "nats://canary@h/x",
            "nats:///x",
            "nats://h",
            "nats://h/a.b",
            "nats://h/a/b",
            "nats://h/x?replicas=9",
            "nats://h/x?sync=sometimes",
            "nats://h/x?monitor=:",
        ] {
            let fault = NatsPlace::parse(text).unwrap_err();
            assert_eq!(fault.code(), Code::Usage, "{text}");
            assert!(!format!("{fault:?}").contains("canary") && !fault.hints().is_empty(), "{fault:?}");
        }
    }
}
