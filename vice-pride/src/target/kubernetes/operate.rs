//! Operations: from what runs to what shall run, and back when that fails.
//!
//! Whoever begins an operation notes it in the ledger first, under the ledger's version, so that a caller with a lower
//! epoch can't begin one any more after a fence. One that had begun is shut out object by object: the fence puts its
//! epoch on each of them, which changes the object's version, and every write names the version that it has read.
//!
//! An operation that breaks off is settled by the next caller: carried through when everything was written and becomes
//! ready, taken back otherwise. What is taken back is never taken back again.

use http::Method;
use vice_core::port::target::Op;
use vice_core::{Clock, Code, Fault, Millis, Result};

use super::attempt::Attempts;
use super::cluster::{Cluster, is_silence};
use super::ledger::{Book, Pending, RESUME_TIMEOUT, Running};
use super::names::Names;
use super::split::Split;
use super::write::{ATTEMPTS, busy, rest};

/// Carries out operations in one cluster, on one unit.
pub(super) struct Operator<'a> {
    pub(super) cluster: &'a Cluster,
    pub(super) names: &'a Names,
    pub(super) clock: &'a dyn Clock,
    /// How long workloads may take.
    pub(super) timeout: Millis,
    /// Whether fields are taken over from others.
    pub(super) force: bool,
    /// Which of two units, where the traffic is split.
    pub(super) split: Option<Split>,
    pub(super) attempts: &'a Attempts,
}

