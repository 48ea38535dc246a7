//! Owns the listening sockets of the site and of the pool: opening them, taking over inherited
//! ones, removing socket files. Leaves accepting to the front.

use std::fs;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, ToSocketAddrs};
use std::os::fd::OwnedFd;
use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::Duration;

use canter_base::options::{Address, Config, Host};
use canter_base::{Exit, Fault};
use canter_sys::process;
use rustix::fs::{Mode, OFlags, fstat, lstat};
use rustix::io::Errno;
use rustix::net::{
    AddressFamily, SocketAddrUnix, SocketFlags, SocketType, bind as bind_to, getsockname, listen,
    socket_with, sockopt,
};

use super::holder::{self, Holder};

/// What listens on a socket.
#[derive(Clone, Copy, Debug, Default)]
enum Purpose {
    #[default]
    Site,
    /// The site over TLS.
    Https,
    /// Plain HTTP that leads there.
    Redirect,
    Postgres,
    Admin,
}

impl Purpose {
    /// The option that names the address.
    fn flag(self) -> &'static str {
        match self {
            Self::Site | Self::Https => "--bind",
            Self::Redirect => "--http-bind",
            Self::Postgres => "--bind-postgres",
            Self::Admin => "--admin-bind",
        }
    }

    /// The address for people.
    fn shown(self, address: SocketAddr) -> String {
        match self {
            Self::Site | Self::Redirect => url("http", 80, address),
            Self::Https => url("https", 443, address),
            Self::Postgres => address.to_string(),
            Self::Admin => url("http", 80, address) + "/-/canter",
        }
    }
}

/// The sockets, each with its address as people read it.
#[derive(Debug, Default)]
pub struct Sockets {
    purpose: Purpose,
    listeners: Vec<OwnedFd>,
    addresses: Vec<String>,
    files: SocketFiles,
}

/// Files of unix sockets, removed on drop.
#[derive(Debug, Default)]
pub struct SocketFiles(Vec<SocketFile>);

/// One of them. While the file is held the system gives its number to no other, also when another server
/// has put its own in its place.
#[derive(Debug)]
struct SocketFile {
    path: PathBuf,
    held: OwnedFd,
}

impl SocketFile {
    fn hold(path: PathBuf) -> io::Result<Self> {
        let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let held = rustix::fs::open(&path, flags, Mode::empty())?;
        Ok(Self { path, held })
    }

    /// Whether the file at the path is still this one.
    fn is_there(&self) -> io::Result<bool> {
        let (held, found) = (fstat(&self.held)?, lstat(&self.path)?);
        Ok((held.st_dev, held.st_ino) == (found.st_dev, found.st_ino))
    }
}

impl Drop for SocketFiles {
    fn drop(&mut self) {
        for file in &self.0 {
            // Another server may have put its own there meanwhile.
            if file.is_there().unwrap_or(false) {
                let _ = fs::remove_file(&file.path);
            }
        }
    }
}

impl Sockets {
    /// The addresses, for the banner.
    pub fn addresses(&self) -> &[String] {
        &self.addresses
    }

    /// The sockets for the front, and what must live as long as they do.
    pub fn into_parts(self) -> (Vec<(OwnedFd, String)>, SocketFiles) {
        (
            self.listeners.into_iter().zip(self.addresses).collect(),
            self.files,
        )
    }

    /// The address of ours on a port, as it is written in an option.
    fn own(&self, port: u16) -> String {
        let bound = self.listeners.iter().filter_map(|fd| getsockname(fd).ok());
        let mut bound = bound.filter_map(|bound| SocketAddr::try_from(bound).ok());
        match bound.find(|bound| bound.port() == port) {
            Some(bound) if bound.ip().is_unspecified() => format!("`:{port}`"),
            Some(bound) => format!("`{bound}`"),
            None => "another option of this start".to_owned(),
        }
    }

    fn push(&mut self, listener: OwnedFd, address: String) {
        self.listeners.push(listener);
        self.addresses.push(address);
    }
}

/// Takes the sockets that were inherited by number.
pub fn take_inherited(config: &Config) -> Result<Sockets, Fault> {
    let purpose = if config.certfile.is_empty() && config.tls_acme.is_empty() {
        Purpose::Site
    } else {
        Purpose::Https
    };
    let mut sockets = Sockets {
        purpose,
        ..Sockets::default()
    };
    for address in &config.bind {
        if let Address::Inherited(number) = address {
            take(&mut sockets, *number)?;
        }
    }
    Ok(sockets)
}

