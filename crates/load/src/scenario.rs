//! Owns what is asked for: the requests, how often each, in which order, and their bytes.
//! Leaves reading lists, logs and recordings to `source`, and sending to the engine.

use crate::random::Random;
use crate::target::Site;

/// One request as a list, a log or a person gave it.
#[derive(Clone, Debug, PartialEq)]
pub struct Request {
    /// `GET`.
    pub method: String,
    /// Path and query.
    pub path: String,
    /// Fields beyond those every request has.
    pub fields: Vec<(String, String)>,
    /// The body.
    pub body: Vec<u8>,
    /// How often, compared with the others.
    pub weight: f64,
}

impl Request {
    /// A plain GET.
    pub fn get(path: impl Into<String>) -> Self {
        Self {
            method: "GET".to_owned(),
            path: path.into(),
            fields: Vec::new(),
            body: Vec::new(),
            weight: 1.0,
        }
    }

    /// How reports name it.
    pub fn label(&self) -> String {
        format!("{} {}", self.method, self.path)
    }
}

/// In which order requests are made.
#[derive(Clone, Debug, PartialEq)]
pub enum Order {
    /// Each at random by its weight.
    Weighted,
    /// Every user from the first to the last, again and again.
    Journey,
    /// As in a log: which request, and when it came, in milliseconds from the first.
    Log(Vec<(u32, u32)>),
}

/// What a run asks for.
#[derive(Clone, Debug, PartialEq)]
pub struct Scenario {
    /// Every different request.
    pub requests: Vec<Request>,
    /// Their order.
    pub order: Order,
    /// What was in the source and is not asked for, in words.
    pub left_out: Vec<String>,
}

impl Scenario {
    /// A number that is the same for the same requests in the same order, and hardly ever for
    /// others (FNV-1a).
    pub fn fingerprint(&self) -> u64 {
        let mut hash = 0xcbf2_9ce4_8422_2325_u64;
        let mut add = |bytes: &[u8]| {
            for byte in bytes.iter().chain(&[0xff]) {
                hash = (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3);
            }
        };
        for request in &self.requests {
            add(request.label().as_bytes());
            for (name, value) in &request.fields {
                add(name.as_bytes());
                add(value.as_bytes());
            }
            add(&request.body);
            add(&request.weight.to_le_bytes());
        }
        match &self.order {
            Order::Weighted => add(b"weighted"),
            Order::Journey => add(b"journey"),
            Order::Log(log) => log.iter().for_each(|(which, at)| {
                add(&which.to_le_bytes());
                add(&at.to_le_bytes());
            }),
        }
        hash
    }
}

/// A request as bytes, in the parts that a user's cookies come between.
#[derive(Clone, Debug)]
pub(crate) struct Rendered {
    pub(crate) method: http::Method,
    pub(crate) path: String,
    /// For `Host`, or `:authority`.
    pub(crate) host: String,
    /// Lower-case names, for HTTP/2.
    pub(crate) fields: Box<[(String, String)]>,
    /// Head, empty line and body, for users without cookies.
    pub(crate) whole: Box<[u8]>,
    /// Where the empty line is in it.
    head: usize,
}

impl Rendered {
    pub(crate) fn new(request: &Request, site: &Site, keep_alive: bool) -> Self {
        let method = http::Method::from_bytes(request.method.as_bytes());
        let mut fields = request.fields.clone();
        let has = |fields: &[(String, String)], name: &str| {
            fields
                .iter()
                .any(|(known, _)| known.eq_ignore_ascii_case(name))
        };
        if !has(&fields, "user-agent") {
            let agent = concat!("canter-bench/", env!("CARGO_PKG_VERSION"));
            fields.push(("User-Agent".to_owned(), agent.to_owned()));
        }
        if !request.body.is_empty() || matches!(request.method.as_str(), "POST" | "PUT" | "PATCH") {
            fields.push(("Content-Length".to_owned(), request.body.len().to_string()));
        }
        let host = fields
            .iter()
            .position(|(name, _)| name.eq_ignore_ascii_case("host"));
        let host = host.map_or_else(|| site.authority(), |at| fields.remove(at).1);
        let mut head = format!(
            "{} {} HTTP/1.1\r\nHost: {host}\r\n",
            request.method, request.path
        );
        for (name, value) in &fields {
            for part in [name, ": ", value, "\r\n"] {
                head.push_str(part);
            }
        }
        if !keep_alive {
            head.push_str("Connection: close\r\n");
        }
        let whole = [head.as_bytes(), b"\r\n", &request.body].concat();
        let lower = fields
            .into_iter()
            .map(|(name, value)| (name.to_ascii_lowercase(), value));
        let single = |name: &str| ["connection", "keep-alive", "transfer-encoding"].contains(&name);
        Self {
            method: method.unwrap_or(http::Method::GET),
            path: request.path.clone(),
            host,
            fields: lower.filter(|(name, _)| !single(name)).collect(),
            whole: whole.into(),
            head: head.len(),
        }
    }

