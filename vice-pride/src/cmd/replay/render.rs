//! A replay in words: what was, what would have been, and how far that can be known.

use vice_core::id::RolloutId;
use vice_core::payload::environment::RolloutOutcome;
use vice_core::payload::rollout::Verdict;
use vice_core::payload::simulation::Probability;
use vice_core::text::{Table, Tone, count, paint, sanitize};
use vice_pride_engine::describe_reason;
use vice_pride_engine::hindsight::{Departure, End, Hindsight, Scaled, WindowView};
use vice_pride_engine::judge::Analysis;

use super::Replayed;
use super::past::{Case, History, Label, Score};
use super::policy::Policy;
use crate::cmd::history::outcome_words;
use crate::driver::Journal;

/// The most windows that are listed; the ends of longer rollouts tell more than their middles.
const WINDOWS_SHOWN: usize = 24;

/// Fewer cases than this say hardly anything: the exact interval of 9 out of 10 reaches from 55 to 100 %.
const CASES_MIN: u64 = 10;

/// The whole of one replay.
pub(super) fn one(id: &RolloutId, journal: &Journal, replayed: &Replayed, policy: &Policy) -> String {
    let (tone, words) = outcome_words(journal.state.outcome());
    let mut text = format!(
        "{} to {}, under {}\n\n",
        paint(Tone::Strong, id.to_string()),
        journal.plan.to.label(),
        sanitize(&policy.name)
    );
    let cause = journal.state.cause().map(|cause| describe_reason(&cause, &journal.plan)).unwrap_or_default();
    let point = replayed.recorded.end.point();
    text.push_str(&format!(
        "  {}  {}, after {} at a share of {} with {} excess bad events. {}\n",
        paint(Tone::Faint, "was      "),
        paint(tone, words),
        count(u64::from(point.window), "window", "windows"),
        share(point.share),
        events(point.excess),
        sanitize(&cause),
    ));
    let found = &replayed.policy;
    text.push_str(&format!("  {}  {}\n", paint(Tone::Faint, "would be "), end(&found.end, &replayed.analysis)));
    if let Some(window) = found.promoted_before {
        text.push_str(&format!("             It would first have been promoted after window {window}.\n"));
    }
    text.push_str(&honestly(found, &replayed.analysis));
    text.push('\n');
    text.push_str(&table(&found.windows, &replayed.analysis));
    if found.left_out > 0 {
        text.push_str(&format!(
            "{} left out: the share changed before they filled a window of {}.\n",
            count(u64::from(found.left_out), "recorded window is", "recorded windows are"),
            replayed.analysis.interval
        ));
    }
    text.push_str(&ignored(policy));
    text
}

fn ignored(policy: &Policy) -> String {
    if policy.ignored.is_empty() {
        return String::new();
    }
    format!("Without effect here, because no judge reads it: {}.\n", policy.ignored.join(", "))
}

fn end(end: &End, analysis: &Analysis) -> String {
    let point = end.point();
    let (tone, words) = match end {
        End::Stopped(_) => (Tone::Bad, "stopped"),
        End::Promoted(_) => (Tone::Good, "promoted"),
        End::Undecided(_) => (Tone::Warn, "undecided when the recording ends,"),
    };
    format!(
        "{} after window {} at a share of {} with {} excess bad events. {}",
        paint(tone, words),
        point.window,
        share(point.share),
        events(point.excess),
        sanitize(&point.cause.sentence(analysis)),
    )
}

/// How far what would have been can be known.
fn honestly(found: &Hindsight, analysis: &Analysis) -> String {
    let open = match found.end {
        End::Undecided(_) => {
            "  It would have gone on from there, which was not recorded: its excess bad events are at least these.\n"
        }
        End::Stopped(_) | End::Promoted(_) => "",
    };
    let Some(departure) = found.departure else {
        if !open.is_empty() {
            return open.to_owned();
        }
        return "  The shares would have been the recorded ones, so these figures are exact.\n".to_owned();
    };
    let mut text = format!("{open}  {} {}\n", paint(Tone::Warn, "but"), left(departure));
    text.push_str(
        "      From there on the verdicts rest on counts made at the recorded shares: another share would have given \
         more or fewer.\n",
    );
    match &found.scaled {
        Some(scaled) => text.push_str(&likely(scaled, analysis)),
        None => text.push_str("      What would have been counted then was not recorded, and is not guessed.\n"),
    }
    text
}

fn left(departure: Departure) -> String {
    let Departure { window, recorded, wanted } = departure;
    match wanted {
        Some(wanted) => format!(
            "after window {window} the policy would have wanted a share of {}; {} was in force.",
            share(wanted),
            share(recorded)
        ),
        None => format!(
            "after window {window} the policy would not have taken the step that was taken then, to a share of {}, or \
             not then.",
            share(recorded)
        ),
    }
}

fn likely(scaled: &Scaled, analysis: &Analysis) -> String {
    let (low, high) = scaled.excess_between;
    let mut text = format!(
        "      With its own shares, if the recorded rates had held at them: {}\n      Its excess bad events then lie \
         plausibly between {} and {}, by the ratio that the recording leaves open.\n",
        end(&scaled.end, analysis),
        events(low),
        events(high)
    );
    if scaled.without_data > 0 {
        text.push_str(&format!(
            "      {} taken as recorded: one of the releases had no traffic there.\n",
            count(u64::from(scaled.without_data), "window was", "windows were")
        ));
    }
    text
}

