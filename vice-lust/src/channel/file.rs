//! A file of JSON lines inside the project. One write per message, on disk before it counts as delivered.

use std::fs;
use std::io::{Read as _, Seek as _, SeekFrom, Write as _};
use std::path::{Component, Path, PathBuf};

use async_trait::async_trait;
use serde_json::json;

use super::{Channel, SendError};
use crate::message::Message;

pub(crate) struct File {
    pub(crate) root: PathBuf,
    pub(crate) path: String,
}

#[async_trait]
impl Channel for File {
    async fn send(&self, message: &Message) -> Result<String, SendError> {
        let line = serde_json::to_string(&json!(message)).map_err(|error| SendError::permanent(error.to_string()))?;
        let (root, path) = (self.root.clone(), self.path.clone());
        let written = tokio::task::spawn_blocking(move || write(&root, &path, &line)).await;
        written.map_err(|error| SendError::uncertain(error.to_string()))??;
        Ok(format!("appended to {}", self.path))
    }
}

fn write(root: &Path, path: &str, line: &str) -> Result<(), SendError> {
    let file = contained(root, path)?;
    let failed = |error: std::io::Error| SendError::retry(format!("The file {path} can't be written: {error}."));
    let mut file = fs::OpenOptions::new().read(true).append(true).create(true).open(file).map_err(failed)?;
    let mut bytes = Vec::with_capacity(line.len() + 2);
    if torn(&mut file).map_err(failed)? {
        bytes.push(b'\n');
    }
    bytes.extend_from_slice(line.as_bytes());
    bytes.push(b'\n');
    file.write_all(&bytes).map_err(failed)?;
    file.sync_data().map_err(|error| SendError::uncertain(format!("The file {path} can't be synced: {error}.")))
}

/// Whether an earlier write ended in the middle of a line, as a full disk makes it.
fn torn(file: &mut fs::File) -> std::io::Result<bool> {
    if file.seek(SeekFrom::End(0))? == 0 {
        return Ok(false);
    }
    file.seek(SeekFrom::End(-1))?;
    let mut last = [0];
    file.read_exact(&mut last)?;
    Ok(last[0] != b'\n')
}

/// The path inside the project, its folder made; refuses to leave the project by `..`, an absolute path or a link.
fn contained(root: &Path, path: &str) -> Result<PathBuf, SendError> {
    let outside = || SendError::permanent(format!("The file {path:?} is not inside the project."));
    let plain = |part: Component<'_>| matches!(part, Component::Normal(_) | Component::CurDir);
    let given = Path::new(path);
    if given.file_name().is_none() || !given.components().all(plain) {
        return Err(outside());
    }
    let failed = |error: std::io::Error| SendError::retry(format!("The folder of {path} can't be made: {error}."));
    let root = root.canonicalize().map_err(failed)?;
    let file = root.join(given);
    let folder = file.parent().unwrap_or(&root);
    // The nearest folder that exists decides, before anything is made behind a link that leads out.
    let existing = folder.ancestors().find(|folder| folder.exists()).unwrap_or(&root);
    if !existing.canonicalize().map_err(failed)?.starts_with(&root) {
        return Err(outside());
    }
    fs::create_dir_all(folder).map_err(failed)?;
    match fs::symlink_metadata(&file) {
        Ok(found) if found.is_symlink() || found.is_dir() => Err(outside()),
        _ => Ok(file),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_appended_and_a_torn_one_is_closed() {
        let folder = tempfile::tempdir().unwrap();
        write(folder.path(), "notes/all.jsonl", "{\"a\":1}").unwrap();
        fs::write(folder.path().join("notes/all.jsonl"), "{\"a\":1}\n{\"tor").unwrap();
        write(folder.path(), "notes/all.jsonl", "{\"b\":2}").unwrap();
        let text = fs::read_to_string(folder.path().join("notes/all.jsonl")).unwrap();
        assert_eq!(text, "{\"a\":1}\n{\"tor\n{\"b\":2}\n");
    }

    #[test]
    fn nothing_is_written_outside_the_project() {
        let outside = tempfile::tempdir().unwrap();
        let folder = tempfile::tempdir().unwrap();
        std::os::unix::fs::symlink(outside.path(), folder.path().join("link")).unwrap();
        std::os::unix::fs::symlink(outside.path().join("f"), folder.path().join("file")).unwrap();
        let absolute = outside.path().join("abs").display().to_string();
        for path in ["../x", "a/../../x", "link/x", "link/deep/x", "file", "", ".", absolute.as_str()] {
            assert!(write(folder.path(), path, "{}").unwrap_err().permanent, "{path:?}");
        }
        assert_eq!(fs::read_dir(outside.path()).unwrap().count(), 0);
    }
}
