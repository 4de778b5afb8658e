//! Makes the tables of `docs/judgement.md`: `bench/judge/run` builds and runs it. It draws worlds with seeds of its own
//! (not those that anything was tuned on) and prints Markdown.
#![expect(clippy::print_stdout, reason = "printing tables is what it is for")]

mod extras;
mod fixed;
mod kinds;
mod ours;
mod rivals;
mod rollout;
#[path = "../../tests/judge/world.rs"]
mod world;

/// How much is run.
#[derive(Clone, Copy)]
pub(crate) struct Size {
    /// Runs of a cell.
    pub(crate) runs: u32,
    /// Runs of a cell of slow rules and slow cells.
    pub(crate) slow: u32,
}

type Table = fn(Size);

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let quick = arguments.iter().any(|one| one == "--quick");
    let wanted =
        |name: &str| arguments.iter().all(|one| one.starts_with("--")) || arguments.iter().any(|one| one == name);
    let size = if quick { Size { runs: 200, slow: 30 } } else { Size { runs: 1200, slow: 200 } };
    println!("Runs of a cell: {}; Kayenta, proofs and prices at a fixed share: {}.\n", size.runs, size.slow);
    let tables: [(&str, Table); 6] = [
        ("false", fixed::false_rollbacks),
        ("delay", fixed::delays),
        ("rollout", rollout::table),
        ("proof", fixed::proofs),
        ("extras", extras::table),
        ("kinds", kinds::table),
    ];
    for (name, table) in tables {
        if wanted(name) {
            table(size);
        }
    }
}

/// Cells in order, computed on two threads.
pub(crate) fn parallel<T: Send>(cells: Vec<Box<dyn FnOnce() -> T + Send + '_>>) -> Vec<T> {
    let queue = std::sync::Mutex::new(cells.into_iter().enumerate());
    let done = std::sync::Mutex::new(Vec::new());
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                loop {
                    let next = queue.lock().map(|mut queue| queue.next()).ok().flatten();
                    let Some((at, cell)) = next else { break };
                    let value = cell();
                    if let Ok(mut done) = done.lock() {
                        done.push((at, value));
                    }
                }
            });
        }
    });
    let mut done = done.into_inner().unwrap_or_default();
    done.sort_by_key(|(at, _)| *at);
    done.into_iter().map(|(_, value)| value).collect()
}

/// Prints a Markdown table.
pub(crate) fn print(title: &str, head: &[&str], rows: &[(String, Vec<String>)]) {
    println!("### {title}\n\n| {} |\n|{}", head.join(" | "), "---|".repeat(head.len()));
    for (name, cells) in rows {
        println!("| {name} | {} |", cells.join(" | "));
    }
    println!();
}
