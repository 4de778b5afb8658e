//! Which programs may be plug-ins of a project: `vice-plugins.lock` beside `vice.toml`, as `sha256sum` writes it. Without that
//! file any program on `PATH` may; with it only those that it names, with the content that it says.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use vice_core::app::ProcessEnv;
use vice_core::{Code, Context, Digest, Fault, Result};

use crate::find::KINDS;

/// The name of the file.
pub const LOCK_FILE: &str = "vice-plugins.lock";

/// The largest file that is read, in bytes: names and digests of a thousand programs take a tenth.
const BYTES_MAX: u64 = 1024 * 1024;

/// Digests by the names of programs.
pub type Pins = BTreeMap<String, Digest>;

/// The file that holds in the working folder: its own, or that of the nearest folder above.
fn lock_file(env: &ProcessEnv) -> Option<PathBuf> {
    // Without a working folder there is no project.
    let folders = env.dir.ancestors().filter(|dir| dir.is_absolute());
    folders.map(|dir| dir.join(LOCK_FILE)).find(|path| path.symlink_metadata().is_ok())
}

/// Reads a file of pins.
///
/// # Errors
/// `Io`, and `ManifestInvalid` for a line that is none.
pub fn read_pins(path: &Path) -> Result<Pins> {
    let unread = || format!("{} can't be read.", path.display());
    let size = std::fs::metadata(path).context(Code::Io, unread)?.len();
    if size > BYTES_MAX {
        return Err(Fault::new(Code::ManifestInvalid, format!("{} is too large: {size} bytes.", path.display())));
    }
    let text = std::fs::read_to_string(path).context(Code::Io, unread)?;
    let mut pins = Pins::new();
    let lines = text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty() && !line.starts_with('#'));
    for (index, line) in lines {
        let pin = line.split_once("  ").and_then(|(digest, name)| Some((name.to_owned(), digest.parse().ok()?)));
        let Some((name, digest)) = pin.filter(|(name, _)| name.starts_with("vice-") && !name.contains('/')) else {
            let message = format!("Line {} of {} is no digest with the name of a plug-in.", index + 1, path.display());
            return Err(Fault::new(Code::ManifestInvalid, message)
                .hint("A line is what `sha256sum vice-backend-NAME` says; `vice plugin lock NAME` writes it."));
        };
        if pins.insert(name.clone(), digest).is_some() {
            let message = format!("{} names {name} twice.", path.display());
            return Err(Fault::new(Code::ManifestInvalid, message).hint("Take the line out that does not hold."));
        }
    }
    Ok(pins)
}

/// Writes a file of pins, at one moment.
///
/// # Errors
/// `Io`.
pub fn write_pins(path: &Path, pins: &Pins) -> Result<()> {
    let mut text = "# The plug-ins of this project. `vice plugin lock NAME` writes a line anew.\n".to_owned();
    text.extend(pins.iter().map(|(name, digest)| format!("{digest}  {name}\n")));
    let new = path.with_extension("lock.new");
    let unwritten = || format!("{} can't be written.", path.display());
    std::fs::write(&new, text).context(Code::Io, unwritten)?;
    std::fs::rename(&new, path).context(Code::Io, unwritten)
}

/// The digest of a program.
///
/// # Errors
/// `Io`.
pub fn digest(program: &Path) -> Result<Digest> {
    let bytes = std::fs::read(program).context(Code::Io, || format!("{} can't be read.", program.display()))?;
    Ok(Digest::of(&bytes))
}

/// The pins that hold in a folder, and where they are written.
pub(crate) struct Lock {
    file: PathBuf,
    pins: Pins,
}

impl Lock {
    /// Those of the working folder; none where plug-ins are not locked.
    ///
    /// # Errors
    /// What [`read_pins`] says.
    pub(crate) fn of(env: &ProcessEnv) -> Result<Option<Self>> {
        lock_file(env).map(|file| Ok(Self { pins: read_pins(&file)?, file })).transpose()
    }