fn table(views: &[WindowView], analysis: &Analysis) -> String {
    let mut table = Table::with_heading(&["window", "until", "share", "was", "would be", "excess", "because"]);
    let half = WINDOWS_SHOWN / 2;
    let skipped = views.len() > WINDOWS_SHOWN;
    for (at, view) in views.iter().enumerate() {
        if skipped && at >= half && at < views.len() - half {
            if at == half {
                let hidden = views.len() - WINDOWS_SHOWN;
                table.row([(Tone::Faint, format!("… {hidden} more; --format json has them"))]);
            }
            continue;
        }
        let differs = view.was.verdict != view.would_be.verdict;
        let numbers = match view.windows {
            (first, last) if first == last => first.to_string(),
            (first, last) => format!("{first}-{last}"),
        };
        table.row([
            (Tone::Plain, numbers),
            (Tone::Faint, view.until.to_string()),
            (Tone::Plain, share(view.share)),
            (Tone::Plain, verdict(view.was.verdict).to_owned()),
            (if differs { Tone::Strong } else { Tone::Plain }, verdict(view.would_be.verdict).to_owned()),
            (Tone::Plain, events(view.excess)),
            (Tone::Faint, sanitize(&view.would_be.cause.sentence(analysis))),
        ]);
    }
    table.render()
}

const fn verdict(verdict: Verdict) -> &'static str {
    match verdict {
        Verdict::Proceed => "proceed",
        Verdict::Hold => "hold",
        Verdict::Rollback => "rollback",
        Verdict::Inconclusive => "inconclusive",
    }
}

fn share(basis_points: u32) -> String {
    format!("{}%", f64::from(basis_points) / 100.0)
}

fn events(number: f64) -> String {
    format!("{number:.1}")
}

/// The whole history.
pub(super) fn all(history: &History, policy: &Policy, score: &Score, then: &Score) -> String {
    let mut text = format!("The history under {}\n\n", paint(Tone::Strong, sanitize(&policy.name)));
    let mut table = Table::with_heading(&["rollout", "release", "was", "would be", "window", "share", "excess"]);
    for case in &history.cases {
        table.row(row(case));
    }
    if history.cases.is_empty() {
        text.push_str("No rollout has readings of metrics that could be judged again.\n");
    } else {
        text.push_str(&table.render());
        text.push_str(&format!("\n{}{}", scored("policy", score), scored("as recorded", then)));
        text.push_str(&caveats(history, score));
    }
    if history.unjudged > 0 {
        text.push_str(&format!(
            "{} no readings and {} passed over.\n",
            count(history.unjudged, "rollout has", "rollouts have"),
            if history.unjudged == 1 { "is" } else { "are" }
        ));
    }
    for (id, why) in &history.skipped {
        text.push_str(&format!("{id} could not be replayed: {}\n", sanitize(why)));
    }
    text.push_str(&ignored(policy));
    text
}

fn row(case: &Case) -> [(Tone, String); 7] {
    let (tone, words) = outcome_words(case.outcome);
    let label = match case.label {
        Label::Bad => (Tone::Bad, "bad"),
        Label::Good => (Tone::Good, "good"),
        Label::Unknown => (Tone::Faint, "not known"),
    };
    let point = case.would_be.point();
    let end = match case.would_be {
        End::Stopped(_) => "stopped",
        End::Promoted(_) => "promoted",
        End::Undecided(_) => "undecided",
    };
    [
        (Tone::Strong, case.rollout.to_string()),
        (label.0, label.1.to_owned()),
        (tone, words.to_owned()),
        (Tone::Plain, format!("{end}{}", if case.departs { " *" } else { "" })),
        (Tone::Plain, point.window.to_string()),
        (Tone::Plain, share(point.share)),
        (Tone::Plain, events(point.excess)),
    ]
}

fn scored(name: &str, score: &Score) -> String {
    format!("{name:<12} precision {}, recall {}\n", rate(&score.precision), rate(&score.recall))
}

fn rate(rate: &Probability) -> String {
    match (rate.k, rate.n, rate.lo, rate.hi) {
        (Some(k), Some(n), Some(low), Some(high)) => {
            let percent = |value: f64| format!("{:.0}", value * 100.0);
            format!("{k} of {n} ({}% to {}%)", percent(low), percent(high))
        }
        _ => "not known (none)".to_owned(),
    }
}

fn caveats(history: &History, score: &Score) -> String {
    let cases = || history.cases.iter();
    let mut text = "Intervals are exact, 95 %. Bad: rolled back for its own sake and on hold still, or put on hold \
                    later. Good: succeeded and not on hold. Others do not count.\n"
        .to_owned();
    let by_judge = cases().filter(|case| case.label == Label::Bad && case.by_judge).count();
    if by_judge > 0 {
        text.push_str(&format!(
            "{by_judge} of the bad ones {} called so by the judge of the time, whose false alarms count as bad here.\n",
            if by_judge == 1 { "is" } else { "are" }
        ));
    }
    if cases().any(|case| case.departs) {
        text.push_str(
            "* The policy would have had other shares; replay that rollout alone for how far this can be known.\n",
        );
    }
    let few = score.precision.n.unwrap_or(0) < CASES_MIN || score.recall.n.unwrap_or(0) < CASES_MIN;
    if few {
        text.push_str(&format!(
            "{} Fewer than {CASES_MIN} cases on a side say hardly anything.\n",
            paint(Tone::Warn, "too few:")
        ));
    }
    let unknown = cases().filter(|case| case.label == Label::Unknown).count();
    let failed = cases().filter(|case| case.outcome == Some(RolloutOutcome::Aborted)).count();
    if unknown > 0 {
        text.push_str(&format!("{unknown} of unknown worth, {failed} of them left by an operator.\n"));
    }
    text
}
