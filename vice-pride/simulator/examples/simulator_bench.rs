//! Measures the simulator: `simulator_bench MODE UNITS RUNS`, one figure a line. `bench/simulator/run` calls it.
#![expect(clippy::print_stdout, reason = "a benchmark prints its figures")]

use vice_core::Millis;
use vice_core::manifest::ModelSpec;
use vice_pride_engine::FailurePolicy;
use vice_pride_simulator::fleet::{Fleet, Level, growing_waves};
use vice_pride_simulator::{FastCourse, Past, Setting, World};

const MODEL: &str = r#"
drain = "20s ~ 5s"
install = "60s ~ 20s"
check = "10s ~ 5s"
fails = "1%"
"#;

/// The processor time of this process so far, in seconds, to a hundredth.
fn cpu_seconds() -> f64 {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
    let fields: Vec<&str> = stat.rsplit(')').next().unwrap_or("").split_whitespace().collect();
    let ticks = |at: usize| fields.get(at).and_then(|text| text.parse::<f64>().ok()).unwrap_or(0.0);
    (ticks(11) + ticks(12)) / 100.0
}

/// A resident size of this process in MiB: `VmRSS` now, `VmHWM` the largest so far.
fn resident_mib(field: &str) -> f64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find(|line| line.starts_with(field)).unwrap_or("");
    line.split_whitespace().nth(1).and_then(|text| text.parse::<f64>().ok()).unwrap_or(0.0) / 1024.0
}

/// From here on `VmHWM` is the peak of what follows, not of making the plan.
fn forget_peak() {
    if let Err(error) = std::fs::write("/proc/self/clear_refs", "5") {
        println!("The peak of memory includes the plan, as it can't be reset: {error}.");
    }
}

fn fleet(mode: &str, units: u32) -> vice_core::Result<Fleet> {
    let clusters = units / 100;
    if mode == "simpy" {
        return Fleet::regular(&[Level { name: "cluster", each: clusters, max_down: Some(10) }], 100);
    }
    // Six levels of constraints: the whole fleet, region, datacenter, cluster, rack, and a domain across them.
    let level = |name, each, max_down| Level { name, each, max_down: Some(max_down) };
    let levels = [
        level("world", 1, units / 8),
        level("region", 2, units / 14),
        level("dc", 5, units / 90 + 1),
        level("cluster", clusters / 10, 10),
        level("rack", 4, 4),
    ];
    let mut fleet = Fleet::regular(&levels, 25)?;
    fleet.domains(20, units / 150 + 1);
    Ok(fleet)
}

fn main() -> vice_core::Result<()> {
    let arguments: Vec<String> = std::env::args().collect();
    let mode = arguments.get(1).map_or("levels", String::as_str);
    let number = |at: usize, default: u32| arguments.get(at).and_then(|text| text.parse().ok()).unwrap_or(default);
    let (units, runs) = (number(2, 10_000), u64::from(number(3, 10)));
    let model: ModelSpec =
        toml::from_str(MODEL).map_err(|error| vice_core::Fault::new(vice_core::Code::Usage, error.to_string()))?;
    let fleet = fleet(mode, units)?;
    let failures = FailurePolicy { retries: 1_000, tolerate: 0 };
    let course = fleet.course(growing_waves(units, 1, 2.0, Millis::ZERO), failures)?;
    let world = World::new(&model, fleet.layout.clone(), &Past::default())?;
    println!("limits {}", fleet.limits.len());
    let fast = FastCourse::new(&world, &course);
    let setting = Setting { world: &world, course: &course, start: jiff::Timestamp::UNIX_EPOCH, seed: 1 };
    println!("before_mib {:.1}", resident_mib("VmRSS"));
    forget_peak();
    let begun = cpu_seconds();
    let (mut events, mut sum, mut squares) = (0, 0.0, 0.0);
    for run in 0..runs {
        let run = if mode == "fast" { fast.run(setting.seed, run) } else { setting.run(run, None) };
        events += run.events;
        #[expect(clippy::cast_precision_loss, reason = "milliseconds of a rollout")]
        let seconds = run.total_ms as f64 / 1000.0;
        sum += seconds;
        squares += seconds * seconds;
    }
    let cpu = cpu_seconds() - begun;
    #[expect(clippy::cast_precision_loss, reason = "counts of a benchmark")]
    let (events, runs) = (events as f64, runs as f64);
    let mean = sum / runs;
    println!("cpu_seconds {cpu:.2}");
    println!("events {events}");
    println!("ns_per_event {:.1}", cpu * 1e9 / events);
    println!("events_per_second {:.0}", events / cpu);
    println!("cpu_seconds_per_run {:.4}", cpu / runs);
    println!("makespan_mean {mean:.1}");
    println!("makespan_se {:.2}", ((squares / runs - mean * mean).max(0.0) / runs).sqrt());
    println!("peak_mib {:.1}", resident_mib("VmHWM"));
    Ok(())
}
