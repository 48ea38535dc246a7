//! Users and what proves them: the default target's own, and a file in the format of PgBouncer's
//! `userlist.txt` ("user" "password | md5... | SCRAM-SHA-256$..."), read again when it changed.
//! Leaves the asking to `exchange`.

use std::cell::OnceCell;
use std::collections::HashMap;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::rc::Rc;

use canter_base::warn;
use ring::rand::{SecureRandom, SystemRandom};

use super::Auth;
use crate::scram::{self, ScramError, Verifier};
use crate::target::{Credential, Secret, Target};

/// More than a million users; bounds what a wrong file can take.
const MAX_BYTES: u64 = 64 << 20;

/// What a user is known by.
pub(super) enum Stored {
    /// The password, and the verifier made from it when it is first needed.
    Password(Secret, OnceCell<Verifier>),
    /// `md5` and 32 hexadecimal digits over password and user.
    Md5(Secret),
    /// PostgreSQL's SCRAM verifier.
    Scram(Verifier),
}

/// A user, or the stand-in for one that does not exist.
#[derive(Clone)]
pub(super) struct Entry {
    pub(super) stored: Option<Rc<Stored>>,
    /// The default target logs in as this user by itself.
    pub(super) is_own: bool,
    /// Makes the answers to users that do not exist look like any other's.
    pub(super) mock: Rc<Secret>,
}

impl Entry {
    /// What the server can be told in the name of a user who did not tell it: a password, or the MD5
    /// hash of one. A SCRAM verifier proves nothing. The target's own user needs none.
    pub(super) fn credential(&self) -> Option<Credential> {
        match self.stored.as_deref().filter(|_| !self.is_own)? {
            Stored::Password(password, _) => Some(Credential::Password(password.clone())),
            Stored::Md5(hash) => Some(Credential::Md5(hash.clone())),
            Stored::Scram(_) => None,
        }
    }
}

/// All users of a door.
pub(super) struct Users {
    own: Option<(String, Rc<Stored>)>,
    file: Option<File>,
    mock: Rc<Secret>,
}

struct File {
    path: PathBuf,
    stamp: Option<(i64, i64, u64)>,
    users: HashMap<String, Rc<Stored>>,
}

impl Default for Users {
    fn default() -> Self {
        let mut secret = [0; 32];
        // Without randomness no exchange gets far: its nonce needs some, too.
        let _ = SystemRandom::new().fill(&mut secret);
        Self {
            own: None,
            file: None,
            mock: Rc::new(Secret::new(secret)),
        }
    }
}

impl Users {
    /// Reads a file; a wrong line is an error that names it.
    pub(super) fn read(path: &Path) -> Result<Self, String> {
        let (file, text) = File::read(path)?;
        // From the file's own secrets: after a restart unknown users are answered as before, like
        // those in the file.
        let mock = scram::hmac(&scram::sha256(text.expose()), b"unknown users");
        Ok(Self {
            own: None,
            file: Some(file),
            mock: Rc::new(Secret::new(mock)),
        })
    }

    /// The target's user may log in with the target's password.
    pub(super) fn set_own(&mut self, target: &Target) {
        self.own = target.password.as_ref().map(|password| {
            (
                target.user.clone(),
                Rc::new(Stored::Password(password.clone(), OnceCell::new())),
            )
        });
    }

    pub(super) fn has_any(&self) -> bool {
        self.own.is_some()
            || self
                .file
                .as_ref()
                .is_some_and(|file| !file.users.is_empty())
    }

    /// Whether each of them can be asked by this method.
    pub(super) fn fit(&self, auth: Auth) -> Result<(), String> {
        if matches!(auth, Auth::Peer | Auth::Trust | Auth::Cert) {
            return Ok(());
        }
        if !self.has_any() {
            return Err(
                "nobody could log in at this door: DATABASE_URL has no password and no \
                        file of users is named"
                    .to_owned(),
            );
        }
        let file = self.file.as_ref().filter(|_| auth == Auth::Scram);
        let is_md5 = |stored: &Rc<Stored>| matches!(**stored, Stored::Md5(_));
        match file.filter(|file| file.users.values().any(is_md5)) {
            None => Ok(()),
            Some(file) => Err(format!(
                "{} holds MD5 hashes, which SCRAM cannot check: ask for md5 at this door, or put \
                 passwords or SCRAM verifiers in",
                file.path.display()
            )),
        }
    }

    /// What is known of a user; the file wins over the target.
    pub(super) fn find(&mut self, user: &str) -> Entry {
        if let Some(file) = &mut self.file {
            file.refresh();
        }
        let listed = self.file.as_ref().and_then(|file| file.users.get(user));
        let own = self
            .own
            .as_ref()
            .filter(|(name, _)| name == user)
            .map(|(_, stored)| stored);
        Entry {
            stored: listed.or(own).cloned(),
            is_own: own.is_some(),
            mock: Rc::clone(&self.mock),
        }
    }
}

impl Stored {
    fn parse(text: &str) -> Self {
        let is_md5 = text.len() == 35
            && text
                .strip_prefix("md5")
                .is_some_and(|hash| hash.bytes().all(|byte| byte.is_ascii_hexdigit()));
        match Verifier::parse(text) {
            Some(verifier) => Self::Scram(verifier),
            None if is_md5 => Self::Md5(Secret::new(text)),
            None => Self::Password(Secret::new(text), OnceCell::new()),
        }
    }

