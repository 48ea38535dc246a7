//! Owns `POST /-/purge`: removing pages from the cache for whoever knows the token, and what its
//! words mean, also for who asks over the private socket.
//! Leaves which pages are meant to `canter_cache`.

use canter_base::secret::constant_time_eq;
use canter_cache::key::plain_host;
use canter_cache::tags::site_tag;
use canter_cache::{Key, Purge, Scheme};
use canter_http::target::decode_lossy;
use canter_http::{Head, KnownName, Method};

use super::Local;
use crate::pages::Pages;

const PATH: &[u8] = b"/-/purge";

const USAGE: &str =
    "say what to purge: url=, prefix=, host=, tag= or all=1, each as often as need be";

/// The most words in one request.
const MOST: usize = 200;

const TOO_MANY: &str = "more than 200 words in one request: say them in several";

/// Purges what the query names. Without a token the address is the app's.
pub(crate) fn answer(pages: &Pages, token: Option<&str>, head: &Head, buf: &[u8]) -> Option<Local> {
    let token = token?;
    if head.path(buf) != PATH {
        return None;
    }
    let given = head
        .value(buf, KnownName::Authorization)
        .unwrap_or_default();
    let given = given
        .split_at_checked(7)
        .filter(|(scheme, _)| scheme.eq_ignore_ascii_case(b"Bearer "));
    let is_known = given.is_some_and(|(_, given)| constant_time_eq(given, token.as_bytes()));
    Some(if !is_known {
        let mut local = told(401, "this needs the token of --cache-token");
        local.fields.push(("WWW-Authenticate", "Bearer".into()));
        local
    } else if head.method != Method::Post {
        let mut local = told(405, "purging is a POST");
        local.fields.push(("Allow", "POST".into()));
        local
    } else {
        match run(pages, head.query(buf)) {
            Ok(count) => Local {
                status: 200,
                text: count.to_string().into(),
                ..Local::default()
            },
            Err(what) => told(400, what),
        }
    })
}

fn told(status: u16, text: &'static str) -> Local {
    Local {
        status,
        text: text.into(),
        ..Local::default()
    }
}

/// Purges what a query names; how many pages there were, or what is wrong with it.
pub(crate) fn run(pages: &Pages, query: &[u8]) -> Result<usize, &'static str> {
    let mut purges = Vec::new();
    let (mut is_hard, mut words) = (false, 0);
    for pair in query
        .split(|&byte| byte == b'&')
        .filter(|pair| !pair.is_empty())
    {
        let at = pair
            .iter()
            .position(|&byte| byte == b'=')
            .unwrap_or(pair.len());
        let (name, value) = pair.split_at(at);
        let value = decode_lossy(value.get(1..).unwrap_or_default());
        if name == b"hard" {
            is_hard = value == b"1";
            continue;
        }
        words += 1;
        match read(name, &value) {
            _ if words > MOST => return Err(TOO_MANY),
            Some(found) => purges.extend(found),
            None => return Err(USAGE),
        }
    }
    if purges.is_empty() {
        return Err(USAGE);
    }
    let purges = purges.into_iter().flat_map(|purge| pages.as_kept(purge));
    let counts = purges.map(|purge| pages.purge(&purge, !is_hard));
    Ok(counts.sum())
}

/// What one word means; nothing where it is none.
fn read(name: &[u8], value: &[u8]) -> Option<Vec<Purge>> {
    Some(match name {
        b"url" => {
            let (hosts, target) = split(value)?;
            let (path, query) = match target.iter().position(|&byte| byte == b'?') {
                Some(at) => (target.get(..at)?, Some(target.get(at + 1..)?)),
                None => (target, None),
            };
            let purge = |path: Vec<u8>| match (&hosts, query) {
                (Some((scheme, host)), Some(query)) => {
                    Purge::Url(Key::new(*scheme, host, &path, Some(query)))
                }
                // Without a query all are meant.
                (hosts, _) => Purge::Path {
                    host: hosts.as_ref().map(|(_, host)| host.clone()),
                    path,
                },
            };
            forms(path).into_iter().map(purge).collect()
        }
        b"prefix" => {
            let (hosts, path) = split(value)?;
            let host = hosts.map(|(_, host)| host);
            let purge = |path| Purge::Prefix {
                host: host.clone(),
                path,
            };
            forms(path).into_iter().map(purge).collect()
        }
        b"host" if !value.is_empty() => {
            // Which scheme is not said: with the port of either it may stand without one.
            let hosts = [Scheme::Http, Scheme::Https].map(|scheme| plain_host(scheme, value));
            let mut hosts = [
                value.to_ascii_lowercase().into(),
                hosts[0].clone(),
                hosts[1].clone(),
            ];
            hosts.sort_unstable();
            let mut hosts = hosts.to_vec();
            hosts.dedup();
            hosts
                .into_iter()
                .map(|host| Purge::Host(host.into_owned()))
                .collect()
        }
        b"tag" if !value.is_empty() => vec![Purge::Tag(site_tag(value))],
        b"all" if value == b"1" => vec![Purge::Everything],
        _ => return None,
    })
}

