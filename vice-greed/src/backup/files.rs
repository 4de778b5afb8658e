//! Backups in a folder. A name appears only with its whole content, which is on disk by then.

use std::fs::File;
use std::io::{ErrorKind, Read, Write};
use std::path::{Path, PathBuf};

use async_trait::async_trait;
use vice_core::{Code, Fault, Result};

use super::Vault;

/// The largest manifest that is read.
const BYTES_MAX: u64 = 1024 * 1024;

/// A folder.
#[derive(Debug, Clone)]
pub(crate) struct Folder {
    root: PathBuf,
}

impl Folder {
    pub(crate) const fn new(root: PathBuf) -> Self {
        Self { root }
    }

    async fn blocking<T: Send + 'static>(
        &self,
        name: &str,
        work: impl FnOnce(&Path) -> std::io::Result<T> + Send + 'static,
    ) -> Result<T> {
        let path = self.root.join(name);
        let shown = path.display().to_string();
        let done = tokio::task::spawn_blocking(move || work(&path)).await;
        let done = done.map_err(|error| Fault::internal("Copying a backup failed.").because(error))?;
        done.map_err(|error| {
            Fault::new(Code::Backup, format!("{shown} can't be read or written."))
                .because(error)
                .hint("The folder must be writable for you, on a disk with space left.")
        })
    }
}

/// Writes to a temporary file beside `path`, then gives it its name.
fn place(path: &Path, replace: bool, fill: impl FnOnce(&mut File) -> std::io::Result<()>) -> std::io::Result<bool> {
    let dir = path.parent().unwrap_or(path);
    std::fs::create_dir_all(dir)?;
    let mut file = tempfile::NamedTempFile::new_in(dir)?;
    fill(file.as_file_mut())?;
    file.as_file().sync_all()?;
    let named = if replace { file.persist(path) } else { file.persist_noclobber(path) };
    match named {
        Ok(_) => {}
        Err(error) if error.error.kind() == ErrorKind::AlreadyExists => return Ok(false),
        Err(error) => return Err(error.error),
    }
    File::open(dir)?.sync_all()?;
    Ok(true)
}

fn found<T>(result: std::io::Result<T>) -> std::io::Result<Option<T>> {
    match result {
        Ok(value) => Ok(Some(value)),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

#[async_trait]
impl Vault for Folder {
    async fn put_new_file(&self, name: &str, file: &Path) -> Result<bool> {
        let source = file.to_owned();
        let fill = move |target: &mut File| std::io::copy(&mut File::open(source)?, target).map(drop);
        self.blocking(name, move |path| place(path, false, fill)).await
    }

    async fn put_new(&self, name: &str, bytes: Vec<u8>) -> Result<bool> {
        self.blocking(name, move |path| place(path, false, |file| file.write_all(&bytes))).await
    }

    async fn put(&self, name: &str, bytes: Vec<u8>) -> Result<()> {
        self.blocking(name, move |path| place(path, true, |file| file.write_all(&bytes)).map(drop)).await
    }

    async fn get(&self, name: &str) -> Result<Option<Vec<u8>>> {
        let read = |path: &Path| {
            let Some(file) = found(File::open(path))? else { return Ok(None) };
            let mut bytes = Vec::new();
            file.take(BYTES_MAX).read_to_end(&mut bytes)?;
            Ok(Some(bytes))
        };
        self.blocking(name, read).await
    }

    async fn fetch(&self, name: &str, file: &Path) -> Result<bool> {
        let target = file.to_owned();
        let copy = move |path: &Path| {
            let Some(mut source) = found(File::open(path))? else { return Ok(false) };
            std::io::copy(&mut source, &mut File::create_new(target)?)?;
            Ok(true)
        };
        self.blocking(name, copy).await
    }
}
