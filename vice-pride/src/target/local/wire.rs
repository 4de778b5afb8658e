//! What client and agent say to each other: one connection a request, one JSON text a line, bounded.

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use tokio::io::{AsyncBufReadExt, AsyncRead, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::UnixStream;
use vice_core::id::Scope;
use vice_core::port::target::{Op, WeightTable};
use vice_core::{Code, Context, Fault, Millis, Result};

use super::front::ClientOptions;
use super::release::StoredWorkload;

/// The version of this protocol. An agent that speaks another one is told to make room.
pub(super) const PROTOCOL: u32 = 1;

/// The longest line, in bytes. A workload with its environment must fit.
const LINE_BYTES_MAX: u64 = 8 * 1024 * 1024;

/// The first line of a client.
#[derive(Serialize, Deserialize)]
pub(super) struct Hello {
    pub(super) protocol: u32,
    /// What the target shall be like; none from whoever changes nothing.
    pub(super) setup: Option<Setup>,
}

/// What the target shall be like.
#[derive(Clone, Serialize, Deserialize)]
pub(super) struct Setup {
    /// What it is the target of.
    pub(super) scope: Scope,
    /// Where the front end shall listen: there, or where the agent chooses.
    pub(super) port: Option<u16>,
    /// Where its counters shall be exposed for scraping: there, at a free port for 0, or nowhere.
    #[serde(default)]
    pub(super) metrics: Option<u16>,
    /// What tells clients apart.
    #[serde(default)]
    pub(super) clients: ClientOptions,
}

/// The second line of a client.
#[derive(Serialize, Deserialize)]
#[serde(tag = "do", rename_all = "snake_case")]
pub(super) enum Request {
    Inventory,
    Fence { epoch: u64 },
    Observe { op: Op },
    Apply { op: Op, workload: Option<StoredWorkload> },
    Undo { op: Op, workload: Option<StoredWorkload> },
    Table,
    SetWeights { table: WeightTable },
    Drain { unit: String, epoch: u64, at_most: Millis },
    Counts,
    Counters,
    Shutdown { remove: bool },
}

/// The line of the agent after each line of a client.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Reply {
    Done(serde_json::Value),
    Failed(WireFault),
}

/// A fault that can be sent.
#[derive(Serialize, Deserialize)]
pub(super) struct WireFault {
    code: String,
    chain: Vec<String>,
    hints: Vec<String>,
}

impl From<&Fault> for WireFault {
    fn from(fault: &Fault) -> Self {
        Self { code: fault.code().as_str().to_owned(), chain: fault.chain(), hints: fault.hints().to_vec() }
    }
}

impl From<WireFault> for Fault {
    fn from(wire: WireFault) -> Self {
        let code = Code::ALL.iter().copied().find(|code| code.as_str() == wire.code).unwrap_or(Code::Backend);
        let mut messages = wire.chain.into_iter().rev();
        let innermost = messages.next().unwrap_or_else(|| "The agent gave no reason.".to_owned());
        let fault = messages.fold(Self::new(code, innermost), |cause, message| Self::new(code, message).because(cause));
        wire.hints.into_iter().fold(fault, Self::hint)
    }
}

impl Reply {
    pub(super) fn of<T: Serialize>(result: Result<T>) -> Self {
        let encoded = result.and_then(|value| {
            serde_json::to_value(value).context(Code::Internal, || "The answer can't be encoded.".to_owned())
        });
        match encoded {
            Ok(value) => Self::Done(value),
            Err(fault) => Self::Failed(WireFault::from(&fault)),
        }
    }

    pub(super) fn into_result<T: DeserializeOwned>(self) -> Result<T> {
        match self {
            Self::Done(value) => serde_json::from_value(value)
                .context(Code::Decode, || "The agent's answer can't be understood.".to_owned()),
            Self::Failed(fault) => Err(fault.into()),
        }
    }
}

/// One end of a connection.
pub(super) struct Line {
    stream: BufReader<UnixStream>,
}

impl Line {
    pub(super) fn new(stream: UnixStream) -> Self {
        Self { stream: BufReader::new(stream) }
    }

    pub(super) async fn send<T: Serialize>(&mut self, message: &T) -> Result<()> {
        let broken = || "The connection to the local agent broke off.".to_owned();
        let mut bytes =
            serde_json::to_vec(message).context(Code::Internal, || "A message can't be encoded.".to_owned())?;
        bytes.push(b'\n');
        if bytes.len() as u64 > LINE_BYTES_MAX {
            return Err(Fault::new(Code::Usage, "The release is too large for the local agent.")
                .hint("Its command and environment together may have 8 MiB."));
        }
        self.stream.write_all(&bytes).await.context(Code::Unreachable, broken)
    }

    /// The process at the other end, where the system tells.
    pub(super) fn peer(&self) -> Option<i32> {
        self.stream.get_ref().peer_cred().ok()?.pid()
    }

    /// The next message; none at the end of the stream.
    pub(super) async fn receive<T: DeserializeOwned>(&mut self) -> Result<Option<T>> {
        read_line(&mut self.stream).await
    }
}

async fn read_line<R: AsyncRead + Unpin, T: DeserializeOwned>(stream: &mut BufReader<R>) -> Result<Option<T>> {
    let mut bytes = Vec::new();
    let read = stream.take(LINE_BYTES_MAX).read_until(b'\n', &mut bytes).await;
    let read = read.context(Code::Unreachable, || "The connection to the local agent broke off.".to_owned())?;
    if read == 0 {
        return Ok(None);
    }
    if bytes.last() != Some(&b'\n') {
        return Err(Fault::new(Code::Decode, "A message on the agent's socket is cut off or too long."));
    }
    // The parser's error could quote a secret, so it is not kept.
    serde_json::from_slice(&bytes)
        .map(Some)
        .map_err(|_| Fault::new(Code::Decode, "A message on the agent's socket can't be understood."))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn hostile_lines_are_refused_in_bounded_memory() {
        for bytes in [b"{}".to_vec(), b"not json\n".to_vec(), vec![b'['; 9 * 1024 * 1024]] {
            let read = read_line::<_, Hello>(&mut BufReader::new(bytes.as_slice())).await;
            assert_eq!(read.err().map(|fault| fault.code()), Some(Code::Decode));
        }
        assert!(read_line::<_, Hello>(&mut BufReader::new(&b""[..])).await.unwrap().is_none());
    }

    #[test]
    fn faults_keep_code_causes_and_hints() {
        let fault = Fault::new(Code::PortInUse, "Taken.").hint("Choose another.").because(std::io::Error::other("98"));
        let back: Fault = WireFault::from(&fault).into();
        assert_eq!((back.code(), back.chain(), back.hints()), (fault.code(), fault.chain(), fault.hints()));
    }
}
