//! Pages cost what they show: each limited query goes through an index and sorts nothing.

use vice_core::id::ProjectName;
use vice_core::store::{Append, Order, Query};
use vice_core::testkit::event_store::{event, scope};

use super::open;
use crate::sqlite::query::plan;
use crate::sqlite::reader::Reader;

#[tokio::test]
async fn limited_queries_use_indexes() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    let mut events = Vec::new();
    for n in 0..50 {
        let mut event = event(&n.to_string(), &format!("s/{}", n % 5));
        event.scope = Some(scope("shop", "dev"));
        event.kind = format!("dev.test.{}", n % 3);
        events.push(event);
    }
    store.append(Append::of(events)).await.unwrap();
    store.close().await.unwrap();
    let reader = Reader::open(&dir.path().join("history.db")).unwrap().unwrap();
    let backward = Query { limit: 10, order: Order::Backward, ..Query::default() };
    let cases = [
        ("stream", Query::stream("s/1", 3), "stream=? AND version>?"),
        ("stream backward", Query { stream: Some("s/1".into()), ..backward.clone() }, "stream=?"),
        ("project", Query { project: Some(ProjectName::new("shop").unwrap()), ..backward.clone() }, "events_project"),
        ("kind", Query { kinds: vec!["dev.test.1".into()], ..backward.clone() }, "events_kind"),
        ("kinds", Query { kinds: vec!["dev.test.*".into()], ..backward.clone() }, "events_kind"),
        (
            "since",
            Query { since: Some(jiff::Timestamp::UNIX_EPOCH), ..backward.clone() },
            "INTEGER PRIMARY KEY (rowid>?)",
        ),
        ("newest", backward, "SCAN events"),
    ];
    for (name, query, expected) in cases {
        for statement in plan(&reader, &query).unwrap().unwrap() {
            let mut explain = reader.connection.prepare(&format!("EXPLAIN QUERY PLAN {}", statement.sql)).unwrap();
            let arguments = rusqlite::params_from_iter(&statement.arguments);
            let steps: Vec<String> =
                explain.query_map(arguments, |row| row.get(3)).unwrap().map(Result::unwrap).collect();
            let plan = steps.join("\n");
            assert!(plan.contains(expected), "the query by {name} does not go by {expected}:\n{plan}");
            assert!(!plan.contains("TEMP B-TREE"), "the query by {name} sorts:\n{plan}");
        }
    }
}
