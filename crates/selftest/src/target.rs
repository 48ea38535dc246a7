//! Owns where the attacks go, which is never anywhere but this machine.
//! Leaves sending to the attacks.

use std::fmt;
use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use tokio::net::{TcpSocket, TcpStream};

/// A server on this machine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target {
    address: SocketAddr,
    host: String,
    path: String,
}

/// Why a URL is not attacked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refused(String);

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Refused {}

impl Target {
    /// Reads `http://127.0.0.1:8000/path`; the scheme and the path may be left out. The host is a
    /// loopback address or `localhost`.
    ///
    /// # Errors
    /// Anything else, whatever it resolves to.
    pub fn parse(url: &str) -> Result<Self, Refused> {
        let rest = url.strip_prefix("http://").unwrap_or(url);
        if rest.contains("://") {
            return Err(Refused(format!(
                "`{url}` is not plain HTTP: give the address of a plain listener, such as \
                 http://127.0.0.1:8000/"
            )));
        }
        let (host, path) = match rest.find('/') {
            Some(at) => rest.split_at(at),
            None => (rest, "/"),
        };
        let named = host
            .strip_prefix("localhost")
            .map(|port| format!("127.0.0.1{port}"));
        let text = named.as_deref().unwrap_or(host);
        let address = text
            .parse::<SocketAddr>()
            .or_else(|_| text.parse::<IpAddr>().map(|ip| SocketAddr::new(ip, 80)));
        let address = address.map_err(|_| {
            Refused(format!(
                "`{host}` is no address of this machine: selftest attacks loopback addresses \
                 only, such as 127.0.0.1:8000"
            ))
        })?;
        if !address.ip().to_canonical().is_loopback() {
            return Err(Refused(format!(
                "{} is not loopback: selftest attacks servers on this machine only; run it where \
                 the server runs",
                address.ip()
            )));
        }
        let plain = path
            .bytes()
            .all(|byte| byte.is_ascii_graphic() && byte != b'#');
        if !plain {
            return Err(Refused(format!("`{path}` is no path of a URL")));
        }
        Ok(Self {
            address,
            host: host.to_owned(),
            path: path.to_owned(),
        })
    }

    /// As it would be opened in a browser.
    pub fn url(&self) -> String {
        format!("http://{}{}", self.host, self.path)
    }

    pub(crate) fn host(&self) -> &str {
        &self.host
    }

    pub(crate) fn path(&self) -> &str {
        &self.path
    }

    /// Opens a connection.
    pub(crate) async fn connect(&self) -> io::Result<TcpStream> {
        let stream = TcpStream::connect(self.address).await?;
        stream.set_nodelay(true)?;
        Ok(stream)
    }

    /// Opens a connection from an address that no other attack and no visitor has, where there is one.
    pub(crate) async fn connect_as_another(&self) -> io::Result<TcpStream> {
        let IpAddr::V4(ip) = self.address.ip() else {
            return self.connect().await;
        };
        let own = ip.octets()[3];
        let other = Ipv4Addr::new(127, 0, 0, if own == 2 { 3 } else { 2 });
        let socket = TcpSocket::new_v4()?;
        socket.bind(SocketAddr::from((other, 0)))?;
        socket.connect(self.address).await
    }

    /// Opens a connection that takes only a little at a time.
    pub(crate) async fn connect_narrow(&self) -> io::Result<TcpStream> {
        let socket = if self.address.is_ipv6() {
            TcpSocket::new_v6()?
        } else {
            TcpSocket::new_v4()?
        };
        socket.set_recv_buffer_size(1024)?;
        socket.connect(self.address).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_this_machine_is_a_target() {
        for (url, shown) in [
            ("http://127.0.0.1:8000/", "http://127.0.0.1:8000/"),
            ("localhost:8000/x?y=1", "http://localhost:8000/x?y=1"),
            ("127.0.0.5", "http://127.0.0.5/"),
            ("[::1]:8000", "http://[::1]:8000/"),
        ] {
            assert_eq!(
                Target::parse(url).map(|target| target.url()),
                Ok(shown.to_owned())
            );
        }
        for url in [
            "http://example.org/",
            "http://93.184.216.34/",
            "10.0.0.1:80",
            "0.0.0.0:80",
            "localhost.example.org:80",
            "https://127.0.0.1/",
            "http://127.0.0.1:8000/a b",
            "127.0.0.1:99999",
            "",
        ] {
            assert!(Target::parse(url).is_err(), "{url}");
        }
    }
}
