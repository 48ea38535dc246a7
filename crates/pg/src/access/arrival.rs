//! The first bytes of a client: requests for encryption, answered, and the packet after them.
//! Takes not one byte more than what it understood, so that nothing sent in clear can pass for
//! something said under TLS (CVE-2021-23214). Leaves the packet's meaning to `wire::startup`.

use std::io;

use crate::stream::Stream;
use crate::stream::tls::{self, DoorTls};
use crate::wire::startup::{First, MAX_LENGTH, decode};

/// The first byte of a TLS record that begins a handshake.
const TLS_HANDSHAKE: u8 = 0x16;

pub(super) async fn first_packet(
    mut stream: Stream,
    door_tls: Option<&DoorTls>,
) -> io::Result<Option<(Stream, Vec<u8>)>> {
    let door_tls = door_tls.filter(|_| !stream.is_unix());
    if let Some(door_tls) = door_tls {
        match stream.peek_first().await? {
            None => return Ok(None),
            Some(TLS_HANDSHAKE) => {
                stream = door_tls.accept(stream).await?;
                // Without ALPN another protocol's client could be made to talk to us (ALPACA).
                if !tls::speaks_postgresql(&stream) {
                    return Err(io::Error::other("direct TLS without ALPN"));
                }
            }
            Some(_) => {}
        }
    }
    // Each request at most once, in either order; what comes after is for the caller to judge.
    let (mut may_ask_tls, mut may_ask_gss) = (!stream.is_tls(), true);
    loop {
        let Some(packet) = packet(&mut stream).await? else {
            return Ok(None);
        };
        match decode(&packet) {
            Ok(Some((First::Ssl, _))) if may_ask_tls => {
                may_ask_tls = false;
                match door_tls {
                    Some(door_tls) => {
                        stream.write_all(b"S").await?;
                        stream = door_tls.accept(stream).await?;
                        may_ask_gss = false;
                    }
                    None => stream.write_all(b"N").await?,
                }
            }
            Ok(Some((First::Gss, _))) if may_ask_gss => {
                may_ask_gss = false;
                stream.write_all(b"N").await?;
            }
            _ => return Ok(Some((stream, packet))),
        }
    }
}

/// One packet without a type byte; as far as its length when that cannot be.
async fn packet(stream: &mut Stream) -> io::Result<Option<Vec<u8>>> {
    // The shortest packet: a length and a code.
    let mut packet = vec![0; 8];
    match stream.read_exact(&mut packet).await {
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(None),
        other => other?,
    }
    let length = packet.first_chunk().copied().map_or(0, u32::from_be_bytes);
    let length = usize::try_from(length).unwrap_or(usize::MAX);
    if (8..=MAX_LENGTH).contains(&length) {
        packet.resize(length, 0);
        stream
            .read_exact(packet.get_mut(8..).unwrap_or_default())
            .await?;
    }
    Ok(Some(packet))
}
