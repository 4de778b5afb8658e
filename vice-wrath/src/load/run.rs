//! A run over all its threads.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio::runtime::{Builder, LocalOptions};
use tokio::sync::{mpsc, oneshot};
use tokio::time::{Instant, MissedTickBehavior, interval};
use vice_core::app::StopSignal;
use vice_core::{Code, Context, Fault, Result};

use super::LoadPlan;
use super::report::Report;
use super::shard::{self, Part};
use super::tally::{Second, Tally};

/// How often the run is looked at while it goes on.
const LOOK_EVERY: Duration = Duration::from_millis(500);

/// Seconds of shards that nobody has taken yet; a thread makes one a second.
const SECONDS_WAITING_MAX: usize = 1024;

/// Runs the plan. `look` is called twice a second with what is known so far.
///
/// # Errors
/// `Internal` when a thread can't be started, or breaks.
pub(crate) async fn run(
    plan: &Arc<LoadPlan>,
    stop: &StopSignal,
    mut look: impl FnMut(Duration, &BTreeMap<u32, Second>),
) -> Result<Report> {
    let (sender, mut seconds) = mpsc::channel(SECONDS_WAITING_MAX);
    let begun = Instant::now();
    let shards = (0..plan.threads).map(|index| start(plan, index, begun, sender.clone()));
    let shards = shards.collect::<Result<Vec<_>>>()?;
    drop(sender);
    let mut known: BTreeMap<u32, Second> = BTreeMap::new();
    let mut ticks = interval(LOOK_EVERY);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Skip);
    loop {
        tokio::select! {
            second = seconds.recv() => match second {
                Some(second) => known.entry(second.number).or_insert_with(|| Second::new(second.number)).add(&second),
                None => break,
            },
            _ = ticks.tick() => {
                if stop.raised().is_some() {
                    plan.stop.store(true, Ordering::Relaxed);
                }
                look(begun.elapsed(), &known);
            }
        }
    }
    let took = begun.elapsed();
    let mut tally = Tally::new(plan.feed.kinds().len());
    for shard in shards {
        let part = shard.await.map_err(|_| Fault::internal("A thread of the load broke."))??;
        tally.add(&part);
    }
    Ok(Report { took, tally, seconds: known.into_values().collect() })
}

type Running = oneshot::Receiver<Result<Tally>>;

fn start(plan: &Arc<LoadPlan>, index: usize, begun: Instant, seconds: mpsc::Sender<Second>) -> Result<Running> {
    let (done, running) = oneshot::channel();
    let plan = Arc::clone(plan);
    let part = Part { index, count: plan.threads };
    let thread = std::thread::Builder::new().name(format!("load-{index}"));
    let body = move || {
        let runtime = Builder::new_current_thread().enable_all().build_local(LocalOptions::default());
        let result = match runtime {
            Ok(runtime) => runtime.block_on(shard::run(plan, part, begun, seconds)),
            Err(error) => Err(Fault::internal("A runtime of the load can't be started.").because(error)),
        };
        // When nobody waits any more, the run was given up.
        drop(done.send(result));
    };
    thread.spawn(body).context(Code::Internal, || "A thread of the load can't be started.".to_owned())?;
    Ok(running)
}
