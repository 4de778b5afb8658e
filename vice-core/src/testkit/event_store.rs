//! The conformance suite of the history. Every store runs the whole of it through [`suite`]; a failure names the rule.

use std::sync::Arc;

use jiff::Timestamp;

use crate::capability::Capability;
use crate::chain::{Chainer, Header};
use crate::digest::Digest;
use crate::event::{Actor, ActorKind, DATA_BYTES_MAX, Event, Recorded};
use crate::fault::Code;
use crate::id::{EnvName, ProjectName, Scope};
use crate::store::{
    Append, Appended, EventStore, EventStoreExt, Expected, Fence, LogHead, Order, Query, Snapshot, StreamHead,
};
use crate::time::Millis;

type Store = Arc<dyn EventStore>;

/// Holds a store to every rule of [`crate::store`]. `make` gives a fresh, empty store each time.
///
/// # Panics
/// With the rule that is broken.
pub async fn suite(make: impl AsyncFn() -> Store) {
    declares_itself(&make().await);
    starts_empty(make().await).await;
    numbers_and_chains(make().await).await;
    keeps_every_field(make().await).await;
    conditions_hold_or_nothing_is_written(make().await).await;
    several_streams_in_one_append(make().await).await;
    lower_epochs_are_refused(make().await).await;
    a_failed_append_leaves_no_fence(make().await).await;
    repeats_give_the_first_positions(make().await).await;
    repeats_mixed_with_new_events(make().await).await;
    other_content_is_a_conflict(make().await).await;
    limits_are_checked(make().await).await;
    pages_in_both_orders(make().await).await;
    filters(make().await).await;
    times_filter_half_open(make().await).await;
    streams_are_listed(make().await).await;
    snapshots_are_kept(make().await).await;
    waiting_wakes_and_times_out(make().await).await;
    signs_of_life_change(make().await).await;
    writers_at_once_lose_nothing(make().await).await;
    verifies_clean(make().await).await;
}

/// The rules that hold across restarts. `open` opens the same place each time; it is empty at first.
///
/// # Panics
/// With the rule that is broken.
pub async fn durable_suite(open: impl AsyncFn() -> Store) {
    let store = open().await;
    let fence = |epoch| Fence { scope: "shop/prod".into(), epoch };
    let first = append(&store, Append::of(vec![event("a", "s/1")]).fenced(fence(5))).await;
    let snapshot = Snapshot { fold_version: 1, version: 1, state: "{}".into() };
    store.put_snapshot("fold", "s/1", snapshot.clone()).await.expect("a snapshot is stored");
    let head = head(&store).await;
    store.close().await.expect("a store closes");
    drop(store);

    let store = open().await;
    assert_eq!(self::head(&store).await, head, "the end of the log survives a restart");
    let again = append(&store, Append::of(vec![event("a", "s/1")]).expect("s/1", Expected::NoStream)).await;
    assert_eq!((again.seqs, again.duplicates), (first.seqs, 1), "a repeat is recognised after a restart");
    refused(&store, Append::of(vec![event("b", "s/1")]).fenced(fence(4)), Code::Fenced, "fences survive a restart")
        .await;
    refused(
        &store,
        Append::of(vec![event("b", "s/1")]).expect("s/1", Expected::NoStream),
        Code::Conflict,
        "versions survive a restart",
    )
    .await;
    let kept = store.snapshot("fold", "s/1").await.expect("a snapshot is read");
    assert_eq!(kept, Some(snapshot), "snapshots survive a restart");
    let next = append(&store, Append::of(vec![event("b", "s/1")]).fenced(fence(5))).await;
    assert_eq!((next.seqs, next.versions), (vec![2], vec![2]), "numbers go on after a restart");
    verified(&store, 2).await;
    store.close().await.expect("a store closes");
}

