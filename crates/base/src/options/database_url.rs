//! The address of a database, which holds a password. Owns which schemes mean PostgreSQL and what
//! may be shown; reading the parts is left to whoever connects.

use super::value::{Value, Wrong};

/// The URL of a PostgreSQL database, spelled as libpq knows it.
#[derive(Clone, PartialEq, Eq)]
pub struct DatabaseUrl(pub String);

/// Schemes that Django projects write for a PostgreSQL database. libpq knows the first two.
const SCHEMES: &[&str] = &[
    "postgresql",
    "postgres",
    "pgsql",
    "psql",
    "postgis",
    "timescale",
    "timescalegis",
];

impl DatabaseUrl {
    /// The URL, when it names a PostgreSQL database.
    pub fn from_platform(text: &str) -> Option<Self> {
        let (scheme, rest) = text.trim().split_once("://")?;
        // SQLAlchemy names the driver behind a plus sign.
        let scheme = scheme.split('+').next().unwrap_or(scheme);
        SCHEMES
            .contains(&scheme.to_ascii_lowercase().as_str())
            .then(|| Self(format!("postgresql://{rest}")))
    }

    /// The same with what may be a password left out.
    pub fn masked(text: &str) -> String {
        let Some((scheme, rest)) = text.split_once("://") else {
            return "…".to_owned();
        };
        let (rest, query) = match rest.split_once('?') {
            Some((rest, _)) => (rest, "?…"),
            None => (rest, ""),
        };
        match rest.rsplit_once('@') {
            Some((user, place)) => {
                let user = user.split(':').next().unwrap_or_default();
                let secret = if user.len() + place.len() + 1 < rest.len() {
                    ":…"
                } else {
                    ""
                };
                format!("{scheme}://{user}{secret}@{place}{query}")
            }
            None => format!("{scheme}://{rest}{query}"),
        }
    }
}

impl std::fmt::Debug for DatabaseUrl {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str(&Self::masked(&self.0))
    }
}

impl Value for DatabaseUrl {
    const KIND: &'static str = "URL";
    /// A comma stands between the hosts of one URL.
    const SEPARATOR: Option<char> = Some(' ');

    fn parse(text: &str) -> Result<Self, Wrong> {
        let wrong = || {
            Wrong::expected(
                "expected the URL of a PostgreSQL database, such as \
                 `postgresql://user:password@host/name`",
            )
        };
        if text.contains('\0') {
            return Err(wrong());
        }
        Self::from_platform(text).ok_or_else(|| match text.split_once("://") {
            Some((scheme, _)) => wrong().hint(format!("`{scheme}` is not PostgreSQL")),
            None => wrong(),
        })
    }

    fn show(&self) -> String {
        Self::masked(&self.0)
    }

    fn blame(text: &str) -> String {
        Self::masked(text)
    }
}

/// The name of a PostgreSQL role, as it is written when connecting.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RoleName(pub String);

impl Value for RoleName {
    const KIND: &'static str = "NAME";
    const SEPARATOR: Option<char> = Some(',');

    fn parse(text: &str) -> Result<Self, Wrong> {
        // NAMEDATALEN less its terminator: a longer name could be nobody's.
        if text.is_empty() || text.len() > 63 || text.chars().any(char::is_control) {
            return Err(Wrong::expected(
                "expected the name of a role, 63 bytes at most",
            ));
        }
        Ok(Self(text.to_owned()))
    }

    fn show(&self) -> String {
        self.0.clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_way_to_write_postgresql_becomes_the_one_libpq_knows() {
        for text in [
            "postgresql://u:p@h/d",
            "postgres://u:p@h/d",
            "postgis://u:p@h/d",
            "postgresql+psycopg2://u:p@h/d",
            "PGSQL://u:p@h/d",
        ] {
            let url = DatabaseUrl::parse(text).unwrap();
            assert_eq!(url.0, "postgresql://u:p@h/d", "{text}");
        }
        for other in ["sqlite:///db.sqlite3", "mysql://u:p@h/d", "h/d", "", "://"] {
            assert!(DatabaseUrl::from_platform(other).is_none(), "{other}");
            assert!(DatabaseUrl::parse(other).is_err(), "{other}");
        }
    }

    #[test]
    fn a_password_is_never_shown() {
        for (text, shown) in [
            ("postgres://u:secret@h:1/d", "postgres://u:…@h:1/d"),
            ("postgres://u:se@cret@h/d", "postgres://u:…@h/d"),
            ("postgres://u@h/d", "postgres://u@h/d"),
            ("postgres:///d", "postgres:///d"),
            ("postgres://h/d?password=secret", "postgres://h/d?…"),
            ("secret", "…"),
        ] {
            assert_eq!(DatabaseUrl::masked(text), shown);
        }
        let url = DatabaseUrl::parse("postgres://u:secret@h/d").unwrap();
        assert!(!format!("{url:?} {}", Value::show(&url)).contains("secret"));
    }
}
