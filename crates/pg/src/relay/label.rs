//! The settings of a session that differ from its server's own (a *label*), and what it takes to
//! turn one label into another.
//!
//! Owns the comparison and the SQL of the difference. Who asks for it is the session's.

use std::rc::Rc;

use crate::wire::build;

/// Settings by name, in order, in PostgreSQL's own spelling. Shared and never changed in place:
/// sessions that agree usually hold the same one, so that comparing is comparing pointers.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
pub struct Label {
    settings: Vec<(Box<str>, Box<str>)>,
}

thread_local! {
    static EMPTY: Rc<Label> = Rc::default();
}

impl Label {
    /// No setting differs.
    pub fn empty() -> Rc<Self> {
        EMPTY.with(Rc::clone)
    }

    /// A label of these; the last of equal names stands. Case of names does not matter.
    pub fn new<N: AsRef<str>, V: AsRef<str>>(
        settings: impl IntoIterator<Item = (N, V)>,
    ) -> Rc<Self> {
        let mut label = Self::default();
        for (name, value) in settings {
            label.set(name.as_ref(), Some(value.as_ref()));
        }
        if label.settings.is_empty() {
            Self::empty()
        } else {
            Rc::new(label)
        }
    }

    /// Sets a name, or takes it out.
    pub fn set(&mut self, name: &str, value: Option<&str>) {
        let name = name.to_ascii_lowercase();
        let at = self
            .settings
            .binary_search_by(|(known, _)| (**known).cmp(name.as_str()));
        match (at, value) {
            (Ok(at), Some(value)) => {
                if let Some((_, known)) = self.settings.get_mut(at) {
                    *known = value.into();
                }
            }
            (Ok(at), None) => drop(self.settings.remove(at)),
            (Err(at), Some(value)) => self.settings.insert(at, (name.into(), value.into())),
            (Err(_), None) => {}
        }
    }

    /// The value of a name given in lower case.
    pub fn get(&self, name: &str) -> Option<&str> {
        let at = self
            .settings
            .binary_search_by(|(known, _)| (**known).cmp(name))
            .ok()?;
        self.settings.get(at).map(|(_, value)| &**value)
    }

