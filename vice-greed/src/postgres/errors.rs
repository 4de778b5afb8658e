//! What PostgreSQL's errors mean for the user. None of them ever repeats a password.

use tokio_postgres::Error;
use tokio_postgres::error::SqlState;
use vice_core::{Code, Fault};

/// Whether the connection is lost, so that another one may succeed.
pub(crate) fn is_lost(error: &Error) -> bool {
    error.is_closed() || error.as_db_error().is_none() || ended_by_server(error)
}

fn ended_by_server(error: &Error) -> bool {
    let ends = [SqlState::ADMIN_SHUTDOWN, SqlState::CRASH_SHUTDOWN, SqlState::CANNOT_CONNECT_NOW];
    error.code().is_some_and(|code| ends.contains(code))
}

/// Whether the same transaction may go through when it is tried again.
pub(crate) fn is_transient(error: &Error) -> bool {
    let transient = [SqlState::T_R_SERIALIZATION_FAILURE, SqlState::T_R_DEADLOCK_DETECTED];
    is_lost(error) || error.code().is_some_and(|code| transient.contains(code))
}

/// An error while a connection is made.
pub(crate) fn connecting(error: &Error, shown: &str, user: &str) -> Fault {
    if error.as_db_error().is_some() {
        return from_server(error, shown, user);
    }
    let chain = causes(error);
    if chain.contains("invalid configuration") || chain.contains("password missing") {
        return Fault::new(Code::Backend, format!("{shown} asks for a password, and there is none."))
            .hint("Set PGPASSWORD, or write a line for the server into the file that PGPASSFILE names.");
    }
    if chain.contains("certificate") || chain.contains("TLS") || chain.contains("tls") {
        return Fault::new(Code::Unreachable, format!("The TLS connection to {shown} can't be made."))
            .because(chain)
            .hint("sslrootcert=FILE in the URL names the authority that signed the server's certificate.");
    }
    Fault::new(Code::Unreachable, format!("{shown} can't be reached."))
        .because(chain)
        .hint("Check host and port in [history] store, and that the server runs and accepts connections from here.")
}

/// An error of a connection that was made.
pub(crate) fn working(error: &Error, shown: &str, user: &str) -> Fault {
    if error.as_db_error().is_some() {
        return from_server(error, shown, user);
    }
    if error.is_closed() || causes(error).contains("connection") {
        return Fault::new(Code::Unreachable, format!("The connection to {shown} was lost."))
            .because(causes(error))
            .hint("Run the command again: what was recorded already is recognised and not repeated.");
    }
    Fault::new(Code::Decode, format!("{shown} gave something that does not make sense."))
        .because(causes(error))
        .hint("`vice greed verify` says what is damaged.")
}

fn from_server(error: &Error, shown: &str, user: &str) -> Fault {
    let code = error.code().cloned().unwrap_or(SqlState::INTERNAL_ERROR);
    let (kind, message, hint) = meaning(&code, shown, user);
    let said = error.as_db_error().map(|said| said.message().to_owned()).unwrap_or_default();
    let fault = Fault::new(kind, message).because(format!("PostgreSQL says: {said} (SQLSTATE {}).", code.code()));
    if hint.is_empty() { fault } else { fault.hint(hint) }
}

fn meaning(code: &SqlState, shown: &str, user: &str) -> (Code, String, &'static str) {
    let text = code.code();
    match text {
        "28P01" | "28000" => (
            Code::Backend,
            format!("{shown} refuses the user {user}."),
            "Check the user in [history] store, PGPASSWORD or the file that PGPASSFILE names, and pg_hba.conf.",
        ),
        "3D000" => (Code::Backend, format!("{shown} does not exist."), "Make it with createdb, or correct the URL."),
        "42501" => (
            Code::Backend,
            format!("The user {user} may not do this in {shown}."),
            "The user needs CREATE on the database once, and then all rights in the schema of the history.",
        ),
        "25006" => (
            Code::StateUnwritable,
            format!("{shown} is read-only: a standby, or a server that is set so."),
            "Name the primary in [history] store.",
        ),
        "57014" => (
            Code::Backend,
            format!("{shown} took too long and was stopped by its statement_timeout."),
            "Nothing was recorded. Look at the load of the server, and run the command again.",
        ),
        "55P03" => (
            Code::Backend,
            format!("Another writer keeps the history in {shown} locked."),
            "Nothing was recorded. Look for a session that hangs in a transaction (pg_stat_activity).",
        ),
        "40001" | "40P01" => (
            Code::Conflict,
            format!("{shown} could not put this transaction in an order with others."),
            "Nothing was recorded. Run the command again.",
        ),
        "53300" => {
            (Code::Unreachable, format!("{shown} has no connection left."), "Raise max_connections, or try later.")
        }
        "53100" => (Code::StateUnwritable, format!("The disk of {shown} is full."), "Free some space on the server."),
        "57P03" => (Code::Unreachable, format!("{shown} is starting or stopping."), "Try again in a moment."),
        "57P01" | "57P02" => (
            Code::Unreachable,
            format!("{shown} ended the connection."),
            "Run the command again: what was recorded already is recognised and not repeated.",
        ),
        _ if text.starts_with("XX") => {
            (Code::HistoryDamaged, format!("{shown} is damaged."), "`vice greed verify` says what is damaged.")
        }
        _ => (Code::Backend, format!("{shown} refuses what it was asked."), ""),
    }
}

/// The whole chain in one line. None of its parts holds what the configuration holds.
fn causes(error: &Error) -> String {
    let mut text = error.to_string();
    let mut source = std::error::Error::source(error);
    while let Some(cause) = source {
        let said = cause.to_string();
        if !text.contains(&said) {
            text = format!("{text}: {said}");
        }
        source = cause.source();
    }
    format!("{}.", text.trim_end_matches('.'))
}
