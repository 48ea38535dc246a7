//! Decodes inputs for comparison with other parsers: owns the exchange with `tests/differential`.
//! What the decoders accept is decided in the library.
//!
//! Reads any number of inputs, each a length (four bytes, little endian) and that many bytes, and
//! writes one line for each: `request METHOD TARGET BODY` in hexadecimal for every accepted
//! request, then `end close`, `end keep`, `end incomplete` or `end WORD` for a refused one.

use std::fmt::Write as _;
use std::io::{self, BufWriter, Read, Write};

use canter_http::converse::{Accepted, Conversation, Step, converse};

fn main() -> io::Result<()> {
    let mut input = Vec::new();
    io::stdin().lock().read_to_end(&mut input)?;
    let mut out = BufWriter::new(io::stdout().lock());
    let mut rest = input.as_slice();
    while let Some((length, after)) = rest.split_first_chunk::<4>() {
        let length = u32::from_le_bytes(*length) as usize;
        let Some((bytes, after)) = after.split_at_checked(length) else {
            return Err(io::Error::new(
                io::ErrorKind::UnexpectedEof,
                "the last input is cut off",
            ));
        };
        writeln!(out, "{}", describe(bytes))?;
        rest = after;
    }
    out.flush()
}

fn describe(bytes: &[u8]) -> String {
    let mut line = String::new();
    // A head whose body is not complete is not yet a request.
    let mut pending = String::new();
    let conversation = converse(bytes, [], &mut |accepted| match accepted {
        Accepted::Head(buf, head) => {
            let (method, target) = (head.method_span.of(buf), head.target_span.of(buf));
            pending = format!("request {} {} ", Hex(method), Hex(target));
        }
        Accepted::Body(body) => {
            let _ = write!(line, "{pending}{} ", Hex(body));
        }
    });
    let end = match (conversation.steps.last(), &conversation) {
        (Some(Step::Refused(reject)), _) => reject.word(),
        (_, Conversation { closed: true, .. }) => "close",
        (
            _,
            Conversation {
                incomplete: true, ..
            },
        ) => "incomplete",
        _ => "keep",
    };
    line + "end " + end
}

/// Shows bytes in hexadecimal, and no bytes as a dash.
struct Hex<'a>(&'a [u8]);

impl std::fmt::Display for Hex<'_> {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        if self.0.is_empty() {
            return formatter.write_str("-");
        }
        self.0
            .iter()
            .try_for_each(|byte| write!(formatter, "{byte:02x}"))
    }
}
