//! Version 3 of the example: as good as version 1 in every way.

mod server;

fn main() -> std::process::ExitCode {
    server::run(server::Release {
        version: "3",
        greet: |greeting, query| format!("{greeting}, {}!", query.get("name").unwrap_or("world")),
        work: server::Work { slower: 1.0, fails_every: 0 },
    })
}
