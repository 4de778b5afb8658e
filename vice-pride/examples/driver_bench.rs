//! The driver over hosts in memory on a real clock; `bench/driver/run` calls it.
//!
//!     driver_bench HOSTS AT_ONCE TAKES_MS APPEND_MS
//!
//! prints how long the rollout took, what its limit alone would have made of it, and the processor time for each host.
#![expect(
    clippy::print_stdout,
    clippy::unwrap_used,
    reason = "a benchmark prints, and the world of the tests may panic"
)]

use std::time::Duration;

use tokio::time::Instant;

#[path = "../tests/fleet/world.rs"]
mod world;

use world::{Hosts, World, ending};

type Failure = Box<dyn std::error::Error>;

fn main() -> Result<(), Failure> {
    let numbers = std::env::args().skip(1).map(|text| text.parse()).collect::<Result<Vec<u32>, _>>()?;
    let [hosts, at_once, takes, append] = numbers.as_slice() else {
        return Err("driver_bench HOSTS AT_ONCE TAKES_MS APPEND_MS".into());
    };
    let millis = |count: u32| Duration::from_millis(count.into());
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    runtime.block_on(measured(*hosts, (*at_once).max(1), millis(*takes), millis(*append)))
}

async fn measured(hosts: u32, at_once: u32, takes: Duration, append: Duration) -> Result<(), Failure> {
    let dir = tempfile::tempdir()?;
    let rollout = format!("strategy = \"all-at-once\"\nmax_down = {at_once}");
    let world = World::new(dir.path(), Hosts::new(usize::try_from(hosts)?, takes, &[]), append, &rollout);
    let prepared = world.prepared().await;
    let (began, cpu) = (Instant::now(), processor_time());
    let ended = world.deploy(prepared).await;
    let (wall, cpu) = (began.elapsed(), processor_time().saturating_sub(cpu));
    if world.hosts.runs("2") != usize::try_from(hosts)? {
        return Err(format!("{} of {hosts} hosts run it: {}", world.hosts.runs("2"), ending(&ended)).into());
    }
    let counts = world.hosts.counts();
    if (counts.applied, counts.inventories) != (usize::try_from(hosts)?, 1) || counts.fences + counts.fences_of_one != 1
    {
        return Err(format!("more was asked than had to be: {counts:?}").into());
    }
    let bound = takes * hosts.div_ceil(at_once);
    let each = |time: Duration| time.as_secs_f64() * 1e6 / f64::from(hosts);
    println!(
        "{hosts} hosts, {at_once} at once, {takes:?} each, appends {append:?}: {:.3} s wall, bound {:.3} s, over it {:.2} % or {:.0} us a host; \
         processor {:.0} us a host; {} appends, {} at once",
        wall.as_secs_f64(),
        bound.as_secs_f64(),
        (wall.as_secs_f64() / bound.as_secs_f64().max(1e-9) - 1.0) * 100.0,
        each(wall.saturating_sub(bound)),
        each(cpu),
        world.store.appends(),
        counts.most_at_once,
    );
    Ok(())
}

/// Of all threads of this process.
fn processor_time() -> Duration {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ProcessCPUTime);
    Duration::new(u64::try_from(time.tv_sec).unwrap_or(0), u32::try_from(time.tv_nsec).unwrap_or(0))
}
