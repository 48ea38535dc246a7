//! Platforms: how each is known from outside, and the defaults that suit it.
//!
//! Owns the two tables. What somebody has set beats every default here; that is for `resolve.rs`.

use super::super::choice::PlatformName;
use super::super::value::Value;

/// What Canter runs on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Found {
    /// Its name; never `auto` or `none`.
    pub name: PlatformName,
    /// What showed it; None when somebody has said so.
    pub sign: Option<&'static str>,
}

impl Found {
    /// The name as `--platform` takes it.
    pub fn word(self) -> &'static str {
        let words = PlatformName::CHOICES.iter().map(|(word, _)| *word);
        let own = Value::show(&self.name);
        words
            .into_iter()
            .find(|word| *word == own)
            .unwrap_or("none")
    }

    /// The defaults that suit it, as option and value.
    pub fn defaults(self) -> &'static [(&'static str, &'static str)] {
        defaults(self.name)
    }
}

/// Variables that show a platform. The first that is set wins: those of a platform come before
/// those of what it is built on.
const SIGNS: &[(&str, PlatformName)] = &[
    ("DYNO", PlatformName::Heroku),
    ("FLY_APP_NAME", PlatformName::Fly),
    ("RENDER", PlatformName::Render),
    ("RAILWAY_ENVIRONMENT", PlatformName::Railway),
    ("RAILWAY_ENVIRONMENT_NAME", PlatformName::Railway),
    ("KUBERNETES_SERVICE_HOST", PlatformName::Kubernetes),
];

/// Files that container runtimes leave in a container.
const CONTAINERS: &[&str] = &["/.dockerenv", "/run/.containerenv"];

/// Networks that no client on the internet can come from: there the platform's own proxy is.
const PRIVATE: &str = "10.0.0.0/8,172.16.0.0/12,192.168.0.0/16,100.64.0.0/10,fc00::/7";

/// The defaults of a platform, by field.
///
/// Routers keep idle connections for up to 90 s and must not meet one that closes first. Draining
/// ends a little before the platform kills. Nobody is trusted on Kubernetes and in containers:
/// there a client may arrive with the address of the node.
pub(super) fn defaults(platform: PlatformName) -> &'static [(&'static str, &'static str)] {
    match platform {
        // Nothing but the router reaches a dyno. It gives up after 30 s, and kills 30 s after
        // SIGTERM.
        PlatformName::Heroku => &[
            ("forwarded_allow_ips", "*"),
            ("keep_alive", "95s"),
            ("graceful_timeout", "25s"),
            ("router_timeout", "30s"),
        ],
        // Kills 5 s after SIGINT unless `kill_timeout` says otherwise.
        PlatformName::Fly => &[
            ("forwarded_allow_ips", PRIVATE),
            ("keep_alive", "95s"),
            ("graceful_timeout", "4s"),
            ("health", "true"),
        ],
        // Kills 30 s after SIGTERM.
        PlatformName::Render => &[
            ("forwarded_allow_ips", PRIVATE),
            ("keep_alive", "95s"),
            ("graceful_timeout", "25s"),
            ("health", "true"),
        ],
        // How long it waits is for the service to say.
        PlatformName::Railway => &[
            ("forwarded_allow_ips", PRIVATE),
            ("keep_alive", "95s"),
            ("health", "true"),
        ],
        // Kills 30 s after SIGTERM.
        PlatformName::Kubernetes => &[
            ("keep_alive", "95s"),
            ("graceful_timeout", "25s"),
            ("health", "true"),
        ],
        // Kills 10 s after SIGTERM.
        PlatformName::Docker => &[("graceful_timeout", "8s")],
        // Kills after 90 s; sockets and readiness come by variables of their own.
        PlatformName::Systemd | PlatformName::Auto | PlatformName::None => &[],
    }
}

/// Which platform it is.
pub(super) fn find(
    asked: PlatformName,
    value: &dyn Fn(&str) -> Option<String>,
    process_id: u32,
    exists: &dyn Fn(&str) -> bool,
) -> Option<Found> {
    match asked {
        PlatformName::None => return None,
        PlatformName::Auto => {}
        name => return Some(Found { name, sign: None }),
    }
    let found = |name, sign| Found {
        name,
        sign: Some(sign),
    };
    let mut signs = SIGNS.iter();
    if let Some((variable, name)) = signs.find(|(variable, _)| value(variable).is_some()) {
        return Some(found(*name, *variable));
    }
    // `INVOCATION_ID` alone is inherited by every terminal that a service has opened.
    let own = process_id.to_string();
    for variable in ["SYSTEMD_EXEC_PID", "LISTEN_PID"] {
        if value(variable).is_some_and(|id| id == own) {
            return Some(found(PlatformName::Systemd, variable));
        }
    }
    let mut files = CONTAINERS.iter();
    let file = files.find(|file| exists(file))?;
    Some(found(PlatformName::Docker, *file))
}

#[cfg(test)]
mod tests {
    use super::super::row_of;
    use super::*;

    #[test]
    fn a_platform_is_known_by_its_signs() {
        for (variables, files, expected) in [
            (&[][..], &[][..], None),
            (&[("DYNO", "web.1")], &[], Some("heroku")),
            (&[("FLY_APP_NAME", "a")], &["/.dockerenv"], Some("fly")),
            (&[("RENDER", "true")], &[], Some("render")),
            (
                &[("RAILWAY_ENVIRONMENT", "production")],
                &[],
                Some("railway"),
            ),
            (
                &[("KUBERNETES_SERVICE_HOST", "10.0.0.1")],
                &["/.dockerenv"],
                Some("kubernetes"),
            ),
            (&[("SYSTEMD_EXEC_PID", "7")], &[], Some("systemd")),
            (
                &[("SYSTEMD_EXEC_PID", "8"), ("INVOCATION_ID", "a")],
                &[],
                None,
            ),
            (&[("LISTEN_PID", "7")], &[], Some("systemd")),
            (&[], &["/.dockerenv"], Some("docker")),
            (&[], &["/run/.containerenv"], Some("docker")),
        ] {
            let variables: &[(&str, &str)] = variables;
            let value = |wanted: &str| {
                let found = variables.iter().find(|(name, _)| *name == wanted);
                found.map(|(_, text)| (*text).to_owned())
            };
            let files: &[&str] = files;
            let exists = |file: &str| files.contains(&file);
            let found = find(PlatformName::Auto, &value, 7, &exists);
            assert_eq!(found.map(Found::word), expected, "{variables:?} {files:?}");
            assert_eq!(find(PlatformName::None, &value, 7, &exists), None);
            let said = find(PlatformName::Heroku, &value, 7, &exists);
            assert_eq!(said.map(Found::word), Some("heroku"));
        }
    }

    #[test]
    fn every_default_is_a_value_of_its_option() {
        for (word, _) in PlatformName::CHOICES {
            let name = PlatformName::parse(word)
                .map_err(|wrong| wrong.expected)
                .unwrap();
            for (field, text) in defaults(name) {
                let row = row_of(field).expect(field);
                assert!((row.check)(&[(*text).to_owned()]).is_ok(), "{word} {field}");
            }
        }
    }
}