/// An event for tests: everything follows from its id and stream.
#[must_use]
pub fn event(id: &str, stream: &str) -> Event {
    Event {
        id: id.into(),
        source: "/test".into(),
        kind: "dev.test.thing.made".into(),
        subject: format!("thing-{id}"),
        time: Timestamp::UNIX_EPOCH,
        stream: stream.into(),
        scope: None,
        actor: Actor::system("test"),
        data: format!("{{\"id\":\"{id}\"}}"),
    }
}

/// A scope for tests.
///
/// # Panics
/// When the names are not names.
#[must_use]
pub fn scope(project: &str, env: &str) -> Scope {
    Scope::new(ProjectName::new(project).expect("a project"), EnvName::new(env).expect("an environment"))
}

async fn append(store: &Store, append: Append) -> Appended {
    let shown = format!("{append:?}");
    match store.append(append).await {
        Ok(appended) => appended,
        Err(fault) => panic!("an append that must go through failed: {fault:?}\n{shown}"),
    }
}

/// The append fails with the code, and the log is as before.
async fn refused(store: &Store, append: Append, code: Code, rule: &str) {
    let before = head(store).await;
    match store.append(append).await {
        Ok(appended) => panic!("{rule}: the append went through as {appended:?}"),
        Err(fault) => assert_eq!(fault.code(), code, "{rule}: {fault:?}"),
    }
    assert_eq!(head(store).await, before, "{rule}: a refused append writes nothing");
}

async fn head(store: &Store) -> LogHead {
    store.head().await.expect("the end of the log is read")
}

async fn read(store: &Store, query: &Query) -> Vec<Recorded> {
    match store.read(query).await {
        Ok(events) => events,
        Err(fault) => panic!("reading failed: {fault:?}\n{query:?}"),
    }
}

async fn all(store: &Store) -> Vec<Recorded> {
    read(store, &Query::default()).await
}

fn ids(events: &[Recorded]) -> Vec<&str> {
    events.iter().map(|recorded| recorded.event.id.as_str()).collect()
}

async fn verified(store: &Store, events: u64) {
    let found = store.verify().await.expect("verifying runs");
    assert_eq!(found.problems, Vec::<String>::new(), "a sound log has no problems");
    assert_eq!(found.events, events, "verify reads every event");
    assert_eq!(found.head, head(store).await, "verify names the end of the log");
}

fn declares_itself(store: &Store) {
    use Capability::{ConditionalAppend, Query, Snapshots, Subscribe, Verify};
    let info = store.describe();
    assert!(!info.kind.is_empty() && !info.location.is_empty(), "a store says what and where it is: {info:?}");
    for capability in [ConditionalAppend, Query, Subscribe, Snapshots, Verify] {
        assert!(store.capabilities().has(capability), "a store under this suite declares {capability:?}");
    }
}

async fn starts_empty(store: Store) {
    assert_eq!(head(&store).await, LogHead { seq: 0, chain: Digest::ZERO }, "an empty log ends at 0 and zeros");
    assert!(all(&store).await.is_empty(), "an empty log has no events");
    assert!(store.streams("", "", 10).await.expect("streams").is_empty(), "an empty log has no streams");
    assert_eq!(store.snapshot("f", "s").await.expect("snapshot"), None, "an empty store has no snapshots");
    verified(&store, 0).await;
}

async fn numbers_and_chains(store: Store) {
    let first = append(&store, Append::of(vec![event("a", "s/1"), event("b", "s/2"), event("c", "s/1")])).await;
    assert_eq!(first, Appended { seqs: vec![1, 2, 3], versions: vec![1, 1, 2], duplicates: 0 }, "numbers start at 1");
    let next = append(&store, Append::of(vec![event("d", "s/1")])).await;
    assert_eq!((next.seqs, next.versions), (vec![4], vec![3]), "numbers go on without a gap");
    let mut previous = Digest::ZERO;
    for recorded in all(&store).await {
        let body = Digest::of(recorded.event.data.as_bytes());
        let header = Header::of(&recorded.event, recorded.seq, recorded.version);
        let expected = Chainer::default().link(&previous, &header, &body);
        assert_eq!(recorded.chain, expected, "event {} is chained as vice_core::chain says", recorded.seq);
        previous = recorded.chain;
    }
    assert_eq!(head(&store).await, LogHead { seq: 4, chain: previous }, "the end of the log is its last event");
}