    /// Lets a program pass that is among them.
    pub(crate) fn check(&self, program: &Path) -> Result<()> {
        let (name, file) = (file_name(program), self.file.display());
        let short = KINDS.iter().find_map(|(prefix, _)| name.strip_prefix(prefix));
        let again = format!("If that is meant, `vice plugin lock {}`.", short.unwrap_or(&name));
        let program_shown = program.display();
        let Some(pinned) = self.pins.get(&name) else {
            let message = format!("The plug-in {program_shown} is not in {file}, so that it is not started.");
            return Err(Fault::new(Code::Usage, message).hint(again));
        };
        let found = digest(program)?;
        if found == *pinned {
            return Ok(());
        }
        let message = format!(
            "The plug-in {program_shown} is not the one that {file} has ({}, and this is {}), so that it is not started.",
            pinned.short(),
            found.short()
        );
        Err(Fault::new(Code::Usage, message).hint("Find out who changed it.").hint(again))
    }
}

/// What a program is called in a file of pins.
#[must_use]
pub fn file_name(program: &Path) -> String {
    program.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default()
}

/// Lets a program pass that the project's file names, or any where there is no such file. What is checked is what is
/// started, unless somebody who may write it does so in between.
///
/// # Errors
/// `Usage` for one that is not named or has another content; what [`read_pins`] says.
pub fn check_pin(env: &ProcessEnv, program: &Path) -> Result<()> {
    Lock::of(env)?.map_or(Ok(()), |lock| lock.check(program))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bench() -> (tempfile::TempDir, ProcessEnv, PathBuf) {
        let dir = tempfile::tempdir().unwrap();
        let below = dir.path().join("a/b");
        std::fs::create_dir_all(&below).unwrap();
        let program = dir.path().join("vice-backend-a");
        std::fs::write(&program, "one").unwrap();
        let env = ProcessEnv { dir: below, ..ProcessEnv::default() };
        (dir, env, program)
    }

    #[test]
    fn what_changed_after_it_was_locked_is_not_started() {
        let (dir, env, program) = bench();
        check_pin(&env, &program).unwrap();
        let file = dir.path().join(LOCK_FILE);
        write_pins(&file, &[("vice-backend-a".to_owned(), digest(&program).unwrap())].into()).unwrap();
        check_pin(&env, &program).unwrap();
        std::fs::write(&program, "two").unwrap();
        let fault = check_pin(&env, &program).unwrap_err();
        assert_eq!(fault.code(), Code::Usage);
        assert!(fault.to_string().contains("is not the one") && fault.hints()[1].contains("vice plugin lock a"));
        let other = dir.path().join("vice-credential-b");
        std::fs::write(&other, "three").unwrap();
        assert!(check_pin(&env, &other).unwrap_err().to_string().contains("is not in"));
        // Where there is no project, there is nothing to hold it to.
        check_pin(&ProcessEnv::default(), &program).unwrap();
    }

    #[test]
    fn a_file_that_is_none_starts_nothing() {
        let (dir, env, program) = bench();
        let file = dir.path().join(LOCK_FILE);
        let good = format!("{}  vice-backend-a\n", digest(&program).unwrap());
        for bad in [
            "x",
            "abc  vice-backend-a",
            &good.replace("  ", " "),
            &good.replace("vice-", "../vice-"),
            &format!("{good}{good}"),
        ] {
            std::fs::write(&file, bad).unwrap();
            assert_eq!(check_pin(&env, &program).unwrap_err().code(), Code::ManifestInvalid, "{bad:?}");
        }
        std::fs::write(&file, "x".repeat(2_000_000)).unwrap();
        assert_eq!(check_pin(&env, &program).unwrap_err().code(), Code::ManifestInvalid);
        std::fs::remove_file(&file).unwrap();
        std::os::unix::fs::symlink(dir.path().join("nowhere"), &file).unwrap();
        assert_eq!(
            check_pin(&env, &program).unwrap_err().code(),
            Code::Io,
            "a link to nothing is not the same as no file"
        );
        std::fs::remove_file(&file).unwrap();
        std::fs::write(&file, format!("# a comment\n\n{good}")).unwrap();
        check_pin(&env, &program).unwrap();
    }
}
