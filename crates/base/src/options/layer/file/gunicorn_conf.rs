//! What to tell of a `gunicorn.conf.py`: Gunicorn reads the one of the directory it is started in without
//! being asked, so whoever comes from there would miss what it sets. Owns finding the names in its text;
//! nothing of it is run.

use std::path::Path;

use super::super::super::gunicorn;
use super::super::row_named;
use super::ReadFile;

const FILE: &str = "gunicorn.conf.py";

/// The sentence for a directory that has such a file; `None` where it sets no option.
pub fn told(folder: &Path, read_file: ReadFile<'_>) -> Option<String> {
    let path = folder.join(FILE);
    let text = read_file(&path).ok()?;
    let names = names(&text);
    (!names.is_empty()).then(|| {
        format!(
            "`{}` is Python and not read: write to `canter.toml` what is still wanted of `{}`",
            path.display(),
            names.join("`, `")
        )
    })
}

/// Each option that the file sets, and each hook that it defines, in its order; what stands in a function
/// is the function's own.
fn names(text: &str) -> Vec<&str> {
    let mut found = Vec::new();
    let mut in_function = false;
    for line in text.lines() {
        let bare = line.trim_start();
        if bare.is_empty() || bare.starts_with('#') {
            continue;
        }
        let defined = bare
            .strip_prefix("async ")
            .unwrap_or(bare)
            .strip_prefix("def ");
        if bare.len() == line.len() {
            in_function = defined.is_some() || bare.starts_with("class ");
        } else if in_function {
            continue;
        }
        let is_part = |c: char| c.is_ascii_alphanumeric() || c == '_';
        let (name, rest) = match defined {
            Some(rest) => (rest.split(|c| !is_part(c)).next().unwrap_or(rest), None),
            None => match bare.split_once(|c| !is_part(c)) {
                Some((name, _)) => (name, Some(bare[name.len()..].trim_start())),
                None => continue,
            },
        };
        let is_set = rest.is_none_or(|rest| {
            rest.starts_with(':') || rest.starts_with('=') && !rest.starts_with("==")
        });
        let is_option =
            || row_named(name).is_some() || gunicorn::find(&format!("--{name}")).is_some();
        if is_set && !found.contains(&name) && is_option() {
            found.push(name);
        }
    }
    found
}