impl Operator<'_> {
    /// Raises the epoch and shuts out, then settles, what is under way.
    pub(super) async fn fence(&self, epoch: u64) -> Result<()> {
        let mut book = self.raised(epoch).await?;
        if book.ledger.pending.is_some() {
            self.shut_out(&book).await?;
            self.settle(&mut book).await?;
        }
        Ok(())
    }

    /// Whoever asks under the same epoch again has lost sight of what it had begun: that is shut out as well.
    async fn raised(&self, epoch: u64) -> Result<Book> {
        for attempt in 0..ATTEMPTS {
            rest(attempt).await;
            let mut book = Book::read(self.cluster, self.names).await?;
            book.check_epoch(epoch)?;
            let ledger = &mut book.ledger;
            match (ledger.epoch == epoch, &mut ledger.pending) {
                (true, None) => return Ok(book),
                (true, Some(_)) => ledger.turn += 1,
                (false, _) => ledger.raise(epoch),
            }
            if let Some(pending) = &mut ledger.pending {
                pending.attempt = self.attempts.mine();
            }
            match book.write(self.cluster, self.names).await {
                Err(fault) if fault.code() == Code::Conflict => {}
                written => return written.map(|()| book),
            }
        }
        Err(busy("the record of what runs"))
    }

    /// From here on a caller with a lower token fails at its next write of an object.
    async fn shut_out(&self, book: &Book) -> Result<()> {
        let Some(pending) = &book.ledger.pending else { return Ok(()) };
        let mut ids = self.ids_of(pending.before.as_ref()).await?;
        ids.extend(self.ids_of(pending.after.as_ref()).await?);
        ids.sort();
        ids.dedup();
        for id in ids {
            self.stamp_fence(&id, book.ledger.token()).await?;
        }
        Ok(())
    }

    /// Brings an operation that broke off to an end.
    async fn settle(&self, book: &mut Book) -> Result<()> {
        let Some(pending) = book.ledger.pending.clone() else { return Ok(()) };
        if pending.undo {
            // What took an operation back is carried on: the way back has no way back.
            return self.carry_out(book).await;
        }
        if pending.written {
            let objects = self.objects_of(pending.after.as_ref()).await?;
            let patience = Millis(self.timeout.0.min(RESUME_TIMEOUT.0));
            match self.wait(&objects, book.ledger.token(), patience).await {
                Ok(()) => return self.conclude(book, &pending).await,
                Err(fault) if is_silence(&fault) => return Err(fault),
                Err(_) => {}
            }
        }
        // Whether the earlier release is well again is for the inventory to say.
        self.put_back(book, &pending).await.map(drop)
    }

    /// From what runs to `after`. When that fails, what ran is put back.
    pub(super) async fn change(&self, book: &mut Book, op: &Op, after: Option<Running>) -> Result<()> {
        let before = book.ledger.running.clone();
        self.begin(book, op, Pending::new(op, false, before, after)?).await?;
        let Err(fault) = self.carry_out(book).await else { return Ok(()) };
        if is_silence(&fault) || fault.code() == Code::Fenced {
            return Err(fault);
        }
        let Some(pending) = book.ledger.pending.clone() else { return Err(fault) };
        match self.put_back(book, &pending).await {
            Ok(None) => Err(fault),
            Ok(Some(unwell)) => Err(fault.and(format_args!("What ran before was put back: {unwell}"))),
            Err(second) => {
                // After silence the caller fences and asks, and the fence puts back what could not be.
                let settles = is_silence(&second) || second.code() == Code::Fenced;
                let code = if settles { second.code() } else { Code::InDoubt };
                Err(Fault::new(code, format!("{fault} What ran before could not be put back.")).because(second))
            }
        }
    }

    /// From what runs to `after`, as the way back: when it fails, it stays where it got to.
    pub(super) async fn change_back(&self, book: &mut Book, op: &Op, after: Option<Running>) -> Result<()> {
        let before = book.ledger.running.clone();
        self.begin(book, op, Pending::new(op, true, before, after)?).await?;
        self.carry_out(book).await
    }

    /// Notes the operation, if nobody has noted another one since the ledger was read.
    async fn begin(&self, book: &mut Book, op: &Op, mut pending: Pending) -> Result<()> {
        book.ledger.raise(op.epoch);
        pending.attempt = self.attempts.mine();
        book.ledger.pending = Some(pending);
        book.write(self.cluster, self.names).await
    }

    /// Takes up what an earlier caller left. What another caller under the same epoch has begun is its own: nobody can
    /// tell whether it is still at it.
    ///
    /// # Errors
    /// `Conflict` while another operation is under way, `InDoubt` while the same one is.
    pub(super) async fn recover(&self, book: &mut Book, op: &Op) -> Result<()> {
        let Some(pending) = &mut book.ledger.pending else { return Ok(()) };
        if book.ledger.epoch == op.epoch && !self.attempts.is_over(&pending.attempt) {
            let same = pending.op == op.id;
            let code = if same { Code::InDoubt } else { Code::Conflict };
            let what = if same { "The same operation" } else { "Another operation" };
            let message = format!("{what} ({}) is under way in the cluster under the same epoch.", pending.op);
            return Err(Fault::new(code, message)
                .hint("Whoever holds the lease fences the target and settles it: `vice pride resume`."));
        }
        // The turn makes this caller's writes higher than those of whoever is still at it.
        pending.attempt = self.attempts.mine();
        match book.ledger.epoch == op.epoch {
            true => book.ledger.turn += 1,
            false => book.ledger.raise(op.epoch),
        }
        book.write(self.cluster, self.names).await?;
        self.shut_out(book).await?;
        self.settle(book).await
    }

    async fn carry_out(&self, book: &mut Book) -> Result<()> {
        let Some(pending) = book.ledger.pending.clone() else { return Ok(()) };
        let token = book.ledger.token();
        let objects = self.objects_of(pending.after.as_ref()).await?;
        self.write_all(&objects, pending.after.as_ref(), &pending.op, token).await?;
        if let Some(noted) = &mut book.ledger.pending {
            noted.written = true;
        }
        book.write(self.cluster, self.names).await?;
        let waited = self.wait(&objects, token, self.timeout).await;
        match waited {
            Ok(()) => {}
            Err(fault) if pending.undo && fault.code() == Code::Unhealthy => {
                self.conclude(book, &pending).await?;
                return Err(fault);
            }
            Err(fault) => return Err(fault),
        }
        self.conclude(book, &pending).await
    }

    /// Removes what the release no longer has, and notes that the operation was carried out.
    async fn conclude(&self, book: &mut Book, pending: &Pending) -> Result<()> {
        self.prune(pending.before.as_ref(), pending.after.as_ref(), book.ledger.token()).await?;
        book.ledger.finish();
        let gone = book.ledger.expired();
        book.write(self.cluster, self.names).await?;
        for number in gone {
            // One that stays is read by nobody, and the operation was carried out.
            if let Err(fault) = self.cluster.ask(Method::DELETE, &self.revision_path(number), None).await {
                tracing::warn!(number, %fault, "a release that is not needed stays in the cluster");
            }
        }
        Ok(())
    }

    /// Writes back what ran before an operation; says why it is not well, if it isn't.
    async fn put_back(&self, book: &mut Book, pending: &Pending) -> Result<Option<Fault>> {
        let token = book.ledger.token();
        let objects = self.objects_of(pending.before.as_ref()).await?;
        let op = pending.before.as_ref().map_or(pending.op.as_str(), |before| before.op.as_str());
        self.write_all(&objects, pending.before.as_ref(), op, token).await?;
        let waited = self.wait(&objects, token, self.timeout).await;
        let unwell = match waited {
            Ok(()) => None,
            Err(fault) if fault.code() == Code::Unhealthy => Some(fault),
            Err(fault) => return Err(fault),
        };
        self.prune(pending.after.as_ref(), pending.before.as_ref(), token).await?;
        book.ledger.pending = None;
        book.write(self.cluster, self.names).await?;
        Ok(unwell)
    }
}