async fn keeps_every_field(store: Store) {
    let mut odd = event("ä/\"1\u{1}", "s/ünïcode\n");
    odd.scope = Some(scope("my-shop", "prod_1"));
    odd.source = "https://example.test/a?b#c".into();
    odd.subject = String::new();
    odd.time = "2026-07-14T09:00:00.123456789Z".parse().expect("a time");
    odd.data = " { \"spaces\" : [1,  2.50 ] , \"text\":\"\\u0000 🦀\" } ".into();
    odd.actor = Actor {
        id: "ci-bot".into(),
        kind: ActorKind::Ci,
        on_behalf_of: Some("Zoë".into()),
        evidence: "GITHUB_ACTOR".into(),
    };
    let mut early = event("before 1970", "s/2");
    early.time = "1912-06-23T00:00:00.000000001Z".parse().expect("a time");
    let mut null = event("null", "s/2");
    null.data = "null".into();
    append(&store, Append::of(vec![odd.clone(), early.clone(), null.clone()])).await;
    let events: Vec<Event> = all(&store).await.into_iter().map(|recorded| recorded.event).collect();
    assert_eq!(events, [odd, early, null], "an event comes back exactly as it was given");
}

async fn conditions_hold_or_nothing_is_written(store: Store) {
    let with = |id: &str, expected| Append::of(vec![event(id, "s/1")]).expect("s/1", expected);
    refused(&store, with("x", Expected::Version(1)), Code::Conflict, "Version(1) on an empty stream fails").await;
    append(&store, with("a", Expected::NoStream)).await;
    refused(&store, with("b", Expected::NoStream), Code::Conflict, "NoStream on a stream with events fails").await;
    refused(&store, with("b", Expected::Version(2)), Code::Conflict, "a version that is not reached fails").await;
    append(&store, with("b", Expected::Version(1))).await;
    refused(&store, with("c", Expected::Version(1)), Code::Conflict, "a version that has passed fails").await;
    let foreign = Append::of(vec![event("c", "s/2")]).expect("s/1", Expected::Version(2));
    append(&store, foreign.expect("s/none", Expected::NoStream)).await;
    assert_eq!(ids(&all(&store).await), ["a", "b", "c"], "only what was acknowledged is there");
}

async fn several_streams_in_one_append(store: Store) {
    let half = Append::of(vec![event("a", "s/1"), event("b", "s/2")]).expect("s/2", Expected::Version(7));
    refused(&store, half, Code::Conflict, "one failed condition stops the whole append").await;
    let heads = store.streams("", "", 10).await.expect("streams");
    assert!(heads.is_empty(), "a refused append leaves no stream behind: {heads:?}");
    let both = Append::of(vec![event("a", "s/1"), event("b", "s/2")]);
    append(&store, both.expect("s/1", Expected::NoStream).expect("s/2", Expected::NoStream)).await;
    assert_eq!(ids(&all(&store).await), ["a", "b"], "both streams got their event");
}

async fn lower_epochs_are_refused(store: Store) {
    let with =
        |id: &str, scope: &str, epoch| Append::of(vec![event(id, "s/1")]).fenced(Fence { scope: scope.into(), epoch });
    append(&store, with("a", "shop/prod", 3)).await;
    refused(&store, with("b", "shop/prod", 2), Code::Fenced, "an epoch below the highest is refused").await;
    append(&store, with("b", "shop/prod", 3)).await;
    append(&store, with("c", "shop/dev", 1)).await;
    append(&store, with("d", "shop/prod", 4)).await;
    let epochs = store.fences().await.expect("epochs are read");
    let expected = [("shop/dev".to_owned(), 1), ("shop/prod".to_owned(), 4)];
    assert!(epochs.into_iter().eq(expected), "the highest epoch of each scope is known");
    refused(&store, with("e", "shop/prod", 3), Code::Fenced, "a higher epoch is remembered").await;
}

