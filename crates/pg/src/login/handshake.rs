//! One login over one stream: start-up packet, authentication, parameters, until the server is
//! ready. Leaves hosts, TLS and time to the login.

use std::io;

use super::auth::{Auth, Credentials, Stop};
use super::messages::{Message, Messages};
use super::{LoginErrorKind, kind_of};
use crate::stream::Stream;
use crate::wire::{BackendKey, SqlError, build, message};

/// A server reports a dozen; a hundred times that is no PostgreSQL.
const MOST_PARAMS: usize = 1000;

/// What came of it.
pub(super) struct Ready {
    pub(super) messages: Messages,
    pub(super) params: Vec<(String, String)>,
    pub(super) key: Option<BackendKey>,
}

/// Why it came to nothing.
pub(super) struct Failed {
    pub(super) kind: LoginErrorKind,
    pub(super) sql: Option<SqlError>,
    pub(super) sentence: String,
    /// Another way of encryption may do: TLS failed, or the server refused before it asked who we
    /// are.
    pub(super) other_way: bool,
}

impl Failed {
    pub(super) fn new(kind: LoginErrorKind, sentence: impl Into<String>) -> Self {
        Self {
            kind,
            sql: None,
            sentence: sentence.into(),
            other_way: false,
        }
    }

    fn of_io(error: &io::Error, during: &str) -> Self {
        match error.kind() {
            io::ErrorKind::InvalidData => Self::new(
                LoginErrorKind::Protocol,
                format!("what answers does not speak PostgreSQL's protocol ({during})"),
            ),
            io::ErrorKind::UnexpectedEof => Self::new(
                LoginErrorKind::Gone,
                format!("the server closed the connection {during}"),
            ),
            _ => Self::new(
                LoginErrorKind::Gone,
                format!("the connection broke {during}: {error}"),
            ),
        }
    }
}

impl From<Stop> for Failed {
    fn from((kind, sentence): Stop) -> Self {
        Self::new(kind, sentence)
    }
}

/// Logs in.
pub(super) async fn handshake<'a>(
    stream: Stream,
    params: impl IntoIterator<Item = (&'a str, &'a str)>,
    who: &Credentials<'_>,
) -> Result<Ready, Failed> {
    let mut messages = Messages::new(stream);
    let mut out = Vec::with_capacity(256);
    build::startup(&mut out, params);
    let mut auth = Auth::Fresh;
    let mut asked = false;
    let failed = |error: &io::Error| Failed::of_io(error, "during the login");
    messages.send(&out).await.map_err(|error| failed(&error))?;
    while !matches!(auth, Auth::Ok) {
        let Message { tag, body } = messages.next().await.map_err(|error| failed(&error))?;
        match tag {
            b'R' => {
                asked = true;
                out.clear();
                auth = auth.step(&body, who, &mut out).await?;
                if !out.is_empty() {
                    messages.send(&out).await.map_err(|error| failed(&error))?;
                }
                out.fill(0);
            }
            b'E' => return Err(refused(&body, !asked)),
            b'N' => {}
            b'v' => negotiated(&body)?,
            tag => return Err(unexpected(tag)),
        }
    }
    settle(messages).await
}

/// After `AuthenticationOk`: parameters and key, until `ReadyForQuery` and nothing behind it.
async fn settle(mut messages: Messages) -> Result<Ready, Failed> {
    let mut params: Vec<(String, String)> = Vec::new();
    let mut key = None;
    let mut is_ready = false;
    while !is_ready || !messages.is_drained() {
        let next = messages.next().await;
        let Message { tag, body } =
            next.map_err(|error| Failed::of_io(&error, "at the end of the login"))?;
        match tag {
            b'S' => {
                let (name, value) = message::parameter_status(&body).ok_or_else(|| {
                    Failed::of_io(&io::ErrorKind::InvalidData.into(), "parameter")
                })?;
                params.retain(|(known, _)| known != name);
                // What a database without an encoding says need not be text.
                if let Ok(value) = std::str::from_utf8(value) {
                    params.push((name.to_owned(), value.to_owned()));
                }
                if params.len() > MOST_PARAMS {
                    return Err(unexpected(tag));
                }
            }
            b'N' => {}
            b'E' => return Err(refused(&body, false)),
            b'K' if !is_ready => {
                key = Some(BackendKey::decode(&body).ok_or_else(|| unexpected(tag))?);
            }
            b'v' if !is_ready => negotiated(&body)?,
            b'Z' if !is_ready && message::ready_status(&body).is_some() => is_ready = true,
            tag => return Err(unexpected(tag)),
        }
    }
    Ok(Ready {
        messages,
        params,
        key,
    })
}

/// Runs one statement and gives the first column of its first row.
pub(super) async fn ask(ready: &mut Ready, sql: &str) -> Result<Option<String>, Failed> {
    let mut out = Vec::new();
    build::query(&mut out, sql.as_bytes());
    let during = "when it was asked for its role";
    let failed = |error: &io::Error| Failed::of_io(error, during);
    ready
        .messages
        .send(&out)
        .await
        .map_err(|error| failed(&error))?;
    let mut answer = None;
    loop {
        let Message { tag, body } = ready
            .messages
            .next()
            .await
            .map_err(|error| failed(&error))?;
        match tag {
            b'D' => {
                let columns = message::columns(&body).ok_or_else(|| unexpected(tag))?;
                let first = columns.first().copied().flatten();
                answer = first.map(|text| String::from_utf8_lossy(text).into_owned());
            }
            b'E' => return Err(refused(&body, false)),
            b'Z' => return Ok(answer),
            b'T' | b'C' | b'N' | b'S' => {}
            tag => return Err(unexpected(tag)),
        }
    }
}

fn refused(body: &[u8], other_way: bool) -> Failed {
    let sql = SqlError::decode(body);
    Failed {
        kind: kind_of(sql.code),
        sentence: format!("the server refused the login: {sql}"),
        sql: Some(sql),
        other_way,
    }
}

/// We ask for 3.0 without options, which every server has: nothing is left to negotiate.
fn negotiated(body: &[u8]) -> Result<(), Failed> {
    match body.first_chunk().copied().map(u32::from_be_bytes) {
        // Some servers name the minor version alone, some the whole.
        Some(0 | 0x3_0000) if body.get(4..8) == Some(&[0; 4]) => Ok(()),
        _ => Err(Failed::new(
            LoginErrorKind::Protocol,
            "the server does not accept version 3.0 of the protocol",
        )),
    }
}

fn unexpected(tag: u8) -> Failed {
    let tag = char::from(tag);
    Failed::new(
        LoginErrorKind::Protocol,
        format!("the server sent a message that has no place in a login ({tag:?})"),
    )
}
