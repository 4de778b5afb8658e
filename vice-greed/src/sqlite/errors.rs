//! What SQLite's errors mean for the user.

use std::path::Path;

use rusqlite::{Error, ErrorCode};
use vice_core::{Code, Fault};

use crate::disk::MAKE_ROOM;

/// An error while reading.
pub(crate) fn reading(error: Error, path: &Path) -> Fault {
    let place = path.display();
    match error.sqlite_error_code() {
        Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase) => damaged(error, path),
        Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => busy(error, path),
        _ if is_full(&error) => {
            Fault::new(Code::StateUnwritable, format!("The disk is full; the history in {place} can't be opened."))
                .because(cause(error))
                .hint(MAKE_ROOM)
        }
        Some(ErrorCode::CannotOpen | ErrorCode::PermissionDenied | ErrorCode::ReadOnly) => {
            Fault::new(Code::Io, format!("The history in {place} can't be opened."))
                .because(cause(error))
                .hint("The state folder and the files in it must be readable for you; this says nothing about damage.")
        }
        Some(_) => Fault::new(Code::Io, format!("The history in {place} can't be read.")).because(cause(error)),
        None => Fault::new(Code::Decode, format!("The history in {place} has a row that does not make sense."))
            .because(cause(error))
            .hint("`vice greed verify` says what is damaged."),
    }
}

/// An error while writing: nothing of the append is stored.
pub(crate) fn writing(error: Error, path: &Path) -> Fault {
    let place = path.display();
    match error.sqlite_error_code() {
        Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase) => damaged(error, path),
        Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => busy(error, path),
        _ if is_full(&error) => {
            Fault::new(Code::StateUnwritable, format!("The disk is full; nothing could be recorded in {place}."))
                .because(cause(error))
                .hint(MAKE_ROOM)
        }
        Some(
            ErrorCode::ReadOnly | ErrorCode::CannotOpen | ErrorCode::PermissionDenied | ErrorCode::SystemIoFailure,
        ) => Fault::new(Code::StateUnwritable, format!("Nothing can be recorded in {place}."))
            .because(cause(error))
            .hint("The state folder must be writable for you, on a disk that is well and has space left."),
        _ => Fault::internal(format!("Recording in {place} failed.")).because(cause(error)),
    }
}

/// Whether there was no room on the disk. Reading needs some as well: for the shared index of the log.
pub(crate) fn is_full(error: &Error) -> bool {
    use rusqlite::ffi::{SQLITE_FULL, SQLITE_IOERR_SHMMAP, SQLITE_IOERR_SHMSIZE};
    let code = error.sqlite_error().map(|error| error.extended_code);
    code.is_some_and(|code| [SQLITE_FULL, SQLITE_IOERR_SHMSIZE, SQLITE_IOERR_SHMMAP].contains(&code))
}

fn damaged(error: Error, path: &Path) -> Fault {
    Fault::new(Code::HistoryDamaged, format!("The history in {} is damaged.", path.display()))
        .because(cause(error))
        .hint("`vice greed verify` says what is damaged; `vice greed restore URL` brings a backup back.")
}

fn busy(error: Error, path: &Path) -> Fault {
    Fault::new(Code::Io, format!("Another process keeps the history in {} locked.", path.display()))
        .because(cause(error))
        .hint("Nothing was recorded. Try again when the other process has ended.")
}

/// One sentence. The error and its own source say the same thing twice, in different words.
fn cause(error: Error) -> String {
    match error {
        Error::SqliteFailure(code, Some(text)) => {
            format!("SQLite says: {} (code {}).", text.trim_end_matches('.'), code.extended_code)
        }
        Error::SqliteFailure(code, None) => {
            let text = rusqlite::ffi::code_to_str(code.extended_code);
            cause(Error::SqliteFailure(code, Some(text.to_owned())))
        }
        other => format!("{}.", other.to_string().trim_end_matches('.')),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn failure(code: i32, text: Option<&str>) -> Error {
        Error::SqliteFailure(rusqlite::ffi::Error::new(code), text.map(str::to_owned))
    }

    #[test]
    fn a_full_disk_is_said_once_and_what_to_do() {
        for text in [Some("database or disk is full"), None] {
            let fault = writing(failure(13, text), Path::new("/s/history.db"));
            assert_eq!(fault.code(), Code::StateUnwritable);
            assert!(fault.hints()[0].contains("Free some space"), "{fault:?}");
            let chain = fault.chain();
            assert_eq!(chain.len(), 2, "{chain:?}");
            assert_eq!(chain[0], "The disk is full; nothing could be recorded in /s/history.db.");
            assert_eq!(chain[1].matches("full").count(), 1, "{chain:?}");
            assert!(!chain[1].contains("Error code"), "{chain:?}");
        }
    }

    #[test]
    fn what_may_not_be_read_is_not_called_damaged() {
        let path = Path::new("/s/history.db");
        for code in [14, 3, 8] {
            let fault = reading(failure(code, None), path);
            assert_eq!(fault.code(), Code::Io, "{fault:?}");
            assert!(fault.hints().iter().all(|hint| !hint.contains("restore")), "{fault:?}");
        }
    }
}
