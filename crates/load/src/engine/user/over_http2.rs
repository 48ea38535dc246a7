//! Owns how a user's request goes over HTTP/2: begun, gone on with as bytes come and go, and what the server
//! says between two requests. Leaves frames to `http2`, and what follows from an answer to `user`.

use std::time::Instant;

use super::{PAGE, Shared, State, Step, Turn, User};
use crate::engine::http2::Http2;
use crate::engine::link::Received;
use crate::record::Kind;

/// Most that a server may say at once when nobody has asked.
const MOST_IDLE: usize = 1 << 20;

impl User {
    pub(super) fn send_http2(&mut self, shared: &mut Shared<'_>, now: Instant) -> Turn {
        let mut http2 = match self
            .http2
            .take()
            .map_or_else(|| Http2::new().map(Box::new), Ok)
        {
            Ok(http2) => http2,
            Err(kind) => return self.fail(shared, kind, now),
        };
        let scheme = if shared.plan.site.tls {
            "https"
        } else {
            "http"
        };
        let asked = match self.rendered(shared) {
            Some(asked) => http2.request(asked, self.cookies.as_deref(), scheme),
            None => Err(Kind::Invalid),
        };
        self.http2 = Some(http2);
        if let Err(kind) = asked {
            return self.stopped(shared, kind, now);
        }
        self.state = State::Receiving;
        self.advance_http2(shared, &[], false, now)
    }

    pub(super) fn advance_http2(
        &mut self,
        shared: &mut Shared<'_>,
        bytes: &[u8],
        ended: bool,
        now: Instant,
    ) -> Turn {
        let (Some(http2), Some(link)) = (self.http2.as_mut(), self.link.as_mut()) else {
            return Turn::Busy;
        };
        http2.feed(bytes);
        if ended {
            http2.end();
        }
        let page = &mut self.page;
        let of_login = self.step == Step::LoginPage;
        let told = http2.advance(shared.plan.max_body, |part| {
            if of_login && page.len() + part.len() <= PAGE {
                page.extend_from_slice(part);
            }
        });
        let written = http2.write(|bytes| link.send(bytes));
        shared.tally.bytes_out += written.unwrap_or(0) as u64;
        match (told, written) {
            // An answer may be whole before the request is, and the server gone.
            (Ok(true), _) => self.answered(shared),
            (Ok(false), _) if ended => self.stopped(shared, Kind::Truncated, now),
            (Ok(false), Err(kind)) => self.stopped(shared, kind, now),
            (Ok(false), Ok(_)) => Turn::Busy,
            (Err(kind), _) if ended => self.stopped(shared, kind, now),
            (Err(kind), _) => self.fail(shared, kind, now),
        }
    }

    /// Between requests the server may set windows, ask whether somebody is there, or say that it goes.
    pub(super) fn idle_http2(&mut self, shared: &mut Shared<'_>) -> Turn {
        let (Some(http2), Some(link)) = (self.http2.as_mut(), self.link.as_mut()) else {
            return Turn::Busy;
        };
        let mut some = 0;
        let open = loop {
            match link.receive(shared.buffer) {
                Ok(Received::Bytes(count)) if some < MOST_IDLE => {
                    some += count;
                    http2.feed(shared.buffer.get(..count).unwrap_or_default());
                }
                Ok(Received::Nothing) => break true,
                Ok(Received::Bytes(_) | Received::End) | Err(_) => break false,
            }
        };
        let sound = open && http2.advance(0, |_| ()).is_ok() && !http2.is_over();
        if !sound || self.write_http2(shared).is_err() {
            self.close();
        }
        Turn::Busy
    }

    /// What the socket took no more of goes on as soon as it does: an upload may be longer than its buffer.
    pub(super) fn write_http2(&mut self, shared: &mut Shared<'_>) -> Result<(), Kind> {
        let (Some(http2), Some(link)) = (self.http2.as_mut(), self.link.as_mut()) else {
            return Ok(());
        };
        let written = http2.write(|bytes| link.send(bytes))?;
        shared.tally.bytes_out += written as u64;
        Ok(())
    }
}
