//! What brokers answer, in the words of vice.

use std::fmt::Display;

use vice_core::{Code, Fault};

/// Nobody answers, or not in time: nobody can tell what was done.
pub(super) fn silent(shown: &str, error: impl Display) -> Fault {
    Fault::new(Code::Unreachable, format!("{shown} does not answer."))
        .because(error.to_string())
        .hint("Check that the brokers run, and the network.")
}

/// Something that is no answer of Kafka.
pub(super) fn nonsense(shown: &str) -> Fault {
    Fault::new(Code::Backend, format!("What {shown} answers is not understood."))
        .hint("Is it a Kafka of version 0.11 or later, and is tls right?")
}

/// What a code means, and whether it passes by itself.
fn meaning(code: i16) -> (&'static str, bool) {
    match code {
        3 => ("there is no such topic or partition", true),
        5 => ("the partition has no leader", true),
        6 => ("another broker leads the partition", true),
        7 => ("the brokers did not agree in time", true),
        8 | 9 => ("a replica is not available", true),
        13 => ("a broker was cut off", true),
        14..=16 => ("the coordinator is not ready", true),
        17 => ("the name of the topic is not taken", false),
        19 | 20 => ("too few replicas are in sync", true),
        29 => ("this user may not use the topic", false),
        31 => ("this user may not do that in the cluster", false),
        35 => ("the broker does not know this version of the question", false),
        44 => ("a policy of the cluster forbids it", false),
        56 => ("the disk of the broker fails", true),
        72 | 74..=76 => ("the leader has just changed", true),
        89 => ("the broker is too busy", true),
        87 => ("the broker refuses the record", false),
        _ => ("something is wrong", false),
    }
}

/// The answer of a broker that is an error.
pub(super) fn refused(shown: &str, code: i16) -> Fault {
    let (what, passes) = meaning(code);
    let kind = if passes { Code::Unreachable } else { Code::Backend };
    Fault::new(kind, format!("{shown} can't be used: {what}.")).because(format!("error {code} of Kafka")).hint(
        match code {
            3 => "Create the topic, or check its name.",
            29 | 31 => "Check KAFKA_USER, and what the cluster lets that user do.",
            _ => "The brokers' logs say more.",
        },
    )
}

/// The broker does not let this user in.
pub(super) fn locked_out(shown: &str, why: &str) -> Fault {
    let said: String = vice_core::text::sanitize(why).chars().take(200).collect();
    let fault = Fault::new(Code::Backend, format!("{shown} does not let this user in."))
        .hint("Set KAFKA_USER, KAFKA_PASSWORD and KAFKA_SASL (plain, scram-sha-256 or scram-sha-512).");
    if said.is_empty() { fault } else { fault.because(said) }
}
