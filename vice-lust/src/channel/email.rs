//! E-mail over SMTP: one plain-text mail to all recipients. `smtp://` takes STARTTLS where the server offers it, and
//! insists on it when there is a password; `smtps://` is TLS from the first byte.

use std::time::{Duration, UNIX_EPOCH};

use async_trait::async_trait;
use lettre::message::Mailbox;
use lettre::message::header::{ContentType, HeaderName, HeaderValue};
use lettre::transport::smtp::authentication::Credentials;
use lettre::transport::smtp::client::{Tls, TlsParameters};
use lettre::transport::smtp::{AsyncSmtpTransportBuilder, Error, PoolConfig};
use lettre::{AsyncSmtpTransport, AsyncTransport, Tokio1Executor};
use url::Url;
use vice_core::Secret;
use vice_core::host::is_loopback;

use super::{Channel, SEND_TIMEOUT, SendError};
use crate::message::Message;

pub(crate) struct Email {
    pub(crate) server: String,
    pub(crate) from: String,
    pub(crate) to: Vec<String>,
    pub(crate) login: Option<(String, Secret)>,
}

#[async_trait]
impl Channel for Email {
    async fn send(&self, message: &Message) -> Result<String, SendError> {
        let shown = crate::mask::shown_url(&self.server);
        let mail = mail(&self.from, &self.to, message)?;
        let transport: AsyncSmtpTransport<Tokio1Executor> =
            self.transport(&shown)?.pool_config(PoolConfig::new().max_size(1)).build();
        // The timeout of the library is one for each step; this is one for all of them.
        let sent = tokio::time::timeout(SEND_TIMEOUT.as_duration(), transport.send(mail)).await;
        transport.shutdown().await;
        match sent {
            Ok(Ok(response)) => {
                let said: Vec<&str> = response.message().collect();
                Ok(format!("{} {}", response.code(), said.join(" ")))
            }
            Ok(Err(error)) => Err(refused(&shown, &error)),
            Err(_) => Err(SendError::uncertain(format!("{shown} did not take the mail within {SEND_TIMEOUT}."))),
        }
    }
}

impl Email {
    fn transport(&self, shown: &str) -> Result<AsyncSmtpTransportBuilder, SendError> {
        let wrong = |why: &str| SendError::permanent(format!("The mail server {shown} {why}."));
        let url = Url::parse(&self.server).map_err(|_| wrong("is not a URL such as smtp://host:25"))?;
        let host = url.host_str().filter(|host| !host.is_empty()).ok_or_else(|| wrong("has no host"))?;
        let parameters = TlsParameters::new(host.to_owned()).map_err(|_| wrong("has a name that TLS can't check"))?;
        let (tls, port) = match (url.scheme(), &self.login) {
            ("smtps", _) => (Tls::Wrapper(parameters), 465),
            // A password is never sent in the clear, except to this very machine.
            ("smtp", Some(_)) if !is_loopback(host) => (Tls::Required(parameters), 587),
            ("smtp", _) => (Tls::Opportunistic(parameters), 25),
            _ => return Err(wrong("does not begin with smtp:// or smtps://")),
        };
        let builder = AsyncSmtpTransport::<Tokio1Executor>::builder_dangerous(host)
            .port(url.port().unwrap_or(port))
            .tls(tls)
            .timeout(Some(SEND_TIMEOUT.as_duration()));
        Ok(match &self.login {
            Some((user, password)) => builder.credentials(Credentials::new(user.clone(), password.reveal().to_owned())),
            None => builder,
        })
    }
}

fn mail(from: &str, to: &[String], message: &Message) -> Result<lettre::Message, SendError> {
    let mailbox = |text: &str| {
        text.parse::<Mailbox>().map_err(|_| SendError::permanent(format!("{text:?} is not an e-mail address.")))
    };
    let from = mailbox(from)?;
    let seconds = u64::try_from(message.time.as_second()).unwrap_or(0);
    // The same message has the same id in every attempt, so that mail programs show a repeat once.
    let mut builder = lettre::Message::builder()
        .message_id(Some(format!("<{}@{}>", message.key, from.email.domain())))
        .date(UNIX_EPOCH + Duration::from_secs(seconds))
        .from(from)
        .subject(crate::message::clean_title(&message.title))
        .header(ContentType::TEXT_PLAIN)
        // So that out-of-office programs stay quiet (RFC 3834).
        .raw_header(HeaderValue::new(HeaderName::new_from_ascii_str("Auto-Submitted"), "auto-generated".to_owned()));
    for recipient in to {
        builder = builder.to(mailbox(recipient)?);
    }
    builder.body(message.text()).map_err(|error| SendError::permanent(format!("The mail can't be made: {error}.")))
}

fn refused(shown: &str, error: &Error) -> SendError {
    let mut why = error.to_string();
    let mut next = std::error::Error::source(error);
    while let Some(cause) = next {
        why = format!("{why}: {cause}");
        next = cause.source();
    }
    let reason = format!("{shown} did not take the mail: {why}.");
    if error.is_permanent() {
        SendError::permanent(reason)
    } else if error.is_transient() || why.contains("Connection error") {
        SendError::retry(reason)
    } else {
        SendError::uncertain(reason)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::message::Cause;
    use vice_core::event::Actor;
    use vice_core::port::notifier::Severity;

    fn message(title: &str) -> Message {
        Message {
            key: "0123".into(),
            project: "shop".parse().unwrap(),
            env: None,
            channel: "mail".into(),
            severity: Severity::Info,
            title: title.into(),
            body: "a\n.\nb".into(),
            time: jiff::Timestamp::UNIX_EPOCH,
            actor: Actor::system("test"),
            cause: Cause { id: "e".into(), kind: "k".into(), subject: "s".into() },
        }
    }

    #[test]
    fn no_header_can_be_smuggled_in() {
        let to = ["Ann <ann@sink.test>".to_owned()];
        let hostile = "done\r\nBcc: all@example.test\r\n\r\nbody";
        let text = String::from_utf8(mail("vice@sink.test", &to, &message(hostile)).unwrap().formatted()).unwrap();
        let (head, _) = text.split_once("\r\n\r\n").unwrap();
        assert!(!head.lines().any(|line| line.to_lowercase().starts_with("bcc")), "{head}");
        assert!(head.contains("Subject: done Bcc: all@example.test body"), "{head}");
        assert!(head.contains("Message-ID: <0123@sink.test>"), "{head}");
        for address in ["a@b\r\nBcc: c@d", "nobody", ""] {
            assert!(mail(address, &to, &message("x")).unwrap_err().permanent);
            assert!(mail("vice@sink.test", &[address.to_owned()], &message("x")).unwrap_err().permanent);
        }
    }

    #[tokio::test]
    async fn a_password_is_not_sent_in_the_clear() {
        let login = Some(("ann".to_owned(), Secret::new("hunter22")));
        let email =
            |server: &str| Email { server: server.into(), from: "a@b.c".into(), to: vec![], login: login.clone() };
        let built = |server: &str| format!("{:?}", email(server).transport(server).unwrap().build::<Tokio1Executor>());
        assert!(!built("smtp://mail.example.test").contains("hunter22"));
        assert!(email("imap://x").transport("x").err().unwrap().permanent);
        assert!(
            is_loopback("127.0.0.1")
                && is_loopback("[::1]")
                && is_loopback("localhost")
                && !is_loopback("mail.example.test")
        );
    }
}
