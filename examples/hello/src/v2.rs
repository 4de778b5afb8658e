//! Version 2 of the example, broken on purpose: it reads the name from `user`, which no caller sends.
//! It starts, is healthy and answers 200, so only a check that reads the answer can tell.

mod server;

fn main() -> std::process::ExitCode {
    server::run(server::Release {
        version: "2",
        greet: |greeting, query| format!("{greeting}, {}!", query.get("user").unwrap_or("undefined")),
        work: server::Work { slower: 1.0, fails_every: 0 },
    })
}
