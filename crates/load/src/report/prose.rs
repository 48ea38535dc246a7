//! Owns the sentences: what a run showed and where it broke. Leaves why, as far as the server told, to
//! `cause`, and numbers in tables to the other forms.

use super::cause::{at_timeout, cause};
use super::{Report, count, rate, time};
use crate::record::{First, Kind};
use crate::run::Row;

pub(super) fn prose(report: &Report<'_>) -> Vec<String> {
    let (plan, outcome) = (report.plan, report.outcome);
    let total = &outcome.total;
    let mut said = Vec::new();
    if let Some(why) = outcome.generator_limit(plan) {
        said.push(format!(
            "No verdict on the server: {why}. What was measured here is the generator."
        ));
    }
    if let Some(why) = &outcome.ended_early {
        said.push(format!("The run did not go to its end: {why}."));
    }
    if total.hits == 0 {
        said.push(nothing(report));
    } else {
        said.push(volume(report));
        said.extend(late(report));
        said.push(latency(report));
    }
    said.extend(knee(report));
    said.extend(broke(report));
    if total.held > 0 {
        said.push(format!(
            "All {} connections were in use at times, so {} arrivals had to wait for one; that wait is \
             in the latencies. `--connections` allows more.",
            plan.connections,
            count(total.held)
        ));
    }
    if total.unsent > 0 {
        said.push(format!(
            "{} arrivals were due and had not been sent when the run ended.",
            count(total.unsent)
        ));
    }
    said.extend(cause(&outcome.inside));
    said.extend(how_judged(report));
    said
}

/// What a condition on latency is worth where a slow server is asked less often.
fn how_judged(report: &Report<'_>) -> Option<String> {
    let mut goals = report.judged.iter().map(|judged| judged.goal.as_str());
    let latency = goals.any(|goal| goal.starts_with('p') || goal.starts_with("max"));
    (latency && !report.plan.is_open()).then(|| {
        "Latency was judged with users that wait for their answers, so a slow server was asked less often; \
         `--rate` asks as visitors do."
            .to_owned()
    })
}

/// Why there is nothing to tell.
fn nothing(report: &Report<'_>) -> String {
    let (total, warmup) = (&report.outcome.total, report.outcome.warmup_hits);
    if total.ended() > 0 {
        "Not one request was answered.".to_owned()
    } else if total.slow[0] + total.slow[1] > 0 {
        "Nothing was measured: there were only slow clients (`--slow`), whose requests are counted apart."
            .to_owned()
    } else if warmup > 0 {
        format!(
            "Nothing was measured: {} answers came in the warm-up, and none after it.",
            count(warmup)
        )
    } else if total.unfinished > 0 {
        format!(
            "Not one request was answered: {} still waited when the run ended.",
            count(total.unfinished)
        )
    } else {
        "Nothing was measured: the run ended before a request was sent.".to_owned()
    }
}

fn volume(report: &Report<'_>) -> String {
    let total = &report.outcome.total;
    let wrong = total.bad().saturating_sub(total.late_bad);
    let each_second = report.outcome.good_rate();
    let day = each_second * 86_400.0;
    let day = if day >= 1e6 {
        format!("{:.1} million", day / 1e6)
    } else {
        count(day.round() as u64)
    };
    let answered = format!(
        "{} requests were answered in {}",
        count(total.in_time()),
        time(report.outcome.time)
    );
    let each_second = rate(each_second);
    if wrong == 0 {
        return format!("{answered}: {each_second} a second, which would be {day} a day.");
    }
    format!(
        "{answered}, {} of them with an error. The good ones were {each_second} a second, which would be \
         {day} a day.",
        count(wrong)
    )
}

/// What was asked in the time and answered after it.
fn late(report: &Report<'_>) -> Option<String> {
    let late = report.outcome.total.late;
    (late > 0).then(|| {
        format!(
            "{} more answers came after the end: they are in the latencies, and in no rate.",
            count(late)
        )
    })
}

fn latency(report: &Report<'_>) -> String {
    let total = &report.outcome.total;
    let mut text = format!(
        "Half took at most {}, 95 % at most {}, the longest {}.",
        time(total.corrected.quantile(0.5)),
        time(total.corrected.quantile(0.95)),
        time(total.corrected.max())
    );
    let (felt, naive) = (total.corrected.quantile(0.99), total.naive.quantile(0.99));
    if felt.as_secs_f64() > naive.as_secs_f64() * 1.1 + 0.001 {
        text.push_str(&format!(
            " A tool that starts its clock when it gets around to sending would have told a p99 of {} \
             instead of {}.",
            time(naive),
            time(felt)
        ));
    }
    text
}

