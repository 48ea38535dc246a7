//! Owns what people read at the start: what runs, where, how many and why, how to stop.
//! Programs that collect logs get the same as lines of the log.

use std::fmt::Write as _;
use std::io::Write as _;

use canter_base::info;
use canter_base::log::Format;
use canter_base::options::{Config, Found, Origin, Resolved};
use canter_base::sizing::Sizing;

use crate::pooling::Plan;

/// Shows it on standard error.
pub fn show(resolved: &Resolved, sizing: &Sizing, addresses: &[String], pooling: Option<&Plan>) {
    let config = &resolved.config;
    let doors: Vec<&str> = pooling
        .map(|plan| plan.doors().collect())
        .unwrap_or_default();
    if config.log_format == Format::Human {
        let text = text(resolved, sizing, addresses, &doors);
        let _ = std::io::stderr().lock().write_all(text.as_bytes());
    } else {
        for address in addresses {
            info!("listening", address = address);
        }
        for door in doors {
            info!("pooling", address = door);
        }
        if let Some(found) = resolved.platform.found {
            info!(
                "platform",
                name = found.word(),
                sign = found.sign.unwrap_or("--platform")
            );
        }
        info!("sized", workers = sizing.workers, threads = sizing.threads);
    }
}

fn text(resolved: &Resolved, sizing: &Sizing, addresses: &[String], doors: &[&str]) -> String {
    let config = &resolved.config;
    let app = match &config.app {
        Some(app) => app.to_string(),
        None => "the project beside manage.py".to_owned(),
    };
    let mut text = format!("\nCanter {} serves {app}\n\n", env!("CARGO_PKG_VERSION"));
    let mut part = |label: &str, sentence: &str| {
        let _ = writeln!(text, "  {label:<8} {sentence}");
    };
    for (index, address) in addresses.iter().enumerate() {
        part(if index == 0 { "at" } else { "and" }, address);
    }
    for door in doors {
        part(
            "pool",
            &format!("{door} for other programs that use the database"),
        );
    }
    if let Some(found) = resolved.platform.found {
        part("on", &platform(resolved, found));
    }
    let chosen = chosen(config, sizing);
    for (index, sentence) in chosen.iter().chain(&sizing.why).enumerate() {
        part(if index == 0 { "with" } else { "" }, sentence);
    }
    if config.reload {
        part("reload", "when a source file changes");
    }
    part("stop", "Ctrl-C; twice to stop at once");
    text.push('\n');
    text
}

/// The platform, what showed it, and which of its defaults are in use.
fn platform(resolved: &Resolved, found: Found) -> String {
    let sign = found.sign.unwrap_or("as set");
    let mut text = format!("{} ({sign})", found.word());
    let used = resolved
        .chosen
        .iter()
        .filter(|chosen| matches!(chosen.origin, Origin::PlatformDefault(_)));
    for (index, chosen) in used.enumerate() {
        text.push_str(if index == 0 { ": " } else { ", " });
        let value = match chosen.shown.as_slice() {
            [only] => only.clone(),
            several => format!("{} networks", several.len()),
        };
        let _ = write!(text, "{} {value}", chosen.row.name());
    }
    text
}

/// What was not decided by sizing, because somebody said so.
fn chosen(config: &Config, sizing: &Sizing) -> Vec<String> {
    let mut sentences = Vec::new();
    let counted = |count: u32, noun: &str| {
        let s = if count == 1 { "" } else { "s" };
        format!("{count} {noun}{s}")
    };
    if config.workers.is_some() {
        sentences.push(format!("{}, as set", counted(sizing.workers, "worker")));
    }
    if config.threads.is_some() {
        let threads = counted(sizing.threads, "thread");
        sentences.push(format!("up to {threads} in each, as set"));
    }
    sentences
}

#[cfg(test)]
mod tests {
    use super::*;
    use canter_base::options::{Inputs, resolve};
    use std::ffi::OsString;

    fn shown(args: &[&str], why: &[&str]) -> String {
        let args: Vec<OsString> = args.iter().map(OsString::from).collect();
        let read_file = |_: &std::path::Path| Err(std::io::ErrorKind::NotFound.into());
        let resolved = resolve(Inputs {
            args: &args,
            env: &[],
            read_file: &read_file,
            process_id: 1,
        })
        .unwrap();
        let sizing = Sizing {
            workers: 2,
            threads: 40,
            connections: 1000,
            body_memory: 64 << 20,
            cache_memory: 32 << 20,
            queue: 256,
            why: why.iter().map(|&sentence| sentence.to_owned()).collect(),
        };
        text(
            &resolved,
            &sizing,
            &["http://127.0.0.1:8000".to_owned()],
            &["127.0.0.1:6432"],
        )
    }

    #[test]
    fn the_banner_says_what_where_how_many_why_and_how_to_stop() {
        let text = shown(&["mysite.wsgi"], &["2 workers, one for each core"]);
        assert!(text.contains("serves mysite.wsgi\n"), "{text}");
        assert!(
            text.contains("  at       http://127.0.0.1:8000\n"),
            "{text}"
        );
        assert!(
            text.contains("  with     2 workers, one for each core\n"),
            "{text}"
        );
        assert!(text.contains("  pool     127.0.0.1:6432 for"), "{text}");
        assert!(text.contains("  stop     Ctrl-C"), "{text}");
        assert!(!text.contains("reload"), "{text}");
    }

    #[test]
    fn numbers_that_were_set_are_shown_as_such() {
        let text = shown(&["-w", "2", "--threads", "40", "--reload"], &[]);
        assert!(text.contains("2 workers, as set\n"), "{text}");
        assert!(
            text.contains("up to 40 threads in each, as set\n"),
            "{text}"
        );
        assert!(
            text.contains("beside manage.py\n") && text.contains("reload"),
            "{text}"
        );
    }
}
