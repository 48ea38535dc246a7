//! `canter static compress`: makes the encoded forms of static files, so that nobody has to do it
//! while a visitor waits.
//!
//! Owns its command line, which files there are, and progress. Leaves making one form to `encode`.

mod encode;

use std::ffi::OsString;
use std::fmt::Write as _;
use std::io::{IsTerminal as _, Write as _};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use canter_base::flags::misread;
use canter_base::{Exit, Fault};
use canter_http::coding::Coding;
use canter_http::media_type;
use lexopt::Parser;
use lexopt::prelude::{Long, Short, Value};

use crate::command::serve::python;
use encode::Outcome;

/// A shorter file fits one packet as it is.
const SHORTEST: u64 = 200;
/// A longer one would take more memory than a small box has.
const LONGEST: u64 = 256 << 20;

/// What to do.
#[derive(Debug, PartialEq, Eq)]
struct Wish {
    folder: Option<PathBuf>,
    jobs: usize,
    codings: Vec<Coding>,
    /// Also what is there already.
    force: bool,
    quiet: bool,
}

/// One form of one file.
struct Task {
    path: PathBuf,
    length: u64,
    coding: Coding,
}

#[derive(Default)]
struct Sums {
    /// For each coding: files, bytes before, bytes after.
    made: [(AtomicUsize, AtomicU64, AtomicU64); 3],
    current: AtomicUsize,
    useless: AtomicUsize,
    failed: Mutex<Vec<String>>,
    done: AtomicU64,
}

/// Runs the command.
pub fn run(args: &[OsString]) -> Result<Exit, Fault> {
    let wish = read(args)?;
    let folder = match &wish.folder {
        Some(folder) => folder.clone(),
        None => static_root()?,
    };
    let mut tasks = Vec::new();
    walk(&folder, &wish.codings, &mut tasks).map_err(|error| {
        Fault::new(
            Exit::File,
            format!("cannot read the folder `{}`: {error}", folder.display()),
        )
        .hint(if wish.folder.is_some() {
            "name the folder that holds the collected files, or none: then it is Django's \
             `STATIC_ROOT`"
        } else {
            "collect the files first, with `manage.py collectstatic`"
        })
    })?;
    // The longest first, so that no thread is left with it at the end.
    tasks.sort_by_key(|task| std::cmp::Reverse(task.length));
    let sums = Sums::default();
    let started = Instant::now();
    work(&wish, &tasks, &sums);
    report(&wish, &folder, &sums, started.elapsed())
}

fn read(args: &[OsString]) -> Result<Wish, Fault> {
    let usage = |what: String| Fault::usage(what).from("command line");
    let wrong = |error: lexopt::Error| misread("static", &error);
    let mut parser = Parser::from_args(args);
    let mut wish = Wish {
        folder: None,
        jobs: std::thread::available_parallelism().map_or(1, usize::from),
        codings: Coding::ENCODED.to_vec(),
        force: false,
        quiet: false,
    };
    while let Some(arg) = parser.next().map_err(wrong)? {
        match arg {
            Value(folder) if wish.folder.is_none() => wish.folder = Some(PathBuf::from(folder)),
            Long("jobs") | Short('j') => {
                let text = parser.value().map_err(wrong)?;
                let jobs = text.to_string_lossy().parse().ok();
                wish.jobs = jobs
                    .filter(|jobs| (1..=256).contains(jobs))
                    .ok_or_else(|| {
                        usage(format!(
                            "`--jobs` is `{}`, but must be from 1 to 256",
                            text.display()
                        ))
                    })?;
            }
            Long("only") => {
                let text = parser.value().map_err(wrong)?;
                wish.codings = codings(&text.to_string_lossy()).ok_or_else(|| {
                    usage(format!("`--only` is `{}`", text.display()))
                        .hint("its words are `gzip`, `br` and `zstd`, separated by commas")
                })?;
            }
            Long("force") => wish.force = true,
            Long("quiet") | Short('q') => wish.quiet = true,
            other => return Err(wrong(other.unexpected())),
        }
    }
    Ok(wish)
}

