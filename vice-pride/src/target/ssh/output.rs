//! The output of instances: the last lines of each, and what comes after them.

use std::sync::Arc;

use async_trait::async_trait;
use openssh::{Child, Session};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, BufReader};
use vice_core::port::target::{LogLine, LogSource, Target};
use vice_core::{Code, Context, Fault, Result};

use super::link::Link;
use super::{SshTarget, trouble};

/// A line is cut, in bytes, as those of the local target are.
const LINE_BYTES_MAX: u64 = 16 * 1024;

impl SshTarget {
    /// The units whose output is wanted.
    async fn chosen(&self, unit: Option<&str>) -> Result<Vec<String>> {
        let units = self.inventory().await?.units;
        let there = units.into_iter().filter(|unit| unit.release.is_some()).map(|unit| unit.name);
        match unit {
            None => Ok(there.collect()),
            Some(wanted) => {
                self.link(wanted)?;
                let found: Vec<String> = there.filter(|name| name == wanted).collect();
                if found.is_empty() {
                    return Err(Fault::new(Code::UnknownName, format!("There is no unit {wanted:?} on its host."))
                        .hint("Deploy something first."));
                }
                Ok(found)
            }
        }
    }

    async fn output_of(
        &self,
        unit: &str,
        lines: usize,
        follow: bool,
        sink: &(dyn Fn(LogLine) -> bool + Send + Sync),
    ) -> Result<()> {
        let (link, _) = self.link(unit)?;
        let how = if follow { "follow" } else { "last" };
        let args = [unit.to_owned(), lines.to_string(), how.to_owned()];
        let mut child = link.start(&self.dialling, &self.options.root, "logs", &args).await?;
        // As long as this is open, the host goes on.
        let stdin = child.stdin().take();
        let stdout = child.stdout().take();
        let mut reader = BufReader::new(stdout.ok_or_else(|| Fault::internal("A command has no output."))?);
        while let Some(text) = line(&mut reader, link).await? {
            if !sink(LogLine { unit: unit.to_owned(), text }) {
                break;
            }
        }
        drop(stdin);
        drop(reader);
        if follow { Ok(()) } else { ended(link, child).await }
    }
}

/// The next line without its end; one that is too long is cut and marked.
async fn line<R: tokio::io::AsyncBufRead + Unpin>(reader: &mut R, link: &Link) -> Result<Option<String>> {
    let broken = || format!("The output on {} breaks off.", link.host.name);
    let mut bytes = Vec::new();
    let read =
        (&mut *reader).take(LINE_BYTES_MAX).read_until(b'\n', &mut bytes).await.context(Code::Unreachable, broken)?;
    if read == 0 {
        return Ok(None);
    }
    let whole = bytes.pop_if(|byte| *byte == b'\n').is_some();
    let mut text = String::from_utf8_lossy(&bytes).into_owned();
    if !whole && read as u64 == LINE_BYTES_MAX {
        text.push('…');
        let mut rest = Vec::new();
        while !rest.ends_with(b"\n") {
            rest.clear();
            let skipped = (&mut *reader).take(LINE_BYTES_MAX).read_until(b'\n', &mut rest).await;
            if skipped.context(Code::Unreachable, broken)? == 0 {
                break;
            }
        }
    }
    Ok(Some(text))
}

async fn ended(link: &Link, child: Child<Arc<Session>>) -> Result<()> {
    let status = child.wait().await.map_err(|error| trouble::cut_off(&link.host, &error))?;
    if status.success() {
        return Ok(());
    }
    Err(Fault::new(Code::Backend, format!("The output on {} can't be read.", link.host.name))
        .detail("status", status.code().unwrap_or(-1)))
}

#[async_trait]
impl LogSource for SshTarget {
    async fn logs(
        &self,
        unit: Option<&str>,
        lines: usize,
        follow: bool,
        sink: &(dyn Fn(LogLine) -> bool + Send + Sync),
    ) -> Result<()> {
        let units = self.chosen(unit).await?;
        if follow {
            let each = units.iter().map(|unit| self.output_of(unit, lines, true, sink));
            return futures::future::try_join_all(each).await.map(drop);
        }
        for unit in &units {
            self.output_of(unit, lines, false, sink).await?;
        }
        Ok(())
    }
}