/// A path as it may be kept: as it stands, and as the app gets it where that differs. What `reverse()`
/// gives is escaped, what somebody types mostly is not.
fn forms(path: &[u8]) -> Vec<Vec<u8>> {
    let unescaped = decode_lossy(path);
    if unescaped == path {
        vec![unescaped]
    } else {
        vec![path.to_vec(), unescaped]
    }
}

type Origin = Option<(Scheme, Vec<u8>)>;

/// The scheme and host of a URL, where it has them, and the rest.
fn split(url: &[u8]) -> Option<(Origin, &[u8])> {
    if url.starts_with(b"/") {
        return Some((None, url));
    }
    let (scheme, rest) = match url.strip_prefix(b"https://") {
        Some(rest) => (Scheme::Https, rest),
        None => (Scheme::Http, url.strip_prefix(b"http://")?),
    };
    let slash = rest.iter().position(|&byte| byte == b'/')?;
    let (host, path) = rest.split_at(slash);
    Some((Some((scheme, plain_host(scheme, host).into_owned())), path))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_to_purge_is_read() {
        let host = Some(b"a.org".to_vec());
        let path = b"/x".to_vec();
        let rows: [(&str, &str, Option<Purge>); 9] = [
            (
                "url",
                "http://A.org:80/x",
                Some(Purge::Path {
                    host: host.clone(),
                    path: path.clone(),
                }),
            ),
            (
                "url",
                "/x",
                Some(Purge::Path {
                    host: None,
                    path: path.clone(),
                }),
            ),
            (
                "prefix",
                "https://a.org/x",
                Some(Purge::Prefix { host, path }),
            ),
            ("host", "A.org", Some(Purge::Host(b"a.org".to_vec()))),
            ("tag", "news", Some(Purge::Tag(b"tnews".to_vec()))),
            ("all", "1", Some(Purge::Everything)),
            ("all", "", None),
            ("url", "a.org/x", None),
            ("regex", "x", None),
        ];
        for (name, value, expected) in rows {
            let found = read(name.as_bytes(), value.as_bytes());
            assert_eq!(found, expected.map(|purge| vec![purge]), "{name}={value}");
        }
        let key = Key::new(Scheme::Https, b"a.org", b"/x", Some(b"b=1"));
        let found = read(b"url", b"https://a.org/x?b=1");
        assert_eq!(found, Some(vec![Purge::Url(key)]));
        let key = |path: &str| Key::new(Scheme::Https, b"a.org", path.as_bytes(), Some(b"b=%31"));
        let found = read(b"url", b"https://a.org/caf%C3%A9?b=%31");
        let keys = ["/caf%C3%A9", "/caf\u{e9}"].map(|path| Purge::Url(key(path)));
        assert_eq!(found, Some(keys.to_vec()));
        let path = |path: &str| Purge::Path {
            host: None,
            path: path.as_bytes().to_vec(),
        };
        let found = read(b"url", b"/caf%C3%A9/");
        assert_eq!(found, Some(vec![path("/caf%C3%A9/"), path("/caf\u{e9}/")]));
        let prefix = |path: &str| Purge::Prefix {
            host: None,
            path: path.as_bytes().to_vec(),
        };
        let found = read(b"prefix", b"/a%20b/");
        assert_eq!(found, Some(vec![prefix("/a%20b/"), prefix("/a b/")]));
        let hosts = ["a.org", "a.org:443"].map(|host| Purge::Host(host.as_bytes().to_vec()));
        assert_eq!(read(b"host", b"A.org:443"), Some(hosts.to_vec()));
    }
}
