//! Settings from the command line. Owns the spelling of flags; the command word is already gone.

use std::ffi::OsString;

use lexopt::Arg;

use super::super::app::App;
use super::super::declare::Row;
use super::super::gunicorn;
use super::super::habits;
use super::super::table::ROWS;
use super::super::value::Shape;
use super::{Origin, Setting, known_names, row_named};
use crate::fault::Fault;
use crate::nearest::nearest;

/// What the command line says.
#[derive(Debug, Default)]
pub struct Flags {
    /// One for each option given, with all its values.
    pub settings: Vec<Setting>,
    /// The app, when one is named.
    pub app: Option<App>,
    /// What to tell about flags that are accepted and need nothing.
    pub notices: Vec<String>,
}

/// Reads flags and the name of the app.
pub fn read(args: &[OsString]) -> Result<Flags, Fault> {
    let mut flags = Flags::default();
    let mut parser = lexopt::Parser::from_args(args.iter().cloned());
    // The flag before this word, when it could have had a value with `=` and had none.
    let mut bare: Option<(&'static Row, String)> = None;
    while let Some(arg) = parser
        .next()
        .map_err(|error| misread(&error, "command line"))?
    {
        let before = bare.take();
        match arg {
            Arg::Value(text) => {
                let text = utf8(text, "command line")?;
                if let Some((row, flag)) = before
                    && (row.check)(std::slice::from_ref(&text)).is_ok()
                {
                    let what = format!("`{flag} {text}` would serve an app called `{text}`");
                    let hint = format!("a value of `{flag}` is joined to it: `{flag}={text}`");
                    return Err(Fault::usage(what).from("command line").hint(hint));
                }
                let app = App::parse(&text)?;
                if let Some(first) = &flags.app {
                    let what = format!("two apps are named: `{first}` and `{text}`");
                    return Err(Fault::usage(what)
                        .from("command line")
                        .hint("serve one app"));
                }
                flags.app = Some(app);
            }
            Arg::Short(letter) => {
                let spelled = format!("-{letter}");
                match ROWS.iter().find(|row| row.short == Some(letter)) {
                    Some(row) => {
                        take(&mut flags, &mut parser, row, spelled, "")?;
                    }
                    None => accept_gunicorn(&mut flags, &mut parser, &spelled)?,
                }
            }
            Arg::Long(name) => {
                let (spelled, name) = (format!("--{name}"), name.replace('_', "-"));
                match find(&name) {
                    Some(row) => {
                        let flag = spelled.clone();
                        if take(&mut flags, &mut parser, row, spelled, &name)? == Had::Nothing {
                            bare = Some((row, flag));
                        }
                    }
                    None => accept_gunicorn(&mut flags, &mut parser, &spelled)?,
                }
            }
        }
    }
    Ok(flags)
}

/// The option a long flag is about: by its name, Gunicorn's name, a shorthand or `no-` and a name.
fn find(name: &str) -> Option<&'static Row> {
    let shorthand = |row: &&Row| row.shorthand.iter().any(|(flag, _)| *flag == name);
    row_named(name)
        .or_else(|| ROWS.iter().find(shorthand))
        .or_else(|| {
            let row = row_named(name.strip_prefix("no-")?)?;
            (row.shape == Shape::Switch).then_some(row)
        })
}

/// What a flag came with.
#[derive(PartialEq, Eq)]
enum Had {
    AValue,
    Nothing,
}

/// Takes the value of a flag and keeps it; lists collect, for all others the last one counts.
fn take(
    flags: &mut Flags,
    parser: &mut lexopt::Parser,
    row: &'static Row,
    spelled: String,
    name: &str,
) -> Result<Had, Fault> {
    let shorthand = row
        .shorthand
        .iter()
        .find(|(flag, _)| *flag == name)
        .map(|(_, value)| *value);
    let negated = row.shape == Shape::Switch && name.starts_with("no-");
    let mut had = Had::AValue;
    let text = match shorthand {
        _ if negated => "false".to_owned(),
        // `--no-preload`: the whole flag is the value, and one behind it a mistake.
        Some(value) if name != row.name() => value.to_owned(),
        None if row.shape != Shape::Switch => utf8(
            parser.value().map_err(|error| misread(&error, &spelled))?,
            &spelled,
        )?,
        // A value only with `=`: in `--preload mysite.wsgi` the second word is the app.
        alone => {
            if let Some(text) = parser.optional_value() {
                utf8(text, &spelled)?
            } else {
                had = Had::Nothing;
                alone.unwrap_or("true").to_owned()
            }
        }
    };
    let row = if row.field == "static_" && text.contains('=') {
        // A folder is named, and not whether.
        row_named("static-map").unwrap_or(row)
    } else {
        row
    };
    let origin = Origin::Flag(spelled);
    let setting = Setting::new(row, vec![text], origin)?;
    match flags
        .settings
        .iter_mut()
        .find(|earlier| earlier.row.field == row.field)
    {
        Some(earlier) if row.shape == Shape::Many => earlier.texts.extend(setting.texts),
        Some(earlier) => *earlier = setting,
        None => flags.settings.push(setting),
    }
    Ok(had)
}