    /// Names and values, in order.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.settings
            .iter()
            .map(|(name, value)| (&**name, &**value))
    }

    /// Whether nothing differs.
    pub fn is_empty(&self) -> bool {
        self.settings.is_empty()
    }

    /// Whether both are the same: by pointer, and only else by value.
    pub fn same(a: &Rc<Self>, b: &Rc<Self>) -> bool {
        Rc::ptr_eq(a, b) || a == b
    }

    /// What `RESET ALL` leaves.
    pub(super) fn roles(&self) -> Self {
        let settings = self
            .settings
            .iter()
            .filter(|(name, _)| !is_plain(name))
            .cloned();
        Self {
            settings: settings.collect(),
        }
    }

    /// Appends the SQL that turns a server labelled `self` into one labelled `wanted`; nothing
    /// when they agree. Role and session authorization go first on the way out and last on the
    /// way in: what a role may set depends on it.
    pub fn difference(&self, wanted: &Self, out: &mut Vec<u8>) {
        if self == wanted {
            return;
        }
        // Back to the login role: only from there may another one be taken.
        let authorization = self.get(AUTHORIZATION) != wanted.get(AUTHORIZATION);
        let role = authorization || self.get(ROLE) != wanted.get(ROLE);
        if role && self.get(ROLE).is_some() {
            out.extend_from_slice(b"RESET role;");
        }
        if authorization && self.get(AUTHORIZATION).is_some() {
            out.extend_from_slice(b"RESET session_authorization;");
        }
        for (name, _) in self.iter().filter(|(name, _)| is_plain(name)) {
            if wanted.get(name).is_none() {
                push_reset(out, name);
            }
        }
        wanted.push_settings(|name, value| self.get(name) != Some(value), out);
        if authorization {
            push_role(out, AUTHORIZATION, wanted.get(AUTHORIZATION));
        }
        if role {
            push_role(out, ROLE, wanted.get(ROLE));
        }
    }

    /// Appends the SQL that gives a server labelled `self` all of `wanted` anew, whatever the role
    /// there may set: nobody needs a right to `RESET ALL`, and the settings that come are set before
    /// the roles, or after them (`as_role`).
    pub(super) fn anew(&self, wanted: &Self, as_role: bool, out: &mut Vec<u8>) {
        if self.get(ROLE).is_some() {
            out.extend_from_slice(b"RESET role;");
        }
        if self.get(AUTHORIZATION).is_some() {
            out.extend_from_slice(b"RESET session_authorization;");
        }
        out.extend_from_slice(b"RESET ALL;");
        if !as_role {
            wanted.push_settings(|_, _| true, out);
        }
        push_role(out, AUTHORIZATION, wanted.get(AUTHORIZATION));
        push_role(out, ROLE, wanted.get(ROLE));
        if as_role {
            wanted.push_settings(|_, _| true, out);
        }
    }

    /// Appends a statement that sets those of its settings, roles left out, that `which` names.
    fn push_settings(&self, which: impl Fn(&str, &str) -> bool, out: &mut Vec<u8>) {
        let mut first = true;
        for (name, value) in self.iter().filter(|(name, _)| is_plain(name)) {
            if which(name, value) {
                out.extend_from_slice(if first { b"SELECT " } else { b"," });
                push_set_config(out, name, value);
                first = false;
            }
        }
        if !first {
            out.push(b';');
        }
    }

    /// Appends SQL that sets those of `names` that this label has and that are not set for the session
    /// now: after a RESET, a client's own start-up values are due again (D6), unless that was rolled
    /// back or a SET has followed it.
    pub fn restore<'a>(&self, names: impl IntoIterator<Item = &'a str>, out: &mut Vec<u8>) {
        let mut first = true;
        for name in names {
            if let Some(value) = self.get(name).filter(|_| is_plain(name)) {
                out.extend_from_slice(if first { b"SELECT " } else { b"," });
                push_is_reset(out, name);
                push_set_config(out, name, value);
                out.extend_from_slice(b" END");
                first = false;
            }
        }
    }

    /// The statements that belong right behind a `RESET` of this name, or of all: its own values of
    /// what that puts back (D6). They take no snapshot, after which a transaction could not choose
    /// its isolation level any more, where a SET can say them.
    pub(super) fn behind_reset(&self, name: Option<&str>) -> Vec<Vec<u8>> {
        // With the session authorization, the role goes too.
        let names = match name {
            Some(AUTHORIZATION) => vec![AUTHORIZATION, ROLE],
            Some(name) => vec![name],
            None => self.plain_names().collect(),
        };
        self.statements(names)
    }

    /// Likewise behind a `DISCARD ALL`.
    pub(super) fn behind_discard(&self) -> Vec<Vec<u8>> {
        self.statements(self.plain_names().chain([AUTHORIZATION, ROLE]))
    }

    /// A statement for each of these that it has.
    fn statements<'a>(&self, names: impl IntoIterator<Item = &'a str>) -> Vec<Vec<u8>> {
        let mut statements = Vec::new();
        for name in names {
            let Some(value) = self.get(name) else {
                continue;
            };
            let mut sql = Vec::new();
            if is_plain(name) {
                push_set(&mut sql, name, value);
            } else {
                push_role(&mut sql, name, Some(value));
                sql.pop();
            }
            statements.push(sql);
        }
        statements
    }

    /// The names of its settings that are no roles.
    pub fn plain_names(&self) -> impl Iterator<Item = &str> {
        self.iter()
            .map(|(name, _)| name)
            .filter(|name| is_plain(name))
    }
}

/// The name under which PostgreSQL keeps `SET ROLE`.
pub const ROLE: &str = "role";
/// The name under which it keeps `SET SESSION AUTHORIZATION`.
pub const AUTHORIZATION: &str = "session_authorization";

fn is_plain(name: &str) -> bool {
    name != ROLE && name != AUTHORIZATION
}

fn push_role(out: &mut Vec<u8>, name: &str, value: Option<&str>) {
    let Some(value) = value else { return };
    if value.is_ascii() {
        let command: &[u8] = if name == ROLE {
            b"SET ROLE "
        } else {
            b"SET SESSION AUTHORIZATION "
        };
        out.extend_from_slice(command);
        // NONE is a key word here, not the role of that name.
        if value == "none" {
            out.extend_from_slice(b"NONE");
        } else {
            build::identifier(out, value.as_bytes());
        }
    } else {
        out.extend_from_slice(b"SELECT ");
        push_set_config(out, name, value);
    }
    out.push(b';');
}

