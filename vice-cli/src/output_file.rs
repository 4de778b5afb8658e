//! Writes a result to the file that `-o` names: whole or not at all where the place is a regular file; in place where
//! it is a device or a pipe, which must not be replaced.

use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use vice_core::{Code, Context, Fault, Result};

/// Writes a document to a path.
pub(crate) fn write(path: &Path, document: &str) -> Result<()> {
    let fail = || format!("{} can't be written.", path.display());
    match fs::metadata(path) {
        Ok(found) if found.is_dir() => {
            Err(Fault::new(Code::Usage, format!("{} is a folder.", path.display())).hint("Name a file in it."))
        }
        Ok(found) if found.is_file() => {
            // What a symbolic link leads to is replaced, and the link stays.
            let real = path.canonicalize().context(Code::Io, fail)?;
            replace(&real, document).context(Code::Io, fail)
        }
        Ok(_) => in_place(path, document).context(Code::Io, fail),
        // A link to nothing yet: the file is made where the link leads.
        Err(error) if error.kind() == io::ErrorKind::NotFound && path.is_symlink() => {
            in_place(path, document).context(Code::Io, fail)
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => replace(path, document).context(Code::Io, fail),
        Err(error) => Err(Fault::new(Code::Io, fail()).because(error)),
    }
}

/// Puts the document where it belongs in one step, and keeps the permissions of the file that was there.
fn replace(path: &Path, document: &str) -> io::Result<()> {
    let draft = draft_of(path).ok_or_else(|| io::Error::new(io::ErrorKind::InvalidInput, "it names no file"))?;
    let kept = fs::metadata(path).ok().map(|found| found.permissions());
    let written = fs::write(&draft, document)
        .and_then(|()| kept.map_or(Ok(()), |permissions| fs::set_permissions(&draft, permissions)))
        .and_then(|()| fs::rename(&draft, path));
    written.inspect_err(|_| drop(fs::remove_file(&draft)))
}

fn draft_of(path: &Path) -> Option<PathBuf> {
    let name = path.file_name()?;
    Some(path.with_file_name(format!(".{}.part", name.to_string_lossy())))
}

fn in_place(path: &Path, document: &str) -> io::Result<()> {
    let mut file = fs::OpenOptions::new().write(true).create(true).truncate(true).open(path)?;
    file.write_all(document.as_bytes())
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{FileTypeExt, PermissionsExt, symlink};

    use super::*;

    #[test]
    fn links_stay_links_and_permissions_stay() {
        let dir = tempfile::tempdir().unwrap();
        let (real, link, new) = (dir.path().join("real"), dir.path().join("link"), dir.path().join("new"));
        fs::write(&real, "old").unwrap();
        fs::set_permissions(&real, fs::Permissions::from_mode(0o640)).unwrap();
        symlink("real", &link).unwrap();
        write(&link, "text").unwrap();
        assert!(link.is_symlink());
        assert_eq!(fs::read_to_string(&real).unwrap(), "text");
        assert_eq!(fs::metadata(&real).unwrap().permissions().mode() & 0o777, 0o640);
        symlink("new", dir.path().join("dangling")).unwrap();
        write(&dir.path().join("dangling"), "text").unwrap();
        assert_eq!(fs::read_to_string(&new).unwrap(), "text");
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 4, "no draft is left");
    }

    #[test]
    fn a_device_is_written_and_not_replaced() {
        let dir = tempfile::tempdir().unwrap();
        let link = dir.path().join("null");
        symlink("/dev/null", &link).unwrap();
        write(&link, "text").unwrap();
        assert!(link.is_symlink());
        assert!(fs::metadata("/dev/null").unwrap().file_type().is_char_device());
    }

    #[test]
    fn a_folder_is_a_mistake() {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(write(dir.path(), "text").unwrap_err().code(), Code::Usage);
        assert_eq!(write(&dir.path().join("no/out"), "text").unwrap_err().code(), Code::Io);
    }
}
