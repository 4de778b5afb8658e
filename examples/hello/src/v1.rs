//! Version 1 of the example: greets whoever the caller names.

mod server;

fn main() -> std::process::ExitCode {
    server::run(server::Release {
        version: "1",
        greet: |greeting, query| format!("{greeting}, {}!", query.get("name").unwrap_or("world")),
        work: server::Work { slower: 1.0, fails_every: 0 },
    })
}
