//! Owns the folder of an authority: the account, and for each name a certificate with its key in one
//! file, so that both change at once. Nobody else can read them.
//! Leaves when they change to `acme`.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use canter_base::{Exit, Fault};
use instant_acme::AccountCredentials;

#[derive(Clone)]
pub(super) struct Store(PathBuf);

/// What is remembered of refusals.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Failures {
    /// How often in a row.
    pub count: u32,
    /// When the last time was.
    pub last: SystemTime,
    /// When the authority wants to be asked again, if it said so.
    pub until: SystemTime,
}

impl Default for Failures {
    fn default() -> Self {
        Self {
            count: 0,
            last: SystemTime::UNIX_EPOCH,
            until: SystemTime::UNIX_EPOCH,
        }
    }
}

impl Store {
    /// Each authority has a folder of its own: certificates of one for trials are not mistaken for
    /// those of another.
    pub fn open(folder: Option<&Path>, directory: &str) -> Result<Self, Fault> {
        let folder = folder.map_or_else(usual, Path::to_path_buf);
        let host = directory.trim_start_matches("https://");
        let host = host.split('/').next().unwrap_or_default();
        let plain = |letter: char| letter.is_ascii_alphanumeric() || ".-".contains(letter);
        let host = host.replace(|letter| !plain(letter), "_");
        let path =
            std::path::absolute(folder.join(host)).map_err(|error| fault(&folder, &error))?;
        let made = DirBuilder::new().recursive(true).mode(0o700).create(&path);
        made.map_err(|error| fault(&path, &error))?;
        Ok(Self(path))
    }

    /// The file with the certificate of this name, and its key.
    pub fn certificate(&self, name: &str) -> PathBuf {
        self.0.join(format!("{name}.pem"))
    }

    /// Makes a certificate that nobody has signed, where there is none.
    pub fn begin(&self, name: &str) -> Result<(), Fault> {
        let path = self.certificate(name);
        if path.exists() {
            return Ok(());
        }
        let made = rcgen::generate_simple_self_signed([name.to_owned()]);
        let made = made.map_err(|error| Fault::internal(error.to_string()))?;
        let text = format!("{}\n{}", made.cert.pem(), made.signing_key.serialize_pem());
        self.put(name, &text).map_err(|error| fault(&path, &error))
    }

    /// From now on this is the certificate, with its key.
    pub fn put(&self, name: &str, text: &str) -> io::Result<()> {
        write(&self.certificate(name), text.as_bytes())
    }

    pub fn account(&self) -> Option<AccountCredentials> {
        serde_json::from_slice(&fs::read(self.account_file()).ok()?).ok()
    }

    pub fn put_account(&self, credentials: &AccountCredentials) -> io::Result<()> {
        write(&self.account_file(), &serde_json::to_vec(credentials)?)
    }

    /// From now on there is no account.
    pub fn forget_account(&self) -> io::Result<()> {
        remove(&self.account_file())
    }

    /// How often in a row the authority has refused this name.
    pub fn failures(&self, name: &str) -> Option<Failures> {
        let path = self.failures_file(name);
        let text = fs::read_to_string(&path).ok()?;
        let mut lines = text.lines();
        let count = lines.next()?.trim().parse().ok()?;
        let until = lines.next().and_then(|seconds| seconds.trim().parse().ok());
        let since_1970 = Duration::from_secs(until.unwrap_or(0));
        Some(Failures {
            count,
            last: fs::metadata(&path).ok()?.modified().ok()?,
            until: SystemTime::UNIX_EPOCH.checked_add(since_1970)?,
        })
    }

    /// Remembers it over a restart, with the time that the authority has named; 0 without one forgets it.
    pub fn put_failures(
        &self,
        name: &str,
        count: u32,
        until: Option<SystemTime>,
    ) -> io::Result<()> {
        let path = self.failures_file(name);
        if count == 0 && until.is_none() {
            return remove(&path);
        }
        let since_1970 = until.and_then(|until| until.duration_since(SystemTime::UNIX_EPOCH).ok());
        let seconds = since_1970.unwrap_or_default().as_secs();
        write(&path, format!("{count}\n{seconds}\n").as_bytes())
    }

    /// Remembers over a restart that nobody asks before that, unless a later time is known. It is no failure
    /// of this name: how many there were, and when the last was, stays.
    pub fn put_wait(&self, name: &str, until: SystemTime) -> io::Result<()> {
        let known = self.failures(name).unwrap_or_default();
        if known.until >= until {
            return Ok(());
        }
        self.put_failures(name, known.count, Some(until))?;
        File::open(self.failures_file(name))?.set_modified(known.last)
    }

    fn failures_file(&self, name: &str) -> PathBuf {
        self.0.join(format!("{name}.failures"))
    }

    fn account_file(&self) -> PathBuf {
        self.0.join("account.json")
    }
}

/// Removes a file, if there is one.
fn remove(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

/// Where state is kept: systemd's word first, then the custom for root and for others.
fn usual() -> PathBuf {
    if let Some(folder) = std::env::var_os("STATE_DIRECTORY") {
        return PathBuf::from(folder).join("acme");
    }
    match std::env::var_os("HOME") {
        Some(home) if !rustix::process::geteuid().is_root() => {
            PathBuf::from(home).join(".local/share/canter/acme")
        }
        _ => PathBuf::from("/var/lib/canter/acme"),
    }
}

fn fault(path: &Path, error: &io::Error) -> Fault {
    Fault::new(
        Exit::File,
        format!("cannot use `{}` for certificates: {error}", path.display()),
    )
    .from("`--tls-acme-dir`")
    .hint("name a folder that the user Canter runs as may write to, and that outlives a restart")
}

/// The whole file or none of it, readable by this user alone from its first byte on.
fn write(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let beside = path.with_extension("new");
    let _ = fs::remove_file(&beside);
    let mut file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(&beside)?;
    file.write_all(bytes)?;
    file.sync_all()?;
    fs::rename(&beside, path)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn keys_are_for_this_user_alone_and_never_half_written() {
        let folder = std::env::temp_dir().join(format!("canter-acme-{}", std::process::id()));
        let _ = fs::remove_dir_all(&folder);
        let store = Store::open(Some(&folder), "https://localhost:14000/dir").unwrap();
        store.begin("example.org").unwrap();
        let path = store.certificate("example.org");
        let first = fs::read_to_string(&path).unwrap();
        assert!(first.contains("BEGIN CERTIFICATE") && first.contains("PRIVATE KEY"));
        store.begin("example.org").unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), first);
        store.put("example.org", "new").unwrap();
        assert_eq!(store.failures("example.org"), None);
        let named = SystemTime::UNIX_EPOCH + Duration::from_secs(2_000_000_000);
        for until in [None, Some(named)] {
            store.put_failures("example.org", 3, until).unwrap();
            let failures = store.failures("example.org").unwrap();
            let expected = until.unwrap_or(SystemTime::UNIX_EPOCH);
            assert_eq!((failures.count, failures.until), (3, expected));
        }
        store.put_failures("example.org", 0, Some(named)).unwrap();
        let waits = store.failures("example.org").unwrap();
        assert_eq!((waits.count, waits.until), (0, named));
        store.put_failures("example.org", 0, None).unwrap();
        store.put_failures("example.org", 0, None).unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), "new");
        let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!((mode(&path), mode(&store.0)), (0o600, 0o700));
        assert_eq!(fs::read_dir(&store.0).unwrap().count(), 1);
        fs::remove_dir_all(&folder).unwrap();
    }
}
