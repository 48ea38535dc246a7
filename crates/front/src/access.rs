//! Owns the access log: one line for each response, written by a thread of its own so that a slow
//! reader of the log never holds a request up.
//! Leaves what happened to `conn`.

use std::borrow::Cow;
use std::cell::RefCell;
use std::fmt::Write as _;
use std::io::Write;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::time::{Duration, Instant};

use canter_base::clock::{civil, push_iso8601, wall_ms};
use canter_base::log::{push_json_string, push_logfmt_value};
use canter_base::options::AccessLogFormat;
use canter_base::warn;
use canter_cache::status::Brief;
use canter_http::escape::Escaped;
use canter_insight::Phase;
use canter_insight::traceparent::{Context, Hex};

use crate::facts::{Line, Said};
use crate::insight::Learned;

/// Batches that may wait for the writer; beyond it lines are dropped and counted.
const MOST_BATCHES: usize = 64;
/// Bytes after which a batch is handed over at once.
const BATCH: usize = 32 * 1024;
/// Room that a batch begins with: most have a few lines.
const FIRST_ROOM: usize = 1024;
/// How long the end of the program waits for the writer.
const FINISH: Duration = Duration::from_secs(2);

/// Opens the place the log goes to, at the start and again when it was rotated.
pub type Open = Box<dyn Fn() -> std::io::Result<Box<dyn Write + Send>> + Send>;

/// The access log.
pub struct AccessLog {
    format: AccessLogFormat,
    batch: RefCell<String>,
    sender: SyncSender<Job>,
    missed: Arc<Missed>,
}

/// What the writer could not be told, because it had more than it could take.
#[derive(Default)]
struct Missed {
    /// Lines that were dropped.
    lines: AtomicU64,
    /// The file was rotated.
    rotated: AtomicBool,
}

enum Job {
    Lines(String),
    Reopen,
    Flush(SyncSender<()>),
}

/// The end of a response, as it is logged.
pub(crate) struct Ended<'a> {
    pub line: &'a Line,
    pub id: &'a [u8],
    pub status: u16,
    pub bytes: u64,
    pub took: Duration,
    /// What the page cache had to do with it; None where it had no part.
    pub cache: Option<Brief>,
    /// Where the time went; None where nobody looked.
    pub learned: Option<&'a Learned>,
    /// The trace it belongs to, and what it is there.
    pub traced: Option<&'a Context>,
}

impl AccessLog {
    /// A log with its writer thread.
    ///
    /// # Errors
    /// When the place cannot be opened, or the system refuses a thread.
    pub fn start(format: AccessLogFormat, open: Open) -> std::io::Result<Self> {
        let (sender, receiver) = sync_channel(MOST_BATCHES);
        let out = open()?;
        let writer = std::thread::Builder::new().name("access-log".to_owned());
        let missed: Arc<Missed> = Arc::default();
        let seen = Arc::clone(&missed);
        writer
            .stack_size(64 * 1024)
            .spawn(move || write(&receiver, &seen, &open, out))?;
        Ok(Self {
            format,
            batch: RefCell::default(),
            sender,
            missed,
        })
    }

    pub(crate) fn log(&self, ended: &Ended<'_>) {
        let mut batch = self.batch.borrow_mut();
        if batch.is_empty() {
            batch.reserve(FIRST_ROOM);
        }
        push_line(&mut batch, self.format, wall_ms(), ended);
        if batch.len() >= BATCH {
            self.hand_over(std::mem::take(&mut batch));
        }
    }

    /// Hands over what has gathered; called before the front sleeps.
    pub fn flush(&self) {
        let batch = self.batch.take();
        if !batch.is_empty() {
            self.hand_over(batch);
        }
    }

    fn hand_over(&self, batch: String) {
        if let Err(TrySendError::Full(Job::Lines(batch))) = self.sender.try_send(Job::Lines(batch))
        {
            let lines = batch.lines().count() as u64;
            self.missed.lines.fetch_add(lines, Ordering::Relaxed);
        }
    }