fn codings(text: &str) -> Option<Vec<Coding>> {
    text.split(',')
        .map(|word| {
            Coding::ENCODED
                .into_iter()
                .find(|coding| coding.name() == word.trim())
        })
        .collect()
}

/// `STATIC_ROOT` of the project in this folder; its settings are Python.
fn static_root() -> Result<PathBuf, Fault> {
    let hint = "name the folder: `canter static compress DIR`";
    let program = python::find(None, &python::Places::of_this_process())?;
    let asked = Command::new(&program)
        .args(["-m", "canter.django_static"])
        .stderr(std::process::Stdio::inherit())
        .output()
        .map_err(|error| Fault::new(Exit::Python, format!("cannot start Python: {error}")))?;
    let folder = String::from_utf8_lossy(&asked.stdout).trim().to_owned();
    if !asked.status.success() || folder.is_empty() {
        return Err(Fault::new(Exit::App, "STATIC_ROOT of the project is not known").hint(hint));
    }
    Ok(PathBuf::from(folder))
}

/// Every file that may gain. Links to folders are not followed: they may lead anywhere.
fn walk(folder: &Path, codings: &[Coding], tasks: &mut Vec<Task>) -> std::io::Result<()> {
    for entry in std::fs::read_dir(folder)? {
        let entry = entry?;
        let (path, kind) = (entry.path(), entry.file_type()?);
        if kind.is_dir() {
            walk(&path, codings, tasks)?;
            continue;
        }
        let name = entry.file_name();
        let name = name.to_string_lossy();
        if !kind.is_file() || name.starts_with('.') {
            continue;
        }
        let length = entry.metadata()?.len();
        let may_gain = media_type::is_compressible(media_type::media_type(&name));
        if may_gain && (SHORTEST..=LONGEST).contains(&length) {
            tasks.extend(codings.iter().map(|&coding| Task {
                path: path.clone(),
                length,
                coding,
            }));
        }
    }
    Ok(())
}

fn work(wish: &Wish, tasks: &[Task], sums: &Sums) {
    let next = AtomicUsize::new(0);
    let total: u64 = tasks.iter().map(|task| task.length).sum();
    std::thread::scope(|scope| {
        let workers: Vec<_> = (0..wish.jobs.min(tasks.len()))
            .map(|_| {
                scope.spawn(|| {
                    while let Some(task) = tasks.get(next.fetch_add(1, Ordering::Relaxed)) {
                        count(
                            sums,
                            task,
                            encode::encode(&task.path, task.coding, wish.force),
                        );
                    }
                })
            })
            .collect();
        if !wish.quiet && std::io::stderr().is_terminal() {
            while workers.iter().any(|worker| !worker.is_finished()) {
                draw(sums.done.load(Ordering::Relaxed), total);
                std::thread::sleep(Duration::from_millis(100));
            }
            let _ = write!(std::io::stderr().lock(), "\r\x1b[K");
        }
    });
}

fn count(sums: &Sums, task: &Task, outcome: std::io::Result<Outcome>) {
    match outcome {
        Ok(Outcome::Made(length)) => {
            let at = Coding::ENCODED
                .iter()
                .position(|coding| *coding == task.coding);
            if let Some((files, before, after)) = at.and_then(|at| sums.made.get(at)) {
                files.fetch_add(1, Ordering::Relaxed);
                before.fetch_add(task.length, Ordering::Relaxed);
                after.fetch_add(length, Ordering::Relaxed);
            }
        }
        Ok(Outcome::Current) => {
            sums.current.fetch_add(1, Ordering::Relaxed);
        }
        Ok(Outcome::Useless) => {
            sums.useless.fetch_add(1, Ordering::Relaxed);
        }
        Err(error) => {
            if let Ok(mut failed) = sums.failed.lock() {
                failed.push(format!("{}: {error}", task.path.display()));
            }
        }
    }
    sums.done.fetch_add(task.length, Ordering::Relaxed);
}

