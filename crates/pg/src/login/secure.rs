//! Encryption of a fresh connection to a server: PostgreSQL's request for TLS or TLS at once.
//! Leaves certificates and whom to believe to `stream::tls`.

use std::io;

use rustls::server::ParsedCertificate;

use super::LoginErrorKind;
use super::handshake::Failed;
use crate::stream::{Stream, tls, x509};
use crate::target::{Host, Negotiation, Target};
use crate::wire::build;

/// What may become of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Way {
    /// Nothing is asked.
    Plain,
    /// TLS if the server has it.
    Either,
    /// TLS or an error.
    Encrypted,
}

/// TLS failed with this server; in clear it may go, if that is allowed.
fn failed(sentence: impl Into<String>) -> Failed {
    Failed {
        other_way: true,
        ..Failed::new(LoginErrorKind::Tls, sentence)
    }
}

/// Encrypts `stream`, or does not.
pub(super) async fn open(
    mut stream: Stream,
    target: &Target,
    host: &Host,
    way: Way,
) -> Result<Stream, Failed> {
    if way == Way::Plain || stream.is_unix() {
        return Ok(stream);
    }
    // What was named and cannot be used is told, not done without.
    let config = tls::client_config(&target.tls)
        .map_err(|sentence| Failed::new(LoginErrorKind::Tls, sentence))?;
    let direct = target.tls.negotiation == Negotiation::Direct;
    if !direct && !ask(&mut stream).await? {
        return match way {
            Way::Either | Way::Plain => Ok(stream),
            Way::Encrypted => Err(failed(
                "the server has no TLS (ssl=off), and sslmode asks for it",
            )),
        };
    }
    // What the server sent behind its answer in clear is read by TLS, which refuses it (A1,
    // CVE-2021-23222): not a byte more than the answer was taken.
    let advice = if direct {
        " (sslnegotiation=direct needs PostgreSQL 17 or later on the other side)"
    } else {
        ""
    };
    let stream = tls::connect(stream, config, host).await.map_err(|error| {
        failed(match error.kind() {
            io::ErrorKind::UnexpectedEof | io::ErrorKind::ConnectionReset => {
                format!("the server ended the connection during TLS{advice}")
            }
            _ => format!("TLS failed: {error}"),
        })
    })?;
    if direct && !tls::speaks_postgresql(&stream) {
        return Err(failed(format!(
            "the server did not agree to direct TLS by ALPN{advice}"
        )));
    }
    Ok(stream)
}

/// `SSLRequest`: whether the server agrees.
async fn ask(stream: &mut Stream) -> Result<bool, Failed> {
    let mut request = Vec::with_capacity(8);
    build::ssl_request(&mut request);
    let mut answer = [0];
    let gone = |error: io::Error| {
        let sentence = format!("the connection broke when TLS was asked for: {error}");
        Failed::new(LoginErrorKind::Gone, sentence)
    };
    stream.write_all(&request).await.map_err(gone)?;
    stream.read_exact(&mut answer).await.map_err(gone)?;
    match answer {
        [b'S'] => Ok(true),
        [b'N'] => Ok(false),
        // Its words are not shown: anybody on the way could have put them there (CVE-2024-10977).
        [b'E'] => Err(failed(
            "the server answered the request for TLS with an error",
        )),
        _ => Err(Failed::new(
            LoginErrorKind::Protocol,
            "what answers does not speak PostgreSQL's protocol (when TLS was asked for)",
        )),
    }
}

/// `tls-server-end-point` of the server's certificate. Only of one that TLS itself could read: with
/// another the server has not shown that it holds the key, and binding to it would prove nothing.
pub(super) fn end_point(stream: &Stream) -> Option<Vec<u8>> {
    match stream {
        Stream::TlsClient(_) => {
            let certificate = stream.peer_certificates().first()?;
            ParsedCertificate::try_from(certificate).ok()?;
            x509::end_point(certificate)
        }
        Stream::Plain(_) | Stream::TlsServer(_) => None,
    }
}
