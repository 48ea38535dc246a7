//! Passwords from libpq's password file (`~/.pgpass`), looked up at each login so that a changed
//! one counts at once. Leaves the name of the file to the target.

use std::io::Read;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use canter_base::warn;

use crate::target::{Addr, Host, Secret};

/// libpq has no bound; nobody has this many passwords.
const MAX_BYTES: u64 = 1 << 20;

/// The password for this place, if the file has one and only its owner can read it.
pub(super) fn find(file: &Path, host: &Host, database: &str, user: &str) -> Option<Secret> {
    let mut opened = std::fs::File::open(file).ok()?;
    let metadata = opened.metadata().ok().filter(std::fs::Metadata::is_file)?;
    if metadata.mode() & 0o077 != 0 {
        let name = file.display().to_string();
        warn!(
            "the password file is not used: others can read it (chmod 600)",
            file = name.as_str()
        );
        return None;
    }
    let mut text = String::new();
    opened
        .by_ref()
        .take(MAX_BYTES)
        .read_to_string(&mut text)
        .ok()?;
    let found = search(&text, &names_of(host), host.port, database, user);
    drop(Secret::new(text));
    found
}

/// What the first field may say: the name or the number; `localhost` for the default socket.
fn names_of(host: &Host) -> Vec<String> {
    match &host.addr {
        Addr::Name(name) | Addr::Ip(_, Some(name)) => vec![name.clone()],
        Addr::Ip(ip, None) => vec![ip.to_string()],
        Addr::Unix(folder) => vec![folder.display().to_string(), "localhost".to_owned()],
    }
}

fn search(text: &str, names: &[String], port: u16, database: &str, user: &str) -> Option<Secret> {
    let port = port.to_string();
    text.lines()
        .filter(|line| !line.starts_with('#'))
        .find_map(|line| {
            let mut rest = line;
            let mut field = || take_field(&mut rest);
            let (host, number, dbname, role) = (field()?, field()?, field()?, field()?);
            let fits = |field: &str, value: &str| field == "*" || field == value;
            let host_fits = host == "*" || names.contains(&host);
            let fits =
                host_fits && fits(&number, &port) && fits(&dbname, database) && fits(&role, user);
            let (password, _) = field_of(rest);
            (fits && !password.is_empty()).then(|| Secret::new(password))
        })
}

/// A field and the colon behind it; a backslash takes the next character as it is.
fn take_field(rest: &mut &str) -> Option<String> {
    let (field, after) = field_of(rest);
    *rest = after?;
    Some(field)
}

fn field_of(text: &str) -> (String, Option<&str>) {
    let mut field = String::new();
    let mut chars = text.char_indices();
    while let Some((at, c)) = chars.next() {
        match c {
            ':' => return (field, text.get(at + 1..)),
            '\\' => field.extend(chars.next().map(|(_, c)| c)),
            c => field.push(c),
        }
    }
    (field, None)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a9_a_password_file_is_read_as_libpq_reads_it() {
        let text = "# host:1:d:u:no\n\
                    host:1:d:other:no\n\
                    host:1:d:u:first\n\
                    host:*:*:*:second\n\
                    broken\n\
                    localhost:5432:d:u:socket\n\
                    *:*:d\\:e:u:a\\:b\\\\c\n";
        let rows = [
            ("host", 1, "d", "u", Some("first")),
            ("host", 2, "d", "u", Some("second")),
            ("else", 2, "d", "u", None),
            ("localhost", 5432, "d", "u", Some("socket")),
            ("else", 9, "d:e", "u", Some("a:b\\c")),
        ];
        for (host, port, database, user, expected) in rows {
            let found = search(text, &[host.to_owned()], port, database, user);
            assert_eq!(found, expected.map(Secret::new), "{host} {port} {database}");
        }
    }
}
