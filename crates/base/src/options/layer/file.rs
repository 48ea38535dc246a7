//! Settings from `canter.toml` or `[tool.canter]` in `pyproject.toml`. Owns which file counts and
//! how TOML values become texts; reading the file is the caller's, passed in as a function.

mod gunicorn_conf;
mod pages;

use std::io;
use std::path::Path;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::super::declare::Row;
use super::super::gunicorn;
use super::super::value::Shape;
use super::{Origin, Setting, known_names, row_named};
use crate::fault::{Exit, Fault};
use crate::nearest::nearest;

const OWN_FILE: &str = "canter.toml";
const PROJECT_FILE: &str = "pyproject.toml";

/// Reads a file as text; a missing file is `NotFound`.
pub type ReadFile<'a> = &'a dyn Fn(&Path) -> io::Result<String>;

/// Settings of the file that counts, and what to tell about the other.
#[derive(Debug, Default)]
pub struct Read {
    /// In the order of the keys.
    pub settings: Vec<Setting>,
    /// What to tell.
    pub notices: Vec<String>,
}

/// Reads the file that was asked for by `--config`, or else the one in the directory that is to be
/// entered, or else the one in the current directory.
pub fn read(
    asked: Option<(&Path, &Origin)>,
    entered: Option<&Path>,
    read_file: ReadFile<'_>,
) -> Result<Read, Fault> {
    if let Some((path, origin)) = asked {
        return read_asked(path, origin, read_file);
    }
    let here = Path::new("");
    let nothing = || Read {
        settings: Vec::new(),
        notices: [Some(here), entered]
            .into_iter()
            .flatten()
            .find_map(|folder| gunicorn_conf::told(folder, read_file))
            .into_iter()
            .collect(),
    };
    let Some(entered) = entered else {
        return Ok(usual(here, read_file)?.unwrap_or_else(nothing));
    };
    let Some(mut read) = usual(entered, read_file)? else {
        return Ok(usual(here, read_file)?.unwrap_or_else(nothing));
    };
    let texts = [here, entered].map(|folder| optional(&folder.join(OWN_FILE), read_file));
    // The same text: it is most likely the same file.
    if let [Ok(Some(left_out)), Ok(inside)] = texts
        && inside.as_ref() != Some(&left_out)
    {
        read.notices.push(format!(
            "`{OWN_FILE}` in the current directory is not read, because there are options in `{}`",
            entered.display()
        ));
    }
    Ok(read)
}

/// The file of a directory that nobody had to name; `None` when it has no word for us.
fn usual(folder: &Path, read_file: ReadFile<'_>) -> Result<Option<Read>, Fault> {
    let (own_path, project_path) = (folder.join(OWN_FILE), folder.join(PROJECT_FILE));
    let own = optional(&own_path, read_file)?;
    let project = optional(&project_path, read_file)?;
    let project_path = project_path.display().to_string();
    let project = match project {
        Some(text) if text.contains("canter") => settings(&text, &project_path, true),
        _ => Ok(None),
    };
    let Some(text) = own else {
        return Ok(project?.map(|settings| Read {
            settings,
            notices: Vec::new(),
        }));
    };
    let own_path = own_path.display().to_string();
    let notices = match project {
        Ok(None) => Vec::new(),
        Ok(Some(_)) | Err(_) => vec![format!(
            "`[tool.canter]` in `{project_path}` is not read, because there is a `{own_path}`"
        )],
    };
    Ok(Some(Read {
        settings: settings(&text, &own_path, false)?.unwrap_or_default(),
        notices,
    }))
}

fn read_asked(path: &Path, origin: &Origin, read_file: ReadFile<'_>) -> Result<Read, Fault> {
    let shown = path.display().to_string();
    if path.extension().is_some_and(|extension| extension == "py") {
        return Err(
            Fault::usage(format!("cannot read options from `{shown}`: it is Python"))
                .from(origin.to_string())
                .hint("write the options to `canter.toml`: most names are the same"),
        );
    }
    let text =
        read_file(path).map_err(|error| unreadable(&shown, &error).from(origin.to_string()))?;
    let in_project = path.file_name().is_some_and(|name| name == PROJECT_FILE);
    match settings(&text, &shown, in_project)? {
        Some(settings) => Ok(Read {
            settings,
            notices: Vec::new(),
        }),
        None => Err(
            Fault::usage(format!("`{shown}` has no table `[tool.canter]`"))
                .from(origin.to_string()),
        ),
    }
}

