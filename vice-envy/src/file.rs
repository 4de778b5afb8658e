//! Files of a project: reading and writing that never leaves the project's folder, whatever a path or a symbolic link
//! says, and never quotes what a file holds.

use std::fs::File;
use std::io::{ErrorKind, Read, Write};
use std::os::fd::OwnedFd;
use std::os::unix::fs::PermissionsExt;
use std::path::{Component, Path, PathBuf};

use rustix::fs::{CWD, Mode, OFlags, openat};
use vice_core::{Code, Context, Fault, Result};

/// The largest file that is read, in bytes.
pub(crate) const FILE_BYTES_MAX: u64 = 10 * 1024 * 1024;

/// What the names of files begin with that are not put in their place yet.
const UNFINISHED: &str = ".vice-";
/// How many characters of chance follow.
const UNFINISHED_CHARS: usize = 8;

/// Whether a name is that of a file that was being written.
pub(crate) fn is_unfinished(name: &str) -> bool {
    let chance = name.strip_prefix(UNFINISHED);
    chance.is_some_and(|rest| rest.len() == UNFINISHED_CHARS && rest.bytes().all(|byte| byte.is_ascii_alphanumeric()))
}

/// A new file in a folder, which becomes another one in one step.
fn unfinished(dir: &Path) -> std::io::Result<tempfile::NamedTempFile> {
    tempfile::Builder::new().prefix(UNFINISHED).rand_bytes(UNFINISHED_CHARS).tempfile_in(dir)
}

/// Refuses paths that are absolute or go up.
pub(crate) fn check_relative(path: &str) -> Result<()> {
    let inside = |part| matches!(part, Component::Normal(_) | Component::CurDir);
    let fine =
        !path.contains('\0') && Path::new(path).components().all(inside) && Path::new(path).file_name().is_some();
    if fine {
        return Ok(());
    }
    Err(Fault::new(Code::ConfigInvalid, format!("The path {path:?} is not inside the project."))
        .hint("Paths of configuration files are relative to the folder of vice.toml, without `..`."))
}

fn escapes(path: &str) -> Fault {
    Fault::new(Code::ConfigInvalid, format!("{path} leads out of the project by a symbolic link."))
        .hint("Copy the file into the project, or link to a file inside it.")
}

/// The content of a file below `root`; none when it does not exist.
pub(crate) fn read(root: &Path, path: &str) -> Result<Option<Vec<u8>>> {
    check_relative(path)?;
    let Some(inner) = resolve(root, path)? else {
        return Ok(None);
    };
    let file = open_below(root, &inner).context(Code::ConfigInvalid, || format!("{path} can't be opened."))?;
    read_bounded(file, path).map(Some)
}

/// The content of a file below `root` as text.
pub(crate) fn read_text(root: &Path, path: &str) -> Result<Option<String>> {
    read(root, path)?.map(|bytes| text_of(bytes, path)).transpose()
}

/// Bytes as text.
pub(crate) fn text_of(bytes: Vec<u8>, path: &str) -> Result<String> {
    // The error of the conversion holds the bytes, so that it must not become a cause.
    String::from_utf8(bytes).map_err(|_| Fault::new(Code::ConfigInvalid, format!("{path} is not UTF-8 text.")))
}

/// The content of a file, if it is a plain one of tolerable size.
pub(crate) fn read_bounded(file: File, path: &str) -> Result<Vec<u8>> {
    let unreadable = || format!("{path} can't be read.");
    let meta = file.metadata().context(Code::ConfigInvalid, unreadable)?;
    if !meta.is_file() {
        return Err(Fault::new(Code::ConfigInvalid, format!("{path} is not a plain file.")));
    }
    let mut bytes = Vec::new();
    file.take(FILE_BYTES_MAX + 1).read_to_end(&mut bytes).context(Code::ConfigInvalid, unreadable)?;
    if bytes.len() as u64 > FILE_BYTES_MAX {
        return Err(Fault::new(Code::ConfigInvalid, format!("{path} has more than {FILE_BYTES_MAX} bytes.")));
    }
    Ok(bytes)
}

/// Where a path really is, relative to the real root.
fn resolve(root: &Path, path: &str) -> Result<Option<PathBuf>> {
    let unreadable = || format!("{path} can't be found.");
    let real_root = root.canonicalize().context(Code::Io, || format!("{} can't be found.", root.display()))?;
    let real = match real_root.join(path).canonicalize() {
        Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => return Ok(None),
        other => other.context(Code::ConfigInvalid, unreadable)?,
    };
    let inner = real.strip_prefix(&real_root).map_err(|_| escapes(path))?;
    Ok(Some(inner.to_owned()))
}

/// Opens part by part without following links, so that a link that appears after the check changes nothing.
fn open_below(root: &Path, inner: &Path) -> rustix::io::Result<File> {
    let common = OFlags::RDONLY | OFlags::CLOEXEC;
    let mut here: OwnedFd = openat(CWD, root, common | OFlags::DIRECTORY, Mode::empty())?;
    let mut parts = inner.components().peekable();
    while let Some(part) = parts.next() {
        let kind = if parts.peek().is_some() { OFlags::DIRECTORY } else { OFlags::NONBLOCK };
        here = openat(&here, part.as_os_str(), common | OFlags::NOFOLLOW | kind, Mode::empty())?;
    }
    Ok(File::from(here))
}

