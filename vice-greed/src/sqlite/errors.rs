//! What SQLite's errors mean for the user.

use std::io::ErrorKind;
use std::path::Path;

use rusqlite::{Error, ErrorCode};
use vice_core::{Code, Fault};

const MAKE_ROOM: &str = "Free some space (`vice pride prune` removes old artifacts) and run the command again.";

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

/// A file or folder that can't be written.
pub(crate) fn unwritable(error: std::io::Error, path: &Path) -> Fault {
    let place = path.display();
    if matches!(error.kind(), ErrorKind::StorageFull | ErrorKind::QuotaExceeded) {
        return Fault::new(Code::StateUnwritable, format!("The disk is full; {place} can't be written."))
            .because(error)
            .hint(MAKE_ROOM);
    }
    Fault::new(Code::StateUnwritable, format!("{place} can't be written."))
        .because(error)
        .hint("The state folder must be writable for you, on a disk with space left.")
}

/// A file that is there and can't be read, which says nothing about its content.
pub(crate) fn unreadable(error: std::io::Error, what: &str, path: &Path) -> Fault {
    let place = path.display();
    if error.kind() == ErrorKind::PermissionDenied {
        return Fault::new(Code::Io, format!("{what} {place} can't be read: permission denied."))
            .hint("Run the command as the user whom the state folder belongs to, or let yourself read it.");
    }
    Fault::new(Code::Io, format!("{what} {place} can't be read.")).because(error)
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
        let full = unwritable(ErrorKind::StorageFull.into(), Path::new("/s/history.head"));
        assert!(full.to_string().contains("disk is full") && full.hints()[0].contains("Free some space"), "{full:?}");
    }

    #[test]
    fn what_may_not_be_read_is_not_called_damaged() {
        let path = Path::new("/s/history.head");
        let fault = unreadable(ErrorKind::PermissionDenied.into(), "The head witness", path);
        assert_eq!(fault.code(), Code::Io);
        assert_eq!(fault.chain(), ["The head witness /s/history.head can't be read: permission denied."]);
        for code in [14, 3, 8] {
            let fault = reading(failure(code, None), path);
            assert_eq!(fault.code(), Code::Io, "{fault:?}");
            assert!(fault.hints().iter().all(|hint| !hint.contains("restore")), "{fault:?}");
        }
    }
}
