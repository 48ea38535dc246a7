//! Owns the tests of which file counts.

use super::*;

fn read_of(entered: Option<&str>, files: &[(&str, &str)]) -> Read {
    let read_file = |path: &Path| {
        let found = files.iter().find(|(name, _)| Path::new(name) == path);
        let missing = || io::Error::from(io::ErrorKind::NotFound);
        found
            .map(|(_, text)| (*text).to_owned())
            .ok_or_else(missing)
    };
    read(None, entered.map(Path::new), &read_file).unwrap()
}

fn origins(read: &Read) -> Vec<String> {
    let settings = read.settings.iter();
    settings.map(|setting| setting.origin.to_string()).collect()
}

#[test]
fn the_file_of_the_directory_that_is_entered_counts_and_the_other_is_told_of() {
    let (here, inside) = (
        ("canter.toml", "workers = 1"),
        ("site/canter.toml", "workers = 2"),
    );
    let project = ("site/pyproject.toml", "[tool.canter]\nworkers = 3");
    let row = |entered, files: &[(&str, &str)], expected: &str, told: usize| {
        let read = read_of(entered, files);
        assert_eq!(origins(&read), [expected], "{entered:?} {files:?}");
        assert_eq!(read.notices.len(), told, "{:?}", read.notices);
    };
    let of = |path: &str, line: u32| format!("{path}:{line}, key `workers`");
    row(None, &[here, inside], &of("canter.toml", 1), 0);
    row(Some("site"), &[here], &of("canter.toml", 1), 0);
    row(Some("site"), &[inside], &of("site/canter.toml", 1), 0);
    row(Some("site"), &[here, inside], &of("site/canter.toml", 1), 1);
    row(
        Some("site"),
        &[here, project],
        &of("site/pyproject.toml", 2),
        1,
    );
    row(Some("site"), &[project], &of("site/pyproject.toml", 2), 0);
    row(
        Some("."),
        &[here, ("./canter.toml", here.1)],
        &of("./canter.toml", 1),
        0,
    );
    assert!(read_of(Some("site"), &[]).settings.is_empty());
}
