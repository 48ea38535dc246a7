//! `host`, `hostaddr` and `port`: lists that belong together entry by entry.

use std::net::IpAddr;

use super::{Addr, Host, TargetError};

const DEFAULT_PORT: u16 = 5432;
/// Where distributions put the socket, and where their libpq and psycopg's look for it.
const DEFAULT_FOLDER: &str = "/var/run/postgresql";
/// No cluster has more; bounds what a registration can make us try.
const MOST_HOSTS: usize = 64;

pub(super) fn list(
    host: Option<&str>,
    hostaddr: Option<&str>,
    port: Option<&str>,
) -> Result<Vec<Host>, TargetError> {
    let split = |text: Option<&str>| -> Vec<String> {
        text.map(|text| text.split(',').map(|part| part.trim().to_owned()).collect())
            .unwrap_or_default()
    };
    let (hosts, addrs, ports) = (split(host), split(hostaddr), split(port));
    let count = hosts.len().max(addrs.len()).max(1);
    if !addrs.is_empty() && !hosts.is_empty() && addrs.len() != hosts.len() {
        return Err(TargetError::new(format!(
            "host names {} places and hostaddr {}: they must be as many",
            hosts.len(),
            addrs.len()
        )));
    }
    if ports.len() > 1 && ports.len() != count {
        return Err(TargetError::new(format!(
            "port has {} numbers for {count} hosts: give one for all, or one for each",
            ports.len()
        )));
    }
    if count > MOST_HOSTS {
        return Err(TargetError::new(format!(
            "more than {MOST_HOSTS} hosts are given"
        )));
    }
    (0..count)
        .map(|at| {
            let text = |list: &[String]| list.get(at).cloned().unwrap_or_default();
            let number = if ports.len() == 1 {
                ports.first()
            } else {
                ports.get(at)
            };
            Ok(Host {
                addr: address(text(&hosts), &text(&addrs))?,
                port: parse_port(number.map_or("", String::as_str))?,
            })
        })
        .collect()
}

fn address(host: String, addr: &str) -> Result<Addr, TargetError> {
    if !addr.is_empty() {
        let ip = addr
            .parse::<IpAddr>()
            .map_err(|_| TargetError::new("hostaddr must be an IP address; names go into host"))?;
        let name = Some(host).filter(|host| !host.is_empty() && !is_socket(host));
        return Ok(Addr::Ip(ip, name));
    }
    if host.is_empty() {
        return Ok(Addr::Unix(DEFAULT_FOLDER.into()));
    }
    if is_socket(&host) {
        return Ok(Addr::Unix(host.into()));
    }
    let bare = host
        .strip_prefix('[')
        .and_then(|v6| v6.strip_suffix(']'))
        .unwrap_or(&host);
    Ok(match bare.parse::<IpAddr>() {
        Ok(ip) => Addr::Ip(ip, None),
        Err(_) => Addr::Name(host),
    })
}

fn is_socket(host: &str) -> bool {
    host.starts_with('/') || host.starts_with('@')
}

fn parse_port(text: &str) -> Result<u16, TargetError> {
    if text.is_empty() {
        return Ok(DEFAULT_PORT);
    }
    text.parse().ok().filter(|&port| port > 0).ok_or_else(|| {
        // Not quoted: a "/" or "#" left unencoded in a password ends up here.
        TargetError::new(
            "port must be a number from 1 to 65535 (in a URL, characters like / ? # : in a \
             password must be percent-encoded)",
        )
    })
}