fn take(sockets: &mut Sockets, number: u32) -> Result<(), Fault> {
    let fault = |what: &str| {
        Fault::new(Exit::Bind, format!("descriptor {number} {what}")).hint(
            "whoever starts Canter must open it, listen on it, and leave it open; \
             systemd does so from a `.socket` unit",
        )
    };
    let adopt = |number: i32| {
        // SAFETY: the user says that whoever started this process has left it open for it. It is taken
        // before this process opens anything, so that none of its own has the number. Safe code cannot
        // own what comes as a number.
        unsafe { process::adopt_fd(number) }.ok()
    };
    let listener = i32::try_from(number).ok().and_then(adopt);
    let listener = listener.ok_or_else(|| fault("is not open"))?;
    if !sockopt::socket_acceptconn(&listener).unwrap_or(false) {
        return Err(fault("is not a listening socket"));
    }
    set_nonblocking(&listener).map_err(|_| fault("cannot be used"))?;
    let address = inherited_address(&listener, number, sockets.purpose);
    sockets.push(listener, address);
    Ok(())
}

/// Opens every other address.
pub fn bind(config: &Config, inherited: Sockets) -> Result<Sockets, Fault> {
    let mut sockets = inherited;
    bind_all(&mut sockets, &config.bind, config)?;
    Ok(sockets)
}

/// Opens the addresses where plain HTTP leads to HTTPS.
pub fn bind_redirects(config: &Config) -> Result<Sockets, Fault> {
    let mut sockets = Sockets {
        purpose: Purpose::Redirect,
        ..Sockets::default()
    };
    bind_all(&mut sockets, &config.http_bind, config)?;
    Ok(sockets)
}

/// Opens the dashboard's own addresses.
pub fn bind_admin(addresses: &[Address], config: &Config) -> Result<Sockets, Fault> {
    let mut sockets = Sockets {
        purpose: Purpose::Admin,
        ..Sockets::default()
    };
    bind_all(&mut sockets, addresses, config)?;
    Ok(sockets)
}

/// Opens the pool's addresses for other programs.
pub fn bind_postgres(addresses: &[Address], config: &Config) -> Result<Sockets, Fault> {
    let mut sockets = Sockets {
        purpose: Purpose::Postgres,
        ..Sockets::default()
    };
    bind_all(&mut sockets, addresses, config)?;
    Ok(sockets)
}

fn bind_all(sockets: &mut Sockets, addresses: &[Address], config: &Config) -> Result<(), Fault> {
    let backlog = i32::try_from(config.backlog).unwrap_or(i32::MAX);
    // Those of `canter pool`, before anything opened here can get the number of one that is not
    // there. The site's are taken earlier, and others have none.
    if matches!(sockets.purpose, Purpose::Postgres) {
        for address in addresses {
            if let Address::Inherited(number) = address {
                take(sockets, *number)?;
            }
        }
    }
    for address in addresses {
        match address {
            Address::Tcp { host, port } => bind_tcp(sockets, host, *port, backlog)?,
            Address::Unix(path) => {
                let mode = config.unix_socket_mode.map(|mode| mode.0);
                bind_unix(sockets, path, mode, backlog)?;
            }
            Address::Inherited(_) => {}
        }
    }
    Ok(())
}

fn bind_tcp(sockets: &mut Sockets, host: &Host, port: u16, backlog: i32) -> Result<(), Fault> {
    let every = SocketAddr::from((Ipv6Addr::UNSPECIFIED, port));
    match host {
        Host::Any => {
            // One socket for IPv6 and IPv4; machines without IPv6 get the other kind.
            let listener = open_tcp(every, backlog).or_else(|error| match error {
                Errno::AFNOSUPPORT | Errno::ADDRNOTAVAIL => {
                    open_tcp((Ipv4Addr::UNSPECIFIED, port).into(), backlog)
                }
                other => Err(other),
            });
            push_tcp(sockets, listener, every)
        }
        Host::Ip(ip) => {
            let address = SocketAddr::from((*ip, port));
            push_tcp(sockets, open_tcp(address, backlog), address)
        }
        Host::Name(name) => bind_name(sockets, name, port, backlog),
    }
}

