//! Prepared statements of one session, as PostgreSQL keeps them: given by the protocol or by SQL, taken
//! away by either, whatever becomes of the transaction around it.
//!
//! Owns the commands of SQL about them, `DISCARD` among them.

use super::super::driver::*;
use super::postgres::{Postgres, Ran};

/// What a `Describe` is answered with: a `DEALLOCATE` names the statement, by whatever name, and has no
/// result.
pub(super) fn shape(text: &str) -> Vec<u8> {
    if text.to_ascii_lowercase().starts_with("deallocate") {
        return crate::wire::build::NO_DATA.to_vec();
    }
    message(b'T', text.as_bytes())
}

impl Postgres {
    /// Takes a statement away; whether it was there.
    pub(super) fn forget(&mut self, name: &[u8]) -> bool {
        self.of_sql.remove(name);
        self.statements.remove(name).is_some()
    }

    /// What SQL has prepared is gone with its server.
    pub(super) fn forget_of_sql(&mut self) {
        for name in std::mem::take(&mut self.of_sql) {
            self.statements.remove(&name);
        }
    }

    /// All that have a name.
    fn forget_all(&mut self) {
        self.of_sql.clear();
        self.statements.retain(|name, _| name.is_empty());
    }

    /// Whether what must not be run within a transaction may not be run now.
    fn is_within(&self) -> bool {
        self.is_open || self.is_amid
    }

    /// Settings, channels and portals are as at the start, for good.
    fn discard(&mut self) {
        self.channels.clear();
        self.settings.discard();
        self.commits();
    }

    /// Carries a command out, if it is one about prepared statements.
    pub(super) fn run_prepared(&mut self, text: &str) -> Option<Ran> {
        let words: Vec<_> = text.split_whitespace().collect();
        let failed = |code| Some(Ran::Failed(code, Vec::new()));
        let done = |tag| Some(Ran::Done(c(tag)));
        match words[..] {
            ["prepare", name, "as", ..] => {
                let (_, body) = text.split_once(" as ").unwrap();
                if body.starts_with("bad") {
                    return failed("42601");
                }
                let name = name.as_bytes().to_vec();
                if self.statements.contains_key(&name) {
                    return failed("42P05");
                }
                self.of_sql.insert(name.clone());
                self.statements.insert(name, body.to_owned());
                done("PREPARE")
            }
            ["execute", name] => {
                let Some(body) = self.statements.get(name.as_bytes()).cloned() else {
                    return failed("26000");
                };
                Some(self.run(&body, ""))
            }
            ["deallocate", "all"] | ["deallocate", "prepare", "all"] => {
                self.forget_all();
                done("DEALLOCATE ALL")
            }
            ["deallocate" | "DEALLOCATE", name] | ["deallocate", "prepare", name] => {
                if self.forget(name.trim_matches('"').as_bytes()) {
                    return done("DEALLOCATE");
                }
                failed("26000")
            }
            ["discard", "plans"] => done("DISCARD PLANS"),
            ["discard" | "DISCARD", "all" | "ALL"] => {
                if self.is_within() {
                    return failed("25001");
                }
                self.forget_all();
                self.discard();
                done("DISCARD ALL")
            }
            _ => None,
        }
    }
}