async fn a_failed_append_leaves_no_fence(store: Store) {
    let fence = |epoch| Fence { scope: "shop/prod".into(), epoch };
    let failing = Append::of(vec![event("a", "s/1")]).expect("s/1", Expected::Version(9)).fenced(fence(8));
    refused(&store, failing, Code::Conflict, "a failed condition stops a fenced append").await;
    append(&store, Append::of(vec![event("a", "s/1")]).fenced(fence(1))).await;
    let claim = append(&store, Append::of(Vec::new()).fenced(fence(6))).await;
    assert!(claim.seqs.is_empty(), "an append without events has no positions");
    refused(
        &store,
        Append::of(vec![event("b", "s/1")]).fenced(fence(5)),
        Code::Fenced,
        "an append without events raises the fence",
    )
    .await;
}

async fn repeats_give_the_first_positions(store: Store) {
    let claim = || {
        let events = vec![event("a", "s/1"), event("b", "s/2")];
        Append::of(events).expect("s/1", Expected::NoStream).fenced(Fence { scope: "x".into(), epoch: 1 })
    };
    let first = append(&store, claim()).await;
    append(&store, Append::of(vec![event("c", "s/1")]).fenced(Fence { scope: "x".into(), epoch: 2 })).await;
    let before = head(&store).await;
    let again = append(&store, claim()).await;
    let expected = Appended { duplicates: 2, ..first };
    assert_eq!(again, expected, "a repeat gets its first positions, whatever the conditions and the fence say now");
    assert_eq!(head(&store).await, before, "a repeat writes nothing");
    let mut later = event("a", "s/1");
    later.time = Timestamp::from_second(1_000_000).expect("a time");
    later.actor = Actor::system("another");
    let retried = append(&store, Append::of(vec![later])).await;
    assert_eq!(retried.duplicates, 1, "when and by whom an event is sent again makes no difference");
    assert_eq!(all(&store).await[0].event.time, Timestamp::UNIX_EPOCH, "the first record stays");
}

async fn repeats_mixed_with_new_events(store: Store) {
    append(&store, Append::of(vec![event("a", "s/1")])).await;
    let mixed = append(&store, Append::of(vec![event("b", "s/1"), event("a", "s/1"), event("b", "s/1")])).await;
    let expected = Appended { seqs: vec![2, 1, 2], versions: vec![2, 1, 2], duplicates: 2 };
    assert_eq!(mixed, expected, "what is there keeps its place, what is new is appended, also within one append");
    let conditional = Append::of(vec![event("a", "s/1"), event("c", "s/1")]).expect("s/1", Expected::NoStream);
    refused(&store, conditional, Code::Conflict, "conditions hold for an append that has something new").await;
    verified(&store, 2).await;
}

async fn other_content_is_a_conflict(store: Store) {
    append(&store, Append::of(vec![event("a", "s/1")])).await;
    let mut other = event("a", "s/1");
    other.data = "{\"id\":\"z\"}".into();
    refused(&store, Append::of(vec![event("b", "s/1"), other.clone()]), Code::Conflict, "an id has one content").await;
    let mut elsewhere = event("a", "s/2");
    elsewhere.data = event("a", "s/1").data;
    refused(&store, Append::of(vec![elsewhere]), Code::Conflict, "an id belongs to one stream").await;
    other.id = "n".into();
    refused(&store, Append::of(vec![event("n", "s/1"), other.clone()]), Code::Conflict, "also within one append").await;
    other.id = "a".into();
    other.source = "/elsewhere".into();
    append(&store, Append::of(vec![other])).await;
    assert_eq!(ids(&all(&store).await), ["a", "a"], "ids are unique within their source only");
}

