//! What SQLite's errors mean for the user.

use std::path::Path;

use rusqlite::{Error, ErrorCode};
use vice_core::{Code, Fault};

/// An error while reading.
pub(crate) fn reading(error: Error, path: &Path) -> Fault {
    let place = path.display();
    let (code, message) = match error.sqlite_error_code() {
        Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase) => return damaged(error, path),
        Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => return busy(error, path),
        Some(_) => (Code::Io, format!("The history in {place} can't be read.")),
        None => (Code::Decode, format!("The history in {place} has a row that does not make sense.")),
    };
    let fault = Fault::new(code, message).because(error);
    if code == Code::Decode { fault.hint("`vice greed verify` says what is damaged.") } else { fault }
}

/// An error while writing: nothing of the append is stored.
pub(crate) fn writing(error: Error, path: &Path) -> Fault {
    let place = path.display();
    match error.sqlite_error_code() {
        Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase) => damaged(error, path),
        Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => busy(error, path),
        Some(ErrorCode::DiskFull) => {
            Fault::new(Code::StateUnwritable, format!("The disk is full; nothing could be recorded in {place}."))
                .because(error)
                .hint("Free some space (`vice pride prune` removes old artifacts) and run the command again.")
        }
        Some(
            ErrorCode::ReadOnly | ErrorCode::CannotOpen | ErrorCode::PermissionDenied | ErrorCode::SystemIoFailure,
        ) => Fault::new(Code::StateUnwritable, format!("Nothing can be recorded in {place}."))
            .because(error)
            .hint("The state folder must be writable for you."),
        _ => Fault::internal(format!("Recording in {place} failed.")).because(error),
    }
}

/// A file or folder that can't be written.
pub(crate) fn unwritable(error: std::io::Error, path: &Path) -> Fault {
    Fault::new(Code::StateUnwritable, format!("{} can't be written.", path.display()))
        .because(error)
        .hint("The state folder must be writable for you, on a disk with space left.")
}

fn damaged(error: Error, path: &Path) -> Fault {
    Fault::new(Code::HistoryDamaged, format!("The history in {} is damaged.", path.display()))
        .because(error)
        .hint("`vice greed verify` says what is damaged; `vice greed restore URL` brings a backup back.")
}

fn busy(error: Error, path: &Path) -> Fault {
    Fault::new(Code::Io, format!("Another process keeps the history in {} locked.", path.display()))
        .because(error)
        .hint("Nothing was recorded. Try again when the other process has ended.")
}
