//! What is flipped, exchanged, emptied by somebody else or half done.

use vice_core::Code;
use vice_core::store::Query;

use super::{Bench, KINDS, run_whole, sound, told, without_data};

#[tokio::test]
async fn data_that_are_gone_and_archived_nowhere_are_damage() {
    let bench = Bench::filled("sqlite").await;
    run_whole(&bench, 1).await.unwrap();
    let connection = rusqlite::Connection::open(bench.dir.path().join("history.db")).unwrap();
    connection.execute_batch("DROP TRIGGER events_update; UPDATE events SET data = '' WHERE seq = 200").unwrap();
    let found = bench.raw().verify().await.unwrap();
    assert_eq!(found.problems, ["Event 200 is without its data, and no archive has them."]);
}

#[tokio::test]
async fn only_what_names_an_archive_lets_go_of_data() {
    for kind in KINDS {
        let bench = Bench::filled(kind).await;
        let store = bench.raw();
        for anchor in [0, 3, 8, 10_000] {
            assert_eq!(store.let_go(anchor).await.unwrap_err().code(), Code::Conflict, "{kind}: {anchor}");
        }
        assert_eq!(without_data(&told(&*store).await), 0, "{kind}");
        sound(&*store).await;
    }
}

/// One bit in 600 places of the file, by a fixed stride that meets every part of it.
#[tokio::test]
async fn every_flipped_bit_of_a_file_is_found_and_none_is_read() {
    let bench = Bench::filled("sqlite").await;
    run_whole(&bench, 1).await.unwrap();
    let path = std::fs::read_dir(bench.archive_dir().join("archive")).unwrap().next().unwrap().unwrap().path();
    let good = std::fs::read(&path).unwrap();
    let places = 600;
    for place in 0..places {
        let mut bytes = good.clone();
        let bit = place * (good.len() * 8 / places) + place % 8;
        bytes[bit / 8] ^= 1 << (bit % 8);
        std::fs::write(&path, bytes).unwrap();
        let store = bench.whole();
        let found = store.read(&Query::stream("rollout/shop/prod/4", 0)).await.unwrap();
        assert_eq!(without_data(&found), 5, "bit {bit} was read");
        if place % 100 == 0 {
            let problems = store.verify().await.unwrap().problems;
            assert!(problems.len() == 1 && problems[0].contains("not what was stored"), "{problems:?}");
        }
    }
    std::fs::write(&path, good).unwrap();
    sound(&*bench.whole()).await;
}

#[cfg(feature = "encrypt")]
#[tokio::test]
async fn an_encrypted_archive_needs_its_key_and_says_so() {
    use crate::backup::seal::Seals;
    use vice_core::app::ProcessEnv;
    let bench = Bench::filled("sqlite").await;
    let identity = age::x25519::Identity::generate();
    let recipients = [identity.to_public().to_string()];
    let secret = age::secrecy::ExposeSecret::expose_secret(&identity.to_string()).to_owned();
    let with_key = ProcessEnv { vars: [("VICE_AGE_IDENTITY".to_owned(), secret)].into(), ..ProcessEnv::default() };
    let vault = crate::backup::vault(&bench.place(), &with_key).unwrap();
    let scratch = tempfile::tempdir().unwrap();
    let (store, place, event) = (bench.raw(), bench.place(), super::naming(1));
    for (env, works) in [(ProcessEnv::default(), false), (with_key.clone(), true)] {
        let seals = Seals::new(&recipients, &env).unwrap();
        let tools = crate::archive::Tools {
            store: &*store,
            vault: &*vault,
            place: &place,
            seals: &seals,
            scratch: scratch.path(),
            event: &event,
        };
        let made = crate::archive::archive(&tools, super::limits()).await;
        match made {
            Ok(made) => assert!(works && made.events == super::GO),
            Err(fault) => assert!(!works && fault.code() == Code::SecretLocked, "{fault:?}"),
        }
    }
    let found = bench.whole().read(&Query::stream("rollout/shop/prod/4", 0)).await.unwrap();
    assert_eq!(without_data(&found), 5, "there is no key here");
    assert!(bench.said.lock().unwrap()[0].contains("other keys"), "{:?}", bench.said);
    let silent: crate::Notices = std::sync::Arc::new(|_| {});
    let opened = crate::archive::reunited(bench.raw(), &std::sync::Arc::new(with_key), &silent);
    assert_eq!(without_data(&told(&*opened).await), 0);
}