/// Every address the name stands for; one that this machine lacks does no harm beside others.
fn bind_name(sockets: &mut Sockets, name: &str, port: u16, backlog: i32) -> Result<(), Fault> {
    let found = (name, port).to_socket_addrs().map_err(|error| {
        Fault::new(
            Exit::Bind,
            format!("no address is known for `{name}`: {error}"),
        )
        .hint("write an address of this machine, or `:PORT` for all of them")
    })?;
    let mut addresses: Vec<SocketAddr> = Vec::new();
    for address in found {
        if !addresses.contains(&address) {
            addresses.push(address);
        }
    }
    let before = sockets.listeners.len();
    let mut last = Err(Fault::new(
        Exit::Bind,
        format!("no address is known for `{name}`"),
    ));
    for address in addresses {
        let listener = open_tcp(address, backlog);
        let lacks = matches!(listener, Err(Errno::ADDRNOTAVAIL | Errno::AFNOSUPPORT));
        last = push_tcp(sockets, listener, address);
        if last.is_err() && !lacks {
            return last;
        }
    }
    if sockets.listeners.len() > before {
        Ok(())
    } else {
        last
    }
}

fn push_tcp(
    sockets: &mut Sockets,
    listener: Result<OwnedFd, Errno>,
    address: SocketAddr,
) -> Result<(), Fault> {
    let listener = listener.map_err(|error| tcp_fault(sockets, address, error))?;
    let bound = getsockname(&listener)
        .ok()
        .and_then(|bound| SocketAddr::try_from(bound).ok())
        .unwrap_or(address);
    let shown = sockets.purpose.shown(bound);
    sockets.push(listener, shown);
    Ok(())
}

fn open_tcp(address: SocketAddr, backlog: i32) -> Result<OwnedFd, Errno> {
    let family = if address.is_ipv6() {
        AddressFamily::INET6
    } else {
        AddressFamily::INET
    };
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let socket = socket_with(family, SocketType::STREAM, flags, None)?;
    // A restart need not wait for old connections to be forgotten.
    sockopt::set_socket_reuseaddr(&socket, true)?;
    if address.is_ipv6() {
        // `[::]` means every address, whatever the system's default is.
        sockopt::set_ipv6_v6only(&socket, false)?;
    }
    bind_to(&socket, &address)?;
    listen(&socket, backlog)?;
    Ok(socket)
}

fn tcp_fault(sockets: &Sockets, address: SocketAddr, error: Errno) -> Fault {
    let purpose = sockets.purpose;
    let port = address.port();
    let fault = |why: &str| Fault::new(Exit::Bind, format!("cannot listen on `{address}`: {why}"));
    match error {
        Errno::ADDRINUSE => {
            let other = SocketAddr::new(address.ip(), port.checked_add(1).unwrap_or(8000));
            let other = format!("choose another port: `{} {other}`", purpose.flag());
            let holder = holder::of_port(port);
            if holder.as_ref().is_some_and(Holder::is_this_process) {
                return fault(&format!("{} listens there already", sockets.own(port)))
                    .hint(format!("name each port once, or {other}"));
            }
            let holder = holder.map_or_else(
                || "another program listens there".to_owned(),
                |holder| format!("{holder} listens there"),
            );
            fault(&holder).hint(format!("stop it, or {other}"))
        }
        Errno::ACCESS => fault("ports below 1024 are for the administrator").hint(
            "choose a port such as 8000, or start Canter from systemd with a `.socket` unit or \
             `AmbientCapabilities=CAP_NET_BIND_SERVICE`",
        ),
        Errno::ADDRNOTAVAIL => fault("this machine does not have that address")
            .hint(format!("`:{port}` listens on every address it has")),
        Errno::AFNOSUPPORT => fault("this machine does not speak IPv6")
            .hint(format!("write an IPv4 address: `127.0.0.1:{port}`")),
        other => fault(&io::Error::from(other).to_string()),
    }
}

/// As a person can open it in a browser.
fn url(scheme: &str, usual: u16, address: SocketAddr) -> String {
    let port = address.port();
    let suffix = if port == usual {
        String::new()
    } else {
        format!(":{port}")
    };
    match address.ip() {
        ip if ip.is_unspecified() => {
            format!("{scheme}://localhost{suffix} and every address of this machine")
        }
        IpAddr::V6(ip) => format!("{scheme}://[{ip}]{suffix}"),
        IpAddr::V4(ip) => format!("{scheme}://{ip}{suffix}"),
    }
}

