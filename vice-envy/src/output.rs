//! Writing a tree of files below one folder: nothing outside of it whatever a name or a link says, each file in one step,
//! and nothing at all where the content, the mode and the owner are already right.

use std::fs::File;
use std::io::{Read as _, Write as _};
use std::os::fd::OwnedFd;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, CWD, Gid, Mode, OFlags, Uid, fchmod, fchown, mkdirat, openat, renameat, unlinkat};
use rustix::io::Errno;
use vice_core::{Code, Context, Fault, Result};

use crate::file::check_relative;

/// A file that is to be written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Wanted {
    /// Below the folder.
    pub(crate) path: String,
    pub(crate) text: String,
    pub(crate) mode: u32,
    pub(crate) owner: Option<Owner>,
    /// Whether it holds a secret.
    pub(crate) secret: bool,
}

/// An owner by numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Owner {
    pub(crate) user: u32,
    pub(crate) group: Option<u32>,
}

/// What became of a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Done {
    Written,
    Unchanged,
}

/// A folder that files are written into.
pub(crate) struct Folder {
    root: PathBuf,
    handle: OwnedFd,
}

const DIRECTORY: OFlags = OFlags::RDONLY.union(OFlags::DIRECTORY).union(OFlags::CLOEXEC);

impl Folder {
    /// Opens the folder, and makes it where it does not exist.
    pub(crate) fn open(root: &Path) -> Result<Self> {
        let fail = || format!("The folder {} can't be written to.", root.display());
        std::fs::create_dir_all(root).context(Code::Io, fail)?;
        let handle = openat(CWD, root, DIRECTORY, Mode::empty()).context(Code::Io, fail)?;
        Ok(Self { root: root.to_owned(), handle })
    }

    /// Writes a file in one step, unless it is as wanted already.
    pub(crate) fn write(&self, wanted: &Wanted) -> Result<Done> {
        check_relative(&wanted.path)?;
        let shown = self.root.join(&wanted.path);
        let fail = || format!("{} can't be written.", shown.display());
        let (dirs, name) = wanted.path.rsplit_once('/').unwrap_or(("", &wanted.path));
        let dir = self.descend(dirs)?;
        if is_as_wanted(&dir, name, wanted) {
            return Ok(Done::Unchanged);
        }
        // A name of its own beside the target; what a killed run left there is taken away first.
        let hidden = format!(".vice-{name}.new");
        unlinkat(&dir, hidden.as_str(), AtFlags::empty()).ok();
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let file = openat(&dir, hidden.as_str(), flags, Mode::from_raw_mode(0o600)).context(Code::Io, fail)?;
        let mut file = File::from(file);
        let filled = fill(&mut file, wanted, &shown).and_then(|()| {
            renameat(&dir, hidden.as_str(), &dir, name).map_err(|error| match error {
                Errno::ISDIR => Fault::new(Code::Io, format!("{} is a folder.", shown.display())),
                other => Fault::new(Code::Io, fail()).because(other),
            })
        });
        if filled.is_err() {
            unlinkat(&dir, hidden.as_str(), AtFlags::empty()).ok();
        }
        filled.map(|()| Done::Written)
    }

    /// A folder below, part by part without following links; made where it does not exist.
    fn descend(&self, dirs: &str) -> Result<OwnedFd> {
        let mut here = self.handle.try_clone().context(Code::Io, || "A folder can't be opened.".to_owned())?;
        for part in dirs.split('/').filter(|part| !part.is_empty() && *part != ".") {
            let flags = DIRECTORY | OFlags::NOFOLLOW;
            let opened = match openat(&here, part, flags, Mode::empty()) {
                Err(Errno::NOENT) => {
                    mkdirat(&here, part, Mode::from_raw_mode(0o755))
                        .context(Code::Io, || format!("The folder {dirs} can't be made."))?;
                    openat(&here, part, flags, Mode::empty())
                }
                other => other,
            };
            here = opened.map_err(|error| match error {
                Errno::NOTDIR | Errno::LOOP => Fault::new(
                    Code::Io,
                    format!("{part} in {} is a link or a file, and would have to be a folder.", self.root.display()),
                )
                .hint("Take it away; vice follows no links there."),
                other => Fault::new(Code::Io, format!("The folder {dirs} can't be opened.")).because(other),
            })?;
        }
        Ok(here)
    }
}

fn fill(file: &mut File, wanted: &Wanted, shown: &Path) -> Result<()> {
    let fail = || format!("{} can't be written.", shown.display());
    file.write_all(wanted.text.as_bytes()).context(Code::Io, fail)?;
    if let Some(owner) = wanted.owner {
        let (user, group) = (Uid::from_raw(owner.user), owner.group.map(Gid::from_raw));
        fchown(&*file, Some(user), group).map_err(|error| {
            Fault::new(Code::Io, format!("{} can't be given to its owner.", shown.display()))
                .because(error)
                .hint("Only root may give files away.")
        })?;
    }
    // After the owner: changing it takes away set-id bits, and nobody else reads before the mode says so.
    fchmod(&*file, Mode::from_raw_mode(wanted.mode)).context(Code::Io, fail)?;
    file.sync_all().context(Code::Io, fail)
}