async fn limits_are_checked(store: Store) {
    let mut large = event("a", "s/1");
    large.data = format!("\"{}\"", "x".repeat(DATA_BYTES_MAX));
    refused(&store, Append::of(vec![event("b", "s/1"), large]), Code::Usage, "oversize data is refused").await;
    refused(&store, Append::of(vec![event("", "s/1")]), Code::Usage, "an empty id is refused").await;
    refused(&store, Append::of(vec![event("a", &"s".repeat(1025))]), Code::Usage, "a long name is refused").await;
    let mut fitting = event("a", "s/1");
    fitting.data = format!("\"{}\"", "x".repeat(DATA_BYTES_MAX - 2));
    append(&store, Append::of(vec![fitting])).await;
}

async fn pages_in_both_orders(store: Store) {
    let events = (1..=25).map(|n| event(&n.to_string(), &format!("s/{}", n % 3))).collect();
    append(&store, Append::of(events)).await;
    for (order, expected) in [(Order::Forward, [8, 9, 10]), (Order::Backward, [6, 5, 4])] {
        let query = Query { after: 7, limit: 3, order, ..Query::default() };
        let seqs: Vec<u64> = read(&store, &query).await.iter().map(|recorded| recorded.seq).collect();
        assert_eq!(seqs, expected, "a page after 7 in order {order:?}");
    }
    let newest = read(&store, &Query { limit: 2, order: Order::Backward, ..Query::default() }).await;
    assert_eq!(ids(&newest), ["25", "24"], "backward from 0 begins at the end");
    for order in [Order::Forward, Order::Backward] {
        let mut query = Query { limit: 4, order, stream: Some("s/1".into()), ..Query::default() };
        let mut seen = Vec::new();
        loop {
            let page = read(&store, &query).await;
            let Some(last) = page.last() else { break };
            query.after = last.seq;
            seen.extend(page);
        }
        assert_eq!(seen.len(), 9, "paging in order {order:?} sees every event of the stream once");
    }
    let above = read(&store, &Query::stream("s/1", 7)).await;
    assert_eq!(above.iter().map(|recorded| recorded.version).collect::<Vec<_>>(), [8, 9], "versions above 7");
    assert!(read(&store, &Query::stream("s/9", 0)).await.is_empty(), "a stream that is not there has no events");
    let everything = store.read_all(Query { limit: 11, ..Query::default() }).await.expect("read_all");
    assert_eq!(everything.len(), 11, "read_all gives as many as wanted");
}

async fn filters(store: Store) {
    let made = |id: &str, kind: &str, stream: &str, place: Option<Scope>| Event {
        kind: kind.into(),
        scope: place,
        ..event(id, stream)
    };
    let (dev, prod, other) = (Some(scope("shop", "dev")), Some(scope("shop", "prod")), Some(scope("cart", "dev")));
    let events = vec![
        made("1", "dev.a.x", "rollout/shop/dev/1", dev.clone()),
        made("2", "dev.a.y", "rollout/shop/prod/1", prod.clone()),
        made("3", "dev.b.x", "lease/shop/dev", dev),
        made("4", "dev.a.x", "rollout/cart/dev/1", other),
        made("5", "dev.a", "rollout", None),
        made("6", "dev%a_x", "rollout/shop/prod/1", prod),
    ];
    append(&store, Append::of(events)).await;
    let project = |name: &str| Some(ProjectName::new(name).expect("a project"));
    let env = |name: &str| Some(EnvName::new(name).expect("an environment"));
    let kinds = |kinds: &[&str]| kinds.iter().map(|kind| (*kind).to_owned()).collect::<Vec<_>>();
    let plain = Query::default;
    let cases: Vec<(&str, Query, Vec<&str>)> = vec![
        ("project", Query { project: project("shop"), ..plain() }, vec!["1", "2", "3", "6"]),
        ("env", Query { env: env("dev"), ..plain() }, vec!["1", "3", "4"]),
        ("project and env", Query { project: project("shop"), env: env("prod"), ..plain() }, vec!["2", "6"]),
        ("unknown project", Query { project: project("none"), ..plain() }, vec![]),
        ("kind", Query { kinds: kinds(&["dev.a.x"]), ..plain() }, vec!["1", "4"]),
        ("kinds", Query { kinds: kinds(&["dev.b.x", "dev.a"]), ..plain() }, vec!["3", "5"]),
        ("kind prefix", Query { kinds: kinds(&["dev.a*"]), ..plain() }, vec!["1", "2", "4", "5"]),
        ("kind prefix is literal", Query { kinds: kinds(&["dev%*"]), ..plain() }, vec!["6"]),
        ("every kind", Query { kinds: kinds(&["*"]), ..plain() }, vec!["1", "2", "3", "4", "5", "6"]),
        ("unknown kind", Query { kinds: kinds(&["dev.none"]), ..plain() }, vec![]),
        ("stream prefix", Query { stream_prefix: Some("rollout/".into()), ..plain() }, vec!["1", "2", "4", "6"]),
        ("kind and project", Query { kinds: kinds(&["dev.a*"]), project: project("shop"), ..plain() }, vec!["1", "2"]),
        ("stream and kind", Query { kinds: kinds(&["dev.a.y"]), ..Query::stream("rollout/shop/prod/1", 0) }, vec!["2"]),
        ("limit", Query { kinds: kinds(&["dev.a*"]), limit: 3, ..plain() }, vec!["1", "2", "4"]),
        (
            "limit backward",
            Query { kinds: kinds(&["dev.a*", "dev.b.x"]), limit: 3, order: Order::Backward, ..plain() },
            vec!["5", "4", "3"],
        ),
        ("after", Query { project: project("shop"), after: 2, ..plain() }, vec!["3", "6"]),
    ];
    for (name, query, expected) in cases {
        assert_eq!(ids(&read(&store, &query).await), expected, "the filter by {name}: {query:?}");
    }
}

