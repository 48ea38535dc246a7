//! What of a request is in its key, and what of it the app gets: on a page that a rule covers the two
//! are the same, so that nobody can send something that changes the page of others.
//! Leaves finding the stored page to the store, and what a rule allows to the policy.
//!
//! Where no rule covers the path the app gets the request as it came, and plain HTTP counts: what the
//! response varies on is compared, and nothing else can be promised.

use std::borrow::Cow;
use std::rc::Rc;

use canter_cache::inputs::{cookies, is_doubtful_name, normal_query};
use canter_cache::key::plain_host;
use canter_cache::vary::Settled;
use canter_cache::{Key, Lines, Mode, Reason, RequestLines, Scheme};
use canter_channel::request::{Facts, Writer};
use canter_http::{Framing, Head, KnownName, Method, TargetForm};

use super::proxied;
use super::rules::Covering;
use super::site::Site;
use crate::forwarded::Words;

/// A request, and what was made of who sent it.
#[derive(Clone, Copy)]
pub(crate) struct Request<'a> {
    pub head: &'a Head,
    pub buf: &'a [u8],
    /// Decoded once, as the app gets it.
    pub path: &'a [u8],
    /// The client's side is encrypted.
    pub https: bool,
    /// The app is not told what the client can decode.
    pub hides_codings: bool,
    /// The app is told an id that the client chose.
    pub is_named: bool,
    /// How the peer speaks of the client where it is a trusted proxy: its words reach the app.
    pub words: Option<Words>,
}

/// What to look for, and what to ask the app for when it is not there.
#[derive(Debug, Clone)]
pub(crate) struct Look {
    /// What it is stored under.
    pub key: Key,
    /// The rule that covers it.
    pub covering: Option<Rc<Covering>>,
    /// What the app gets, on a page that a rule covers.
    pub shape: Option<Shape>,
    /// The app is not told what the client can decode.
    pub hides_codings: bool,
}

/// A request with nothing in it but what is in its key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Shape {
    host: Vec<u8>,
    path: Vec<u8>,
    query: Option<Vec<u8>>,
    https: bool,
    /// Names in lower case.
    fields: Vec<(Vec<u8>, Vec<u8>)>,
    /// The language was chosen here.
    is_language_settled: bool,
    /// The client's token against forged requests was left out: a page with a form in it would
    /// replace it.
    pub is_without_token: bool,
}

/// Nobody's address: a page for everybody depends on none.
const NOBODY: &[u8] = b"0.0.0.0";

/// Fields by which a script asks for another form of the same page.
const OTHER_FORMS: [&[u8]; 8] = [
    b"x-requested-with",
    b"hx-request",
    b"x-pjax",
    b"x-inertia",
    b"turbo-frame",
    b"x-alpine-request",
    b"x-up-version",
    b"rsc",
];

/// Fields that some frameworks take for another method or address.
const DISGUISES: [&[u8]; 7] = [
    b"x-http-method-override",
    b"x-http-method",
    b"x-method-override",
    b"x-original-url",
    b"x-rewrite-url",
    b"x-host",
    b"x-original-host",
];

/// What became of a look at a request.
pub(crate) enum Seen<'r> {
    /// What to look for.
    Covered(Box<Look>),
    /// No rule covers it; this names what to look for.
    Plain(Plain<'r>),
}

/// A request that no rule covers: the app gets it as it came.
pub(crate) struct Plain<'r> {
    scheme: Scheme,
    host: Cow<'r, [u8]>,
}

/// What to look for, whether a rule covers it or not; or why nothing, as [`see`] says it.
pub(crate) fn look(
    rules: &[Rc<Covering>],
    site: &Site,
    request: &Request<'_>,
) -> Result<Look, Option<Reason>> {
    Ok(match see(rules, site, request)? {
        Seen::Covered(look) => *look,
        Seen::Plain(named) => plain(site, request, &named),
    })
}

