//! Whether a server keeps two writers apart: tried on objects of our own, before anything depends on it.

use std::path::Path;

use futures::future::join_all;
use object_store::ObjectStoreExt;
use vice_core::{Code, Fault, Result};

use super::put_new;
use crate::bucket::Bucket;
use crate::disk::{make_private_dir, unwritable};

/// Writers at once, and how often. A server without an atomic put lets a second one through in three rounds of four with
/// eight writers, so that five rounds leave one chance in a thousand not to see it.
const WRITERS: usize = 8;
const ROUNDS: usize = 5;

/// The file beside the mirror that says that it was tried.
const PROVEN: &str = "conditional-puts";

/// Tries it, unless that was done on this machine before.
///
/// # Errors
/// `Unsupported` with the reason; what the server says.
pub(super) async fn once(bucket: &Bucket, folder: &Path) -> Result<()> {
    let proven = folder.join(PROVEN);
    if proven.exists() {
        return Ok(());
    }
    make_private_dir(folder).map_err(|error| unwritable(error, folder))?;
    // A name that no other machine has.
    let unique = tempfile::Builder::new().prefix("").tempdir_in(folder).map_err(|error| unwritable(error, folder))?;
    let token = unique.path().file_name().unwrap_or_default().to_string_lossy().replace('.', "");
    for round in 0..ROUNDS {
        let name = format!("probe/{token}-{round}");
        let done = one_round(bucket, &name).await;
        // Whoever may not delete leaves a few bytes behind.
        bucket.store.delete(&bucket.key(&name)).await.ok();
        done?;
    }
    std::fs::write(&proven, "").map_err(|error| unwritable(error, &proven))
}

async fn one_round(bucket: &Bucket, name: &str) -> Result<()> {
    let tries = join_all((0..WRITERS).map(|writer| put_new(bucket, name, writer.to_string().into_bytes()))).await;
    let mut winners = 0;
    for won in tries {
        winners += usize::from(won?);
    }
    if winners != 1 {
        return Err(unfit(bucket, &format!("{winners} of {WRITERS} writers were told that they were first")));
    }
    if put_new(bucket, name, b"late".to_vec()).await? {
        return Err(unfit(bucket, "it writes over an object that is there, although it is asked not to"));
    }
    Ok(())
}

/// The server can't hold a history.
pub(super) fn unfit(bucket: &Bucket, why: &str) -> Fault {
    Fault::new(Code::Unsupported, format!("{} does not keep two writers apart: {why}.", bucket.shown))
        .hint("A history needs an atomic `If-None-Match: *`, as Amazon S3 and SeaweedFS have it.")
        .hint("Or keep it elsewhere: git:REMOTE needs nothing but a git server, postgres://USER@HOST/DATABASE a database.")
}
