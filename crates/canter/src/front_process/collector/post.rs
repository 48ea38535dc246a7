//! Owns one message to a collector and the status of its answer: HTTP/1.1 on a connection of its own, with
//! TLS where the address says so. Leaves when, and what follows, to `collector`.

use std::fmt::Write as _;
use std::io;
use std::sync::Arc;

use canter_base::options::{OtlpEndpoint, Value as _};
use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

/// The longest head of an answer that is read.
const MOST_HEAD: usize = 16 << 10;

/// What became of a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Heard {
    /// The collector has it.
    Taken,
    /// It does not want it, and will not later.
    Refused,
    /// It may want it later.
    Later,
}

/// Where the collector is.
pub(super) struct Place {
    endpoint: OtlpEndpoint,
    /// What stands in each message's head.
    fields: String,
    tls: Option<Arc<ClientConfig>>,
    shown: String,
}

impl Place {
    pub fn new(
        endpoint: &OtlpEndpoint,
        headers: Vec<(String, String)>,
        tls: Option<Arc<ClientConfig>>,
    ) -> Self {
        let mut fields = format!(
            "Host: {}\r\nUser-Agent: canter/{}\r\nContent-Type: application/x-protobuf\r\nConnection: close\r\n",
            endpoint.authority(),
            env!("CARGO_PKG_VERSION")
        );
        for (name, value) in headers {
            // Writing to a String cannot fail.
            let _ = write!(fields, "{name}: {value}\r\n");
        }
        Self {
            endpoint: endpoint.clone(),
            fields,
            tls,
            shown: endpoint.show(),
        }
    }

    /// The address for people.
    pub fn shown(&self) -> &str {
        &self.shown
    }

    /// Sends a message; the status of the answer, or why there is none.
    pub async fn post(&self, path: &str, message: &[u8]) -> Result<u16, String> {
        let endpoint = &self.endpoint;
        let words = |error: io::Error| error.to_string();
        let tcp = TcpStream::connect((endpoint.host.as_str(), endpoint.port));
        let tcp = tcp.await.map_err(words)?;
        let head = format!(
            "POST {}{path} HTTP/1.1\r\n{}Content-Length: {}\r\n\r\n",
            endpoint.path,
            self.fields,
            message.len()
        );
        let Some(tls) = &self.tls else {
            return exchange(tcp, head.as_bytes(), message).await.map_err(words);
        };
        let name = ServerName::try_from(endpoint.host.clone())
            .map_err(|_| "its name cannot stand in a certificate")?;
        let connector = TlsConnector::from(Arc::clone(tls));
        let stream = connector.connect(name, tcp).await;
        let stream = stream.map_err(|error| format!("TLS: {error}"))?;
        exchange(stream, head.as_bytes(), message)
            .await
            .map_err(words)
    }
}

async fn exchange(
    mut stream: impl AsyncRead + AsyncWrite + Unpin,
    head: &[u8],
    message: &[u8],
) -> io::Result<u16> {
    stream.write_all(head).await?;
    stream.write_all(message).await?;
    stream.flush().await?;
    let mut answer = Vec::new();
    loop {
        if let Some(status) = status(&answer) {
            return Ok(status);
        }
        let came = answer.len();
        if came >= MOST_HEAD {
            return Err(io::Error::other("its answer is no HTTP"));
        }
        if stream.read_buf(&mut answer).await? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
    }
}

/// The status of a head that is there to its end; 1xx before it are passed over.
fn status(mut answer: &[u8]) -> Option<u16> {
    loop {
        let end = answer.windows(4).position(|part| part == b"\r\n\r\n")?;
        let line = std::str::from_utf8(answer.get(..end)?).ok()?;
        let code = line.strip_prefix("HTTP/1.")?.get(2..5)?.parse().ok()?;
        if !(100..200).contains(&code) {
            return Some(code);
        }
        answer = answer.get(end + 4..)?;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn d8_the_status_of_an_answer_is_read_from_a_whole_head() {
        assert_eq!(
            status(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"),
            Some(200)
        );
        assert_eq!(
            status(b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.0 429 Slow\r\n\r\n"),
            Some(429)
        );
        for part in [
            "",
            "HTTP/1.1 200 OK\r\n",
            "SSH-2.0\r\n\r\n",
            "HTTP/1.1 x\r\n\r\n",
        ] {
            assert_eq!(status(part.as_bytes()), None, "{part}");
        }
    }
}