/// What to look for; or why nothing, with a reason where one is worth telling.
pub(crate) fn see<'r>(
    rules: &[Rc<Covering>],
    site: &Site,
    request: &Request<'r>,
) -> Result<Seen<'r>, Option<Reason>> {
    let Request { head, buf, .. } = *request;
    if !matches!(head.method, Method::Get | Method::Head)
        || !matches!(head.form, TargetForm::Origin | TargetForm::Absolute)
    {
        return Err(None);
    }
    if head.framing != Framing::None {
        return Err(Some(Reason::RequestBody));
    }
    if head.wants_upgrade {
        return Err(Some(Reason::Upgrade));
    }
    let scheme = if request.https {
        Scheme::Https
    } else {
        Scheme::Http
    };
    let host = host(request, site);
    // Where nothing is held against it, it is as good as it came: a key puts it right anyway.
    let host = if rules.is_empty() && site.hosts.is_empty() {
        host
    } else {
        match host {
            Cow::Borrowed(host) => plain_host(scheme, host),
            Cow::Owned(host) => Cow::Owned(plain_host(scheme, &host).into_owned()),
        }
    };
    let covering = rules.iter().find(|rule| rule.covers(&host, request.path));
    if covering.is_some_and(|covering| covering.rule.mode == Mode::Bypass) {
        return Err(Some(Reason::RuleBypass));
    }
    if !site.serves(&host) || head.host_span.is_empty() {
        return Err(None);
    }
    if has_any(head, buf, &DISGUISES) {
        return Err(Some(Reason::Operator));
    }
    if proxied::is_ambiguous(request) {
        return Err(Some(Reason::ProxyRepeats));
    }
    let cookies = Cookies::of(head, buf);
    if let Some(reason) = cookies.personal(&site.private_cookies) {
        return Err(Some(reason));
    }
    match covering {
        Some(covering) => covered(covering, site, request, scheme, host.into_owned(), cookies)
            .map(|look| Seen::Covered(Box::new(look)))
            .map_err(Some),
        None => Ok(Seen::Plain(Plain { scheme, host })),
    }
}

/// The URL that an unsafe request is about.
pub(crate) fn url(site: &Site, request: &Request<'_>) -> Look {
    let Request { head, buf, .. } = *request;
    let scheme = if request.https {
        Scheme::Https
    } else {
        Scheme::Http
    };
    let host = host(request, site);
    Look {
        key: Key::new(scheme, &host, request.path, raw_query(head, buf)),
        covering: None,
        shape: None,
        hides_codings: request.hides_codings,
    }
}

/// The host that the app will take for its own.
fn host<'a>(request: &Request<'a>, site: &Site) -> Cow<'a, [u8]> {
    let Request { head, buf, .. } = *request;
    let forwarded = site
        .forwarded_host
        .then(|| proxied::host(request))
        .flatten();
    forwarded.unwrap_or_else(|| Cow::Borrowed(head.host_span.of(buf)))
}

/// What a request that the app gets as it came is looked for under.
pub(crate) fn plain(site: &Site, request: &Request<'_>, plain: &Plain<'_>) -> Look {
    let Request { head, buf, .. } = *request;
    let cookies = Cookies::of(head, buf);
    let mut key = Key::new(
        plain.scheme,
        &plain.host,
        request.path,
        raw_query(head, buf),
    );
    if head.path_is_escaped {
        // Another spelling of the path is the same path to most, but the app sees it.
        key = key.with(b"raw path", Some(head.path(buf)));
    }
    if let Some(name) = &site.language_cookie {
        // Django reads it and says only that it varies on Accept-Language.
        key = key.with(b"language", cookies.value(name).as_deref());
    }
    for (name, value) in proxied::lines(request) {
        key = key.with(&name, Some(&value));
    }
    Look {
        key,
        covering: None,
        shape: None,
        hides_codings: request.hides_codings,
    }
}

