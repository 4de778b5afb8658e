//! What `forward` and `follow` note against what was ever written of it.

use vice_core::Digest;
use vice_core::testkit::golden::Corpus;

use crate::bridge::payload::{Claim, Followed, Forwarded, Missed, Refused, Withheld};

#[test]
fn what_is_noted_is_read_as_it_was_written() {
    let corpus = Corpus::of(env!("CARGO_MANIFEST_DIR"));
    let (name, broker) = (|| "all".to_owned(), || "kafka://broker.example:9092/events".to_owned());
    let claim = Claim {
        upto: 19,
        selection: Digest::of(b"selection"),
        producer: 4_000_000_000,
        epoch: 1,
        partitions: 3,
        sequences: [(0, 12), (2, 2_147_483_647)].into(),
    };
    let forwarded = |next| Forwarded { name: name(), to: broker(), cursor: 17, sent: 12, next };
    corpus.hold(&[forwarded(Some(claim)), forwarded(None)]);
    corpus.hold(&[Withheld { name: name(), to: broker(), seq: 18, id: "n-7".into(), reason: "too large".into() }]);
    let places = [("0".to_owned(), 12), ("1".to_owned(), 9_007_199_254_740_993)].into();
    corpus.hold(&[Followed { name: name(), from: broker(), places, taken: 21, refused: 1 }]);
    let refused = |text: Option<&str>, base64: Option<&str>, whole| Refused {
        from: broker(),
        place: "0/12".into(),
        reason: "it is not JSON".into(),
        text: text.map(str::to_owned),
        base64: base64.map(str::to_owned),
        whole,
        digest: Digest::of(b"message"),
    };
    corpus.hold(&[refused(Some("hello"), None, true), refused(None, Some("/wA="), false), refused(None, None, true)]);
    corpus.hold(&[Missed { from: broker(), what: "Messages 3 to 11 of partition 0 are gone.".into() }]);
}
