//! The generated reference pages: which there are, writing them, and telling when one is stale.

use std::fs;
use std::io;
use std::path::Path;

use crate::tidy::Problem;

/// A page with the function that prints it.
type Page = (&'static str, fn() -> String);

const PAGES: &[Page] = &[
    (
        "docs/reference/options.md",
        canter_base::options::reference_page,
    ),
    (
        "docs/reference/exit-codes.md",
        canter_base::fault::reference_page,
    ),
    ("docs/reference/bench.md", || {
        canter_base::flags::BENCH.reference_page()
    }),
    ("docs/reference/tune.md", || {
        canter_base::flags::TUNE.reference_page()
    }),
    (
        "docs/reference/cache-status.md",
        canter_cache::Reason::reference_page,
    ),
];

/// Writes the pages that differ from what is there.
pub fn write(root: &Path) -> io::Result<Vec<Problem>> {
    for (name, page) in PAGES {
        let (path, page) = (root.join(name), page());
        if fs::read_to_string(&path).is_ok_and(|there| there == page) {
            continue;
        }
        if let Some(folder) = path.parent() {
            fs::create_dir_all(folder)?;
        }
        fs::write(&path, page)?;
        println!("wrote {name}");
    }
    Ok(Vec::new())
}

/// A problem for each page that `write` would change.
pub fn stale(root: &Path) -> io::Result<Vec<Problem>> {
    let mut problems = Vec::new();
    for (name, page) in PAGES {
        match fs::read_to_string(root.join(name)) {
            Ok(there) if there == page() => {}
            Ok(_) => problems.push(Problem::new(name, 1, "is stale: run `cargo xtask docs`")),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                problems.push(Problem::new(name, 1, "is missing: run `cargo xtask docs`"));
            }
            Err(error) => return Err(error),
        }
    }
    Ok(problems)
}
