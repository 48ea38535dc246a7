//! Chores of this repository: `cargo xtask docs` and `cargo xtask tidy`.
//!
//! Owns the two commands; what a page holds is in `canter_base`, what a rule checks is in `tidy/`.

use std::path::Path;
use std::process::ExitCode;

mod docs;
mod tidy;
mod tree;

const USAGE: &str = "\
cargo xtask docs            write the generated reference pages
cargo xtask docs --check    fail when one of them is stale
cargo xtask tidy            check the house rules
";

fn main() -> ExitCode {
    // The manifest is in `xtask/`, one step below the root.
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let args: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = args.iter().map(String::as_str).collect();
    let outcome = match words.as_slice() {
        ["docs"] => docs::write(&root),
        ["docs", "--check"] => docs::stale(&root),
        ["tidy"] => tidy::run(&root),
        _ => {
            eprint!("{USAGE}");
            return ExitCode::from(2);
        }
    };
    match outcome {
        Ok(problems) if problems.is_empty() => ExitCode::SUCCESS,
        Ok(problems) => {
            for problem in &problems {
                eprintln!("{problem}");
            }
            eprintln!("{} to mend", problems.len());
            ExitCode::FAILURE
        }
        Err(error) => {
            eprintln!("xtask: {error}");
            ExitCode::FAILURE
        }
    }
}
