//! Which value wins: flag, then environment, then platform, then file, then default.
//!
//! Owns the order of the layers and the memory of where each value came from. Reads nothing by
//! itself: arguments, environment and files are handed in.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use super::choice::PlatformName;
use super::declare::Row;
use super::layer::{self, Origin, Setting};
use super::rules;
use super::table::{Config, ROWS};
use super::value::Field;
use crate::fault::Fault;

pub use super::layer::file::ReadFile;
pub use super::layer::platform::Platform;
pub use super::layer::preset::Found;

/// Everything options can come from.
#[derive(Clone, Copy)]
pub struct Inputs<'a> {
    /// The words after `canter serve`.
    pub args: &'a [OsString],
    /// The environment.
    pub env: &'a [(OsString, OsString)],
    /// Reads a file as text; a missing one is `ErrorKind::NotFound`. Relative to the directory
    /// `canter` was started in.
    pub read_file: ReadFile<'a>,
    /// The id of this process, to tell whether sockets in `LISTEN_FDS` are meant for it.
    pub process_id: u32,
}

/// The options, ready to use, and how they came about.
#[derive(Debug, Clone)]
pub struct Resolved {
    /// What the rest of the program reads.
    pub config: Config,
    /// Facts about the platform.
    pub platform: Platform,
    /// One entry for each row of the table, in its order.
    pub chosen: Vec<Chosen>,
    /// Sentences for the log: what was overruled, what needs nothing, what does nothing.
    pub notices: Vec<String>,
    /// Variables that begin as ours do and are no options.
    pub passed_over: Vec<String>,
}

/// The value of one option with its origin.
#[derive(Debug, Clone)]
pub struct Chosen {
    /// The option.
    pub row: &'static Row,
    /// The values as shown to people; empty when there is none.
    pub shown: Vec<String>,
    /// Where they came from.
    pub origin: Origin,
    texts: Vec<String>,
}

/// Decides every option, or says which one is wrong and where it was set.
pub fn resolve(inputs: Inputs<'_>) -> Result<Resolved, Fault> {
    let flags = layer::flags::read(inputs.args)?;
    let variables = layer::variables::read(inputs.env)?;
    let asked = [&flags.settings, &variables.settings]
        .into_iter()
        .find_map(|settings| setting_of(settings, "config"))
        .map(|setting| (PathBuf::from(setting.texts.concat()), &setting.origin));
    // Who names the directory there names the file in it, too.
    let entered = [&flags.settings, &variables.settings]
        .into_iter()
        .find_map(|settings| setting_of(settings, "chdir"))
        .map(|setting| PathBuf::from(setting.texts.concat()));
    let file = layer::file::read(
        asked
            .as_ref()
            .map(|(path, origin)| (path.as_path(), *origin)),
        entered.as_deref(),
        inputs.read_file,
    )?;
    let said = [&flags.settings, &variables.settings, &file.settings]
        .into_iter()
        .find_map(|settings| setting_of(settings, "platform"));
    let said = said.map_or(Ok(PlatformName::Auto), |setting| {
        // Its layer has checked it.
        PlatformName::read(&setting.texts)
            .map_err(|(text, _)| Fault::internal(format!("`{text}` passed its check and failed")))
    })?;
    let exists = |file: &str| (inputs.read_file)(Path::new(file)).is_ok();
    let platform = layer::platform::read(inputs.env, inputs.process_id, said, &exists)?;

    let layers = [
        &flags.settings,
        &variables.settings,
        &platform.settings,
        &file.settings,
        &platform.defaults,
    ];
    let chosen: Vec<Chosen> = ROWS
        .iter()
        .map(|row| choose(row, &layers))
        .collect::<Result<_, _>>()?;
    let mut notices = [flags.notices, platform.notices, file.notices].concat();
    notices.extend(overruled(&platform.settings, &file.settings, &chosen));
    notices.extend(unused_sockets(&platform.settings, &chosen));

    let texts = |field: &str| {
        let found = chosen.iter().find(|chosen| chosen.row.field == field);
        found.map(|chosen| chosen.texts.clone()).unwrap_or_default()
    };
    // Each layer has checked its values, so a failure here would be ours.
    let config = Config::build(flags.app, texts)
        .map_err(|(text, _)| Fault::internal(format!("`{text}` passed its check and failed")))?;
    rules::check(&config).map_err(|broken| {
        let origin_of = |field: &&str| {
            let chosen = chosen.iter().find(|chosen| chosen.row.field == *field)?;
            (chosen.origin != Origin::Default).then(|| chosen.origin.to_string())
        };
        let set: Vec<String> = broken.fields.iter().filter_map(origin_of).collect();
        Fault::usage(broken.what).from(set.join(", "))
    })?;
    notices.extend(rules::advice(&config));
    Ok(Resolved {
        config,
        platform: platform.platform,
        chosen,
        notices,
        passed_over: variables.passed_over,
    })
}

/// The strongest layer that has the option wins whole: lists are replaced, never joined.
fn choose(row: &'static Row, layers: &[&Vec<Setting>]) -> Result<Chosen, Fault> {
    let setting = layers
        .iter()
        .find_map(|settings| setting_of(settings, row.field));
    let (texts, origin) = match setting {
        Some(setting) => (setting.texts.clone(), setting.origin.clone()),
        None => (row.default_texts(), Origin::Default),
    };
    let shown = (row.check)(&texts)
        .map_err(|(text, _)| Fault::internal(format!("`{text}` passed its check and failed")))?;
    Ok(Chosen {
        row,
        shown,
        origin,
        texts,
    })
}

fn setting_of<'a>(settings: &'a [Setting], field: &str) -> Option<&'a Setting> {
    settings.iter().find(|setting| setting.row.field == field)
}

/// Platforms set variables behind people's backs: say so when one beats what they wrote.
fn overruled<'a>(
    platform: &'a [Setting],
    file: &'a [Setting],
    chosen: &'a [Chosen],
) -> impl Iterator<Item = String> + 'a {
    platform.iter().filter_map(move |setting| {
        let wins = chosen.iter().any(|chosen| chosen.origin == setting.origin);
        let written = setting_of(file, setting.row.field).filter(|_| wins)?;
        let name = setting.row.name();
        Some(format!(
            "`{name}` comes from {}, which beats {}; a flag or `{}` would beat both",
            setting.origin,
            written.origin,
            setting.row.variable()
        ))
    })
}

fn unused_sockets(platform: &[Setting], chosen: &[Chosen]) -> Option<String> {
    let handed = setting_of(platform, "bind")
        .filter(|setting| setting.origin == Origin::Platform("LISTEN_FDS"))?;
    let bind = chosen.iter().find(|chosen| chosen.row.field == "bind")?;
    (bind.origin != handed.origin).then(|| {
        format!(
            "the sockets in `LISTEN_FDS` are not used, because of {}",
            bind.origin
        )
    })
}

#[cfg(test)]
mod tests;

#[cfg(test)]
pub(crate) mod tests_support {
    use super::{Config, Inputs, resolve};

    /// The config of an empty command line in an empty environment and directory.
    pub fn defaults() -> Config {
        let read_file = |_: &std::path::Path| Err(std::io::ErrorKind::NotFound.into());
        resolve(Inputs {
            args: &[],
            env: &[],
            read_file: &read_file,
            process_id: 1,
        })
        .unwrap()
        .config
    }
}