async fn times_filter_half_open(store: Store) {
    let at = |second: i64| Timestamp::from_second(second).expect("a time");
    let made = |id: &str, second| Event { time: at(second), ..event(id, "s/1") };
    // Times of events come from many clocks: they need not follow the order of the log.
    append(&store, Append::of(vec![made("1", 10), made("2", 30), made("3", 20), made("4", 5)])).await;
    let cases = [
        (Some(20), None, vec!["2", "3"]),
        (None, Some(20), vec!["1", "4"]),
        (Some(10), Some(30), vec!["1", "3"]),
        (Some(31), None, vec![]),
    ];
    for (since, until, expected) in cases {
        let query = Query { since: since.map(at), until: until.map(at), ..Query::default() };
        assert_eq!(ids(&read(&store, &query).await), expected, "since {since:?} until {until:?}");
    }
}

async fn streams_are_listed(store: Store) {
    let names = ["a/1", "a/2", "a/3", "a%", "b/1", "a/é"];
    for (index, name) in names.iter().enumerate() {
        let events = (0..=index).map(|n| event(&format!("{name}:{n}"), name)).collect();
        append(&store, Append::of(events)).await;
    }
    let list = async |prefix: &str, after: &str, limit| -> Vec<String> {
        let heads = store.streams(prefix, after, limit).await.expect("streams");
        heads.into_iter().map(|head| head.name).collect()
    };
    assert_eq!(list("a/", "", 10).await, ["a/1", "a/2", "a/3", "a/é"], "streams by prefix, by name");
    assert_eq!(list("a/", "a/1", 2).await, ["a/2", "a/3"], "streams after a name, at most two");
    assert_eq!(list("", "a/é", 10).await, ["b/1"], "streams of any prefix");
    assert_eq!(list("a%", "", 10).await, ["a%"], "a prefix is literal");
    assert!(list("z", "", 10).await.is_empty(), "no stream has this prefix");
    let heads = store.streams("a/2", "", 1).await.expect("streams");
    assert_eq!(heads, [StreamHead { name: "a/2".into(), version: 2 }], "a stream's last version");
}

