//! Version 5 of the example, broken on purpose: orders take 30 % longer. No request fails; only a comparison of
//! latencies tells.

mod server;

fn main() -> std::process::ExitCode {
    server::run(server::Release {
        version: "5",
        greet: |greeting, query| format!("{greeting}, {}!", query.get("name").unwrap_or("world")),
        work: server::Work { slower: 1.3, fails_every: 0 },
    })
}
