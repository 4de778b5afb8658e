//! What comes out of a plug-in: answers for whoever waits for them, and a log. Owns who waits for what, and why nobody is
//! answered any more; it starts and ends nothing.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::io::{AsyncBufReadExt, AsyncRead, AsyncReadExt, BufReader};
use tokio::sync::{oneshot, watch};
use tokio::time::{Duration, timeout};
use vice_core::secret::Masker;

use crate::wire::{LINE_MAX, Response};

/// How much of what it says on standard error is read as one line, in bytes.
const LOG_LINE_MAX: u64 = 4096;

/// How long the last words of one that has ended may take to arrive.
const LAST_WORDS_WITHIN: Duration = Duration::from_millis(500);

/// Why there will be no more answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum End {
    /// Its standard output is closed.
    Closed,
    /// It wrote a line that is no answer.
    Garbage,
    /// It wrote a line of more than [`LINE_MAX`] bytes.
    TooLong,
}

/// Who waits for which answer.
#[derive(Default)]
pub(crate) struct Answers(Mutex<Waiting>);

#[derive(Default)]
struct Waiting {
    by_id: HashMap<u64, oneshot::Sender<Response>>,
    last: u64,
    strays: u64,
    end: Option<End>,
}

impl Answers {
    fn lock(&self) -> MutexGuard<'_, Waiting> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A number for the next request, and where its answer comes; none when there will be no answers any more.
    pub(crate) fn expect(&self) -> Option<(u64, oneshot::Receiver<Response>)> {
        let mut waiting = self.lock();
        if waiting.end.is_some() {
            return None;
        }
        waiting.last += 1;
        let (sender, answer) = oneshot::channel();
        let id = waiting.last;
        waiting.by_id.insert(id, sender);
        Some((id, answer))
    }

    fn hand_over(&self, response: Response) {
        let found = {
            let mut waiting = self.lock();
            let found = waiting.by_id.remove(&response.id);
            waiting.strays += u64::from(found.is_none());
            found
        };
        match found {
            // Whoever waited may have given up.
            Some(sender) => drop(sender.send(response)),
            None => tracing::warn!(id = response.id, "a plug-in answered what was not asked, or answered twice"),
        }
    }

    /// Lets everybody go who waits.
    fn close(&self, end: End) {
        let mut waiting = self.lock();
        waiting.end.get_or_insert(end);
        waiting.by_id.clear();
    }

    /// Why there are no more answers, once there are none.
    pub(crate) fn end(&self) -> Option<End> {
        self.lock().end
    }

    /// How many answers came that nobody had asked for.
    pub(crate) fn strays(&self) -> u64 {
        self.lock().strays
    }
}

/// Hands answers to whoever waits for them, until there are no more.
pub(crate) async fn listen(stdout: impl AsyncRead + Unpin, answers: Arc<Answers>) {
    let mut reader = BufReader::new(stdout);
    let mut line = Vec::new();
    let most = u64::try_from(LINE_MAX).unwrap_or(u64::MAX);
    let end = loop {
        line.clear();
        let read = (&mut reader).take(most).read_until(b'\n', &mut line).await;
        if !matches!(read, Ok(1..)) {
            break End::Closed;
        }
        if line.last() != Some(&b'\n') {
            break if line.len() < LINE_MAX { End::Closed } else { End::TooLong };
        }
        match response(&line) {
            Some(response) => answers.hand_over(response),
            None => break End::Garbage,
        }
    };
    answers.close(end);
}

/// An answer is an object. A list would be taken for its members in their order, and then for nobody's answer.
fn response(line: &[u8]) -> Option<Response> {
    let object = line.trim_ascii_start().starts_with(b"{");
    object.then(|| serde_json::from_slice(line).ok()).flatten()
}

/// The last line that a plug-in said on standard error.
pub(crate) struct LastWords {
    text: Mutex<String>,
    over: watch::Sender<bool>,
}

impl LastWords {
    pub(crate) fn new() -> Self {
        Self { text: Mutex::default(), over: watch::Sender::new(false) }
    }

    /// The last line of one that has ended. What it started may go on to hold its standard error, so that this is not
    /// waited for without end.
    pub(crate) async fn heard(&self) -> String {
        let mut over = self.over.subscribe();
        timeout(LAST_WORDS_WITHIN, over.wait_for(|over| *over)).await.map(drop).ok();
        self.text.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// What it says on standard error is a log; secrets that it was given do not stand in it.
pub(crate) async fn overhear(name: String, stderr: impl AsyncRead + Unpin, words: Arc<LastWords>, masker: Masker) {
    let mut reader = BufReader::new(stderr);
    let mut line = Vec::new();
    loop {
        line.clear();
        let read = (&mut reader).take(LOG_LINE_MAX).read_until(b'\n', &mut line).await;
        if !matches!(read, Ok(1..)) {
            break;
        }
        let text = masker.mask(String::from_utf8_lossy(&line).trim());
        if !text.is_empty() {
            tracing::debug!(plugin = name, "{text}");
            *words.text.lock().unwrap_or_else(PoisonError::into_inner) = text;
        }
    }
    words.over.send_replace(true);
}
