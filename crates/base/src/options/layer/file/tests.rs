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

#[test]
fn options_in_gunicorns_own_file_are_told_of_until_there_is_one_of_ours() {
    let text = "import os\n# threads = 9\nbind = ['[::]:80']\nworkers: int = 3\nspare = 4\nbind += ['x']\n\
                if os.environ.get('X') == 'y':\n    reload = True\nelse:\n    preload_app = True\n\
                def post_fork(server, worker):\n    timeout = 5\n\nkeepalive==2\nthreads = 2\n";
    let theirs = ("gunicorn.conf.py", text);
    let read = read_of(None, &[theirs]);
    assert_eq!(
        read.notices,
        [
            "`gunicorn.conf.py` is Python and not read: write to `canter.toml` what is still wanted of \
             `bind`, `workers`, `reload`, `preload_app`, `post_fork`, `threads`"
        ]
    );
    let told = |entered, files: &[(&str, &str)]| read_of(entered, files).notices.len();
    assert_eq!(
        told(Some("site"), &[("site/gunicorn.conf.py", "workers = 2")]),
        1
    );
    assert_eq!(told(Some("site"), &[theirs]), 1);
    assert_eq!(told(None, &[theirs, ("canter.toml", "")]), 0);
    assert_eq!(
        told(None, &[theirs, ("pyproject.toml", "[tool.canter]")]),
        0
    );
    assert_eq!(told(None, &[("gunicorn.conf.py", "import os\nx = 1")]), 0);
}
