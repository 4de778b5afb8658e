//! A copy is the same history, whatever it came from and wherever it went.

use std::sync::Arc;

use vice_core::Code;
use vice_core::memory::MemoryEventStore;
use vice_core::store::{Append, EventStore, EventStoreExt, Fence, Query};
use vice_core::testkit::event_store::{event, scope};

use super::Kind;
use crate::cmd::Told;
use crate::copy::copy;

/// More than a page, with what is odd about events.
pub(crate) async fn fill(store: &dyn EventStore, from: u32, to: u32) {
    for n in from..to {
        let mut events = vec![event(&format!("a{n}"), "s/1"), event(&format!("b{n}"), &format!("s/{}", n % 7))];
        events[0].scope = (n % 2 == 0).then(|| scope("shop", "prod"));
        events[1].data = ["null", " {\n}", "\"ü\"", "not json"][usize::try_from(n % 4).unwrap()].to_owned();
        let fence = Fence { scope: format!("shop/{}", n % 3), epoch: u64::from(n) };
        store.append(Append::of(events).fenced(fence)).await.unwrap();
    }
}

pub(crate) async fn same(one: &dyn EventStore, two: &dyn EventStore) {
    let (left, right) = (one.read_all(Query::default()).await.unwrap(), two.read_all(Query::default()).await.unwrap());
    assert_eq!(left, right);
    assert_eq!(one.fences().await.unwrap(), two.fences().await.unwrap());
    assert_eq!(two.verify().await.unwrap().problems, Vec::<String>::new());
    assert_eq!(one.head().await.unwrap(), two.head().await.unwrap());
}

#[tokio::test]
async fn a_history_goes_from_any_store_to_any() {
    let dir = tempfile::tempdir().unwrap();
    let mut stores: Vec<Arc<dyn EventStore>> = vec![Arc::new(MemoryEventStore::default())];
    for kind in Kind::ALL {
        stores.push(kind.open(&dir.path().join(kind.name())));
        stores.push(kind.open(&dir.path().join(format!("{} again", kind.name()))));
    }
    fill(&*stores[0], 1, 151).await;
    for pair in stores.windows(2) {
        let copied = copy(&*pair[0], &*pair[1], &Told::default()).await.unwrap();
        assert_eq!((copied.head.seq, copied.found, copied.epochs), (300, 0, 3));
        same(&*pair[0], &*pair[1]).await;
    }
}

#[tokio::test]
async fn a_copy_goes_on_where_it_was_cut_off() {
    let dir = tempfile::tempdir().unwrap();
    for kind in Kind::ALL {
        let (from, to) = (MemoryEventStore::default(), kind.open(&dir.path().join(kind.name())));
        fill(&from, 1, 50).await;
        copy(&from, &*to, &Told::default()).await.unwrap();
        fill(&from, 50, 60).await;
        let copied = copy(&from, &*to, &Told::default()).await.unwrap();
        assert_eq!((copied.head.seq, copied.found), (118, 98));
        same(&from, &*to).await;
        assert_eq!(copy(&from, &*to, &Told::default()).await.unwrap().found, 118, "a repeat adds nothing");
    }
}

#[tokio::test]
async fn another_history_is_never_written_over() {
    let dir = tempfile::tempdir().unwrap();
    for kind in Kind::ALL {
        let (from, to) = (MemoryEventStore::default(), kind.open(&dir.path().join(kind.name())));
        fill(&from, 1, 5).await;
        to.append(Append::of(vec![event("mine", "s/1")])).await.unwrap();
        let fault = copy(&from, &*to, &Told::default()).await.unwrap_err();
        assert_eq!(fault.code(), Code::Conflict, "{fault:?}");
        assert_eq!(to.head().await.unwrap().seq, 1);
        let fault = copy(&*to, &from, &Told::default()).await.unwrap_err();
        assert_eq!(fault.code(), Code::Conflict, "nor a longer one: {fault:?}");
    }
}

#[tokio::test]
async fn a_damaged_history_is_not_carried_on() {
    let dir = tempfile::tempdir().unwrap();
    let from = Kind::Sqlite.open(dir.path());
    fill(&*from, 1, 5).await;
    let connection = rusqlite::Connection::open(dir.path().join("history.db")).unwrap();
    connection.execute_batch("DROP TRIGGER events_update; UPDATE events SET data = '{}' WHERE seq = 3").unwrap();
    let to = MemoryEventStore::default();
    let fault = copy(&*from, &to, &Told::default()).await.unwrap_err();
    assert_eq!(fault.code(), Code::HistoryDamaged, "{fault:?}");
    assert!(fault.to_string().contains("Event 3"), "{fault:?}");
    assert_eq!(to.head().await.unwrap().seq, 0);
}