    /// Opens the file again: it was rotated.
    pub fn reopen(&self) {
        self.flush();
        // A writer that is stuck must not hold the front up.
        if self.sender.try_send(Job::Reopen).is_err() {
            self.missed.rotated.store(true, Ordering::Relaxed);
        }
    }

    /// Waits until everything is written, but not for a writer that is stuck; at the end of the
    /// program.
    pub fn finish(&self) {
        self.flush();
        let end = Instant::now() + FINISH;
        let (done, wait) = sync_channel(1);
        let mut job = Job::Flush(done);
        while let Err(TrySendError::Full(back)) = self.sender.try_send(job) {
            if Instant::now() >= end {
                return;
            }
            job = back;
            std::thread::sleep(Duration::from_millis(5));
        }
        let _ = wait.recv_timeout(end.saturating_duration_since(Instant::now()));
    }
}

fn write(receiver: &Receiver<Job>, missed: &Missed, open: &Open, mut out: Box<dyn Write + Send>) {
    while let Ok(job) = receiver.recv() {
        if matches!(job, Job::Reopen) || missed.rotated.swap(false, Ordering::Relaxed) {
            match open() {
                Ok(opened) => out = opened,
                Err(error) => warn!(
                    "cannot open the access log again: the old file is written on",
                    reason = &error.to_string()
                ),
            }
        }
        match job {
            // A log that cannot be written is no reason to stop serving.
            Job::Lines(lines) => drop(out.write_all(lines.as_bytes()).and_then(|()| out.flush())),
            Job::Reopen => {}
            Job::Flush(done) => drop(done.send(())),
        }
        let lines = missed.lines.swap(0, Ordering::Relaxed);
        if lines > 0 {
            warn!(
                "lines of the access log were dropped: it is not taken fast enough",
                lines = lines
            );
        }
    }
}

fn push_line(out: &mut String, format: AccessLogFormat, wall_ms: u64, ended: &Ended<'_>) {
    // Writing to a String cannot fail.
    let _ = match format {
        AccessLogFormat::Common => push_common(out, wall_ms, ended).and_then(|()| writeln!(out)),
        AccessLogFormat::Combined => push_common(out, wall_ms, ended).and_then(|()| {
            let line = ended.line;
            writeln!(
                out,
                " \"{}\" \"{}\"",
                or_dash(line.get(Said::Referer)),
                or_dash(line.get(Said::UserAgent))
            )
        }),
        AccessLogFormat::Json => push_json(out, wall_ms, ended),
        AccessLogFormat::Logfmt => push_logfmt(out, wall_ms, ended),
    };
}

/// `host ident user [date] "request" status bytes`, as the NCSA and Apache have it.
fn push_common(out: &mut String, wall_ms: u64, ended: &Ended<'_>) -> std::fmt::Result {
    const MONTHS: [&str; 12] = [
        "Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec",
    ];
    let line = ended.line;
    let (seconds, days) = (wall_ms / 1000 % 86_400, wall_ms / 86_400_000);
    let (year, month, day) = civil(days);
    let month = MONTHS.get(month as usize - 1).unwrap_or(&"Jan");
    let client = or_dash(line.get(Said::Client));
    write!(
        out,
        "{client} - - [{day:02}/{month}/{year}:{:02}:{:02}:{:02} +0000] \"{} {} {}\" {} {}",
        seconds / 3600,
        seconds / 60 % 60,
        seconds % 60,
        Escaped(line.get(Said::Method)),
        Escaped(line.get(Said::Target)),
        line.version,
        ended.status,
        ended.bytes
    )
}