    /// What SCRAM needs; a few milliseconds once for each password.
    pub(super) fn verifier(&self) -> Option<Result<Verifier, ScramError>> {
        match self {
            Self::Scram(verifier) => Some(Ok(verifier.clone())),
            Self::Md5(_) => None,
            Self::Password(password, kept) => Some(match kept.get() {
                Some(verifier) => Ok(verifier.clone()),
                None => Verifier::from_password(password.expose())
                    .map(|verifier| kept.get_or_init(|| verifier).clone()),
            }),
        }
    }
}

impl File {
    fn read(path: &Path) -> Result<(Self, Secret), String> {
        let named = |what: String| format!("the file of users {}: {what}", path.display());
        let metadata = fs::metadata(path).map_err(|error| named(error.to_string()))?;
        if metadata.len() > MAX_BYTES {
            return Err(named("it is too large".to_owned()));
        }
        if metadata.mode() & 0o004 != 0 {
            let name = path.display().to_string();
            warn!(
                "everybody on this machine can read the file of users",
                file = name.as_str()
            );
        }
        let text = fs::read_to_string(path).map_err(|error| named(error.to_string()))?;
        let users = parse(&text).map_err(named)?;
        let stamp = Some((metadata.mtime(), metadata.mtime_nsec(), metadata.len()));
        Ok((
            Self {
                path: path.to_owned(),
                stamp,
                users,
            },
            Secret::new(text),
        ))
    }

    /// A file that cannot be read any more changes nothing but is told once.
    fn refresh(&mut self) {
        let stamp = fs::metadata(&self.path)
            .ok()
            .map(|metadata| (metadata.mtime(), metadata.mtime_nsec(), metadata.len()));
        if stamp == self.stamp {
            return;
        }
        self.stamp = stamp;
        match Self::read(&self.path) {
            Ok((file, _)) => *self = file,
            Err(error) => warn!("the users known before stay", error = error.as_str()),
        }
    }
}

/// `"user" "secret"` in each line, a quote inside doubled; what follows is ignored, as PgBouncer
/// does. Lines that begin with `;` or `#` and empty ones are comments.
fn parse(text: &str) -> Result<HashMap<String, Rc<Stored>>, String> {
    let mut users = HashMap::new();
    for (number, line) in (1..).zip(text.lines()) {
        let line = line.trim_start();
        if line.is_empty() || line.starts_with([';', '#']) {
            continue;
        }
        let fields = quoted(line).and_then(|(user, rest)| {
            let (secret, _) = quoted(rest.trim_start())?;
            (!user.is_empty()).then_some((user, secret))
        });
        let Some((user, secret)) = fields else {
            return Err(format!(
                "line {number} must be \"user\" \"password\", in double quotes"
            ));
        };
        // An empty password lets nobody in, as in PostgreSQL.
        if !secret.is_empty() {
            users.insert(user, Rc::new(Stored::parse(&secret)));
        }
    }
    Ok(users)
}

fn quoted(text: &str) -> Option<(String, &str)> {
    let mut rest = text.strip_prefix('"')?;
    let mut value = String::new();
    loop {
        let (part, after) = rest.split_once('"')?;
        value.push_str(part);
        match after.strip_prefix('"') {
            Some(more) => {
                value.push('"');
                rest = more;
            }
            None => return Some((value, after)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a8_a_file_of_users_is_read_as_pgbouncer_reads_it() {
        let scram = "SCRAM-SHA-256$4096:W22ZaJ0SNY7soEsUEjb6gQ==$\
                     WG5d8oPm3OtcPnkdi4Uo7BkeZkBFzpcXkuLmtbsT4qY=:\
                     wfPLwcE6nTWhTAmQ7tl2KeoiWGPlZqQxSrmfPwDl2dU=";
        let text = format!(
            "; a comment\n\n\"plain\" \"pass\" ignored\n  \"qu\"\"oted\"\t\"a\"\"b\"\n\
             \"hash\" \"md5{}\"\n\"scram\" \"{scram}\"\n\"empty\" \"\"\n",
            "0123456789abcdef".repeat(2)
        );
        let users = parse(&text).unwrap();
        assert_eq!(users.len(), 4);
        let kind = |user: &str| match &*users[user] {
            Stored::Password(password, _) => String::from_utf8(password.expose().to_vec()).unwrap(),
            Stored::Md5(_) => "MD5".to_owned(),
            Stored::Scram(verifier) => format!("SCRAM {}", verifier.iterations),
        };
        assert_eq!(kind("plain"), "pass");
        assert_eq!(kind("qu\"oted"), "a\"b");
        assert_eq!(kind("hash"), "MD5");
        assert_eq!(kind("scram"), "SCRAM 4096");
        for wrong in [
            "user pass",
            "\"user\"",
            "\"user\" \"pass",
            "\"\" \"x\"",
            "\"u\" p",
        ] {
            let error = parse(&format!("\n{wrong}")).err().unwrap();
            assert!(error.contains("line 2"), "{wrong}");
        }
    }
}