/// Replaces or makes a file below `root` in one step. An existing file keeps its mode.
pub(crate) fn write(root: &Path, path: &str, bytes: &[u8]) -> Result<()> {
    check_relative(path)?;
    let unwritable = || format!("{path} can't be written.");
    let target = writable_place(root, path)?;
    let dir = target.parent().unwrap_or(root);
    std::fs::create_dir_all(dir).context(Code::Io, unwritable)?;
    let mode = std::fs::metadata(&target).map_or(0o644, |meta| meta.permissions().mode() & 0o777);
    let mut file = unfinished(dir).context(Code::Io, unwritable)?;
    file.write_all(bytes).context(Code::Io, unwritable)?;
    file.as_file().set_permissions(std::fs::Permissions::from_mode(mode)).context(Code::Io, unwritable)?;
    file.as_file().sync_all().context(Code::Io, unwritable)?;
    file.persist(&target).map_err(|error| error.error).context(Code::Io, unwritable)?;
    Ok(())
}

fn writable_place(root: &Path, path: &str) -> Result<PathBuf> {
    let real_root = root.canonicalize().context(Code::Io, || format!("{} can't be found.", root.display()))?;
    if let Some(inner) = resolve(root, path)? {
        return Ok(real_root.join(inner));
    }
    let target = real_root.join(path);
    let mut above = target.as_path();
    while let Some(parent) = above.parent() {
        if above.symlink_metadata().is_ok_and(|meta| meta.is_symlink()) && above.canonicalize().is_err() {
            return Err(escapes(path));
        }
        if let Ok(real) = parent.canonicalize() {
            return if real.starts_with(&real_root) { Ok(target) } else { Err(escapes(path)) };
        }
        above = parent;
    }
    Err(escapes(path))
}

/// Makes a file that only its owner may read, unless there is one already; says whether it was made.
pub(crate) fn create_private(path: &Path, bytes: &[u8], code: Code) -> Result<bool> {
    let unwritable = || format!("{} can't be written.", path.display());
    let dir = path.parent().unwrap_or(Path::new("."));
    std::fs::create_dir_all(dir).context(code, unwritable)?;
    let mut file = unfinished(dir).context(code, unwritable)?;
    file.write_all(bytes).context(code, unwritable)?;
    file.as_file().set_permissions(std::fs::Permissions::from_mode(0o600)).context(code, unwritable)?;
    file.as_file().sync_all().context(code, unwritable)?;
    match file.persist_noclobber(path) {
        Ok(_) => Ok(true),
        Err(error) if error.error.kind() == ErrorKind::AlreadyExists => Ok(false),
        Err(error) => Err(error.error).context(code, unwritable),
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    #[test]
    fn paths_that_leave_the_project_are_refused() {
        let dir = tempfile::tempdir().unwrap();
        for bad in ["../x", "/etc/passwd", "a/../../x", "", ".", "a\0b", "/proc/self/environ"] {
            assert_eq!(read(dir.path(), bad).unwrap_err().code(), Code::ConfigInvalid, "{bad:?}");
            assert!(write(dir.path(), bad, b"x").is_err(), "{bad:?}");
        }
    }

    #[test]
    fn links_out_of_the_project_are_refused_and_links_inside_work() {
        let outside = tempfile::tempdir().unwrap();
        std::fs::write(outside.path().join("secret"), "hunter22canary").unwrap();
        let dir = tempfile::tempdir().unwrap();
        symlink(outside.path().join("secret"), dir.path().join("file")).unwrap();
        symlink(outside.path(), dir.path().join("folder")).unwrap();
        symlink(outside.path().join("not-yet"), dir.path().join("dangling")).unwrap();
        symlink("/proc/self/environ", dir.path().join("environ")).unwrap();
        for bad in ["file", "folder/secret", "environ"] {
            let fault = read(dir.path(), bad).unwrap_err();
            assert_eq!(fault.code(), Code::ConfigInvalid);
            assert!(!format!("{fault:?}").contains("hunter22canary"));
        }
        for bad in ["file", "folder/new", "folder/a/b/new", "dangling"] {
            assert!(write(dir.path(), bad, b"x").is_err(), "{bad}");
        }
        assert_eq!(std::fs::read_dir(outside.path()).unwrap().count(), 1);

        write(dir.path(), "a/b/real", b"1").unwrap();
        symlink("a/b/real", dir.path().join("inside")).unwrap();
        assert_eq!(read(dir.path(), "inside").unwrap().unwrap(), b"1");
        write(dir.path(), "inside", b"2").unwrap();
        assert_eq!(read(dir.path(), "a/b/real").unwrap().unwrap(), b"2");
        assert!(dir.path().join("inside").is_symlink());
        assert_eq!(read(dir.path(), "absent").unwrap(), None);
        assert_eq!(read(dir.path(), "a/b/real/below").unwrap(), None);
    }

    #[test]
    fn large_files_and_folders_are_refused() {
        let dir = tempfile::tempdir().unwrap();
        let file = File::create(dir.path().join("large")).unwrap();
        file.set_len(FILE_BYTES_MAX + 1).unwrap();
        assert!(read(dir.path(), "large").unwrap_err().to_string().contains("more than"));
        std::fs::create_dir(dir.path().join("folder")).unwrap();
        assert!(read(dir.path(), "folder").unwrap_err().to_string().contains("plain file"));
        std::fs::write(dir.path().join("bytes"), b"hunter22\xff").unwrap();
        let fault = read_text(dir.path(), "bytes").unwrap_err();
        assert!(!format!("{fault:?}").contains("hunter22"));
    }

    #[test]
    fn a_private_file_is_made_once() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("keys/one");
        assert!(create_private(&path, b"a", Code::Io).unwrap());
        assert!(!create_private(&path, b"b", Code::Io).unwrap());
        assert_eq!(std::fs::read(&path).unwrap(), b"a");
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    }
}