fn push_json(out: &mut String, wall_ms: u64, ended: &Ended<'_>) -> std::fmt::Result {
    let line = ended.line;
    out.push_str("{\"time\":\"");
    push_iso8601(out, wall_ms);
    out.push('"');
    for (key, text) in texts(ended) {
        write!(out, ",\"{key}\":")?;
        push_json_string(out, &text);
    }
    write!(
        out,
        ",\"protocol\":\"{}\",\"status\":{},\"bytes\":{},\"duration_ms\":{:.3}",
        line.version,
        ended.status,
        ended.bytes,
        milliseconds(ended.took)
    )?;
    for (key, word) in cache_words(ended) {
        write!(out, ",\"{key}\":\"{word}\"")?;
    }
    if let Some((trace, span)) = trace_words(ended) {
        write!(out, ",\"trace_id\":\"{trace}\",\"span_id\":\"{span}\"")?;
    }
    if let Some(learned) = ended.learned {
        out.push_str(",\"route\":");
        push_json_string(out, &learned.route);
        write!(out, ",\"queries\":{}", learned.queries)?;
        write!(
            out,
            ",\"wall_ms\":{}",
            Thousandths(learned.phases.wall_us())
        )?;
        for phase in Phase::ALL {
            let us = learned.phases.get(phase);
            write!(out, ",\"{}_ms\":{}", phase.word(), Thousandths(us))?;
        }
    }
    out.push_str("}\n");
    Ok(())
}

fn push_logfmt(out: &mut String, wall_ms: u64, ended: &Ended<'_>) -> std::fmt::Result {
    out.push_str("time=");
    push_iso8601(out, wall_ms);
    for (key, text) in texts(ended) {
        write!(out, " {key}=")?;
        push_logfmt_value(out, &text);
    }
    write!(
        out,
        " protocol={} status={} bytes={} duration_ms={:.3}",
        ended.line.version,
        ended.status,
        ended.bytes,
        milliseconds(ended.took)
    )?;
    for (key, word) in cache_words(ended) {
        write!(out, " {key}={word}")?;
    }
    if let Some((trace, span)) = trace_words(ended) {
        write!(out, " trace_id={trace} span_id={span}")?;
    }
    if let Some(learned) = ended.learned {
        out.push_str(" route=");
        push_logfmt_value(out, &learned.route);
        write!(out, " queries={}", learned.queries)?;
        write!(out, " wall_ms={}", Thousandths(learned.phases.wall_us()))?;
        for phase in Phase::ALL {
            let us = learned.phases.get(phase);
            write!(out, " {}_ms={}", phase.word(), Thousandths(us))?;
        }
    }
    out.push('\n');
    Ok(())
}

/// What the page cache had to do with it: words of our own, which need no quotes.
fn cache_words(ended: &Ended<'_>) -> impl Iterator<Item = (&'static str, &'static str)> {
    let word = ended.cache.map(|cache| ("cache", cache.word));
    let detail = ended.cache.and_then(|cache| cache.detail);
    let detail = detail.map(|detail| ("cache_detail", detail));
    word.into_iter().chain(detail)
}

/// The trace it belongs to, and its own span there, or that of whoever called.
fn trace_words<'e>(ended: &Ended<'e>) -> Option<(Hex<'e>, Hex<'e>)> {
    let context = ended.traced?;
    let span = context.span.as_ref().or(context.parent.as_ref())?;
    Some((Hex(&context.trace), Hex(span)))
}

fn texts<'e>(ended: &Ended<'e>) -> [(&'static str, Cow<'e, str>); 6] {
    let text = |said| String::from_utf8_lossy(ended.line.get(said));
    [
        ("client", text(Said::Client)),
        ("method", text(Said::Method)),
        ("target", text(Said::Target)),
        ("referer", text(Said::Referer)),
        ("user_agent", text(Said::UserAgent)),
        ("request_id", String::from_utf8_lossy(ended.id)),
    ]
}

fn or_dash(bytes: &[u8]) -> Escaped<'_> {
    Escaped(if bytes.is_empty() { b"-" } else { bytes })
}

/// Microseconds as milliseconds.
struct Thousandths(u64);

impl std::fmt::Display for Thousandths {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}.{:03}", self.0 / 1000, self.0 % 1000)
    }
}

