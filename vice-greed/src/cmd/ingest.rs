//! `greed ingest`: takes events in over HTTP, and lets the rules act on them.

use std::net::SocketAddr;
use std::sync::Arc;

use clap::Args;
use serde_json::json;
use tokio::net::TcpListener;
use vice_core::app::App;
use vice_core::ui::Outcome;
use vice_core::{Code, Context as _, Result};

use crate::ingest::{Ingest, act, serve};

#[derive(Debug, Args)]
pub(super) struct IngestArgs {
    /// Where to listen; port 0 takes a free one
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:8470")]
    listen: SocketAddr,
    /// Where the token is that senders of CloudEvents have to show: env:NAME
    #[arg(long, value_name = "REFERENCE")]
    token: Option<String>,
    /// Only take events in, and leave the rules to others
    #[arg(long)]
    no_rules: bool,
}

pub(super) async fn ingest(app: &App, args: IngestArgs) -> Result<Outcome> {
    let ingest = Ingest::new(app.clone(), args.token.as_deref()).await?;
    ingest.require_token(args.listen)?;
    let listener = TcpListener::bind(args.listen).await;
    let listener = listener.context(Code::Usage, || format!("Nobody can listen on {}.", args.listen))?;
    let address = listener.local_addr().context(Code::Io, || "The listener has no address.".to_owned())?;
    let webhooks = ingest.paths();
    let mut text = format!("Listening on http://{address}\n");
    for path in &webhooks {
        text.push_str(&format!("  http://{address}{path}\n"));
    }
    app.ui.emit(&text, &json!({ "listening": format!("http://{address}"), "webhooks": webhooks }));
    let served = serve(Arc::clone(&ingest), listener);
    if args.no_rules {
        served.await;
    } else {
        tokio::select! {
            () = served => {}
            () = act(app) => {}
        }
    }
    Ok(Outcome::done("", json!({ "ended": true })))
}
