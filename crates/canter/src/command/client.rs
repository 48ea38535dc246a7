//! Asks the server that runs on this machine: over its private socket, or at an address of `--admin-bind`.
//!
//! Owns finding its door, the token, and what a refusal means. Which server is meant is `which`'s, HTTP is
//! `canter_load::once`'s.

use std::io;
use std::net::ToSocketAddrs as _;
use std::sync::OnceLock;
use std::time::Duration;

use canter_base::{Exit, Fault};
use canter_load::once::{Request, request};
use canter_load::target::Door;

use super::which;

/// How long a server may take to answer.
const PATIENCE: Duration = Duration::from_secs(12);
/// Bytes of an answer: far more than the longest, which is a profile.
const LONGEST: u64 = 64 << 20;

/// What opens a server that asks for it: given once, for all that this process asks.
static TOKEN: OnceLock<String> = OnceLock::new();

/// Tells it to do something: its answer, which is JSON also where it did not.
pub fn tell(address: Option<&str>, path: &str) -> Result<String, Fault> {
    let (status, body) = reach(address, "POST", path)?;
    if !body.starts_with('{') {
        return Err(unwilling(status));
    }
    Ok(body)
}

/// The body of the answer of the server at `address`, or of the only one that runs.
pub fn ask(address: Option<&str>, method: &str, path: &str) -> Result<String, Fault> {
    let (status, body) = reach(address, method, path)?;
    let refusal = || format!("the server refuses: {}", body.trim());
    match status {
        200..=299 => Ok(body),
        400 | 409 => Err(Fault::usage(refusal())),
        // It would not refuse for ever.
        503 => Err(Fault::new(Exit::Unreachable, refusal())),
        _ => Err(unwilling(status)),
    }
}

fn unwilling(status: u16) -> Fault {
    Fault::new(Exit::Unreachable, format!("the server answers {status}")).hint(
        "ask as the user who runs it, at an address of `--admin-bind`, or with its `--admin-token` \
             (CANTER_ADMIN_TOKEN)",
    )
}

/// Status and body.
fn reach(address: Option<&str>, method: &str, path: &str) -> Result<(u16, String), Fault> {
    exchange(address, method, path).map_err(|error| match error {
        Trouble::Fault(fault) => fault,
        Trouble::Io(error) => {
            let fault = Fault::new(
                Exit::Unreachable,
                format!("the server does not answer: {error}"),
            )
            .hint("give its address: the path of a socket, or the HOST:PORT of `--admin-bind`");
            match address {
                Some(address) => fault.from(format!("address `{address}`")),
                None => fault,
            }
        }
    })
}

enum Trouble {
    Fault(Fault),
    Io(io::Error),
}

impl From<io::Error> for Trouble {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

fn exchange(address: Option<&str>, method: &str, path: &str) -> Result<(u16, String), Trouble> {
    let doors = match address.filter(|address| which::is_network(address)) {
        Some(address) => address.to_socket_addrs()?.map(Door::Address).collect(),
        None => vec![Door::Socket(
            which::socket(address).map_err(Trouble::Fault)?,
        )],
    };
    // The private socket of this user's servers asks for none.
    let key = match address.and_then(|_| token()) {
        Some(token) => format!("Bearer {}", readable(token)?),
        None => String::new(),
    };
    let fields = [
        // The mark of what does something: no page of another site can send it.
        (method == "POST").then_some(("X-Canter", "1")),
        (!key.is_empty()).then_some(("Authorization", key.as_str())),
    ];
    let fields: Vec<_> = fields.into_iter().flatten().collect();
    let asked = Request {
        method,
        path,
        host: "localhost",
        fields: &fields,
        patience: PATIENCE,
        longest: LONGEST,
    };
    let answer = request(&doors, &asked)?;
    let body = String::from_utf8_lossy(&answer.body).into_owned();
    Ok((answer.status, body))
}

/// What opens a server that asks for it, for all that this process asks.
pub fn use_token(token: String) {
    let _ = TOKEN.set(token);
}

fn token() -> Option<String> {
    let given = TOKEN.get().cloned();
    given.or_else(|| {
        std::env::var("CANTER_ADMIN_TOKEN")
            .ok()
            .filter(|it| !it.is_empty())
    })
}

/// Nothing else than a token gets into the request.
fn readable(token: String) -> Result<String, Trouble> {
    if token.bytes().all(|byte| byte.is_ascii_graphic()) {
        return Ok(token);
    }
    let fault = Fault::usage("the token has a character that no token has")
        .from("command line")
        .hint("it is the word of the server's `--admin-token`, without spaces");
    Err(Trouble::Fault(fault))
}
