//! The closed forms of detection under exposure beside Monte Carlo figures, as a table: `closed_forms [DRAWS]`. Seed
//! 20261124; the draws share no code with the formulas but the generator.
#![expect(clippy::print_stdout, reason = "a table is printed")]

use vice_pride_simulator::Stream;
use vice_pride_simulator::closed::{self, Price, Ramp};

const SEED: u64 = 20_261_124;

struct Table {
    draws: u32,
    worst: f64,
}

impl Table {
    /// Draws, and prints the mean beside the formula and their distance in standard errors.
    fn row(&mut self, what: &str, formula: f64, mut draw: impl FnMut(&mut Stream) -> f64) {
        let mut chance = Stream::new(SEED);
        let (mut sum, mut squares) = (0.0, 0.0);
        for _ in 0..self.draws {
            let value = draw(&mut chance);
            sum += value;
            squares += value * value;
        }
        let n = f64::from(self.draws);
        let mean = sum / n;
        let error = ((squares / n - mean * mean).max(0.0) / n).sqrt();
        let z = if error > 0.0 { (mean - formula) / error } else { 0.0 };
        self.worst = self.worst.max(z.abs());
        println!("| {what} | {mean:.5} | {formula:.5} | {z:+.2} |");
    }
}

/// When the exposure of an exponential ramp reaches `a`, and how many servers are exposed then.
fn ramp_at(ramp: Ramp, a: f64) -> (f64, f64) {
    let servers = ramp.n0 + ramp.g * a;
    if servers <= ramp.n {
        return ((servers / ramp.n0).ln() / ramp.g, servers);
    }
    (ramp.hours() + (a - (ramp.n - ramp.n0) / ramp.g) / ramp.n, ramp.n)
}

fn indicator(holds: bool) -> f64 {
    if holds { 1.0 } else { 0.0 }
}

fn main() {
    let draws = std::env::args().nth(1).and_then(|text| text.parse().ok()).unwrap_or(400_000);
    let mut table = Table { draws, worst: 0.0 };
    println!("| figure | drawn | formula | distance in standard errors |\n| --- | --- | --- | --- |");
    let (k, theta) = (0.5, 1e-3);
    for a in [200.0, 2_000.0, 20_000.0, 200_000.0] {
        let formula = closed::unfound_gamma(k, theta, a);
        table.row(&format!("1. unfound at {a} server-hours, gamma hazard"), formula, |chance| {
            let h = theta * chance.gamma(k);
            indicator(chance.exponential() > h * a)
        });
    }
    let h = 1e-3;
    for g in [0.05, 0.2, 0.5, 1.0, 2.0] {
        let ramp = Ramp { n0: 10.0, n: 1e5, g };
        table.row(&format!("2. exposure when found, g = {g}"), closed::exposure_at_detection(h), |chance| {
            // Server-hours are summed along the ramp in time, not taken from the draw itself.
            let (time, servers) = ramp_at(ramp, chance.exponential() / h);
            let grown = time.min(ramp.hours());
            (ramp.n0 * (ramp.g * grown).exp() - ramp.n0) / ramp.g + servers * (time - grown)
        });
        table.row(&format!("3. servers when found, g = {g}"), ramp.exposed_at_detection(h), |chance| {
            ramp_at(ramp, chance.exponential() / h).1
        });
        table.row(&format!("4. impact, reaction 0.5 h, way back 1 h, g = {g}"), ramp.impact(h, 0.5, 1.0), |chance| {
            let a = chance.exponential() / h;
            a + ramp_at(ramp, a).1 * 1.5
        });
        table.row(&format!("5. found before 1 %, g = {g}"), ramp.found_before(h, 0.01), |chance| {
            indicator(ramp_at(ramp, chance.exponential() / h).1 < 0.01 * ramp.n)
        });
    }
    waves(&mut table, h);
    let price = Price { h, p_bug: 0.05, hour: 100.0, impact: 1.0, lag: 0.5, back: 1.0 };
    let law = price.best_growth(10.0, 1e5).unwrap_or(0.0);
    let numeric = closed::golden_section(law / 100.0, law * 100.0, |g| price.cost(Ramp { n0: 10.0, n: 1e5, g }));
    println!("| 7. cheapest growth | {numeric:.5} | {law:.5} | |");
    for touched in [100_usize, 1_000] {
        let formula = closed::untouched(10_000.0, 50.0, f64::from(u32::try_from(touched).unwrap_or(0)));
        let mut deck: Vec<u32> = (0..10_000).collect();
        let mut small = Table { draws: draws / 20, worst: 0.0 };
        small.row(&format!("8. 50 of 10,000 servers untouched after {touched}"), formula, |chance| {
            let missed = (0..touched).all(|at| {
                let left = u64::try_from(deck.len() - at).unwrap_or(1);
                let other = at + usize::try_from(chance.bits() % left).unwrap_or(0);
                deck.swap(at, other);
                deck[at] >= 50
            });
            indicator(missed)
        });
        table.worst = table.worst.max(small.worst);
    }
    println!(
        "\n{} draws each (item 8: a twentieth), seed {SEED}; the farthest is {:.2} standard errors away.",
        draws, table.worst
    );
}

fn waves(table: &mut Table, h: f64) {
    for (growth, bake) in [(2.0, 1.0), (4.0, 2.0), (10.0, 6.0)] {
        let exposed = closed::geometric_waves(10.0, growth, 1e5);
        let early: f64 = closed::found_in_wave(h, &exposed, bake)
            .into_iter()
            .zip(&exposed)
            .filter(|(_, servers)| **servers <= 1_000.0)
            .map(|(found, _)| found)
            .sum();
        table.row(&format!("6. found in waves of at most 1 %, G = {growth}, bake {bake} h"), early, |chance| {
            let mut left = chance.exponential() / h;
            let wave = exposed.iter().find(|servers| {
                left -= **servers * bake;
                left <= 0.0
            });
            indicator(wave.is_some_and(|servers| *servers <= 1_000.0))
        });
    }
}
