//! Rule: the crates import each other exactly as this table says, so that imports point one way; and
//! halves of a crate that stand apart do not name each other.

use super::Problem;
use crate::tree::File;

/// Each crate with the crates it may and does name in its manifest.
const GRAPH: &[(&str, &[&str])] = &[
    ("crates/base", &[]),
    ("crates/sys", &[]),
    ("crates/channel", &["sys"]),
    ("crates/http", &[]),
    ("crates/encode", &["http"]),
    ("crates/files", &["http"]),
    ("crates/cache", &["http"]),
    ("crates/trust", &[]),
    ("crates/tiers", &["base", "cache", "trust"]),
    ("crates/shield", &[]),
    ("crates/insight", &["base"]),
    ("crates/selftest", &[]),
    (
        "crates/front",
        &[
            "base", "cache", "channel", "encode", "files", "http", "insight", "shield", "sys",
            "tiers",
        ],
    ),
    ("crates/load", &["base", "insight", "sys"]),
    ("crates/tune", &["base", "load"]),
    ("crates/pg", &["base", "sys", "trust"]),
    ("crates/workers", &["base", "channel", "shield", "sys"]),
    ("crates/worker", &["base", "channel", "insight", "sys"]),
    (
        "crates/canter",
        &[
            "base", "channel", "encode", "files", "front", "http", "insight", "load", "pg",
            "selftest", "shield", "sys", "tiers", "trust", "tune", "workers",
        ],
    ),
    ("xtask", &["base", "cache"]),
];

/// Folders, or files, that do not name a module of their own crate.
const APART: &[(&str, &str)] = &[
    ("crates/workers/src/dispatch", "crate::supervisor"),
    ("crates/workers/src/supervisor", "crate::dispatch"),
    ("crates/workers/src/link.rs", "crate::"),
];

/// Compares every manifest with the table, and looks for names in files that stand apart.
pub fn check(files: &[File]) -> Vec<Problem> {
    let mut problems: Vec<Problem> = files.iter().flat_map(check_apart).collect();
    let manifests = files.iter().filter_map(|file| {
        let folder = file.path.strip_suffix("/Cargo.toml")?;
        (folder.starts_with("crates/") || folder == "xtask").then_some((folder, file))
    });
    let mut seen = Vec::new();
    for (folder, file) in manifests {
        seen.push(folder);
        match GRAPH.iter().find(|(name, _)| *name == folder) {
            Some((_, allowed)) => problems.extend(check_manifest(&file.path, &file.text, allowed)),
            None => problems.push(Problem::new(
                &file.path,
                1,
                "add the crate to the graph table",
            )),
        }
    }
    for (folder, _) in GRAPH.iter().filter(|(folder, _)| !seen.contains(folder)) {
        problems.push(Problem::new(
            &format!("{folder}/Cargo.toml"),
            1,
            "is in the graph table only",
        ));
    }
    problems
}

/// What a file names that it should not know.
fn check_apart(file: &File) -> Vec<Problem> {
    let names = APART
        .iter()
        .filter_map(|(place, name)| file.path.starts_with(place).then_some(*name));
    let found = |name: &'static str| {
        let lines = file.text.lines().zip(1..);
        lines.filter_map(move |(line, number)| line.contains(name).then_some((name, number)))
    };
    names
        .flat_map(found)
        .map(|(name, line)| {
            Problem::new(
                &file.path,
                line,
                format!("names `{name}`, which stands apart"),
            )
        })
        .collect()
}

/// Dependencies must equal the row; those of tests must be in it.
fn check_manifest(path: &str, text: &str, allowed: &[&str]) -> Vec<Problem> {
    let Ok(manifest) = text.parse::<toml::Table>() else {
        return vec![Problem::new(path, 1, "is not TOML")];
    };
    let ours = |section: &str| -> Vec<String> {
        let table = manifest.get(section).and_then(toml::Value::as_table);
        let names = table.into_iter().flat_map(toml::Table::keys);
        names
            .filter_map(|name| name.strip_prefix("canter-").map(str::to_owned))
            .collect()
    };
    let (normal, of_tests) = (ours("dependencies"), ours("dev-dependencies"));
    let mut problems = Vec::new();
    for name in normal
        .iter()
        .chain(&of_tests)
        .chain(&ours("build-dependencies"))
    {
        if !allowed.contains(&name.as_str()) {
            let text = format!("`canter-{name}` is not below this crate in the graph table");
            problems.push(Problem::new(path, 1, text));
        }
    }
    for name in allowed
        .iter()
        .filter(|name| !normal.iter().any(|normal| normal == *name))
    {
        let text = format!("the graph table has `canter-{name}`, the manifest has not");
        problems.push(Problem::new(path, 1, text));
    }
    problems
}

#[cfg(test)]
mod tests {
    use super::*;

    fn problems(manifest: &str, allowed: &[&str]) -> usize {
        check_manifest("x/Cargo.toml", manifest, allowed).len()
    }

    #[test]
    fn dependencies_equal_the_row() {
        let manifest = "[dependencies]\ncanter-sys.workspace = true\nlibc = '1'\n";
        assert_eq!(problems(manifest, &["sys"]), 0);
        assert_eq!(problems(manifest, &[]), 1);
        assert_eq!(problems(manifest, &["sys", "base"]), 1);
        assert_eq!(problems("[", &[]), 1);
    }

    #[test]
    fn dependencies_of_tests_stay_inside_the_row() {
        let manifest = "[dev-dependencies]\ncanter-sys = { path = '../sys' }\n";
        assert_eq!(problems(manifest, &[]), 1);
    }

    #[test]
    fn the_table_has_no_circle() {
        // A row names only crates that stand before it can be reached from them again.
        fn reaches(from: &str, to: &str) -> bool {
            let row = GRAPH.iter().find(|(folder, _)| folder.ends_with(from));
            row.is_some_and(|(_, below)| below.iter().any(|next| *next == to || reaches(next, to)))
        }
        for (folder, _) in GRAPH {
            let name = folder.rsplit('/').next().unwrap();
            assert!(!reaches(&format!("/{name}"), name), "{name}");
        }
    }

    #[test]
    fn halves_that_stand_apart_do_not_name_each_other() {
        let problems = |path: &str, text: &str| {
            let file = File {
                path: path.into(),
                text: text.into(),
            };
            check_apart(&file).len()
        };
        let text = "use crate::dispatch::Notice;\nuse crate::link::Reason;\n";
        assert_eq!(problems("crates/workers/src/supervisor.rs", text), 1);
        assert_eq!(problems("crates/workers/src/supervisor/front.rs", text), 1);
        assert_eq!(problems("crates/workers/src/dispatch/run.rs", text), 0);
        assert_eq!(problems("crates/workers/src/link.rs", text), 2);
    }

    #[test]
    fn a_crate_outside_the_table_is_a_problem() {
        let file = File {
            path: "crates/new/Cargo.toml".into(),
            text: String::new(),
        };
        assert_eq!(check(&[file]).len(), GRAPH.len() + 1);
    }
}