/// A flag that is none of ours: one of Gunicorn's or of another server, or a slip.
fn accept_gunicorn(
    flags: &mut Flags,
    parser: &mut lexopt::Parser,
    spelled: &str,
) -> Result<(), Fault> {
    let origin = format!("flag `{spelled}`");
    if let Some(other) = gunicorn::find(spelled) {
        let given = match other.needless_with {
            None => None,
            Some(_) => Some(utf8(
                parser.value().map_err(|error| misread(&error, spelled))?,
                spelled,
            )?),
        };
        if other.needless_with.is_some() && given.as_deref() == other.needless_with {
            flags
                .notices
                .push(format!("`{spelled}` needs nothing: {}", other.instead));
            return Ok(());
        }
        return Err(other.fault(spelled).from(origin));
    }
    let name = spelled.trim_start_matches('-').replace('_', "-");
    let fault = Fault::usage(format!("unknown option `{spelled}`")).from("command line");
    if let Some(instead) = habits::instead(spelled) {
        return Err(fault.hint(instead));
    }
    let names = known_names();
    let flag_names = ROWS
        .iter()
        .flat_map(|row| row.shorthand)
        .map(|(flag, _)| *flag);
    let candidates = names.iter().map(String::as_str).chain(flag_names);
    Err(
        match nearest(&name, candidates).filter(|_| spelled.starts_with("--")) {
            Some(near) => fault.hint(format!("did you mean `--{near}`?")),
            None => fault.hint("`canter help serve` lists every option"),
        },
    )
}

fn utf8(text: OsString, origin: &str) -> Result<String, Fault> {
    text.into_string().map_err(|text| {
        Fault::usage(format!("`{}` is not UTF-8", text.display())).from(origin.to_owned())
    })
}

/// lexopt's own findings in our words.
fn misread(error: &lexopt::Error, spelled: &str) -> Fault {
    match error {
        lexopt::Error::MissingValue { .. } => Fault::usage(format!("`{spelled}` needs a value"))
            .from("command line")
            .hint("`canter help serve` shows how it is used"),
        other => crate::flags::misread("serve", other),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read_line(line: &str) -> Result<Flags, Fault> {
        let args: Vec<OsString> = line.split(' ').map(OsString::from).collect();
        read(&args)
    }

    #[test]
    fn a_folder_of_files_is_named_by_either_flag() {
        let flags = read_line("a.wsgi --static /a/=/srv/a --static-map /b/=/srv/b --static=off");
        let settings: Vec<_> = flags.unwrap().settings;
        let told: Vec<_> = settings
            .iter()
            .map(|it| (it.row.name(), it.texts.join(" ")))
            .collect();
        let expected = [("static-map", "/a/=/srv/a /b/=/srv/b"), ("static", "off")];
        let expected = expected.map(|(name, texts)| (name, texts.to_owned()));
        assert_eq!(told, expected.map(|(name, texts)| (name.into(), texts)));
    }

    #[test]
    fn a_flag_that_may_stand_alone_takes_a_value_only_with_an_equals_sign() {
        for (line, app, value) in [
            ("--preload mysite.wsgi", "mysite.wsgi", "on"),
            ("--preload=off mysite.wsgi", "mysite.wsgi", "off"),
            ("mysite.wsgi --preload", "mysite.wsgi", "on"),
            // Somebody may call a module so.
            ("on --preload", "on", "on"),
        ] {
            let flags = read_line(line).unwrap();
            assert_eq!(flags.app.unwrap().to_string(), app, "{line}");
            assert_eq!(flags.settings[0].texts, [value], "{line}");
        }
        for (line, what) in [
            (
                "a.wsgi --preload on",
                "`--preload on` would serve an app called `on`",
            ),
            (
                "--reload false a.wsgi",
                "`--reload false` would serve an app called `false`",
            ),
            ("--no-preload=on", "`--no-preload` takes no value"),
            ("--no-reload=yes", "`--no-reload` takes no value"),
        ] {
            let fault = read_line(line).map(|flags| flags.settings).unwrap_err();
            assert_eq!(fault.what, what);
        }
    }
}
