//! `bench-forward LISTEN CONNECT`: carries bytes between unix sockets and looks at none of them: a connection to the
//! second for each to the first, one thread, one receive and one send for each piece. No pooler of one thread that
//! asks the system in this way can do less, so it shows what `bench/pooler.py` could find at best.

use std::collections::HashMap;
use std::io::{self, Read, Write};
use std::process::ExitCode;

use mio::net::{UnixListener, UnixStream};
use mio::{Events, Interest, Poll, Token};

const LISTENER: Token = Token(0);
const BUFFER: usize = 64 * 1024;

/// Both ends, by their tokens: each knows the other's.
struct Forwarder {
    poll: Poll,
    ends: HashMap<Token, (UnixStream, Token)>,
    next: usize,
    buffer: Vec<u8>,
}

fn main() -> ExitCode {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let [listen, connect] = words.as_slice() else {
        eprintln!(
            "bench-forward: two paths of unix sockets, please: one to listen at, one to connect to"
        );
        return ExitCode::from(2);
    };
    match run(listen, connect) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("bench-forward: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run(listen: &str, connect: &str) -> io::Result<()> {
    let mut listener = UnixListener::bind(listen)?;
    let mut forwarder = Forwarder {
        poll: Poll::new()?,
        ends: HashMap::new(),
        next: 1,
        buffer: vec![0; BUFFER],
    };
    let registry = forwarder.poll.registry();
    registry.register(&mut listener, LISTENER, Interest::READABLE)?;
    let mut events = Events::with_capacity(1024);
    loop {
        match forwarder.poll.poll(&mut events, None) {
            Err(error) if error.kind() != io::ErrorKind::Interrupted => return Err(error),
            _ => {}
        }
        for event in &events {
            if event.token() != LISTENER {
                forwarder.forward(event.token());
                continue;
            }
            while let Ok((client, _)) = listener.accept() {
                let server = UnixStream::connect(connect)?;
                forwarder.join(client, server)?;
            }
        }
    }
}

impl Forwarder {
    fn join(&mut self, client: UnixStream, server: UnixStream) -> io::Result<()> {
        let tokens = (Token(self.next), Token(self.next + 1));
        self.next += 2;
        for (mut end, own, other) in [(client, tokens.0, tokens.1), (server, tokens.1, tokens.0)] {
            let registry = self.poll.registry();
            registry.register(&mut end, own, Interest::READABLE)?;
            self.ends.insert(own, (end, other));
        }
        Ok(())
    }

    /// One piece, as a message of pgbench and its answer are. Who ends, or does not take at once what is sent, is let
    /// go with its other end.
    fn forward(&mut self, from: Token) {
        let Some((end, other)) = self.ends.get_mut(&from) else {
            return;
        };
        let (read, other) = (end.read(&mut self.buffer), *other);
        let sent = match read {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return,
            Ok(count @ 1..) => {
                let piece = self.buffer.get(..count).unwrap_or_default();
                let to = self.ends.get_mut(&other);
                to.is_some_and(|(to, _)| to.write_all(piece).is_ok())
            }
            _ => false,
        };
        if !sent {
            self.ends.remove(&from);
            self.ends.remove(&other);
        }
    }
}