    pub(crate) fn body(&self) -> &[u8] {
        self.whole.get(self.head + 2..).unwrap_or_default()
    }

    /// The bytes with a `Cookie` field.
    pub(crate) fn with_cookies(&self, cookies: &str) -> Box<[u8]> {
        let field = [b"Cookie: ", cookies.as_bytes(), b"\r\n"].concat();
        let (head, rest) = self.whole.split_at(self.head);
        [head, &field, rest].concat().into()
    }
}

/// Picks requests by their weights.
#[derive(Clone, Debug)]
pub(crate) struct Picker {
    /// The sum of the weights up to each request.
    sums: Vec<f64>,
}

impl Picker {
    pub(crate) fn new(requests: &[Request]) -> Self {
        let mut sum = 0.0;
        let sums = requests.iter().map(|request| {
            sum += request.weight;
            sum
        });
        Self {
            sums: sums.collect(),
        }
    }

    pub(crate) fn pick(&self, random: &mut Random) -> usize {
        if self.sums.len() < 2 {
            return 0;
        }
        let at = random.share() * self.sums.last().copied().unwrap_or(0.0);
        let found = self.sums.partition_point(|sum| *sum <= at);
        found.min(self.sums.len() - 1)
    }
}

/// Whether a name and a value can be sent as a field.
pub fn is_field(name: &str, value: &str) -> bool {
    let token = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
    let text = |byte: u8| byte == b'\t' || (b' '..0x7f).contains(&byte) || byte >= 0x80;
    !name.is_empty() && name.bytes().all(token) && value.bytes().all(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_are_what_rfc_9112_wants() {
        let (site, path) = Site::parse("http://127.0.0.1:8000/a?b").unwrap();
        let mut request = Request::get(path);
        request.fields = vec![("User-Agent".into(), "x".into())];
        let rendered = Rendered::new(&request, &site, true);
        let expected = "GET /a?b HTTP/1.1\r\nHost: 127.0.0.1:8000\r\nUser-Agent: x\r\n\r\n";
        assert_eq!(
            rendered.whole.escape_ascii().to_string(),
            expected.escape_default().to_string()
        );
        request.method = "POST".into();
        request.body = b"hi".to_vec();
        let rendered = Rendered::new(&request, &site, false);
        let bytes = rendered.with_cookies("a=b; c=d");
        let text = String::from_utf8_lossy(&bytes);
        assert!(
            text.ends_with("Content-Length: 2\r\nConnection: close\r\nCookie: a=b; c=d\r\n\r\nhi")
        );
    }

    #[test]
    fn a_host_that_was_given_replaces_that_of_the_url() {
        let (site, path) = Site::parse("http://127.0.0.1:8000/").unwrap();
        let mut request = Request::get(path);
        request.fields = vec![("host".into(), "example.org".into())];
        let whole = Rendered::new(&request, &site, true).whole;
        let text = String::from_utf8_lossy(&whole);
        assert!(text.contains("\r\nHost: example.org\r\n") && !text.contains("127.0.0.1"));
    }

    #[test]
    fn weights_decide_how_often() {
        let mut requests = vec![Request::get("/a"), Request::get("/b"), Request::get("/c")];
        requests[1].weight = 3.0;
        requests[2].weight = 0.0;
        let (picker, mut random, mut seen) = (Picker::new(&requests), Random::new(1), [0; 3]);
        for _ in 0..4000 {
            seen[picker.pick(&mut random)] += 1;
        }
        assert!((900..1100).contains(&seen[0]) && seen[2] == 0, "{seen:?}");
    }

    #[test]
    fn other_requests_have_another_fingerprint() {
        let scenario = |path: &str, weight| Scenario {
            requests: vec![Request {
                weight,
                ..Request::get(path)
            }],
            order: Order::Weighted,
            left_out: Vec::new(),
        };
        let one = scenario("/a", 1.0);
        assert_eq!(one.fingerprint(), scenario("/a", 1.0).fingerprint());
        assert_ne!(one.fingerprint(), scenario("/b", 1.0).fingerprint());
        assert_ne!(one.fingerprint(), scenario("/a", 2.0).fingerprint());
        let journey = Scenario {
            order: Order::Journey,
            ..one.clone()
        };
        assert_ne!(one.fingerprint(), journey.fingerprint());
    }

    #[test]
    fn a_field_cannot_smuggle_lines() {
        assert!(is_field("X-A", "b c"));
        for (name, value) in [("", "x"), ("a b", "x"), ("a", "x\r\nb: c"), ("a:", "x")] {
            assert!(!is_field(name, value), "{name}");
        }
    }
}
