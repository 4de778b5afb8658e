//! The local target's front end by itself, for measurements:
//! `front --listen 127.0.0.1:8080 --upstream 127.0.0.1:9001 --upstream 127.0.0.1:9002=3`.

use std::io::Write;
use std::net::SocketAddr;

use clap::Parser;
use vice_core::{Code, Context, Fault, Millis, Result};
use vice_pride::target::local::front::{Front, FrontOptions, Upstream};

#[derive(Parser)]
struct Args {
    /// Where to listen.
    #[arg(long)]
    listen: SocketAddr,
    /// An upstream's address and, after `=`, its weight (1 unless given). May be repeated.
    #[arg(long, required = true, value_parser = upstream)]
    upstream: Vec<(SocketAddr, u32)>,
    /// How many threads serve.
    #[arg(long, default_value_t = 1)]
    threads: usize,
}

fn upstream(text: &str) -> Result<(SocketAddr, u32), String> {
    let (addr, weight) = text.split_once('=').unwrap_or((text, "1"));
    let addr = addr.parse().map_err(|_| format!("`{addr}` is not an address; write for example 127.0.0.1:9001"))?;
    let weight = weight.parse().map_err(|_| format!("`{weight}` is not a weight; write a whole number"))?;
    Ok((addr, weight))
}

fn main() -> Result<()> {
    let args = Args::parse();
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(args.threads).enable_all().build();
    runtime.context(Code::Io, || "The runtime can't start.".to_owned())?.block_on(serve(args))
}

async fn serve(args: Args) -> Result<()> {
    let front = Front::bind(args.listen, FrontOptions::default()).await?;
    let table = args.upstream.iter().enumerate().map(|(index, (addr, weight))| Upstream {
        id: index.to_string(),
        addr: *addr,
        weight: *weight,
        version: "1".to_owned(),
    });
    front.set_table(table.collect());
    let mut out = std::io::stdout();
    writeln!(out, "{}", front.local_addr()).context(Code::Io, || "The address can't be printed.".to_owned())?;
    tokio::signal::ctrl_c().await.context(Code::Io, || "Signals can't be received.".to_owned())?;
    let ended = front.shutdown(Millis::from_secs(10)).await;
    if ended {
        Ok(())
    } else {
        Err(Fault::new(Code::TimedOut, "Requests were cut off at the end of the grace period."))
    }
}
