//! What `--to` and `--from` name.

use vice_core::app::App;
use vice_core::{Code, Digest, Fault, Result};

use super::otlp::{self, Collector, Traces};
use super::{Inlet, Outlet};

const FORMS: &str =
    "Write kafka://HOST:PORT/TOPIC, nats://HOST:PORT/SUBJECT, or otlp://HOST:PORT of a collector of OpenTelemetry.";

/// A topic or a subject.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Place {
    #[cfg(feature = "kafka")]
    Kafka(crate::kafka::KafkaPlace),
    #[cfg(feature = "nats")]
    Nats(crate::nats::Subject),
    /// A collector of OpenTelemetry, which takes spans.
    Otlp(Collector),
}

impl std::fmt::Display for Place {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            #[cfg(feature = "kafka")]
            Self::Kafka(place) => place.fmt(f),
            #[cfg(feature = "nats")]
            Self::Nats(place) => place.fmt(f),
            Self::Otlp(place) => place.fmt(f),
        }
    }
}

impl Place {
    /// Reads a URL.
    ///
    /// # Errors
    /// `Usage` for what names no place, `BackendMissing` for what this build does not have.
    pub(crate) fn parse(text: &str) -> Result<Self> {
        match text.split_once("://").map(|(scheme, _)| scheme) {
            #[cfg(feature = "kafka")]
            Some("kafka") => crate::kafka::KafkaPlace::parse(text).map(Self::Kafka),
            #[cfg(feature = "nats")]
            Some("nats") => crate::nats::Subject::parse(text).map(Self::Nats),
            Some("otlp") => Collector::parse(text).map(Self::Otlp),
            #[cfg(not(all(feature = "kafka", feature = "nats")))]
            Some(known @ ("kafka" | "nats")) => {
                Err(Fault::new(Code::BackendMissing, format!("This build of vice knows no {known}."))
                    .hint(format!("Build it with the feature {known}.")))
            }
            Some("http" | "https") => Err(Fault::new(Code::Usage, "Events go to an HTTP address by a rule.").hint(
                "Write then.emit = { url = \"…\" } in a [[rule]]; events come in over HTTP with `vice greed ingest`.",
            )),
            _ => Err(Fault::new(Code::Usage, "This names no topic and no subject.").hint(FORMS)),
        }
    }

    /// A name for it in streams: the topic or subject, and what tells apart those of one name.
    pub(crate) fn name(&self) -> String {
        let last = match self {
            #[cfg(feature = "kafka")]
            Self::Kafka(place) => place.topic(),
            #[cfg(feature = "nats")]
            Self::Nats(place) => place.subject(),
            Self::Otlp(place) => place.server(),
        };
        let plain: String = last
            .chars()
            .take(40)
            .map(|sign| if sign.is_ascii_alphanumeric() || sign == '.' { sign } else { '-' })
            .collect();
        let digest: String = Digest::of(self.to_string().as_bytes()).to_string().chars().take(6).collect();
        format!("{plain}-{digest}")
    }

    /// The types that it is made for; all when none.
    pub(crate) const fn kinds(&self) -> &'static [&'static str] {
        match self {
            Self::Otlp(_) => &otlp::KINDS,
            #[cfg(any(feature = "kafka", feature = "nats"))]
            _ => &[],
        }
    }

    /// The way out.
    ///
    /// # Errors
    /// `Usage` for what stands for several places.
    pub(crate) fn outlet(&self, app: &App) -> Result<Box<dyn Outlet>> {
        match self {
            #[cfg(feature = "kafka")]
            Self::Kafka(place) => Ok(Box::new(super::kafka::Topic::new(place.clone(), app.env.clone(), true))),
            #[cfg(feature = "nats")]
            Self::Nats(place) => {
                place.require_plain()?;
                Ok(Box::new(super::nats::Exchange::new(place.clone(), app.env.clone())))
            }
            Self::Otlp(place) => Ok(Box::new(Traces::new(place.clone(), app))),
        }
    }

    /// The way in.
    ///
    /// # Errors
    /// `Unsupported` for what only takes.
    #[cfg_attr(
        not(any(feature = "kafka", feature = "nats")),
        expect(unused_variables, reason = "what is left gives no events")
    )]
    pub(crate) fn inlet(&self, app: &App) -> Result<Box<dyn Inlet>> {
        match self {
            #[cfg(feature = "kafka")]
            Self::Kafka(place) => Ok(Box::new(super::kafka::Topic::new(place.clone(), app.env.clone(), false))),
            #[cfg(feature = "nats")]
            Self::Nats(place) => Ok(Box::new(super::nats::Exchange::new(place.clone(), app.env.clone()))),
            Self::Otlp(_) => Err(Fault::new(Code::Unsupported, format!("{self} takes spans and gives no events."))
                .hint("Take in from kafka:// or nats://, or over HTTP with `vice greed ingest`.")),
        }
    }
}

/// Checks a name that somebody chose.
///
/// # Errors
/// `Usage`.
pub(super) fn checked(name: &str) -> Result<()> {
    let fits = |byte: u8| byte.is_ascii_alphanumeric() || b"._-".contains(&byte);
    if !name.is_empty() && name.len() <= 60 && name.bytes().all(fits) {
        return Ok(());
    }
    let shown: String = name.chars().take(80).collect();
    Err(Fault::new(Code::Usage, format!("{shown:?} can't be a name.")).hint("Up to 60 letters, digits, dots, - and _."))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_have_names_that_tell_them_apart() {
        let names: Vec<String> =
            ["kafka://a/shop.events", "kafka://b/shop.events", "nats://a/shop.events", "nats://a/shop.>"]
                .iter()
                .map(|text| Place::parse(text).unwrap().name())
                .collect();
        assert!(names[0].starts_with("shop.events-") && names[3].starts_with("shop.--"), "{names:?}");
        let distinct: std::collections::BTreeSet<&String> = names.iter().collect();
        assert_eq!(distinct.len(), names.len(), "{names:?}");
        names.iter().for_each(|name| checked(name).unwrap());
        for name in ["", "a/b", "a b", &"x".repeat(61)] {
            assert_eq!(checked(name).unwrap_err().code(), Code::Usage);
        }
    }

    #[test]
    fn what_names_nothing_says_what_would() {
        for (text, hint) in [("topic", "kafka://"), ("amqp://h/x", "nats://"), ("https://h/x", "then.emit")] {
            let fault = Place::parse(text).unwrap_err();
            assert_eq!(fault.code(), Code::Usage, "{text}");
            assert!(fault.hints().iter().any(|said| said.contains(hint)), "{fault:?}");
        }
    }
}
