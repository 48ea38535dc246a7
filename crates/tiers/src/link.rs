//! One connection to the server: owns reaching it, and moving bytes both ways without waiting.
//! Leaves what they say to `shared`.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use canter_base::options::{CachePlace, CacheServer};
use canter_trust::Trust;
use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpStream, UnixStream};
use tokio_rustls::TlsConnector;

/// Whose certificate is believed: anybody's on request, since some platforms sign their servers'
/// by nobody.
fn rules(server: &CacheServer) -> Result<Arc<ClientConfig>, String> {
    let trust = match &server.ca {
        _ if server.any_certificate => Trust::Anybody,
        Some(file) => Trust::File(file),
        None => Trust::System,
    };
    let hint = |why| match trust {
        Trust::System => format!("{why}; name one with `?ssl_ca_certs=FILE`"),
        Trust::Anybody | Trust::File(_) => why,
    };
    canter_trust::config(&trust).map(Arc::new).map_err(hint)
}

/// What both kinds of socket, and TLS over one, can do.
trait Stream: AsyncRead + AsyncWrite + Unpin {}
impl<S: AsyncRead + AsyncWrite + Unpin> Stream for S {}

/// Bytes taken from the socket at once.
const PIECE: usize = 64 * 1024;

/// A connection.
pub struct Link {
    stream: Box<dyn Stream>,
    /// What has come and was not read yet.
    pub came: Vec<u8>,
    piece: Box<[u8]>,
}

impl Link {
    /// Reaches the server; why not, in words for a person.
    pub async fn open(server: &CacheServer) -> Result<Self, String> {
        let stream: Box<dyn Stream> = match &server.place {
            CachePlace::Unix(path) => {
                let stream = UnixStream::connect(path).await;
                Box::new(stream.map_err(|error| error.to_string())?)
            }
            CachePlace::Tcp(host, port, with_tls) => {
                let tcp = TcpStream::connect((host.as_str(), *port)).await;
                let tcp = tcp.map_err(|error| error.to_string())?;
                // Without it a small command may wait for the answer to the one before.
                let _ = tcp.set_nodelay(true);
                if *with_tls {
                    let name = ServerName::try_from(host.clone());
                    let name = name.map_err(|_| "its name cannot stand in a certificate")?;
                    let connector = TlsConnector::from(rules(server)?);
                    let tls = connector.connect(name, tcp).await;
                    Box::new(tls.map_err(|error| format!("TLS: {error}"))?)
                } else {
                    Box::new(tcp)
                }
            }
        };
        Ok(Self {
            stream,
            came: Vec::new(),
            piece: vec![0; PIECE].into_boxed_slice(),
        })
    }

    /// Takes what has come, up to one piece; ready when there was some.
    pub fn poll_receive(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let mut room = ReadBuf::new(&mut self.piece);
        match Pin::new(&mut self.stream).poll_read(cx, &mut room) {
            Poll::Ready(Ok(())) if room.filled().is_empty() => {
                Poll::Ready(Err(io::ErrorKind::UnexpectedEof.into()))
            }
            Poll::Ready(Ok(())) => {
                self.came.extend_from_slice(room.filled());
                Poll::Ready(Ok(()))
            }
            Poll::Ready(Err(error)) => Poll::Ready(Err(error)),
            Poll::Pending => Poll::Pending,
        }
    }

    /// Gives away as much as the socket takes; how much that was.
    pub fn poll_send(&mut self, cx: &mut Context<'_>, bytes: &[u8]) -> io::Result<usize> {
        let mut sent = 0;
        while let Some(rest) = bytes.get(sent..).filter(|rest| !rest.is_empty()) {
            match Pin::new(&mut self.stream).poll_write(cx, rest) {
                Poll::Ready(Ok(0)) => return Err(io::ErrorKind::WriteZero.into()),
                Poll::Ready(Ok(count)) => sent += count,
                Poll::Ready(Err(error)) => return Err(error),
                Poll::Pending => break,
            }
        }
        // TLS may still hold some of it.
        if let Poll::Ready(Err(error)) = Pin::new(&mut self.stream).poll_flush(cx) {
            return Err(error);
        }
        Ok(sent)
    }
}
