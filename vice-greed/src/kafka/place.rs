//! How a topic is written: `kafka://HOST[:PORT][,HOST[:PORT]…]/TOPIC`.

use vice_core::{Code, Fault, Result};

use crate::endpoint;

const FORMS: &str =
    "Write kafka://HOST:PORT/TOPIC, with several hosts after commas; behind it ?tls=off or ?tls=require.";

/// The port of a broker that names none.
const PORT: u16 = 9092;

/// The most brokers that are named; one that answers tells of all others.
const BROKERS_MAX: usize = 32;

/// A topic of a cluster.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct KafkaPlace {
    /// Host and port of those that are asked first.
    pub(super) brokers: Vec<String>,
    pub(super) topic: String,
    /// Whether connections must be encrypted.
    pub(super) tls: bool,
}

impl std::fmt::Display for KafkaPlace {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "kafka://{}/{}", self.brokers.join(","), self.topic)
    }
}

impl KafkaPlace {
    /// Reads a URL.
    ///
    /// # Errors
    /// `Usage`, without repeating what may be a secret.
    pub(crate) fn parse(text: &str) -> Result<Self> {
        let rest = text.strip_prefix("kafka://").ok_or_else(|| usage("This names no topic of Kafka."))?;
        let (rest, query) = rest.split_once('?').unwrap_or((rest, ""));
        let (hosts, topic) = rest.split_once('/').ok_or_else(|| usage("The URL names no topic."))?;
        if hosts.contains('@') {
            return Err(usage("The URL of a topic must not hold credentials.")
                .hint("Set KAFKA_USER, KAFKA_PASSWORD and KAFKA_SASL (plain, scram-sha-256 or scram-sha-512)."));
        }
        let wrong = || usage("The URL names a broker that is none.");
        let brokers = hosts.split(',').map(|host| endpoint::server(host, PORT).ok_or_else(wrong));
        let brokers = brokers.collect::<Result<Vec<_>>>()?;
        if brokers.len() > BROKERS_MAX {
            return Err(usage(format!("At most {BROKERS_MAX} brokers are named.")));
        }
        let topic = topic_of(topic)?;
        let tls = endpoint::tls(query, !brokers.iter().all(|server| endpoint::is_local(server)))
            .map_err(|shown| usage(format!("The parameter {shown:?} of a topic means nothing.")))?;
        Ok(Self { brokers, topic, tls })
    }

    /// The topic.
    pub(crate) fn topic(&self) -> &str {
        &self.topic
    }
}

fn topic_of(topic: &str) -> Result<String> {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"._-".contains(&byte);
    if topic.is_empty() || topic.len() > 249 || topic == "." || topic == ".." || !topic.bytes().all(plain) {
        return Err(usage("The name of a topic has up to 249 letters, digits, dots, - and _."));
    }
    Ok(topic.to_owned())
}

fn usage(message: impl Into<String>) -> Fault {
    Fault::new(Code::Usage, message).hint(FORMS)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_read() {
        let place = KafkaPlace::parse("kafka://localhost/shop.events").unwrap();
        assert_eq!((place.to_string().as_str(), place.tls), ("kafka://localhost:9092/shop.events", false));
        let place = KafkaPlace::parse("kafka://a.example:9093,b.example/t").unwrap();
        assert_eq!((place.brokers.len(), place.tls), (2, true));
        assert!(!KafkaPlace::parse("kafka://a.example/t?tls=off").unwrap().tls);
        assert!(KafkaPlace::parse("kafka://[::1]:9094/t?tls=require").unwrap().tls);
    }

    #[test]
    fn what_makes_no_sense_is_refused_and_not_repeated() {
        let long = format!("kafka://h/{}", "x".repeat(250));
        for text in [
            "kafka://user:canary@h/t",
            "kafka://h",
            "kafka:///t",
            "kafka://h/",
            "kafka://h/a b",
            "kafka://h/..",
            "kafka://h:x/t",
            "kafka://h:0/t",
            "kafka://h/t?acks=canary",
            "kafka:h/t",
            &long,
        ] {
            let fault = KafkaPlace::parse(text).unwrap_err();
            assert_eq!(fault.code(), Code::Usage, "{text}");
            assert!(!format!("{fault:?}").contains("canary") && !fault.hints().is_empty(), "{fault:?}");
        }
    }
}
