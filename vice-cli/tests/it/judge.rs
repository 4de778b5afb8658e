//! `vice pride judge` and `vice wrath probe` as people type them.

use std::io::{Read, Write};
use std::net::TcpListener;

use crate::lab::{Lab, Ran};

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

/// A Prometheus that gives everybody the same answer; its URL.
fn prometheus(answer: Vec<u8>) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let url = format!("http://{}", listener.local_addr().expect("an address"));
    std::thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            let answer = answer.clone();
            std::thread::spawn(move || {
                let mut buffer = [0_u8; 4096];
                // The queries are short: head and body come at once or nearly so.
                let mut seen = Vec::new();
                while !seen.windows(6).any(|part| part == b"query=") {
                    match stream.read(&mut buffer) {
                        Ok(count) if count > 0 => seen.extend_from_slice(&buffer[..count]),
                        _ => return,
                    }
                }
                drop(stream.write_all(&answer));
            });
        }
    });
    url
}

fn http(status: &str, body: &str) -> Vec<u8> {
    format!("HTTP/1.1 {status}\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{body}", body.len()).into_bytes()
}

/// The answer of a range query with these series.
fn matrix(series: &[&[&str]], warnings: &str) -> Vec<u8> {
    let point = |value: &&str| format!("[1780000000, \"{value}\"]");
    let row = |values: &&[&str]| {
        let points: Vec<String> = values.iter().map(point).collect();
        format!("{{\"metric\": {{}}, \"values\": [{}]}}", points.join(","))
    };
    let rows: Vec<String> = series.iter().map(row).collect();
    let data = format!("{{\"resultType\": \"matrix\", \"result\": [{}]}}", rows.join(","));
    http("200 OK", &format!("{{\"status\": \"success\", \"warnings\": [{warnings}], \"data\": {data}}}"))
}

fn asked(lab: &Lab, url: &str) -> Ran {
    let range = ["--from", "2026-01-01T00:00:00Z", "--until", "2026-01-01T01:00:00Z"];
    let words = ["pride", "judge", "--prometheus", url, "--canary", "x", "--baseline", "y"];
    lab.vice(&[&words[..], &range].concat())
}

#[test]
fn a_query_that_has_nothing_is_nothing_to_decide_on() {
    let lab = Lab::new();
    let ran = asked(&lab, &prometheus(matrix(&[], ""))).expect(7);
    assert!(ran.stdout.contains("a sample is empty") && ran.stderr.contains("matches no series"), "{ran:?}");
    let ran = asked(&lab, &prometheus(matrix(&[&["NaN", "NaN"]], ""))).expect(7);
    assert!(ran.stderr.contains("2 of 2 points of --canary are no number"), "{ran:?}");
    let ran = asked(&lab, &prometheus(matrix(&[&["1", "NaN", "2"]], "\"a part is missing\""))).expect(8);
    assert!(ran.stderr.contains("1 of 3 points of --baseline are no number"), "{ran:?}");
    assert!(ran.stderr.contains("warning:") && ran.stderr.contains("--canary: a part is missing"), "{ran:?}");
}

#[test]
fn a_query_gives_one_series() {
    let lab = Lab::new();
    let ran = asked(&lab, &prometheus(matrix(&[&["1"], &["2"], &["3"]], ""))).expect(2);
    assert!(ran.stderr.contains("3 series") && ran.stderr.contains("sum(…)"), "{ran:?}");
    let scalar = r#"{"status": "success", "data": {"resultType": "scalar", "result": [1780000000, "1"]}}"#;
    let ran = asked(&lab, &prometheus(http("200 OK", scalar))).expect(2);
    assert!(ran.stderr.contains("gives a scalar") && ran.stderr.contains("must give a series"), "{ran:?}");
    let bad = r#"{"status": "error", "errorType": "bad_data", "error": "unexpected <eof>"}"#;
    assert!(asked(&lab, &prometheus(http("400 Bad Request", bad))).expect(2).stderr.contains("unexpected <eof>"));
}

#[test]
fn a_prometheus_that_does_not_answer_is_no_mistake_of_the_command_line() {
    let lab = Lab::new();
    let redirect = b"HTTP/1.1 302 Found\r\nlocation: /login\r\ncontent-length: 0\r\nconnection: close\r\n\r\n".to_vec();
    for (answer, said, help) in [
        (http("401 Unauthorized", ""), "status 401", "--bearer-file"),
        (http("403 Forbidden", "no"), "status 403", "--bearer-file"),
        (http("404 Not Found", "no"), "status 404", "--prometheus"),
        (redirect, "status 302", "--prometheus"),
        (http("500 Internal Server Error", ""), "status 500", "Prometheus"),
        (http("200 OK", "<html>"), "not what a Prometheus says", "Prometheus"),
    ] {
        let url = prometheus(answer);
        let ran = asked(&lab, &url).expect(1);
        for part in [said, help, &url, "--canary", "[backend.failed]"] {
            assert!(ran.stderr.contains(part), "{part}: {}", ran.stderr);
        }
    }
    let ran = asked(&lab, "http://127.0.0.1:9/p").expect(1);
    for part in ["http://127.0.0.1:9/p/api/v1/query_range", "can't be reached", "[backend.unreachable]"] {
        assert!(ran.stderr.contains(part), "{part}: {}", ran.stderr);
    }
    let hidden = asked(&lab, "http://ada:s3cr3t@127.0.0.1:9").expect(1);
    assert!(!hidden.stderr.contains("s3cr3t"), "{}", hidden.stderr);
}

#[test]
fn slips_in_the_range_show_how_it_is_written() {
    let lab = Lab::new();
    for url in ["127.0.0.1:29490", "localhost:9090", "prom/x"] {
        let ran = asked(&lab, url).expect(2);
        assert!(ran.stderr.contains("http://127.0.0.1:9090"), "{url}: {}", ran.stderr);
    }
    for from in ["yesterday", "2026-01-01", "1h"] {
        let words = ["pride", "judge", "--prometheus", "http://127.0.0.1:9", "--canary", "x", "--baseline", "y"];
        let ran = lab.vice(&[&words[..], &["--from", from]].concat()).expect(2);
        assert!(ran.stderr.contains(from) && ran.stderr.contains("2026-11-20T10:00:00Z"), "{}", ran.stderr);
    }
}

#[test]
fn a_first_line_that_is_written_badly_is_named() {
    let lab = Lab::new();
    lab.write("old.txt", "5/1000\n");
    for first in ["-1/10", "1.5/10", "hello world", "99999999999999999999/999999999999999999999", "5 ms"] {
        lab.write("new.txt", &format!("{first}\n"));
        let ran = lab.vice(&["pride", "judge", "--canary", "new.txt", "--baseline", "old.txt"]).expect(2);
        assert!(ran.stderr.contains("on line 1"), "{first}: {}", ran.stderr);
    }
}