fn milliseconds(took: Duration) -> f64 {
    took.as_secs_f64() * 1000.0
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use super::*;

    fn with_ended<T>(use_it: impl FnOnce(&Ended<'_>) -> T) -> T {
        let texts: [&[u8]; 5] = [b"192.0.2.7", b"GET", b"", b"curl/8", b"/a\x1b\"b"];
        let line = Line::of(texts, "HTTP/1.1");
        use_it(&Ended {
            line: &line,
            id: b"id-1",
            status: 200,
            bytes: 13,
            took: Duration::from_micros(1500),
            cache: Some(Brief {
                word: "BYPASS",
                detail: Some("set-cookie"),
            }),
            learned: None,
            traced: Context::read(TRACE.as_bytes()).as_ref(),
        })
    }

    const TRACE: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

    fn line(format: AccessLogFormat) -> String {
        let mut out = String::new();
        let wall_ms = 86_400_000 * 365 + 3_661_000;
        with_ended(|ended| push_line(&mut out, format, wall_ms, ended));
        out
    }

    /// A file whose disk takes nothing until it is let go.
    struct Stuck(Arc<Mutex<()>>);

    impl Write for Stuck {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            let _free = self.0.lock();
            Ok(bytes.len())
        }

        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn a_stuck_writer_holds_nobody_up_and_hears_of_the_rotation_later() {
        let disk = Arc::new(Mutex::new(()));
        let opened = Arc::new(AtomicU64::new(0));
        let open = {
            let (disk, opened) = (Arc::clone(&disk), Arc::clone(&opened));
            move || {
                opened.fetch_add(1, Ordering::SeqCst);
                Ok(Box::new(Stuck(Arc::clone(&disk))) as Box<dyn Write + Send>)
            }
        };
        let log = AccessLog::start(AccessLogFormat::Common, Box::new(open)).unwrap();
        let stuck = disk.lock().unwrap();
        let one_too_many = MOST_BATCHES + 3;
        for _ in 0..one_too_many {
            with_ended(|ended| log.log(ended));
            log.flush();
        }
        log.reopen();
        assert!(log.missed.lines.load(Ordering::SeqCst) > 0);
        assert_eq!(opened.load(Ordering::SeqCst), 1);
        drop(stuck);
        for _ in 0..5 {
            log.finish();
            if opened.load(Ordering::SeqCst) == 2 {
                break;
            }
        }
        assert_eq!(opened.load(Ordering::SeqCst), 2);
        assert_eq!(log.missed.lines.load(Ordering::SeqCst), 0);
    }

    #[test]
    fn each_form_is_one_line_that_cannot_be_forged() {
        assert_eq!(
            line(AccessLogFormat::Combined),
            "192.0.2.7 - - [01/Jan/1971:01:01:01 +0000] \"GET /a\\x1b\\\"b HTTP/1.1\" 200 13 \
             \"-\" \"curl/8\"\n"
        );
        assert!(line(AccessLogFormat::Common).ends_with("HTTP/1.1\" 200 13\n"));
        let json = line(AccessLogFormat::Json);
        assert!(
            json.contains("\"duration_ms\":1.500,") && json.contains("\"request_id\":\"id-1\"")
        );
        assert!(json.contains(",\"cache\":\"BYPASS\",\"cache_detail\":\"set-cookie\","));
        assert!(json.ends_with(
            ",\"trace_id\":\"4bf92f3577b34da6a3ce929d0e0e4736\",\"span_id\":\"00f067aa0ba902b7\"}\n"
        ));
        let logfmt = line(AccessLogFormat::Logfmt);
        assert!(logfmt.ends_with(
            " duration_ms=1.500 cache=BYPASS cache_detail=set-cookie \
             trace_id=4bf92f3577b34da6a3ce929d0e0e4736 span_id=00f067aa0ba902b7\n"
        ));
        assert!(logfmt.contains("status=200 bytes=13") && logfmt.contains("user_agent=curl/8"));
        let learned = Learned {
            queries: 3,
            route: "/a b/".to_owned(),
            ..Learned::default()
        };
        let mut told = String::new();
        with_ended(|ended| {
            let ended = Ended {
                learned: Some(&learned),
                ..*ended
            };
            push_line(&mut told, AccessLogFormat::Logfmt, 0, &ended);
        });
        assert!(
            told.contains(" route=\"/a b/\" queries=3 wall_ms=0.000 router_ms=0.000 "),
            "{told}"
        );
        assert_eq!(told.matches("_ms=").count(), 2 + Phase::ALL.len());
        for form in [json, logfmt, told] {
            assert!(form.lines().count() == 1 && !form.contains('\x1b'));
        }
    }
}
