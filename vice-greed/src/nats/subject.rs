//! How a subject is written: `nats://HOST[:PORT]/SUBJECT`.

use vice_core::{Code, Fault, Result};

use crate::endpoint;

const FORMS: &str =
    "Write nats://HOST:PORT/SUBJECT, such as nats://localhost/shop.events; behind it ?tls=off or ?tls=require.";

/// A subject of a server, or with `*` and `>` several.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Subject {
    /// Host and port.
    server: String,
    subject: String,
    /// Whether the connection must be encrypted.
    pub(crate) tls: bool,
}

impl std::fmt::Display for Subject {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "nats://{}/{}", self.server, self.subject)
    }
}

impl Subject {
    /// Reads a URL.
    ///
    /// # Errors
    /// `Usage`, without repeating what may be a secret.
    pub(crate) fn parse(text: &str) -> Result<Self> {
        let rest = text.strip_prefix("nats://").ok_or_else(|| usage("This names no subject of NATS."))?;
        let (rest, query) = rest.split_once('?').unwrap_or((rest, ""));
        let (server, subject) = rest.split_once('/').ok_or_else(|| usage("The URL names no subject."))?;
        if server.contains('@') {
            return Err(usage("The URL of a subject must not hold credentials.")
                .hint("Set NATS_CREDS (a file), NATS_NKEY, NATS_TOKEN, or NATS_USER and NATS_PASSWORD."));
        }
        let server = endpoint::server(server, 4222).ok_or_else(|| usage("The URL names a server that is none."))?;
        let subject = checked(subject)?;
        let tls = endpoint::tls(query, !endpoint::is_local(&server))
            .map_err(|shown| usage(format!("The parameter {shown:?} of a subject means nothing.")))?;
        Ok(Self { server, subject, tls })
    }

    /// What the client connects to.
    pub(crate) fn server(&self) -> String {
        format!("nats://{}", self.server)
    }

    pub(crate) fn subject(&self) -> &str {
        &self.subject
    }

    /// Refuses what stands for several subjects.
    ///
    /// # Errors
    /// `Usage`.
    pub(crate) fn require_plain(&self) -> Result<()> {
        if self.subject.contains(['*', '>']) {
            return Err(usage("Events are sent to one subject; * and > stand for several."));
        }
        Ok(())
    }
}

fn checked(subject: &str) -> Result<String> {
    let tokens: Vec<&str> = subject.split('.').collect();
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"_-".contains(&byte);
    let last = tokens.len() - 1;
    let fits = tokens.iter().enumerate().all(|(at, token)| {
        *token == "*" || (*token == ">" && at == last) || (!token.is_empty() && token.bytes().all(plain))
    });
    if fits && subject.len() <= 200 && !subject.starts_with('$') {
        return Ok(subject.to_owned());
    }
    Err(usage("A subject has up to 200 letters, digits, - and _ in parts with dots between."))
}

fn usage(message: impl Into<String>) -> Fault {
    Fault::new(Code::Usage, message).hint(FORMS)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_read() {
        let place = Subject::parse("nats://localhost/shop.events").unwrap();
        assert_eq!((place.to_string().as_str(), place.tls), ("nats://localhost:4222/shop.events", false));
        assert!(place.require_plain().is_ok());
        let place = Subject::parse("nats://nats.example:4333/shop.*.>").unwrap();
        assert_eq!((place.server().as_str(), place.tls), ("nats://nats.example:4333", true));
        assert!(place.require_plain().is_err());
        assert!(!Subject::parse("nats://nats.example/a?tls=off").unwrap().tls);
    }

    #[test]
    fn what_makes_no_sense_is_refused_and_not_repeated() {
        for text in [
            "nats://user:canary@h/x",
            "nats://h",
            "nats://h/",
            "nats:///x",
            "nats://h:x/y",
            "nats://h/a..b",
            "nats://h/>.a",
            "nats://h/a b",
            "nats://h/$JS.API",
            "nats://h/a?durable=canary",
        ] {
            let fault = Subject::parse(text).unwrap_err();
            assert_eq!(fault.code(), Code::Usage, "{text}");
            assert!(!format!("{fault:?}").contains("canary") && !fault.hints().is_empty(), "{fault:?}");
        }
    }
}
