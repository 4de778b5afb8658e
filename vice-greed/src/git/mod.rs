//! A history on a ref of a git repository: one commit a batch, whose tree is the batch as one file. Whoever may push to
//! the repository shares the history; no server but git is needed.
//!
//! A push names the commit that it expects as the end, so that of several writers one wins. Commits are made in a bare
//! repository beside the mirror, through the user's `git`, and so with the user's keys, credential helpers and proxies.
//! Nothing is ever checked out, no hook of the project runs, and nothing is passed through a shell.
//!
//! An acknowledgement means that the server took the commit; how soon a server brings it to its disk is the server's
//! choice (`core.fsync` there). For a repository on this machine that is asked for with the push.

mod errors;
mod place;
mod process;
mod push;
mod read;

#[cfg(test)]
pub(crate) mod tests;

use std::collections::VecDeque;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use async_trait::async_trait;
use vice_core::app::ProcessEnv;
use vice_core::capability::BackendInfo;
use vice_core::{Code, Digest, Fault, Result};

use crate::disk::{make_private_dir, unwritable};
use crate::place::Opening;
use crate::shared::SharedStore;
use crate::shared::medium::{Known, Medium, Page, Pushed};

pub use place::GitPlace;
use process::Git;

/// The ref that is used when none is named. Outside of `refs/heads`, so that no pipeline runs for it and no clone fetches
/// it unasked.
const REF: &str = "refs/vice/history";

/// The one file of a sign of life.
const BEAT: &str = "beat";

/// The store of a place.
pub(crate) fn open(place: &GitPlace, opening: &Opening) -> SharedStore {
    let folder = opening.state.join("shared").join(format!("git-{}", Digest::of(place.to_string().as_bytes()).short()));
    let medium = GitMedium::new(place.clone(), Arc::clone(&opening.env), &folder);
    let info = BackendInfo { kind: "git", location: place.to_string(), shared: true };
    SharedStore::new(info, Box::new(medium), folder, Arc::clone(&opening.notices))
}

/// A ref of a repository elsewhere.
pub(crate) struct GitMedium {
    place: GitPlace,
    env: Arc<ProcessEnv>,
    folder: PathBuf,
    git: Option<Git>,
    /// Commits that were seen and not handed out yet, oldest first, and the one before them.
    ahead: VecDeque<String>,
    behind: String,
}

impl GitMedium {
    fn new(place: GitPlace, env: Arc<ProcessEnv>, folder: &Path) -> Self {
        let folder = folder.join("repository");
        Self { place, env, folder, git: None, ahead: VecDeque::new(), behind: String::new() }
    }

    /// The repository beside the mirror, made if need be.
    async fn git(&mut self) -> Result<&Git> {
        if self.git.is_none() {
            self.git = Some(self.prepare().await?);
        }
        self.git.as_ref().ok_or_else(|| Fault::internal("There is no repository."))
    }

    async fn prepare(&self) -> Result<Git> {
        let base = &self.env.dir;
        let mut git = Git::new(&self.env, base.clone());
        let url = self.place.url(&git).await?;
        make_private_dir(&self.folder).map_err(|error| unwritable(error, &self.folder))?;
        git.work_in(self.folder.clone(), &url);
        // Written last, so that a repository that is only half there is made once more, which does no harm; and under its
        // lock, because git itself does not wait for another one that makes it.
        let made = self.folder.join("made");
        if !std::fs::metadata(&made).is_ok_and(|found| found.len() > 0) {
            let lock = std::fs::File::create(&made).map_err(|error| unwritable(error, &made))?;
            lock.lock().map_err(|error| unwritable(error, &made))?;
            git.ok(&["init", "--quiet", "--bare", "--template=", "."]).await?;
            std::fs::write(&made, "1").map_err(|error| unwritable(error, &made))?;
        }
        git.settle().await?;
        Ok(git)
    }
}

#[async_trait]
impl Medium for GitMedium {
    async fn pull(&mut self, known: &Known) -> Result<Page> {
        if self.ahead.is_empty() || self.behind != known.tip {
            let (name, place) = (self.place.name().to_owned(), self.place.to_string());
            let git = self.git().await?;
            let found = read::fetch(git, &name, &place).await?;
            let ahead = read::between(git, &known.tip, found.as_deref()).await?;
            self.behind.clone_from(&known.tip);
            self.ahead = ahead.into();
        }
        let batches = {
            let commits: Vec<String> = self.ahead.iter().take(read::PAGE).cloned().collect();
            read::batches(self.git().await?, &commits).await?
        };
        self.ahead.drain(..batches.len());
        if let Some(last) = batches.last() {
            self.behind.clone_from(&last.tip);
        }
        Ok(Page { batches, more: !self.ahead.is_empty() })
    }

    async fn push(&mut self, known: &Known, bytes: &[u8], summary: &str) -> Result<Pushed> {
        let (name, place) = (self.place.name().to_owned(), self.place.to_string());
        let git = self.git().await?;
        let file = crate::jsonl::log::segment_name(known.records + 1);
        let commit = push::commit(git, &file, bytes, summary, &known.tip).await?;
        let pushed = push::push(git, &name, &place, &known.tip, &commit).await?;
        Ok(if pushed { Pushed::Done(commit) } else { Pushed::Lost })
    }

    async fn beat(&mut self, scope: &str, mark: &str) -> Result<()> {
        let (name, place) = (beat_name(self.place.name(), scope), self.place.to_string());
        let git = self.git().await?;
        let commit = push::commit(git, BEAT, mark.as_bytes(), &format!("{scope} is alive"), "").await?;
        push::replace(git, &name, &place, &commit).await
    }

    async fn pulse(&mut self, scope: &str) -> Result<Option<String>> {
        let (name, place) = (beat_name(self.place.name(), scope), self.place.to_string());
        read::beat(self.git().await?, &name, &place).await
    }

    fn elsewhere(&self, folder: &Path) -> Box<dyn Medium> {
        Box::new(Self::new(self.place.clone(), Arc::clone(&self.env), folder))
    }
}

/// The ref of a scope's signs of life, beside the history's. A scope may have letters that a ref must not.
fn beat_name(name: &str, scope: &str) -> String {
    format!("{name}-alive-{}", Digest::of(scope.as_bytes()).short())
}

fn damaged(message: impl Into<String>) -> Fault {
    Fault::new(Code::HistoryDamaged, message)
}
