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
        let mut first = true;
        for (name, value) in wanted.iter().filter(|(name, _)| is_plain(name)) {
            if self.get(name) != Some(value) {
                out.extend_from_slice(if first { b"SELECT " } else { b"," });
                push_set_config(out, name, value);
                first = false;
            }
        }
        if !first {
            out.push(b';');
        }
        if authorization {
            push_role(out, AUTHORIZATION, wanted.get(AUTHORIZATION));
        }
        if role {
            push_role(out, ROLE, wanted.get(ROLE));
        }
    }

    /// Appends SQL that sets those of `names` that this label has: after a RESET, a client's own
    /// start-up values are due again (D6). With `asks`, only those that are not set for the session
    /// now: a RESET may have been rolled back, or a SET have followed it.
    pub fn restore<'a>(
        &self,
        names: impl IntoIterator<Item = &'a str>,
        asks: bool,
        out: &mut Vec<u8>,
    ) {
        let mut first = true;
        for name in names {
            if let Some(value) = self.get(name).filter(|_| is_plain(name)) {
                out.extend_from_slice(if first { b"SELECT " } else { b"," });
                if asks {
                    push_is_reset(out, name);
                }
                push_set_config(out, name, value);
                if asks {
                    out.extend_from_slice(b" END");
                }
                first = false;
            }
        }
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
