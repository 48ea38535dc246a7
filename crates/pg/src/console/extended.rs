//! The extended protocol of the console: statements, portals, parameters and formats, for drivers
//! that use nothing else. Leaves commands to `act`.

use std::rc::Rc;

use super::act::{Failed, command_columns};
use super::command::Command;
use super::show;
use super::table::{Column, Formats, Table, describe};
use super::talk::{Console, Stop};
use super::words::{Word, statements};
use crate::wire::message::{BindHead, Named, Parse, take_cstr};
use crate::wire::{SqlError, build};

/// The most statements, and the most portals, of one client.
const MOST: usize = 1000;
const TEXT: u32 = 25;

/// A statement with its parameters open.
pub(super) struct Prepared {
    /// Empty for an empty statement.
    words: Vec<Word>,
    /// The type of each parameter.
    types: Vec<u32>,
}

/// A statement with its parameters put in.
pub(super) struct Portal {
    command: Option<Command>,
    binary: Vec<bool>,
    /// What it came to, less what the client has got.
    result: Option<Table>,
}

impl Prepared {
    fn read(parse: &Parse<'_>) -> Result<Self, SqlError> {
        let text = std::str::from_utf8(parse.text)
            .map_err(|_| SqlError::error("22021", "invalid byte sequence for encoding \"UTF8\""))?;
        let mut all = statements(text);
        if all.len() > 1 {
            let words = "cannot insert multiple commands into a prepared statement";
            return Err(SqlError::error("42601", words));
        }
        let words = all.pop().unwrap_or_default();
        let highest = words.iter().map(|word| match word {
            Word::Parameter(number) => *number,
            _ => 0,
        });
        let count = highest.max().unwrap_or(0);
        if count > MOST {
            return Err(SqlError::error(
                "42P02",
                format!("there is no parameter ${count}"),
            ));
        }
        let given = parse.types.get(2..).unwrap_or_default();
        let mut types: Vec<u32> = given
            .as_chunks::<4>()
            .0
            .iter()
            .map(|oid| u32::from_be_bytes(*oid))
            .collect();
        types.resize(count.max(types.len()), 0);
        for oid in &mut types {
            if *oid == 0 {
                *oid = TEXT;
            }
        }
        let prepared = Self { words, types };
        // A statement that is wrong is refused here, where PostgreSQL would.
        prepared.command(&prepared.words)?;
        Ok(prepared)
    }

    fn command(&self, words: &[Word]) -> Result<Option<Command>, SqlError> {
        if self.words.is_empty() {
            return Ok(None);
        }
        Command::read(words).map(Some)
    }

    /// With the parameters of a `Bind`, whose names are cut off.
    fn bind(&self, rest: &[u8]) -> Result<Portal, SqlError> {
        let bad = || SqlError::error("08P01", "invalid Bind message");
        let mut rest = rest;
        let formats = formats(&mut rest).ok_or_else(bad)?;
        let count = take_u16(&mut rest).ok_or_else(bad)?;
        if count != self.types.len() {
            let words = format!(
                "bind message supplies {count} parameters, but the statement requires {}",
                self.types.len()
            );
            return Err(SqlError::error("08P01", words));
        }
        let mut values = Vec::with_capacity(count);
        for (at, oid) in self.types.iter().enumerate() {
            let value = take_value(&mut rest).ok_or_else(bad)?;
            let binary = match &*formats {
                [all] => *all,
                each => each.get(at).copied().unwrap_or_default(),
            };
            values.push(shown(value, *oid, binary)?);
        }
        let binary = self::formats(&mut rest).ok_or_else(bad)?;
        let words = self.words.iter().map(|word| match word {
            Word::Parameter(number) => {
                let value = values.get(number.wrapping_sub(1));
                Word::Quoted(value.cloned().unwrap_or_default())
            }
            word => word.clone(),
        });
        let words: Vec<Word> = words.collect();
        Ok(Portal {
            command: self.command(&words)?,
            binary,
            result: None,
        })
    }
}

fn take_u16(rest: &mut &[u8]) -> Option<usize> {
    let (number, after) = rest.split_first_chunk::<2>()?;
    *rest = after;
    Some(u16::from_be_bytes(*number).into())
}

/// Format codes: whether each is binary.
fn formats(rest: &mut &[u8]) -> Option<Vec<bool>> {
    let count = take_u16(rest)?;
    let (codes, after) = rest.split_at_checked(count * 2)?;
    *rest = after;
    let codes = codes.as_chunks::<2>().0.iter();
    Some(codes.map(|code| *code != [0, 0]).collect())
}

/// A value; empty for NULL, which no command takes.
fn take_value<'a>(rest: &mut &'a [u8]) -> Option<&'a [u8]> {
    let (length, after) = rest.split_first_chunk::<4>()?;
    let length = usize::try_from(i32::from_be_bytes(*length)).unwrap_or(0);
    let (value, after) = after.split_at_checked(length)?;
    *rest = after;
    Some(value)
}

/// A parameter as text.
fn shown(value: &[u8], oid: u32, binary: bool) -> Result<String, SqlError> {
    let number = match (binary, oid, value) {
        (true, 21, &[a, b]) => Some(i64::from(i16::from_be_bytes([a, b]))),
        (true, 23, &[a, b, c, d]) => Some(i64::from(i32::from_be_bytes([a, b, c, d]))),
        (true, 20, value) => value.try_into().ok().map(i64::from_be_bytes),
        _ => None,
    };
    if let Some(number) = number {
        return Ok(number.to_string());
    }
    String::from_utf8(value.to_vec())
        .map_err(|_| SqlError::error("22021", "invalid byte sequence for encoding \"UTF8\""))
}

