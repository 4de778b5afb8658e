//! What a NATS server answers, in the words of vice.

use std::error::Error as _;
use std::fmt::Display;

use async_nats::jetstream::context::{PublishError, PublishErrorKind};
use async_nats::{ConnectError, ConnectErrorKind};
use vice_core::{Code, Fault};

/// The server can't be reached, or did not answer: nobody can tell what it did.
pub(crate) fn silent(place: &str, error: impl Display) -> Fault {
    Fault::new(Code::Unreachable, format!("{place} does not answer."))
        .because(error.to_string())
        .hint("Check that the server runs, and the network.")
}

/// The server refuses.
pub(crate) fn refused(place: &str, error: impl Display) -> Fault {
    Fault::new(Code::Backend, format!("{place} answered with an error."))
        .because(error.to_string())
        .hint("`nats stream info` and the server's log say more.")
}

pub(crate) fn connecting(place: &str, error: &ConnectError) -> Fault {
    use ConnectErrorKind::{Authentication, AuthorizationViolation, Tls};
    match error.kind() {
        Authentication | AuthorizationViolation => {
            Fault::new(Code::Backend, format!("{place} does not let this user in."))
                .because(error.to_string())
                .hint("Set NATS_CREDS (a file), NATS_NKEY, NATS_TOKEN, or NATS_USER and NATS_PASSWORD.")
        }
        Tls => Fault::new(Code::Unreachable, format!("No encrypted connection to {place} comes about."))
            .because(error.to_string())
            .hint("NATS_CA names a file with the certificate of the server's authority; ?tls=off goes without."),
        _ => silent(place, error),
    }
}

/// What became of a message whose writing failed: somebody else was first, or a fault.
pub(crate) enum Unwritten {
    Lost,
    NoStream,
    Fault(Fault),
}

pub(crate) fn publishing(place: &str, error: &PublishError) -> Unwritten {
    match error.kind() {
        PublishErrorKind::WrongLastSequence => Unwritten::Lost,
        PublishErrorKind::StreamNotFound => Unwritten::NoStream,
        PublishErrorKind::TimedOut | PublishErrorKind::BrokenPipe => Unwritten::Fault(silent(place, error)),
        // An answer of JetStream is a refusal; anything else leaves open what happened.
        _ if error.source().is_some_and(<dyn std::error::Error>::is::<async_nats::jetstream::Error>) => {
            Unwritten::Fault(full(place, error))
        }
        PublishErrorKind::MaxPayloadExceeded | PublishErrorKind::MaxAckPending => {
            Unwritten::Fault(refused(place, error))
        }
        _ => Unwritten::Fault(silent(place, error)),
    }
}

/// A server whose disk or whose share of it is full says so in these ways.
fn full(place: &str, error: &PublishError) -> Fault {
    let text = error.to_string();
    let signs = ["insufficient resources", "maximum bytes", "maximum messages", "no space left", "resource limits"];
    if !signs.iter().any(|sign| text.contains(sign)) {
        return refused(place, error);
    }
    Fault::new(Code::StateUnwritable, format!("{place} has no room for more."))
        .because(text)
        .hint("Give the server's disk or the account's limits more room; nothing was recorded.")
}