fn push_reset(out: &mut Vec<u8>, name: &str) {
    if name.is_ascii() {
        out.extend_from_slice(b"RESET ");
        push_name(out, name);
    } else {
        out.extend_from_slice(b"SELECT pg_catalog.set_config(");
        push_text(out, name);
        out.extend_from_slice(b",NULL,false) IS NULL");
    }
    out.push(b';');
}

/// Its result, too, is ASCII unless the value is: a client's encoding need not have all letters.
fn push_set_config(out: &mut Vec<u8>, name: &str, value: &str) {
    out.extend_from_slice(b"pg_catalog.set_config(");
    push_text(out, name);
    out.push(b',');
    push_text(out, value);
    out.extend_from_slice(b",false)");
    if !value.is_ascii() {
        out.extend_from_slice(b" IS NULL");
    }
}

/// Settings whose value is a list of names: a SET puts quotes around each of its words.
const LISTS: [&str; 4] = [
    "local_preload_libraries",
    "search_path",
    "session_preload_libraries",
    "temp_tablespaces",
];

/// A statement that sets a setting: `SET` where it can say the value.
fn push_set(out: &mut Vec<u8>, name: &str, value: &str) {
    let words = if LISTS.contains(&name) {
        list(value)
    } else {
        Some(vec![value.to_owned()])
    };
    let Some(words) = words.filter(|_| name.is_ascii() && value.is_ascii()) else {
        out.extend_from_slice(b"SELECT ");
        return push_set_config(out, name, value);
    };
    out.extend_from_slice(b"SET ");
    push_name(out, name);
    for (at, word) in words.iter().enumerate() {
        out.extend_from_slice(if at == 0 { b" TO " } else { b"," });
        build::literal(out, word.as_bytes());
    }
}

/// The names in a list as the server keeps it: with quotes, or in lower case. `None` when there is
/// none or the list is not well formed.
fn list(value: &str) -> Option<Vec<String>> {
    let mut names = Vec::new();
    let mut rest = value.trim_ascii();
    loop {
        let mut name = String::new();
        if let Some(mut quoted) = rest.strip_prefix('"') {
            loop {
                let (part, after) = quoted.split_once('"')?;
                name.push_str(part);
                let Some(more) = after.strip_prefix('"') else {
                    rest = after;
                    break;
                };
                name.push('"');
                quoted = more;
            }
        } else {
            let end = rest.find(|c: char| c == ',' || c.is_ascii_whitespace());
            let (bare, after) = rest.split_at(end.unwrap_or(rest.len()));
            if bare.is_empty() || bare.contains('"') {
                return None;
            }
            name.push_str(&bare.to_ascii_lowercase());
            rest = after;
        }
        names.push(name);
        rest = rest.trim_ascii_start();
        if rest.is_empty() {
            return Some(names);
        }
        rest = rest.strip_prefix(',')?.trim_ascii_start();
    }
}

/// The beginning of a CASE for a setting that is not set for the session. The server lists no custom
/// ones, of which nothing is left when they are reset.
fn push_is_reset(out: &mut Vec<u8>, name: &str) {
    const LISTED: &[u8] =
        b"EXISTS(SELECT 1 FROM pg_catalog.pg_settings WHERE pg_catalog.lower(name) \
          OPERATOR(pg_catalog.=) ";
    out.extend_from_slice(b"CASE WHEN NOT ");
    out.extend_from_slice(LISTED);
    push_text(out, name);
    out.extend_from_slice(b" AND source OPERATOR(pg_catalog.=) 'session')");
    if name.contains('.') {
        out.extend_from_slice(b" AND (");
        out.extend_from_slice(LISTED);
        push_text(out, name);
        out.extend_from_slice(b") OR pg_catalog.length(pg_catalog.current_setting(");
        push_text(out, name);
        out.extend_from_slice(b",true)) OPERATOR(pg_catalog.>) 0 IS NOT TRUE)");
    }
    out.extend_from_slice(b" THEN ");
}