/// The columns a command will have; none for one that has no rows.
fn columns(command: Option<&Command>) -> Vec<Column> {
    match command {
        Some(Command::Show(topic)) => show::columns(*topic).to_vec(),
        Some(Command::Parameter(name, _) | Command::Select(name, _)) => command_columns(name),
        _ => Vec::new(),
    }
}

impl Console {
    /// One message of the extended protocol.
    pub(super) async fn extended(&mut self, tag: u8, body: &[u8]) -> Result<(), Stop> {
        if tag == b'S' {
            self.skips = false;
            // The end of an implicit transaction is the end of its portals.
            self.portals.clear();
            build::ready(&mut self.out, self.status);
            return Ok(());
        }
        if self.skips {
            return Ok(());
        }
        let done = match tag {
            b'P' => self.parse(body),
            b'B' => self.bind(body),
            b'D' => self.describe(body),
            b'E' => self.execute(body).await,
            b'C' => self.close(body),
            // `Flush`: everything is flushed anyway.
            _ => Ok(()),
        };
        if !self.survives(done)? {
            self.skips = true;
        }
        Ok(())
    }

    fn parse(&mut self, body: &[u8]) -> Result<(), Failed> {
        let parse = Parse::decode(body).ok_or_else(bad)?;
        if !parse.name.is_empty() && self.prepared.contains_key(parse.name) {
            let name = String::from_utf8_lossy(parse.name);
            let words = format!("prepared statement \"{name}\" already exists");
            return Err(SqlError::error("42P05", words).into());
        }
        if self.prepared.len() >= MOST {
            return Err(SqlError::error("54000", "too many prepared statements").into());
        }
        let prepared = Prepared::read(&parse)?;
        self.prepared.insert(parse.name.into(), Rc::new(prepared));
        self.out.extend_from_slice(build::PARSE_COMPLETE);
        Ok(())
    }

    fn bind(&mut self, body: &[u8]) -> Result<(), Failed> {
        let head = BindHead::decode(body).ok_or_else(bad)?;
        let prepared = Rc::clone(self.statement(head.statement)?);
        let portal = prepared.bind(body.get(head.length..).unwrap_or_default())?;
        if self.portals.len() >= MOST {
            return Err(SqlError::error("54000", "too many portals").into());
        }
        self.portals.insert(head.portal.into(), portal);
        self.out.extend_from_slice(build::BIND_COMPLETE);
        Ok(())
    }

    fn describe(&mut self, body: &[u8]) -> Result<(), Failed> {
        let (columns, binary) = match Named::decode(body).ok_or_else(bad)? {
            Named::Statement(name) => {
                let prepared = Rc::clone(self.statement(name)?);
                build::message(&mut self.out, b't', |out| {
                    let count = u16::try_from(prepared.types.len()).unwrap_or(0);
                    out.extend_from_slice(&count.to_be_bytes());
                    for oid in &prepared.types {
                        out.extend_from_slice(&oid.to_be_bytes());
                    }
                });
                let command = prepared.command(&prepared.words)?;
                (columns(command.as_ref()), Vec::new())
            }
            Named::Portal(name) => {
                let portal = self.portals.get(name).ok_or_else(|| no_portal(name))?;
                (columns(portal.command.as_ref()), portal.binary.clone())
            }
        };
        if columns.is_empty() {
            self.out.extend_from_slice(build::NO_DATA);
        } else {
            describe(&columns, Formats(&binary), &mut self.out);
        }
        Ok(())
    }

    async fn execute(&mut self, body: &[u8]) -> Result<(), Failed> {
        let mut rest = body;
        let name = take_cstr(&mut rest).ok_or_else(bad)?.to_vec();
        let most = rest.first_chunk().copied().ok_or_else(bad)?;
        let most = usize::try_from(i32::from_be_bytes(most)).unwrap_or(0);
        let mut portal = self.portals.remove(&name).ok_or_else(|| no_portal(&name))?;
        let Some(command) = &portal.command else {
            self.out.extend_from_slice(build::EMPTY_QUERY);
            return Ok(());
        };
        let table = match portal.result.take() {
            Some(table) => Some(table),
            None => self.carry_out(command).await?,
        };
        if let Some(mut table) = table {
            let rest = if most > 0 && table.rows.len() > most {
                table.rows.split_off(most)
            } else {
                Vec::new()
            };
            table.data_rows(Formats(&portal.binary), &mut self.out);
            if !rest.is_empty() {
                // `PortalSuspended`
                self.out.extend_from_slice(b"s\0\0\0\x04");
                table.rows = rest;
                portal.result = Some(table);
                self.portals.insert(name, portal);
                return Ok(());
            }
        }
        build::command_complete(&mut self.out, command.tag().as_bytes());
        Ok(())
    }

    fn close(&mut self, body: &[u8]) -> Result<(), Failed> {
        match Named::decode(body).ok_or_else(bad)? {
            Named::Statement(name) => drop(self.prepared.remove(name)),
            Named::Portal(name) => drop(self.portals.remove(name)),
        }
        self.out.extend_from_slice(build::CLOSE_COMPLETE);
        Ok(())
    }

    fn statement(&self, name: &[u8]) -> Result<&Rc<Prepared>, SqlError> {
        self.prepared.get(name).ok_or_else(|| {
            let name = String::from_utf8_lossy(name);
            SqlError::error(
                "26000",
                format!("prepared statement \"{name}\" does not exist"),
            )
        })
    }
}

fn no_portal(name: &[u8]) -> SqlError {
    let name = String::from_utf8_lossy(name);
    SqlError::error("34000", format!("portal \"{name}\" does not exist"))
}

fn bad() -> SqlError {
    SqlError::error("08P01", "invalid message format")
}
