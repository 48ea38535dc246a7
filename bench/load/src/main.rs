//! `bench-load`: a closed-loop HTTP/1.1 client for the comparison in `bench/`. It checks the status and
//! every byte of every body, counts failures by kind, and costs about as much per request as `wrk`.
//! Starting servers, choosing cases and reading the numbers is `bench/run.py`'s.

use std::io::Write;
use std::process::ExitCode;

mod client;
mod histogram;
mod options;
mod response;
mod tally;

fn main() -> ExitCode {
    let options = match options::Options::parse(std::env::args().skip(1)) {
        Ok(options) => options,
        Err(message) => {
            eprintln!("bench-load: {message}\n{}", options::USAGE);
            return ExitCode::from(2);
        }
    };
    match run(&options) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("bench-load: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run(options: &options::Options) -> std::io::Result<()> {
    let mut client = client::Client::new(options)?;
    let (tallies, totals) = client.run()?;
    let names: Vec<&str> = options
        .targets
        .iter()
        .map(|target| target.name.as_str())
        .collect();
    let mut stdout = std::io::stdout();
    writeln!(stdout, "{}", tally::report(&names, tallies, &totals))?;
    stdout.flush()?;
    // The caller measures the server's memory while all connections still stand.
    std::io::stdin().read_line(&mut String::new()).map(|_| ())
}
