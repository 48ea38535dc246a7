//! Addresses to listen on and networks to trust. Owns their grammar; binding and name look-up are
//! the caller's.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::path::PathBuf;

use super::value::{Value, Wrong};

/// Where to listen.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Address {
    /// A TCP port of this machine.
    Tcp {
        /// Which of the machine's addresses.
        host: Host,
        /// The port; 0 lets the system choose.
        port: u16,
    },
    /// A unix socket at this path.
    Unix(PathBuf),
    /// A listening socket that was inherited under this descriptor number.
    Inherited(u32),
}

/// Which of the machine's addresses a TCP port is opened on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Host {
    /// Every one, IPv6 and IPv4.
    Any,
    /// This one.
    Ip(IpAddr),
    /// Those this name stands for.
    Name(String),
}

impl Address {
    /// Whether nobody but programs of this machine can get there. A name counts as the address it
    /// usually has.
    pub fn is_this_machine_only(&self) -> bool {
        match self {
            Self::Tcp { host, .. } => match host {
                Host::Any => false,
                Host::Ip(ip) => ip.is_loopback(),
                Host::Name(name) => name.eq_ignore_ascii_case("localhost"),
            },
            Self::Unix(_) => true,
            Self::Inherited(_) => false,
        }
    }
}

impl Value for Address {
    const KIND: &'static str = "ADDRESS";
    const SEPARATOR: Option<char> = Some(',');

    fn parse(text: &str) -> Result<Self, Wrong> {
        if let Some(path) = text.strip_prefix("unix:") {
            let path = path.strip_prefix("//").unwrap_or(path);
            return match path {
                "" => Err(wrong_address().hint("name the socket file after `unix:`")),
                path => Ok(Self::Unix(PathBuf::from(path))),
            };
        }
        if let Some(number) = text.strip_prefix("fd://") {
            return <u32 as Value>::parse(number)
                .map(Self::Inherited)
                .map_err(|_| wrong_address().hint("a descriptor number follows `fd://`"));
        }
        let Some((host, port)) = text.rsplit_once(':') else {
            return Err(address_without_port(text));
        };
        let host = parse_host(host)?;
        let digits = !port.is_empty() && port.bytes().all(|byte| byte.is_ascii_digit());
        match port.parse() {
            Ok(port) if digits => Ok(Self::Tcp { host, port }),
            _ => Err(wrong_address().hint("a port is a number from 0 to 65535")),
        }
    }

    fn show(&self) -> String {
        match self {
            Self::Tcp {
                host: Host::Any,
                port,
            } => format!(":{port}"),
            Self::Tcp {
                host: Host::Ip(IpAddr::V6(ip)),
                port,
            } => format!("[{ip}]:{port}"),
            Self::Tcp {
                host: Host::Ip(ip),
                port,
            } => format!("{ip}:{port}"),
            Self::Tcp {
                host: Host::Name(name),
                port,
            } => format!("{name}:{port}"),
            Self::Unix(path) => format!("unix:{}", path.display()),
            Self::Inherited(number) => format!("fd://{number}"),
        }
    }
}

fn wrong_address() -> Wrong {
    Wrong::expected(
        "expected an address such as `127.0.0.1:8000`, `[::1]:8000`, `:8000` or `unix:/path`",
    )
}

fn address_without_port(text: &str) -> Wrong {
    if text.parse::<u16>().is_ok() {
        wrong_address().hint(format!(
            "write `127.0.0.1:{text}` for this machine only or `:{text}` for everyone"
        ))
    } else if text.starts_with('/') {
        wrong_address().hint(format!("write `unix:{text}` for a unix socket"))
    } else {
        wrong_address().hint("add a port")
    }
}

fn parse_host(host: &str) -> Result<Host, Wrong> {
    if host.is_empty() || host == "*" {
        return Ok(Host::Any);
    }
    if let Some(inside) = host.strip_prefix('[') {
        let ip = inside
            .strip_suffix(']')
            .and_then(|ip| ip.parse::<Ipv6Addr>().ok());
        return ip.map(|ip| Host::Ip(ip.into())).ok_or_else(wrong_address);
    }
    if let Ok(ip) = host.parse::<Ipv4Addr>() {
        return Ok(Host::Ip(ip.into()));
    }
    if host.parse::<Ipv6Addr>().is_ok() || host.contains(':') {
        return Err(wrong_address().hint("put an IPv6 address in brackets: `[::1]:8000`"));
    }
    // RFC 1123 section 2.1: letters, digits and hyphens; the last label is not a number, so that
    // `127.0.0.256` is a mistyped address and not a name.
    let label = |label: &str| {
        !label.is_empty()
            && label.len() <= 63
            && label
                .bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_'))
    };
    let numeric = host
        .rsplit('.')
        .next()
        .is_some_and(|last| last.parse::<u64>().is_ok());
    if host.len() <= 253 && host.split('.').all(label) && !numeric {
        Ok(Host::Name(host.to_owned()))
    } else {
        Err(wrong_address())
    }
}

/// A range of addresses, such as those of trusted proxies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Network {
    /// Every peer, also one on a unix socket.
    Any,
    /// The addresses whose first `prefix` bits equal those of `ip`.
    Ip {
        /// An address in the range; the bits behind the prefix are zero.
        ip: IpAddr,
        /// How many bits count.
        prefix: u8,
    },
}