/// The text of a file that need not exist.
fn optional(path: &Path, read_file: ReadFile<'_>) -> Result<Option<String>, Fault> {
    match read_file(path) {
        Ok(text) => Ok(Some(text)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(unreadable(&path.display().to_string(), &error)),
    }
}

fn unreadable(path: &str, error: &io::Error) -> Fault {
    let reason = match error.kind() {
        io::ErrorKind::NotFound => "it does not exist".to_owned(),
        io::ErrorKind::PermissionDenied => "permission denied".to_owned(),
        io::ErrorKind::InvalidData => "it is not UTF-8 text".to_owned(),
        _ => error.to_string(),
    };
    let fault = Fault::new(Exit::File, format!("cannot read `{path}`: {reason}"));
    if error.kind() == io::ErrorKind::PermissionDenied {
        return fault.hint("let the user that Canter runs as read it, or start it as another user");
    }
    fault
}

/// Every setting in a file; `None` when it is a project file without a word for us.
fn settings(text: &str, path: &str, in_project: bool) -> Result<Option<Vec<Setting>>, Fault> {
    let document = DeTable::parse(text).map_err(|error| {
        let start = error.span().map_or(0, |span| span.start);
        Fault::usage(format!("`{path}` is not TOML: {}", error.message()))
            .from(format!("{path}:{}", line(text, start)))
    })?;
    let root = document.get_ref();
    let table = if in_project {
        let tool = root.get("tool").and_then(|tool| tool.get_ref().as_table());
        match tool
            .and_then(|tool| tool.get("canter"))
            .map(|value| (value.span(), value.get_ref()))
        {
            None => return Ok(None),
            Some((_, DeValue::Table(table))) => table,
            Some((span, _)) => {
                return Err(Fault::usage("`tool.canter` is not a table")
                    .from(format!("{path}:{}", line(text, span.start)))
                    .hint("write `[tool.canter]` on a line of its own"));
            }
        }
    } else {
        root
    };
    let mut settings: Vec<Setting> = Vec::new();
    for (key, value) in table {
        if let ("cache", DeValue::Table(table)) = (key.get_ref().as_ref(), value.get_ref()) {
            settings.extend(pages::read(table, text, path)?);
            continue;
        }
        let origin = Origin::File {
            path: path.to_owned(),
            line: line(text, key.span().start),
            key: key.get_ref().to_string(),
        };
        let row = row_for(key.get_ref(), &origin)?;
        if let Some(earlier) = settings
            .iter()
            .find(|earlier| earlier.row.field == row.field)
        {
            let what = format!("`{}` is set twice under two names", row.name());
            return Err(Fault::usage(what)
                .from(origin.to_string())
                .hint(format!("the other one is in {}", earlier.origin)));
        }
        let texts = texts(row, value, text).ok_or_else(|| {
            let kind = value.get_ref().type_str();
            let what = format!("`{}` does not take a TOML {kind}", row.name());
            Fault::usage(what)
                .from(origin.to_string())
                .hint(format!("for example `{}`", toml_example(row)))
        })?;
        settings.push(Setting::new(row, texts, origin)?);
    }
    Ok(Some(settings))
}

fn row_for(key: &str, origin: &Origin) -> Result<&'static Row, Fault> {
    match row_named(key) {
        Some(row) if row.in_file => return Ok(row),
        Some(row) => {
            let what = format!("`{}` cannot be set in a file", row.name());
            let hint = format!("give the flag `--{}` instead", row.name());
            return Err(Fault::usage(what).from(origin.to_string()).hint(hint));
        }
        None => {}
    }
    if let Some(other) = gunicorn::find(&format!("--{}", key.replace('_', "-"))) {
        return Err(other.fault(key).from(origin.to_string()));
    }
    let names = known_names();
    let fault = Fault::usage(format!("no option is called `{key}`")).from(origin.to_string());
    Err(
        match nearest(&key.replace('_', "-"), names.iter().map(String::as_str)) {
            Some(near) => fault.hint(format!("did you mean `{near}`?")),
            None => fault.hint("`canter options` lists every option"),
        },
    )
}

/// A TOML value as the texts a flag would carry; `None` when its type cannot be meant.
fn texts(row: &Row, value: &Spanned<DeValue<'_>>, source: &str) -> Option<Vec<String>> {
    match value.get_ref() {
        DeValue::Array(items) if row.shape == Shape::Many => {
            items.iter().map(|item| scalar(item, source)).collect()
        }
        DeValue::Table(table) if row.kind == "KEY=VALUE" => table
            .iter()
            .map(|(key, value)| Some(format!("{}={}", key.get_ref(), scalar(value, source)?)))
            .collect(),
        _ => scalar(value, source).map(|text| vec![text]),
    }
}

fn scalar(value: &Spanned<DeValue<'_>>, source: &str) -> Option<String> {
    match value.get_ref() {
        DeValue::String(text) => Some(text.to_string()),
        DeValue::Boolean(on) => Some(on.to_string()),
        // As written, so that an octal `0o027` stays one; `_` only groups digits.
        DeValue::Integer(_) | DeValue::Float(_) => {
            source.get(value.span()).map(|text| text.replace('_', ""))
        }
        DeValue::Datetime(_) | DeValue::Array(_) | DeValue::Table(_) => None,
    }
}

/// How an option is written in a file, from its example.
pub fn toml_example(row: &Row) -> String {
    let bare = row.shape == Shape::Switch
        || (row.kind == "COUNT" && row.example.bytes().all(|byte| byte.is_ascii_digit()));
    match (bare, row.shape) {
        (true, _) => format!("{} = {}", row.name(), row.example),
        (false, Shape::Many) => {
            let parts: Vec<_> = row.separator.map_or_else(
                || vec![row.example],
                |separator| row.example.split(separator).map(str::trim).collect(),
            );
            format!("{} = [\"{}\"]", row.name(), parts.join("\", \""))
        }
        (false, _) => format!("{} = \"{}\"", row.name(), row.example),
    }
}

fn line(text: &str, offset: usize) -> usize {
    text.bytes()
        .take(offset)
        .filter(|byte| *byte == b'\n')
        .count()
        + 1
}

#[cfg(test)]
mod tests;
