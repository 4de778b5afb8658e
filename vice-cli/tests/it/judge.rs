//! `vice pride judge` and `vice wrath probe` as people type them.

use crate::lab::Lab;

#[test]
fn two_samples_are_judged_and_the_exit_status_says_how() {
    let lab = Lab::new();
    let judge = |new: &str, old: &str, status: i32| {
        lab.write("new.txt", new);
        lab.write("old.txt", old);
        let words = ["pride", "judge", "--canary", "new.txt", "--baseline", "old.txt", "--format", "json"];
        lab.vice(&words).expect(status).json()
    };
    let worse = judge("50/1000\n", "5/1000\n", 5);
    assert_eq!((&worse["verdict"], &worse["comparison"]["method"]), (&"rollback".into(), &"fisher".into()));
    assert_eq!(judge("100/100000\n", "1000/1000000\n", 0)["verdict"], "proceed");
    assert_eq!(judge("2/1000\n", "1/1000\n", 8)["verdict"], "hold");
    assert_eq!(judge("0/1000\n", "0/1000\n", 7)["comparison"]["finding"], "no_events");
    assert_eq!(judge("", "", 7)["comparison"]["finding"], "empty");
    let numbers = |from: u32| (from..from + 40).map(|number| format!("{number}\n")).collect::<String>();
    assert_eq!(judge(&numbers(200), &numbers(100), 5)["canary"]["median"], 219.5);
    judge("1\nNaN\n", "1\n", 2);
    judge("1\n", "1/2\n", 2);
}

#[test]
fn what_can_t_be_judged_is_a_usage_error_with_a_way_out() {
    let lab = Lab::new();
    lab.write("a.txt", "1\n");
    for extra in [["--alpha", "0.9"], ["--margin", "0.5"], ["--tolerance", "1"], ["--alpha", "NaN"], ["--column", "x"]]
    {
        let words = ["pride", "judge", "--canary", "a.txt", "--baseline", "a.txt"];
        lab.vice(&[&words[..], &extra[..]].concat()).expect(2);
    }
    lab.vice(&["pride", "judge", "--canary", "none.txt", "--baseline", "a.txt"]).expect(1);
    let url = ["pride", "judge", "--prometheus", "http://127.0.0.1:9", "--canary", "x", "--baseline", "y"];
    lab.vice(&url).expect(2);
    let range = [&url[..], &["--from", "2026-01-01T00:00:00Z", "--until", "2026-01-01T01:00:00Z"]].concat();
    let gone = lab.vice(&range).expect(1);
    assert!(gone.stderr.contains("can't be reached"), "{}", gone.stderr);
}