impl Network {
    /// Whether a peer at this address belongs to the range. An IPv4 address that came through an
    /// IPv6 socket (`::ffff:10.0.0.1`) counts as the IPv4 address it is.
    pub fn contains(self, peer: IpAddr) -> bool {
        match (self, peer.to_canonical()) {
            (Self::Any, _) => true,
            (
                Self::Ip {
                    ip: IpAddr::V4(ip),
                    prefix,
                },
                IpAddr::V4(peer),
            ) => {
                let mask = mask(prefix, 32) as u32;
                ip.to_bits() & mask == peer.to_bits() & mask
            }
            (
                Self::Ip {
                    ip: IpAddr::V6(ip),
                    prefix,
                },
                IpAddr::V6(peer),
            ) => {
                let mask = mask(prefix, 128);
                ip.to_bits() & mask == peer.to_bits() & mask
            }
            (Self::Ip { .. }, _) => false,
        }
    }
}

/// `prefix` ones at the top of a number of `width` bits, zeros below.
fn mask(prefix: u8, width: u32) -> u128 {
    let behind = width.saturating_sub(u32::from(prefix));
    let all = u128::MAX >> (128 - width.clamp(1, 128));
    // A shift by the whole width, which `/0` asks for, is no shift at all in hardware.
    all & u128::MAX.checked_shl(behind).unwrap_or(0)
}

impl Value for Network {
    const KIND: &'static str = "NETWORK";
    const SEPARATOR: Option<char> = Some(',');

    fn parse(text: &str) -> Result<Self, Wrong> {
        if text == "*" {
            return Ok(Self::Any);
        }
        let (ip, prefix) = match text.split_once('/') {
            Some((ip, prefix)) => (ip, Some(prefix)),
            None => (text, None),
        };
        let wrong =
            || Wrong::expected("expected an address or network such as `10.0.0.0/8`, `::1` or `*`");
        let ip: IpAddr = ip.parse().map_err(|_| wrong())?;
        let width: u8 = if ip.is_ipv4() { 32 } else { 128 };
        let prefix = match prefix {
            None => width,
            Some(text) => <u32 as Value>::parse(text)
                .ok()
                .and_then(|prefix| u8::try_from(prefix).ok())
                .filter(|prefix| *prefix <= width)
                .ok_or_else(|| wrong().hint(format!("the prefix is at most {width} bits")))?,
        };
        let ip = match ip {
            IpAddr::V4(ip) => {
                IpAddr::V4(Ipv4Addr::from_bits(ip.to_bits() & mask(prefix, 32) as u32))
            }
            IpAddr::V6(ip) => IpAddr::V6(Ipv6Addr::from_bits(ip.to_bits() & mask(prefix, 128))),
        };
        Ok(Self::Ip { ip, prefix })
    }

    fn show(&self) -> String {
        match self {
            Self::Any => "*".to_owned(),
            Self::Ip {
                ip: ip @ IpAddr::V4(_),
                prefix: 32,
            }
            | Self::Ip {
                ip: ip @ IpAddr::V6(_),
                prefix: 128,
            } => ip.to_string(),
            Self::Ip { ip, prefix } => format!("{ip}/{prefix}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_shows_as_it_was_written() {
        for text in [
            "127.0.0.1:8000",
            "[::1]:8000",
            ":8000",
            "[::]:0",
            "localhost:8000",
            "unix:/run/canter.sock",
            "unix:canter.sock",
            "fd://3",
        ] {
            assert_eq!(Value::show(&Address::parse(text).unwrap()), text);
        }
        assert_eq!(Value::show(&Address::parse("*:80").unwrap()), ":80");
        assert_eq!(
            Value::show(&Address::parse("unix:///run/x").unwrap()),
            "unix:/run/x"
        );
    }

    #[test]
    fn a_bad_address_says_what_to_write() {
        for (text, hint) in [
            (
                "8000",
                Some("write `127.0.0.1:8000` for this machine only or `:8000` for everyone"),
            ),
            (
                "/run/x.sock",
                Some("write `unix:/run/x.sock` for a unix socket"),
            ),
            (
                "::1:8000",
                Some("put an IPv6 address in brackets: `[::1]:8000`"),
            ),
            ("localhost", Some("add a port")),
            ("1.2.3.4:99999", Some("a port is a number from 0 to 65535")),
            ("1.2.3.4:+80", Some("a port is a number from 0 to 65535")),
            ("127.0.0.256:80", None),
            ("[127.0.0.1]:80", None),
            (
                "http://x:80",
                Some("put an IPv6 address in brackets: `[::1]:8000`"),
            ),
            ("unix:", Some("name the socket file after `unix:`")),
            ("fd://x", Some("a descriptor number follows `fd://`")),
        ] {
            assert_eq!(
                Address::parse(text).unwrap_err().hint.as_deref(),
                hint,
                "{text}"
            );
        }
    }

    #[test]
    fn a_network_contains_its_addresses_only() {
        for (network, peer, inside) in [
            ("10.0.0.0/8", "10.255.0.1", true),
            ("10.0.0.0/8", "11.0.0.1", false),
            ("10.1.2.3/8", "10.9.9.9", true),
            ("10.0.0.1", "10.0.0.1", true),
            ("10.0.0.1", "10.0.0.2", false),
            ("10.0.0.0/8", "::ffff:10.0.0.1", true),
            ("0.0.0.0/0", "1.2.3.4", true),
            ("0.0.0.0/0", "::1", false),
            ("::/0", "2001:db8::1", true),
            ("2001:db8::/32", "2001:db8:1::1", true),
            ("2001:db8::/32", "2001:db9::1", false),
            ("::1", "::1", true),
            ("*", "::1", true),
        ] {
            let network: Network = Value::parse(network).unwrap();
            assert_eq!(
                network.contains(peer.parse().unwrap()),
                inside,
                "{network:?} {peer}"
            );
        }
        for bad in [
            "",
            "10.0.0.0/33",
            "::/129",
            "10.0.0/8",
            "10.0.0.0/",
            "10.0.0.0/-1",
            "all",
        ] {
            assert!(<Network as Value>::parse(bad).is_err(), "{bad}");
        }
    }
}
