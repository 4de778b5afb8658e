//! Version 4 of the example, broken on purpose: one order in a hundred fails. Every check passes, almost always; only
//! counting tells.

mod server;

fn main() -> std::process::ExitCode {
    server::run(server::Release {
        version: "4",
        greet: |greeting, query| format!("{greeting}, {}!", query.get("name").unwrap_or("world")),
        work: server::Work { slower: 1.0, fails_every: 100 },
    })
}
