//! Settings from `CANTER_*` variables. Owns which variables with that start are no options; every
//! other one is, so a mistyped one cannot pass unseen.

use std::ffi::OsString;

use super::super::declare::Row;
use super::super::gunicorn;
use super::super::table::ROWS;
use super::{Origin, Setting};
use crate::fault::Fault;
use crate::nearest::nearest;

/// Variables that are no options: two of the app's side (`canter.purge`), one of the build.
const OTHERS: &[&str] = &[
    "CANTER_BUILD_PROFILE",
    "CANTER_PURGE_SERVER",
    "CANTER_SOCKET",
];

/// What the variables say.
#[derive(Debug, Default)]
pub struct Read {
    /// Settings that count like any other layer.
    pub settings: Vec<Setting>,
    /// Names of those that are no options.
    pub passed_over: Vec<String>,
}

/// Reads every variable that starts with `CANTER_`.
pub fn read(env: &[(OsString, OsString)]) -> Result<Read, Fault> {
    let mut read = Read::default();
    for (name, text) in env {
        let Some(name) = name.to_str().filter(|name| name.starts_with("CANTER_")) else {
            continue;
        };
        if let Some(row) = ROWS.iter().find(|row| row.variable() == name) {
            let origin = Origin::Variable(name.to_owned());
            let Some(text) = text.to_str() else {
                let what = format!("the value for `{}` is not UTF-8", row.name());
                return Err(Fault::usage(what).from(origin.to_string()));
            };
            read.settings
                .push(Setting::new(row, vec![text.to_owned()], origin)?);
        } else if OTHERS.contains(&name) || is_of_a_service(name, &text.to_string_lossy()) {
            read.passed_over.push(name.to_owned());
        } else {
            return Err(unknown(name));
        }
    }
    Ok(read)
}

/// Whether Kubernetes sets it in every pod beside a Service called `canter`, or `canter-` and more:
/// `NAME_SERVICE_HOST`, `NAME_SERVICE_PORT`, `NAME_SERVICE_PORT_<name of the port>`, and as Docker's links
/// did `NAME_PORT=tcp://10.0.0.11:80` and `NAME_PORT_80_TCP`, alone or with `_PROTO`, `_PORT` or `_ADDR`
/// (Kubernetes, Service, section "Environment variables").
fn is_of_a_service(name: &str, value: &str) -> bool {
    const PROTOCOLS: &[&str] = &["TCP", "UDP", "SCTP"];
    if name.ends_with("_SERVICE_HOST")
        || name.ends_with("_SERVICE_PORT")
        || name.contains("_SERVICE_PORT_")
    {
        return true;
    }
    if name.ends_with("_PORT")
        && let Some((scheme, _)) = value.split_once("://")
    {
        return PROTOCOLS.contains(&scheme.to_ascii_uppercase().as_str());
    }
    // The Service's own name may hold the word, too.
    name.match_indices("_PORT_").any(|(at, word)| {
        let mut parts = name.get(at + word.len()..).unwrap_or_default().split('_');
        let number = parts.next().unwrap_or_default();
        let protocol = parts.next().unwrap_or_default();
        number.parse::<u16>().is_ok()
            && PROTOCOLS.contains(&protocol)
            && matches!(parts.next(), None | Some("PROTO" | "PORT" | "ADDR"))
            && parts.next().is_none()
    })
}

fn unknown(name: &str) -> Fault {
    let origin = format!("environment variable `{name}`");
    let flag = name
        .trim_start_matches("CANTER_")
        .to_ascii_lowercase()
        .replace('_', "-");
    if let Some(other) = gunicorn::find(&format!("--{flag}")) {
        return other.fault(name).from(origin);
    }
    // Gunicorn's name for an option is known as a flag; here it gives the best hint.
    let variables: Vec<String> = ROWS.iter().map(Row::variable).collect();
    let same = ROWS
        .iter()
        .find(|row| row.answers_to(&flag))
        .map(Row::variable);
    let near = same.or_else(|| nearest(name, variables.iter().map(String::as_str)).map(Into::into));
    let fault = Fault::usage(format!("no option is called `{name}`")).from(origin);
    match near {
        Some(near) => fault.hint(format!("did you mean `{near}`?")),
        None => fault.hint("unset it; `canter options` lists every variable"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fault::Exit;

    fn read_pairs(pairs: &[(&str, &str)]) -> Result<Read, Fault> {
        let env: Vec<(OsString, OsString)> = pairs
            .iter()
            .map(|(name, text)| (name.into(), text.into()))
            .collect();
        read(&env)
    }

    #[test]
    fn variables_of_the_app_and_of_services_are_no_mistakes() {
        let others = [
            // Set for the app, or by whoever runs it.
            ("CANTER_SOCKET", "/tmp/canter-1/s"),
            ("CANTER_PURGE_SERVER", "http://127.0.0.1:8000"),
            ("CANTER_BUILD_PROFILE", "dev"),
            // Kubernetes, of Services called `canter`, `canter-web` and `canter-port-1`.
            ("CANTER_SERVICE_HOST", "10.0.0.11"),
            ("CANTER_SERVICE_PORT", "80"),
            ("CANTER_SERVICE_PORT_HTTP_ALT", "80"),
            ("CANTER_PORT", "tcp://10.0.0.11:80"),
            ("CANTER_PORT_80_TCP", "tcp://10.0.0.11:80"),
            ("CANTER_PORT_80_TCP_PROTO", "tcp"),
            ("CANTER_PORT_80_TCP_PORT", "80"),
            ("CANTER_PORT_80_TCP_ADDR", "10.0.0.11"),
            ("CANTER_WEB_SERVICE_HOST", "10.0.0.12"),
            ("CANTER_WEB_PORT", "udp://10.0.0.12:53"),
            ("CANTER_WEB_PORT_53_UDP_ADDR", "10.0.0.12"),
            ("CANTER_PORT_1_PORT_80_SCTP", "sctp://10.0.0.13:80"),
        ];
        let found = read_pairs(&others).unwrap();
        assert_eq!(found.passed_over, others.map(|(name, _)| name));
        assert!(found.settings.is_empty());
    }

    #[test]
    fn what_only_looks_like_a_service_is_a_mistake() {
        for mistake in [
            ("CANTER_PORT", "8000"),
            ("CANTER_PORT", "http://127.0.0.1"),
            ("CANTER_PORT_X_TCP", "1"),
            ("CANTER_PORT_80_TCP_MORE", "1"),
            ("CANTER_PORT_99999_TCP", "1"),
            ("CANTER_SOCKETS", "1"),
            ("CANTER_HOST", "1"),
        ] {
            let fault = read_pairs(&[mistake]).unwrap_err();
            assert_eq!(fault.exit, Exit::Usage, "{}", mistake.0);
        }
    }
}