/// A request of which the app gets what is in the key.
fn covered(
    covering: &Rc<Covering>,
    site: &Site,
    request: &Request<'_>,
    scheme: Scheme,
    host: Vec<u8>,
    cookies: Cookies<'_>,
) -> Result<Look, Reason> {
    let Request { head, buf, .. } = *request;
    if head.has(KnownName::Authorization) {
        return Err(Reason::Authorization);
    }
    let counts = |name: &[u8]| covering.headers.iter().any(|own| own.as_bytes() == name);
    let form = OTHER_FORMS
        .iter()
        .find(|name| !counts(name) && find(head, buf, name).is_some());
    let accept = head.value(buf, KnownName::Accept);
    let is_page = accept.is_none_or(|accept| {
        accept.is_empty() || contains(accept, b"*/*") || contains(accept, b"text/html")
    });
    if form.is_some() || !(is_page || counts(b"accept")) {
        return Err(Reason::OtherForm);
    }
    let query = normal_query(head.query(buf), &covering.query).into_owned();
    let query = (!query.is_empty()).then_some(query);
    let mut key = Key::new(scheme, &host, request.path, query.as_deref());
    let mut fields = Vec::new();
    let mut kept = Vec::new();
    for name in &covering.cookies {
        let value = cookies.value(name);
        key = key.with(name, value.as_deref());
        if let Some(value) = value {
            let between: &[u8] = if kept.is_empty() { b"" } else { b"; " };
            kept.extend([between, name, b"=", &value].concat());
        }
    }
    if !kept.is_empty() {
        fields.push((b"cookie".to_vec(), kept));
    }
    for name in &covering.headers {
        let value = find(head, buf, name.as_bytes());
        key = key.with(name.as_bytes(), value);
        if let Some(value) = value {
            fields.push((name.clone().into_bytes(), value.to_vec()));
        }
    }
    let is_language_settled = !site.languages.is_empty();
    if is_language_settled {
        let language = language(site, request, cookies);
        key = key.with(b"language", Some(language.as_bytes()));
        fields.retain(|(name, _)| name != b"accept-language");
        fields.push((b"accept-language".to_vec(), language.as_bytes().to_vec()));
    }
    for (name, value) in proxied::lines(request) {
        if proxied::is_about_the_site(&name) {
            key = key.with(&name, Some(&value));
            fields.push((name.into_owned(), value.into_owned()));
        }
    }
    let is_without_token = site
        .csrf_cookie
        .as_ref()
        .is_some_and(|name| !covering.cookies.contains(name) && cookies.value(name).is_some());
    Ok(Look {
        key,
        covering: Some(Rc::clone(covering)),
        shape: Some(Shape {
            host,
            path: request.path.to_vec(),
            query,
            https: request.https,
            fields,
            is_language_settled,
            is_without_token,
        }),
        hides_codings: true,
    })
}

fn language<'s>(site: &'s Site, request: &Request<'_>, cookies: Cookies<'_>) -> &'s str {
    let chosen = site.language_cookie.as_ref();
    let chosen = chosen.and_then(|name| cookies.value(name));
    let chosen = chosen.and_then(|value| site.chosen_language(std::str::from_utf8(&value).ok()?));
    let accepted = request.head.value(request.buf, KnownName::AcceptLanguage);
    chosen.unwrap_or_else(|| site.language(accepted.unwrap_or_default()))
}

impl Look {
    /// Which inputs the app does not see but as far as they are in the key.
    pub fn settled(&self) -> Settled {
        let shape = self.shape.as_ref();
        Settled {
            cookies: shape.is_some(),
            encodings: self.hides_codings,
            language: shape.is_some_and(|shape| shape.is_language_settled),
        }
    }

    /// What its rule gives browsers.
    pub fn rules_browser_ttl(&self) -> Option<u32> {
        self.covering.as_ref()?.rule.browser_ttl
    }

    /// The same where it is not nothing.
    pub fn browser_ttl(&self) -> Option<u32> {
        let ttl = self.covering.as_ref()?.rule.browser_ttl;
        ttl.filter(|&ttl| ttl > 0)
    }
}

/// What a request to the app is made from, beside its shape.
pub(crate) struct Asking<'a> {
    pub server: &'a [u8],
    pub server_port: u16,
    pub id: &'a [u8],
    pub id_header: &'a str,
    /// The validators of the stored page that it may confirm.
    pub conditions: &'a [(&'a [u8], Vec<u8>)],
}

