//! What errors of files and folders mean for the user, and making folders that only their owner looks into.

use std::fs::File;
use std::io::ErrorKind;
use std::path::Path;

use vice_core::{Code, Fault};

pub(crate) const MAKE_ROOM: &str =
    "Free some space (`vice pride prune` removes old artifacts) and run the command again.";

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

/// History names people and machines: only its owner looks into a state folder that vice makes.
pub(crate) fn make_private_dir(dir: &Path) -> std::io::Result<()> {
    use std::os::unix::fs::DirBuilderExt;
    std::fs::DirBuilder::new().recursive(true).mode(0o700).create(dir)
}

/// Brings the names in a folder to the disk: a file whose folder was not synced may be gone after a power cut.
pub(crate) fn sync_dir(dir: &Path) -> std::io::Result<()> {
    File::open(dir)?.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_disk_is_said_with_what_to_do() {
        let full = unwritable(ErrorKind::StorageFull.into(), Path::new("/s/history.head"));
        assert!(full.to_string().contains("disk is full") && full.hints()[0].contains("Free some space"), "{full:?}");
    }

    #[test]
    fn what_may_not_be_read_is_not_called_damaged() {
        let path = Path::new("/s/history.head");
        let fault = unreadable(ErrorKind::PermissionDenied.into(), "The head witness", path);
        assert_eq!(fault.code(), Code::Io);
        assert_eq!(fault.chain(), ["The head witness /s/history.head can't be read: permission denied."]);
    }
}