fn draw(done: u64, total: u64) {
    const WIDTH: u64 = 40;
    let filled = (done * WIDTH).checked_div(total).unwrap_or(WIDTH) as usize;
    let percent = (done * 100).checked_div(total).unwrap_or(100);
    let rest = (WIDTH as usize).saturating_sub(filled);
    let bar = format!("{}{}", "█".repeat(filled), "░".repeat(rest));
    let _ = write!(std::io::stderr().lock(), "\r  {bar} {percent:>3} %");
}

fn report(wish: &Wish, folder: &Path, sums: &Sums, took: Duration) -> Result<Exit, Fault> {
    let count = |count: &AtomicUsize| count.load(Ordering::Relaxed);
    if !wish.quiet {
        let mut text = format!("{} in {:.1} s\n", folder.display(), took.as_secs_f64());
        for (coding, (files, before, after)) in Coding::ENCODED.iter().zip(&sums.made) {
            let (before, after) = (
                before.load(Ordering::Relaxed),
                after.load(Ordering::Relaxed),
            );
            if count(files) > 0 {
                let _ = writeln!(
                    text,
                    "  {:<5} {:>6} files  {:>9} KB became {:>9} KB",
                    coding.name(),
                    count(files),
                    before / 1000,
                    after / 1000
                );
            }
        }
        let (current, useless) = (count(&sums.current), count(&sums.useless));
        let _ = writeln!(
            text,
            "  {current} were there already, {useless} would not gain"
        );
        let _ = std::io::stdout().lock().write_all(text.as_bytes());
    }
    let failed = sums
        .failed
        .lock()
        .map(|failed| failed.clone())
        .unwrap_or_default();
    match failed.first() {
        None => Ok(Exit::Ok),
        Some(first) => Err(Fault::new(
            Exit::File,
            format!(
                "{} forms could not be written, the first of {first}",
                failed.len()
            ),
        )),
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::MetadataExt as _;

    use super::*;

    fn words(line: &str) -> Vec<OsString> {
        line.split_whitespace().map(OsString::from).collect()
    }

    #[test]
    fn options_are_read_and_wrong_ones_refused() {
        let wish = read(&words("dir -j 3 --only br,gzip --force -q")).unwrap();
        assert_eq!(wish.folder.as_deref(), Some(Path::new("dir")));
        assert_eq!((wish.jobs, wish.force, wish.quiet), (3, true, true));
        assert_eq!(wish.codings, [Coding::Brotli, Coding::Gzip]);
        for line in [
            "-j 0",
            "-j x",
            "--only deflate",
            "a b",
            "--nonsense",
            "--only",
        ] {
            assert!(read(&words(line)).is_err(), "{line}");
        }
    }

    #[test]
    fn forms_are_made_once_beside_what_gains_and_nothing_else() {
        let folder = std::env::temp_dir().join(format!("canter-compress-{}", std::process::id()));
        let _ = std::fs::remove_dir_all(&folder);
        std::fs::create_dir_all(folder.join("sub")).unwrap();
        let text = "body { color: red }\n".repeat(100);
        for name in ["sub/a.css", ".hidden.css", "photo.png", "short.css"] {
            let content = if name == "short.css" { "x" } else { &text };
            std::fs::write(folder.join(name), content).unwrap();
        }
        std::os::unix::fs::symlink("/etc", folder.join("link")).unwrap();
        let args = [folder.clone().into_os_string(), "-q".into()];
        assert_eq!(run(&args).unwrap(), Exit::Ok);
        let mut names: Vec<String> = std::fs::read_dir(folder.join("sub"))
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        assert_eq!(names, ["a.css", "a.css.br", "a.css.gz", "a.css.zst"]);
        assert_eq!(std::fs::read_dir(&folder).unwrap().count(), 5);
        let made = || std::fs::metadata(folder.join("sub/a.css.br")).unwrap();
        let source = std::fs::metadata(folder.join("sub/a.css")).unwrap();
        assert_eq!(made().modified().unwrap(), source.modified().unwrap());
        let before = made().ino();
        run(&args).unwrap();
        assert_eq!(made().ino(), before);
        std::fs::write(folder.join("sub/a.css"), text.replace("red", "blue")).unwrap();
        run(&args).unwrap();
        assert_ne!(made().ino(), before);
        std::fs::remove_dir_all(folder).unwrap();
    }
}