/// Where more load brought no more answers.
fn knee(report: &Report<'_>) -> Option<String> {
    let outcome = report.outcome;
    let rows = outcome.rows.iter();
    // Behind the end of the schedule nobody asks; late answers only are counted there.
    let whole: Vec<_> = rows
        .take_while(|row| row.at + outcome.row_time <= outcome.time)
        .collect();
    let most = whole.iter().map(|row| row.active).max()?;
    let first = whole.first()?.active.max(1);
    if report.plan.is_open() || whole.len() < 8 || most < first * 3 {
        return None;
    }
    // An error that comes at once is no answer that more users brought.
    let good = |row: &&Row| {
        let share = row.hits.saturating_sub(row.bad) as f64 / row.hits.max(1) as f64;
        report.row_rate(row) * share
    };
    let best = whole.iter().map(good).fold(0.0, f64::max);
    let knee = whole.iter().find(|row| good(row) >= 0.9 * best)?;
    (knee.active * 2 < most).then(|| {
        format!(
            "From about {} users on, more users brought longer waits and hardly more answers: {} a \
             second was the most.",
            knee.active,
            rate(best)
        )
    })
}

fn broke(report: &Report<'_>) -> Vec<String> {
    let total = &report.outcome.total;
    let who = if report.plan.is_open() {
        "requests under way"
    } else {
        "users"
    };
    let place = |first: &First| format!("{} {who}, after {}", first.users, time(first.at));
    let mut said = Vec::new();
    match &total.first_error {
        None if total.hits > 0 => said.push("No request failed.".to_owned()),
        None => {}
        Some(first) => said.push(format!(
            "The first error ({}) came at {}; {:.2} % of all were errors in the end.",
            first.what,
            place(first),
            total.error_share() * 100.0
        )),
    }
    if let Some(first) = &total.first_timeout {
        said.push(format!(
            "The first time-out came at {}; {} requests had no answer within {}.",
            place(first),
            count(total.timeouts()),
            time(report.plan.timeout)
        ));
        // What the server said is counted from the begin of the warm-up on.
        let at = report.plan.warmup + first.at;
        said.extend(at_timeout(&report.outcome.inside, at));
    }
    let most = Kind::ALL.into_iter().max_by_key(|kind| total.failed(*kind));
    if let Some(kind) = most.filter(|kind| total.hits == 0 && total.failed(*kind) > 0) {
        said.push(to_do(kind).to_owned());
    }
    said
}

/// What to look at when nothing came but failures, mostly of this kind.
fn to_do(kind: Kind) -> &'static str {
    match kind {
        Kind::Refused => "Nobody listens there: is the server running, on that port?",
        Kind::Unreachable => {
            "No connection could be made: is the address right, and is nothing in the way to it?"
        }
        Kind::Tls => {
            "TLS could not be agreed on: a port that speaks plain HTTP wants `http://`, a certificate that \
             no authority of this system has signed wants `--cacert FILE`, and `--insecure` believes any."
        }
        Kind::Reset | Kind::Truncated => {
            "The server ended its connections without an answer: its log may say why. A port that speaks \
             TLS does this to plain HTTP; then the URL begins with `https://`."
        }
        Kind::Invalid => {
            "What came is no HTTP of the version asked for: is that the right port, does it speak TLS \
             (`https://`), or HTTP/2 alone (`--http2`)?"
        }
        Kind::HeadTooLong => {
            "The heads of all answers are longer than 64 KiB; browsers refuse that, too."
        }
        Kind::BodyTooLong => {
            "All answers are longer than `--max-body` allows: raise it, if that is meant."
        }
        Kind::TimedOut => {
            "Nobody got an answer in time: does the site answer a browser? `--timeout` waits longer."
        }
        Kind::Login => {
            "No login was accepted: do the names of `--login-data` stand in the form at `--login`, and does \
             that user exist?"
        }
        Kind::Exhausted => {
            "This machine has no ports or file descriptors left: take fewer users, and keep connections open."
        }
    }
}
