//! The command line as types. A wrong value is one sentence and no run.

use std::net::SocketAddr;
use std::time::Duration;

use crate::response::Expected;

/// One kind of request and what must come back.
pub struct Target {
    /// Its name in the report.
    pub name: String,
    /// How often it is chosen, against the weights of the others.
    pub weight: u32,
    /// The request, ready to be sent.
    pub request: Vec<u8>,
    status: u16,
    body: Vec<u8>,
}

impl Target {
    /// What the response must be.
    pub fn expected(&self) -> Expected<'_> {
        Expected {
            status: self.status,
            body: &self.body,
        }
    }
}

/// One run.
pub struct Options {
    /// The server.
    pub address: SocketAddr,
    /// How many connections work at once, each with one request under way.
    pub connections: usize,
    /// Time before anything counts.
    pub warm_up: Duration,
    /// Time that counts.
    pub duration: Duration,
    /// A request that takes longer has failed.
    pub timeout: Duration,
    /// Start of the random choice of targets.
    pub seed: u64,
    /// What is asked.
    pub targets: Vec<Target>,
}

/// How to call the program.
pub const USAGE: &str = "\
usage: bench-load --connect ADDRESS:PORT [--connections N] [--warm-up S] [--seconds S]
                  [--timeout S] [--seed N] --target KEY=VALUE[,KEY=VALUE...] [--target ...]
keys of a target: name, path, method, weight, status, body=FILE (sent), expect=FILE (received)
Writes `start` and `end` around the counted time and a line a second to standard error,
waits for a line on standard input before it closes its connections, and prints JSON.";

impl Options {
    /// Reads the arguments after the program's name.
    pub fn parse(mut arguments: impl Iterator<Item = String>) -> Result<Self, String> {
        let mut address = None;
        let mut targets = Vec::new();
        let mut options = Self {
            address: SocketAddr::from(([127, 0, 0, 1], 0)),
            connections: 1,
            warm_up: Duration::from_secs(1),
            duration: Duration::from_secs(5),
            timeout: Duration::from_secs(30),
            seed: 1,
            targets: Vec::new(),
        };
        while let Some(name) = arguments.next() {
            let value = arguments
                .next()
                .ok_or_else(|| format!("{name} needs a value"))?;
            match name.as_str() {
                "--connect" => address = Some(number(&name, &value)?),
                "--connections" => options.connections = number(&name, &value)?,
                "--warm-up" => options.warm_up = seconds(&name, &value)?,
                "--seconds" => options.duration = seconds(&name, &value)?,
                "--timeout" => options.timeout = seconds(&name, &value)?,
                "--seed" => options.seed = number(&name, &value)?,
                "--target" => targets.push(value),
                _ => return Err(format!("{name} is not an option of bench-load")),
            }
        }
        options.address = address.ok_or("--connect is missing")?;
        for target in &targets {
            options.targets.push(parse_target(target, options.address)?);
        }
        if options.targets.iter().all(|target| target.weight == 0) || options.connections == 0 {
            return Err("there must be a --target with a weight, and a connection".into());
        }
        Ok(options)
    }
}

fn number<T: std::str::FromStr>(name: &str, value: &str) -> Result<T, String> {
    value
        .parse()
        .map_err(|_| format!("{name}: `{value}` is not what it takes"))
}

fn seconds(name: &str, value: &str) -> Result<Duration, String> {
    Duration::try_from_secs_f64(number(name, value)?)
        .map_err(|_| format!("{name}: `{value}` is not a time in seconds"))
}

fn parse_target(text: &str, address: SocketAddr) -> Result<Target, String> {
    let mut target = Target {
        name: "all".into(),
        weight: 1,
        request: Vec::new(),
        status: 200,
        body: Vec::new(),
    };
    let (mut method, mut path, mut body) = ("GET", "/", None);
    for pair in text.split(',') {
        let (key, value) = pair
            .split_once('=')
            .ok_or_else(|| format!("`{pair}` has no `=`"))?;
        match key {
            "name"
                if value
                    .bytes()
                    .all(|byte| byte.is_ascii_alphanumeric() || byte == b'-') =>
            {
                target.name = value.into();
            }
            "weight" => target.weight = number("weight", value)?,
            "status" => target.status = number("status", value)?,
            "method" => method = value,
            "path" => path = value,
            "body" => body = Some(read_file(value)?),
            "expect" => target.body = read_file(value)?,
            _ => return Err(format!("`{pair}` is not part of a target")),
        }
    }
    let mut head = format!("{method} {path} HTTP/1.1\r\nHost: {address}\r\n");
    if let Some(body) = &body {
        use std::fmt::Write as _;
        let kind = "application/octet-stream";
        // Writing to a String cannot fail.
        let _ = write!(
            head,
            "Content-Type: {kind}\r\nContent-Length: {}\r\n",
            body.len()
        );
    }
    head.push_str("\r\n");
    target.request = head.into_bytes();
    target.request.extend(body.unwrap_or_default());
    Ok(target)
}

fn read_file(path: &str) -> Result<Vec<u8>, String> {
    std::fs::read(path).map_err(|error| format!("cannot read {path}: {error}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(line: &str) -> Result<Options, String> {
        Options::parse(line.split(' ').map(String::from))
    }

    #[test]
    fn a_whole_line_is_understood() {
        let options = parse(
            "--connect 127.0.0.1:80 --connections 8 --seconds 0.5 --target name=a,path=/x,weight=3",
        )
        .unwrap();
        assert_eq!(options.connections, 8);
        assert_eq!(options.duration, Duration::from_millis(500));
        let target = options.targets.first().unwrap();
        assert_eq!(target.weight, 3);
        assert_eq!(
            target.request,
            b"GET /x HTTP/1.1\r\nHost: 127.0.0.1:80\r\n\r\n"
        );
    }

    #[test]
    fn what_cannot_be_run_is_refused() {
        for line in [
            "--target path=/",
            "--connect 127.0.0.1:80",
            "--connect nowhere --target path=/",
            "--connect 127.0.0.1:80 --target weight=0",
            "--connect 127.0.0.1:80 --target colour=red",
            "--connect 127.0.0.1:80 --seconds -1 --target path=/",
            "--connect 127.0.0.1:80 --connections 0 --target path=/",
        ] {
            assert!(parse(line).is_err(), "{line}");
        }
    }
}