/// Appends an expression for a text, in ASCII: it means the same in every `client_encoding` and in
/// every encoding of a database.
pub(super) fn push_text(out: &mut Vec<u8>, text: &str) {
    if text.is_ascii() {
        return build::literal(out, text.as_bytes());
    }
    out.extend_from_slice(b"pg_catalog.convert_from(pg_catalog.decode('");
    for byte in text.bytes() {
        for digit in [byte >> 4, byte & 15] {
            out.push(b"0123456789abcdef"[usize::from(digit)]);
        }
    }
    out.extend_from_slice(b"','hex'),'UTF8')");
}

/// A dotted name is one identifier for each part.
fn push_name(out: &mut Vec<u8>, name: &str) {
    for (at, part) in name.split('.').enumerate() {
        if at > 0 {
            out.push(b'.');
        }
        build::identifier(out, part.as_bytes());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn d2_everything_anew_sets_before_the_roles_or_after_them() {
        let from = Label::new([("role", "a"), ("x", "1")]);
        let to = Label::new([("role", "b"), ("y", "2")]);
        let anew = |as_role| {
            let mut out = Vec::new();
            from.anew(&to, as_role, &mut out);
            String::from_utf8(out).unwrap()
        };
        let sets = "SELECT pg_catalog.set_config('y','2',false);";
        assert_eq!(
            anew(false),
            format!("RESET role;RESET ALL;{sets}SET ROLE \"b\";")
        );
        assert_eq!(
            anew(true),
            format!("RESET role;RESET ALL;SET ROLE \"b\";{sets}")
        );
    }

    #[test]
    fn d6_what_belongs_behind_a_reset_takes_no_snapshot() {
        let start = [
            ("a.b", "it's"),
            ("role", "web"),
            ("search_path", "One, \"T\"\"wo\",$user"),
            ("temp_tablespaces", ""),
        ];
        let start = Label::new(start);
        let behind = |name| {
            let all = start.behind_reset(name);
            let all = all.into_iter().map(|sql| String::from_utf8(sql).unwrap());
            all.collect::<Vec<_>>()
        };
        let path = "SET \"search_path\" TO 'one','T\"wo','$user'";
        assert_eq!(behind(Some("search_path")), [path]);
        assert_eq!(behind(Some("work_mem")), [""; 0]);
        for name in ["role", "session_authorization"] {
            assert_eq!(behind(Some(name)), ["SET ROLE \"web\""]);
        }
        let empty = "SELECT pg_catalog.set_config('temp_tablespaces','',false)";
        assert_eq!(behind(None), ["SET \"a\".\"b\" TO 'it''s'", path, empty]);
    }

    #[test]
    fn d6_a_list_that_is_none_is_not_taken_apart() {
        for wrong in ["", "a,", ",a", "a b", "\"a", "a\"b\"", "\"a\"b"] {
            assert_eq!(list(wrong), None, "{wrong}");
        }
        assert_eq!(list(" a , \"\" ").unwrap(), ["a", ""]);
    }

    fn difference(from: &[(&str, &str)], to: &[(&str, &str)]) -> String {
        let mut out = Vec::new();
        let pairs = |s: &[(&str, &str)]| Label::new(s.iter().copied());
        pairs(from).difference(&pairs(to), &mut out);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn d2_equal_labels_need_no_sql() {
        assert_eq!(
            difference(&[("a", "1"), ("B", "2")], &[("b", "2"), ("a", "1")]),
            ""
        );
    }

    #[test]
    fn d2_the_difference_is_what_goes_then_what_comes() {
        assert_eq!(
            difference(&[("a", "1"), ("x.y", "2")], &[("a", "3"), ("c", "it's")]),
            "RESET \"x\".\"y\";SELECT pg_catalog.set_config('a','3',false),\
             pg_catalog.set_config('c','it''s',false);"
        );
    }

    #[test]
    fn d2_roles_leave_first_and_come_last() {
        assert_eq!(
            difference(&[("role", "a")], &[("role", "b\"c"), ("z", "1")]),
            "RESET role;SELECT pg_catalog.set_config('z','1',false);SET ROLE \"b\"\"c\";"
        );
        assert_eq!(
            difference(
                &[("role", "a"), ("session_authorization", "s")],
                &[("role", "a")]
            ),
            "RESET role;RESET session_authorization;SET ROLE \"a\";"
        );
    }
}
