//! Writing a recording: one thread that masks, seals and appends, so that the proxy never waits for a disk.

use std::fs::{File, OpenOptions};
use std::io::{BufWriter, Write};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use tokio::sync::{mpsc, oneshot};
use vice_core::{Code, Context, Fault, Result};

use super::exchange::{Closing, Opening};
use super::file;
use super::mask::Mask;
use super::read::Recording;
use super::tap::Raw;

/// Exchanges that wait for the disk. Their bodies are limited apart from that.
const WAITING_MAX: usize = 4096;

/// Where finished exchanges go.
#[derive(Clone)]
pub(super) struct Sink {
    queue: mpsc::Sender<Raw>,
    lost: Arc<AtomicU64>,
}

impl Sink {
    /// Hands an exchange over. One that comes faster than the disk takes it is lost, and counted.
    pub(super) fn put(&self, raw: Raw) {
        if self.queue.try_send(raw).is_err() {
            self.lost.fetch_add(1, Ordering::Relaxed);
        }
    }
}

/// The writer's end: it gives what was written once every sink is gone.
pub(super) type Written = oneshot::Receiver<Result<Closing>>;

/// Makes the file, which must not exist, and starts the thread.
///
/// # Errors
/// `Io` when the file exists or can't be made.
pub(super) fn start(path: &Path, opening: &Opening, mask: Mask) -> Result<(Sink, Written)> {
    let mut file = create(path)?;
    append(path, &mut file, &file::seal(opening)?)?;
    let (queue, waiting) = mpsc::channel(WAITING_MAX);
    let (done, written) = oneshot::channel();
    let lost = Arc::new(AtomicU64::new(0));
    let sink = Sink { queue, lost: Arc::clone(&lost) };
    let path = path.to_path_buf();
    let body = move || drop(done.send(write(&path, file, waiting, &mask, &lost)));
    let thread = std::thread::Builder::new().name("recording".to_owned());
    thread.spawn(body).context(Code::Internal, || "The writer of the recording can't be started.".to_owned())?;
    Ok((sink, written))
}

/// A new file that only its owner can read: what customers send is nobody else's business.
fn create(path: &Path) -> Result<File> {
    use std::os::unix::fs::OpenOptionsExt as _;
    let made = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path);
    made.map_err(|error| {
        let exists = error.kind() == std::io::ErrorKind::AlreadyExists;
        let fault = Fault::new(Code::Io, format!("The recording {} can't be made.", path.display())).because(error);
        if exists { fault.hint("It is never overwritten; choose another name or remove it.") } else { fault }
    })
}

fn append(path: &Path, file: &mut File, line: &str) -> Result<()> {
    let unwritable = || format!("The recording {} can't be written.", path.display());
    file.write_all(line.as_bytes()).context(Code::Io, unwritable)
}

fn write(
    path: &Path,
    mut file: File,
    mut waiting: mpsc::Receiver<Raw>,
    mask: &Mask,
    lost: &AtomicU64,
) -> Result<Closing> {
    let mut exchanges = 0;
    while let Some(raw) = waiting.blocking_recv() {
        let line = file::seal(&raw.into_exchange(mask))?;
        append(path, &mut file, &line)?;
        exchanges += 1;
    }
    let closing = Closing { exchanges, lost: lost.load(Ordering::Relaxed) };
    append(path, &mut file, &file::seal(&closing)?)?;
    let unwritable = || format!("The recording {} can't be written.", path.display());
    file.sync_all().context(Code::Io, unwritable)?;
    Ok(closing)
}

/// Writes a recording that is in memory to a new file.
///
/// # Errors
/// `Io` when the file exists or can't be written.
pub(crate) fn save(path: &Path, recording: &Recording) -> Result<()> {
    let unwritable = || format!("The recording {} can't be written.", path.display());
    let mut file = BufWriter::new(create(path)?);
    let mut put = |line: String| file.write_all(line.as_bytes()).context(Code::Io, unwritable);
    put(file::seal(&recording.opening)?)?;
    for exchange in &recording.exchanges {
        put(file::seal(exchange)?)?;
    }
    put(file::seal(&Closing { exchanges: recording.exchanges.len() as u64, lost: 0 })?)?;
    file.flush().context(Code::Io, unwritable)
}