fn is_as_wanted(dir: &OwnedFd, name: &str, wanted: &Wanted) -> bool {
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let Ok(file) = openat(dir, name, flags, Mode::empty()) else { return false };
    let file = File::from(file);
    let Ok(meta) = file.metadata() else { return false };
    let owned = wanted
        .owner
        .is_none_or(|owner| meta.uid() == owner.user && owner.group.is_none_or(|group| meta.gid() == group));
    if !meta.is_file() || !owned || meta.mode() & 0o7777 != wanted.mode || meta.len() != wanted.text.len() as u64 {
        return false;
    }
    let mut bytes = Vec::with_capacity(wanted.text.len());
    file.take(meta.len() + 1).read_to_end(&mut bytes).is_ok() && bytes == wanted.text.as_bytes()
}

/// A mode as it is written, such as `0640`.
pub(crate) fn mode(text: &str) -> Result<u32> {
    let digits = text.strip_prefix("0o").unwrap_or(text);
    let parsed = u32::from_str_radix(digits, 8).ok().filter(|mode| (3..=4).contains(&digits.len()) && *mode <= 0o777);
    parsed.ok_or_else(|| {
        Fault::new(Code::ConfigInvalid, format!("{text:?} is no mode of a file.")).hint("Write one such as \"0640\".")
    })
}

/// An owner as it is written: `user`, `user:group`, by names or numbers.
pub(crate) fn owner(text: &str) -> Result<Owner> {
    let (user, group) = text.split_once(':').map_or((text, None), |(user, group)| (user, Some(group)));
    let number = |name: &str, file: &str, what: &str| {
        name.parse().ok().or_else(|| numbered(name, file)).ok_or_else(|| {
            Fault::new(Code::ConfigInvalid, format!("This machine has no {what} {name:?}."))
                .hint("Write \"user:group\", by names of this machine or by numbers.")
        })
    };
    let user = number(user, "/etc/passwd", "user")?;
    Ok(Owner { user, group: group.map(|group| number(group, "/etc/group", "group")).transpose()? })
}

/// The number of a name in a file such as `/etc/passwd`.
fn numbered(name: &str, file: &str) -> Option<u32> {
    let text = std::fs::read_to_string(file).ok()?;
    let found = text
        .lines()
        .map(|line| line.split(':'))
        .find_map(|mut fields| (fields.next()? == name).then(|| fields.nth(1).and_then(|number| number.parse().ok())));
    found.flatten()
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{PermissionsExt as _, symlink};

    use super::*;

    fn wanted(path: &str, text: &str, mode: u32) -> Wanted {
        Wanted { path: path.into(), text: text.into(), mode, owner: None, secret: false }
    }

    #[test]
    fn files_are_written_once_with_their_mode() {
        let dir = tempfile::tempdir().unwrap();
        let folder = Folder::open(&dir.path().join("out")).unwrap();
        let file = wanted("a/b/c.txt", "x", 0o640);
        assert_eq!(folder.write(&file).unwrap(), Done::Written);
        let path = dir.path().join("out/a/b/c.txt");
        let inode = std::fs::metadata(&path).unwrap().ino();
        assert_eq!(folder.write(&file).unwrap(), Done::Unchanged);
        let meta = std::fs::metadata(&path).unwrap();
        assert_eq!((meta.ino(), meta.permissions().mode() & 0o7777), (inode, 0o640));
        assert_eq!(folder.write(&wanted("a/b/c.txt", "x", 0o600)).unwrap(), Done::Written);
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o7777, 0o600);
        assert_eq!(std::fs::read_dir(path.parent().unwrap()).unwrap().count(), 1, "nothing is left beside it");
    }

    #[test]
    fn nothing_is_written_outside() {
        let dir = tempfile::tempdir().unwrap();
        let (out, other) = (dir.path().join("out"), dir.path().join("other"));
        std::fs::create_dir_all(&out).unwrap();
        std::fs::create_dir_all(&other).unwrap();
        std::fs::write(other.join("victim"), "old").unwrap();
        symlink(&other, out.join("dir")).unwrap();
        symlink(other.join("victim"), out.join("file")).unwrap();
        let folder = Folder::open(&out).unwrap();
        for bad in ["../x", "/tmp/x", "dir/x", "a/../../x", ""] {
            assert!(folder.write(&wanted(bad, "new", 0o644)).is_err(), "{bad}");
        }
        assert_eq!(folder.write(&wanted("file", "new", 0o644)).unwrap(), Done::Written);
        assert_eq!(std::fs::read_to_string(other.join("victim")).unwrap(), "old");
        assert!(!out.join("file").is_symlink() && std::fs::read_dir(&other).unwrap().count() == 1);
        std::fs::create_dir(out.join("folder")).unwrap();
        assert!(folder.write(&wanted("folder", "new", 0o644)).unwrap_err().to_string().contains("folder"));
        assert!(!out.join(".vice-folder.new").exists());
    }

    #[test]
    fn modes_and_owners_are_read() {
        assert_eq!((mode("0640").unwrap(), mode("600").unwrap()), (0o640, 0o600));
        for bad in ["", "9", "0999", "01777", "rw", "64"] {
            assert!(mode(bad).is_err(), "{bad}");
        }
        assert_eq!(owner("root:0").unwrap(), Owner { user: 0, group: Some(0) });
        assert_eq!(owner("12").unwrap(), Owner { user: 12, group: None });
        assert!(owner("no-such-user-here").unwrap_err().to_string().contains("no user"));
    }
}
