//! A private place for a text that must not stay: in memory where the system has such a folder, readable by its owner
//! only, and wiped at the end. What a killed vice left behind is wiped by the next one.

use std::fs::{File, Permissions};
use std::io::{Seek, SeekFrom, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use rustix::process::{Pid, geteuid, test_kill_process};
use vice_core::app::ProcessEnv;
use vice_core::{Code, Context, Fault, Result};
use zeroize::Zeroizing;

use crate::file::read_bounded;
use crate::hex::{fresh, hex};

const PREFIX: &str = "vice-edit-";

/// A folder with one file, which is wiped when this is dropped.
pub(crate) struct Scratch {
    dir: PathBuf,
    path: PathBuf,
}

impl Scratch {
    /// Makes the place; also gives what the user should know about it.
    pub(crate) fn new(process: &ProcessEnv, state: &Path, name: &str) -> Result<(Self, Vec<String>)> {
        let mut notes = Vec::new();
        let (base, in_memory) = base(process, state);
        if !in_memory {
            notes.push(format!("{} may be on a disk; secrets are wiped from it, as far as disks can.", base.display()));
        }
        notes.extend(wipe_left_behind(&base));
        let failed = || format!("No private place can be made in {}.", base.display());
        std::fs::create_dir_all(&base).context(Code::Io, failed)?;
        let chance = hex(&fresh()?[..8]);
        let dir = base.join(format!("{PREFIX}{}-{chance}", std::process::id()));
        std::fs::DirBuilder::new().mode(0o700).create(&dir).context(Code::Io, failed)?;
        let path = dir.join(name);
        Ok((Self { dir, path }, notes))
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    pub(crate) fn write(&self, text: &str) -> Result<()> {
        let failed = || format!("{} can't be written.", self.path.display());
        let file = File::options().write(true).create_new(true).mode(0o600).open(&self.path);
        file.and_then(|mut file| file.write_all(text.as_bytes())).context(Code::Io, failed)
    }

    /// The text as it is now; an editor may have put another file in the place of the first.
    pub(crate) fn read(&self) -> Result<Zeroizing<String>> {
        let shown = self.path.display().to_string();
        let file = File::open(&self.path).context(Code::Io, || format!("{shown} can't be read."))?;
        let bytes = Zeroizing::new(read_bounded(file, &shown)?);
        let text = std::str::from_utf8(&bytes).map_err(|_| Fault::new(Code::Usage, "The edited text is not UTF-8."))?;
        Ok(Zeroizing::new(text.to_owned()))
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        wipe(&self.dir);
    }
}

/// The folder for private files, and whether it is in memory.
fn base(process: &ProcessEnv, state: &Path) -> (PathBuf, bool) {
    let runtime = process.get("XDG_RUNTIME_DIR").map(PathBuf::from).filter(|dir| dir.is_absolute());
    let own = |dir: &PathBuf| {
        std::fs::metadata(dir).is_ok_and(|meta| {
            meta.is_dir() && meta.uid() == geteuid().as_raw() && meta.permissions().mode() & 0o077 == 0
        })
    };
    if let Some(dir) = runtime.filter(own) {
        return (dir, true);
    }
    let shared = PathBuf::from("/dev/shm");
    if shared.is_dir() { (shared, true) } else { (state.to_path_buf(), false) }
}

/// Wipes what belongs to processes of ours that are gone.
fn wipe_left_behind(base: &Path) -> Vec<String> {
    let Ok(entries) = std::fs::read_dir(base) else { return Vec::new() };
    let mut notes = Vec::new();
    for entry in entries.flatten() {
        let name = entry.file_name();
        let pid = name.to_str().and_then(|name| name.strip_prefix(PREFIX)?.split('-').next()?.parse().ok());
        let Some(pid) = pid.and_then(Pid::from_raw) else { continue };
        let own = entry.metadata().is_ok_and(|meta| meta.is_dir() && meta.uid() == geteuid().as_raw());
        if own && test_kill_process(pid).is_err() {
            wipe(&entry.path());
            notes.push(format!("An edit that was killed had left secrets in {}; wiped.", entry.path().display()));
        }
    }
    notes
}

/// Overwrites and removes the files of a folder, those of the editor too.
fn wipe(dir: &Path) {
    let Ok(entries) = std::fs::read_dir(dir) else { return };
    for path in entries.flatten().map(|entry| entry.path()) {
        // What can't be overwritten is removed all the same.
        drop(overwrite(&path));
    }
    // There is nobody to tell at this point.
    drop(std::fs::remove_dir_all(dir));
}

fn overwrite(path: &Path) -> std::io::Result<()> {
    let meta = std::fs::symlink_metadata(path)?;
    if !meta.is_file() {
        return Ok(());
    }
    std::fs::set_permissions(path, Permissions::from_mode(0o600))?;
    let mut file = File::options().write(true).open(path)?;
    file.seek(SeekFrom::Start(0))?;
    std::io::copy(&mut std::io::Read::take(std::io::repeat(0), meta.len()), &mut file)?;
    file.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn process(dir: &Path) -> ProcessEnv {
        std::fs::set_permissions(dir, Permissions::from_mode(0o700)).unwrap();
        let vars = [("XDG_RUNTIME_DIR".to_owned(), dir.display().to_string())];
        ProcessEnv { vars: vars.into(), ..ProcessEnv::default() }
    }

    #[test]
    fn the_place_is_private_and_nothing_stays() {
        let dir = tempfile::tempdir().unwrap();
        let (scratch, notes) = Scratch::new(&process(dir.path()), dir.path(), "prod.toml").unwrap();
        assert_eq!(notes, Vec::<String>::new());
        scratch.write("hunter22").unwrap();
        assert_eq!(scratch.read().unwrap().as_str(), "hunter22");
        let mode = |path: &Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!((mode(scratch.path()), mode(&scratch.dir)), (0o600, 0o700));
        std::fs::write(scratch.dir.join(".prod.toml.swp"), "hunter22").unwrap();
        drop(scratch);
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 0);
    }

    #[test]
    fn what_a_killed_process_left_is_wiped_and_told() {
        let dir = tempfile::tempdir().unwrap();
        // No process has the highest number: the system's limit is far below.
        let left = dir.path().join(format!("{PREFIX}{}-00", i32::MAX));
        std::fs::create_dir(&left).unwrap();
        std::fs::write(left.join("prod.toml"), "hunter22").unwrap();
        let living = dir.path().join(format!("{PREFIX}{}-00", std::process::id()));
        std::fs::create_dir(&living).unwrap();
        let (_scratch, notes) = Scratch::new(&process(dir.path()), dir.path(), "x").unwrap();
        assert!(notes.len() == 1 && notes[0].contains("wiped"), "{notes:?}");
        assert!(!left.exists() && living.exists());
    }
}