impl Lines for Shape {
    fn values<'s>(&'s self, name: &'s str) -> impl Iterator<Item = &'s [u8]> {
        let fields = self.fields.iter();
        fields
            .filter(move |(own, _)| own == name.as_bytes())
            .map(|(_, value)| value.as_slice())
    }
}

impl Shape {
    /// The message to the app: a GET, from nobody.
    pub fn message(&self, asking: &Asking<'_>) -> Vec<u8> {
        let mut target = Vec::with_capacity(self.path.len() + 16);
        encode_path(&self.path, &mut target);
        if let Some(query) = &self.query {
            target.push(b'?');
            target.extend_from_slice(query);
        }
        let facts = Facts {
            method: b"GET",
            target: &target,
            path: &self.path,
            query: self.query.as_deref().unwrap_or_default(),
            version: 1,
            https: self.https,
            client: NOBODY,
            client_port: 0,
            server: asking.server,
            server_port: asking.server_port,
            id: asking.id,
        };
        let mut message = Vec::with_capacity(512);
        let mut writer = Writer::new(&mut message, &facts);
        writer.field(b"host", &self.host, false);
        for (name, value) in &self.fields {
            writer.field(name, value, false);
        }
        for (name, value) in asking.conditions {
            writer.field(name, value, false);
        }
        writer.field(asking.id_header.as_bytes(), asking.id, false);
        writer.inline_body(&[]);
        message
    }
}

/// The cookies of a request.
#[derive(Clone, Copy)]
struct Cookies<'a>(RequestLines<'a>);

impl<'a> Cookies<'a> {
    fn of(head: &'a Head, buf: &'a [u8]) -> Self {
        Self(RequestLines { head, buf })
    }

    /// Why the page of who sends them is for nobody else.
    fn personal(&self, names: &[Vec<u8>]) -> Option<Reason> {
        if !self.0.head.has(KnownName::Cookie) {
            return None;
        }
        cookies(&self.0).find_map(|(own, _)| {
            if names.iter().any(|name| name == own) {
                Some(Reason::SessionCookie)
            } else {
                is_doubtful_name(own).then_some(Reason::CookieName)
            }
        })
    }

    /// The last of this name, which is the one that Django takes.
    fn value(&self, name: &[u8]) -> Option<Vec<u8>> {
        if !self.0.has("cookie") {
            return None;
        }
        let found = cookies(&self.0).filter(|(own, _)| *own == name).last();
        found.map(|(_, value)| value.to_vec())
    }
}

/// The query as it came; None without a question mark.
fn raw_query<'a>(head: &Head, buf: &'a [u8]) -> Option<&'a [u8]> {
    let query = head.query(buf);
    let has_mark = !query.is_empty() || head.target_span.of(buf).ends_with(b"?");
    has_mark.then_some(query)
}

/// One spelling for each path.
fn encode_path(path: &[u8], out: &mut Vec<u8>) {
    const DIGITS: &[u8; 16] = b"0123456789ABCDEF";
    for &byte in path {
        if byte.is_ascii_alphanumeric() || b"-._~!$&'()*+,;=:@/".contains(&byte) {
            out.push(byte);
        } else {
            let digit = |at: u8| DIGITS.get(usize::from(at & 15)).copied().unwrap_or(b'0');
            out.extend([b'%', digit(byte >> 4), digit(byte)]);
        }
    }
}

fn has_any(head: &Head, buf: &[u8], names: &[&[u8]]) -> bool {
    // All of them begin with the same letter: one look at each name of the request.
    head.fields.iter().any(|field| {
        field.known == KnownName::Other && {
            let name = field.name.of(buf);
            matches!(name.first(), Some(b'x' | b'X'))
                && names.iter().any(|own| name.eq_ignore_ascii_case(own))
        }
    })
}

fn find<'a>(head: &Head, buf: &'a [u8], name: &[u8]) -> Option<&'a [u8]> {
    let mut fields = head.fields.iter();
    let field = fields.find(|field| field.name.of(buf).eq_ignore_ascii_case(name))?;
    Some(field.value.of(buf))
}

fn contains(text: &[u8], part: &[u8]) -> bool {
    text.windows(part.len())
        .any(|window| window.eq_ignore_ascii_case(part))
}