fn bind_unix(
    sockets: &mut Sockets,
    path: &Path,
    mode: Option<u32>,
    backlog: i32,
) -> Result<(), Fault> {
    let shown = path.display().to_string();
    let fault = |why: &str| Fault::new(Exit::Bind, format!("cannot listen on `{shown}`: {why}"));
    let by_system = |error: io::Error| fault(&error.to_string());
    let address = SocketAddrUnix::new(path).map_err(|_| {
        fault("the path is too long for a socket").hint("a path has at most 107 bytes")
    })?;
    clear_stale(path)
        .map_err(|why| fault(why).hint("stop the other server, or choose another path"))?;
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let socket = socket_with(AddressFamily::UNIX, SocketType::STREAM, flags, None)
        .map_err(|error| by_system(error.into()))?;
    bind_to(&socket, &address).map_err(|error| match error {
        Errno::NOENT => fault("its folder does not exist").hint("create the folder first"),
        Errno::ACCESS => fault("its folder may not be written to")
            .hint("choose a folder that the user Canter runs as may write to"),
        other => by_system(other.into()),
    })?;
    let path = std::path::absolute(path).map_err(by_system)?;
    let file = SocketFile::hold(path.clone()).map_err(by_system)?;
    sockets.files.0.push(file);
    if let Some(mode) = mode {
        // Before `listen`: nobody gets in under the old mode.
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).map_err(by_system)?;
    }
    listen(&socket, backlog).map_err(|error| by_system(error.into()))?;
    sockets.push(socket, format!("unix:{}", path.display()));
    Ok(())
}

/// Removes what a server that was killed has left behind, and nothing else.
fn clear_stale(path: &Path) -> Result<(), &'static str> {
    let Ok(meta) = fs::symlink_metadata(path) else {
        return Ok(());
    };
    if !meta.file_type().is_socket() {
        return Err("there is a file of that name that is not a socket");
    }
    let mut tries = 0;
    loop {
        match UnixStream::connect(path) {
            Ok(_) => return Err("another server answers there"),
            // One that is about to listen refuses, too.
            Err(error) if is_refused(&error) && is_new(&meta) && tries < STARTING.1 => {
                tries += 1;
                std::thread::sleep(STARTING.0);
            }
            Err(error) if is_refused(&error) => {
                return fs::remove_file(path)
                    .map_err(|_| "a socket is left over there and cannot be removed");
            }
            Err(_) => return Err("there is a socket that cannot be examined"),
        }
    }
}

/// How long, and how often, to wait for a server that has bound its socket and does not listen yet.
const STARTING: (Duration, u32) = (Duration::from_millis(10), 50);

/// A socket file older than this that refuses is left over: a server listens right after it has bound.
const NEW: Duration = Duration::from_secs(5);

/// Whether a socket file is so new that its server may be about to listen.
pub fn is_new(meta: &fs::Metadata) -> bool {
    meta.modified()
        .is_ok_and(|at| at.elapsed().is_ok_and(|age| age < NEW))
}

/// Whether nobody listens at a socket file, nor is about to.
pub fn is_left_over(path: &Path) -> bool {
    let Ok(meta) = fs::symlink_metadata(path) else {
        return false;
    };
    !is_new(&meta) && UnixStream::connect(path).is_err_and(|error| is_refused(&error))
}

fn is_refused(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::ConnectionRefused
}

fn set_nonblocking(fd: &OwnedFd) -> io::Result<()> {
    let flags = rustix::fs::fcntl_getfl(fd)?;
    Ok(rustix::fs::fcntl_setfl(
        fd,
        flags | rustix::fs::OFlags::NONBLOCK,
    )?)
}

fn inherited_address(listener: &OwnedFd, number: u32, purpose: Purpose) -> String {
    let bound = getsockname(listener).ok();
    let address = bound.and_then(|bound| SocketAddr::try_from(bound).ok());
    match address {
        Some(address) => format!("{} (inherited)", purpose.shown(address)),
        None => format!("fd://{number} (inherited)"),
    }
}

#[cfg(test)]
mod tests;