async fn snapshots_are_kept(store: Store) {
    let snapshot = |version| Snapshot { fold_version: 2, version, state: format!("{{\"v\":{version}}}") };
    append(&store, Append::of(vec![event("a", "s/1")])).await;
    let before = head(&store).await;
    for version in [1, 2] {
        store.put_snapshot("fold", "s/1", snapshot(version)).await.expect("a snapshot is stored");
        let kept = store.snapshot("fold", "s/1").await.expect("a snapshot is read");
        assert_eq!(kept, Some(snapshot(version)), "the latest snapshot is given");
    }
    assert_eq!(store.snapshot("other", "s/1").await.expect("read"), None, "snapshots belong to one fold");
    assert_eq!(store.snapshot("fold", "s/2").await.expect("read"), None, "snapshots belong to one stream");
    assert_eq!(head(&store).await, before, "a snapshot is not history");
}

async fn waiting_wakes_and_times_out(store: Store) {
    // Whoever waits in vain here gets its answer only after an hour, which the runner of the tests doesn't allow.
    let hour = Millis::from_secs(3600);
    let (woken, _) = futures::join!(store.wait(0, hour), append(&store, Append::of(vec![event("a", "s/1")])));
    assert_eq!(woken.expect("waiting works").seq, 1, "an append wakes whoever waits");
    let at_once = store.wait(0, hour).await.expect("waiting works");
    assert_eq!(at_once.seq, 1, "what is there already is not waited for");
    let idle = store.wait(1, Millis(20)).await.expect("waiting works");
    assert_eq!(idle.seq, 1, "waiting ends when its time is up");
}

async fn signs_of_life_change(store: Store) {
    if !store.capabilities().has(Capability::Beats) {
        let fault = store.beat("shop/prod", "1").await.expect_err("a store without signs of life takes none");
        assert_eq!(fault.code(), Code::Unsupported, "what is not declared is refused: {fault:?}");
        return;
    }
    assert_eq!(store.pulse("shop/prod").await.expect("a pulse"), None, "nobody has lived yet");
    let mut seen = Vec::new();
    for mark in ["5 one", "5 two", "6 one"] {
        store.beat("shop/prod", mark).await.expect("a sign of life is kept");
        seen.push(store.pulse("shop/prod").await.expect("a pulse").expect("a sign of life"));
    }
    seen.dedup();
    assert_eq!(seen.len(), 3, "each sign of life differs from the one before: {seen:?}");
    assert_eq!(store.pulse("shop/dev").await.expect("a pulse"), None, "scopes live by themselves");
    assert_eq!(head(&store).await.seq, 0, "a sign of life is no event");
}

async fn writers_at_once_lose_nothing(store: Store) {
    let writer = async |n: u32| {
        for count in 0..20 {
            append(&store, Append::of(vec![event(&format!("{n}.{count}"), &format!("w/{n}"))])).await;
        }
    };
    futures::future::join_all((0..8).map(writer)).await;
    let counters = async |n: u32| {
        // All of these want to be the first of one stream; exactly one may.
        let claim = Append::of(vec![event(&format!("claim {n}"), "claim")]).expect("claim", Expected::NoStream);
        u32::from(store.append(claim).await.is_ok())
    };
    let won: u32 = futures::future::join_all((0..8).map(counters)).await.iter().sum();
    assert_eq!(won, 1, "one of several writers that expect an empty stream gets it");
    let events = all(&store).await;
    assert_eq!(events.len(), 161, "every acknowledged event is there");
    let gapless = events.iter().zip(1..).all(|(recorded, seq)| recorded.seq == seq);
    assert!(gapless, "the numbers of the log have no gap");
    verified(&store, 161).await;
}

async fn verifies_clean(store: Store) {
    for round in 0..5 {
        let events = (0..30).map(|n| event(&format!("{round}.{n}"), &format!("s/{}", n % 7))).collect();
        append(&store, Append::of(events)).await;
    }
    verified(&store, 150).await;
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::memory::MemoryEventStore;

    #[test]
    fn the_memory_store_conforms() {
        futures::executor::block_on(suite(async || Arc::new(MemoryEventStore::default()) as Store));
    }
}
