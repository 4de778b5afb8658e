//! Bringing shares of the traffic into force. What each unit has at a share is `split`'s business; here is when it is
//! written: what gets more before what gets less, so that there never are fewer pods than there shall be.

use async_trait::async_trait;
use serde_json::Value;
use vice_core::manifest::TrafficSpec;
use vice_core::payload::ReleaseRef;
use vice_core::port::target::{Traffic, Weight, WeightTable};
use vice_core::{Code, Fault, Millis, Result};

use super::ledger::{Book, Running};
use super::object::ObjectId;
use super::operate::Operator;
use super::shares::{self, Shares};
use super::split::{self, Split, Track, WHOLE};
use super::write::{ATTEMPTS, busy, rest};
use super::{KubernetesTarget, UNIT};

/// What both units run, as far as they do.
struct Pair {
    canary: Option<Running>,
    stable: Option<Running>,
    epoch: u64,
}

impl Pair {
    fn releases(&self) -> impl Iterator<Item = &ReleaseRef> {
        self.stable.iter().chain(&self.canary).map(|running| &running.release)
    }

    const fn of(&self, track: Track) -> Option<&Running> {
        match track {
            Track::Canary => self.canary.as_ref(),
            Track::Stable => self.stable.as_ref(),
        }
    }

    fn share(&self, weights: &[Weight]) -> u32 {
        let release = |track| self.of(track).map(|running| &running.release);
        split::part(weights, release(Track::Stable), release(Track::Canary)).share
    }
}

/// Whether an object changes with the share.
fn carries_share(object: &Value) -> bool {
    ["Deployment", "HTTPRoute"].iter().any(|kind| object["kind"] == *kind)
}

impl KubernetesTarget {
    fn how(&self) -> Result<&TrafficSpec> {
        self.options.spec.traffic.as_ref().ok_or_else(|| {
            Fault::unsupported("kubernetes", "splitting traffic")
                .hint("Say how with `traffic` in the target: docs/kubernetes-target.md.")
        })
    }

    async fn pair(&self) -> Result<Pair> {
        let (canary, stable) = (self.book(Some(Track::Canary)).await?, self.book(Some(Track::Stable)).await?);
        let epoch = canary.ledger.epoch.max(stable.ledger.epoch);
        Ok(Pair { canary: canary.ledger.running, stable: stable.ledger.running, epoch })
    }

    /// Raises the epoch of the table. Says whether somebody was moving shares.
    pub(super) async fn raise_shares(&self, epoch: u64) -> Result<bool> {
        let cluster = self.cluster().await?;
        for attempt in 0..ATTEMPTS {
            rest(attempt).await;
            let mut shares = Shares::read(cluster, &self.names).await?;
            shares.check_epoch(epoch)?;
            if shares.table.epoch == epoch {
                return Ok(shares.table.moving);
            }
            shares.table.epoch = epoch;
            match shares.write(cluster, &self.names).await {
                Err(fault) if fault.code() == Code::Conflict => {}
                written => return written.map(|()| shares.table.moving),
            }
        }
        Err(busy("the shares of the traffic"))
    }

    /// From here on whoever was moving shares under a lower epoch fails at the next write.
    pub(super) async fn shut_out_of_shares(&self) -> Result<()> {
        for track in Track::ALL {
            let operator = self.operator(Some(track)).await?;
            let book = self.book(Some(track)).await?;
            let objects = operator.objects_of(book.ledger.running.as_ref()).await?;
            for id in objects.iter().filter(|object| carries_share(object)).filter_map(ObjectId::of) {
                operator.stamp_fence(&id, book.ledger.token()).await?;
            }
        }
        Ok(())
    }

    /// Brings the shares that were noted into force.
    async fn enact(&self, pair: &Pair, weights: &[Weight], epoch: u64, grows: bool) -> Result<()> {
        let tracks = if grows { Track::ALL } else { [Track::Stable, Track::Canary] };
        for track in tracks {
            let Some(running) = pair.of(track) else { continue };
            let other = pair.of(track.other()).map(|running| running.release.clone());
            let split = Split { how: self.how()?.clone(), track, weights: weights.to_vec(), other };
            let operator = self.operator_with(Some(track), Some(split)).await?;
            enact_on(&operator, running, epoch).await?;
        }
        Ok(())
    }

    /// Refuses shares that the pods of what runs can't express.
    async fn check_expressible(&self, pair: &Pair, share: u32) -> Result<()> {
        let Some(stable) = &pair.stable else { return Ok(()) };
        let operator = self.operator_with(Some(Track::Stable), None).await?;
        let release = operator.load(stable.revision).await?.ok_or_else(|| super::keep::lost(&stable.release))?;
        split::expressible(release.template(), self.how()?, share)
    }
}

async fn enact_on(operator: &Operator<'_>, running: &Running, epoch: u64) -> Result<()> {
    let book = Book::read(operator.cluster, operator.names).await?;
    book.check_epoch(epoch)?;
    let token = book.ledger.token_at(epoch);
    let mut objects = operator.objects_of(Some(running)).await?;
    objects.retain(carries_share);
    operator.write_all(&objects, Some(running), &running.op, token).await?;
    operator.wait(&objects, token, operator.timeout).await
}

#[async_trait]
impl Traffic for KubernetesTarget {
    async fn table(&self) -> Result<WeightTable> {
        let shares = Shares::read(self.cluster().await?, &self.names).await?;
        let pair = self.pair().await?;
        let mut weights = shares.table.weights;
        if weights.is_empty() {
            // Without a table the canary waits.
            let whole = |release: &ReleaseRef| Weight { version: release.version.clone(), basis_points: WHOLE };
            weights = pair.releases().take(1).map(whole).collect();
        }
        Ok(WeightTable { epoch: shares.table.epoch.max(pair.epoch), weights })
    }

    async fn set_weights(&self, table: &WeightTable) -> Result<()> {
        let cluster = self.cluster().await?;
        let pair = self.pair().await?;
        let mut shares = Shares::read(cluster, &self.names).await?;
        shares.check_epoch(table.epoch)?;
        super::ledger::check_epoch(pair.epoch, table.epoch)?;
        shares::check(table, |name| pair.releases().any(|release| release.is_called(name)))?;
        let (before, after) = (pair.share(&shares.table.weights), pair.share(&table.weights));
        self.check_expressible(&pair, after).await?;
        shares.table = shares::Table { epoch: table.epoch, weights: table.weights.clone(), moving: true };
        shares.write(cluster, &self.names).await?;
        self.enact(&pair, &table.weights, table.epoch, after >= before && after > 0).await?;
        shares.table.moving = false;
        shares.write(cluster, &self.names).await
    }

    async fn check_share(&self, basis_points: u32) -> Result<()> {
        self.check_expressible(&self.pair().await?, basis_points).await
    }

    /// The canary's pods get nothing new from here on; what is under way is Kubernetes' business
    /// (`terminationGracePeriodSeconds`), so that nothing is left to wait for.
    async fn drain(&self, unit: &str, epoch: u64, _at_most: Millis) -> Result<usize> {
        let track = self.track(unit)?;
        let pair = self.pair().await?;
        super::ledger::check_epoch(pair.epoch, epoch)?;
        let (Some(Track::Canary), Some(stable)) = (track, &pair.stable) else {
            let unit = track.map_or(UNIT, Track::unit);
            return Err(Fault::unsupported("kubernetes", "draining").hint(format!("The unit {unit} can't be drained.")));
        };
        let weights = vec![Weight { version: stable.release.full_name(), basis_points: WHOLE }];
        self.set_weights(&WeightTable { epoch, weights }).await.map(|()| 0)
    }
}
