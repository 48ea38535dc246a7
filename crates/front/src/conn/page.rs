//! Owns sending a stored page: all of it in the form that the client likes best, a part, or word that
//! it has not changed. Leaves which page it is to `cached`, and bytes to `send`.

use canter_cache::Body;
use canter_cache::status::CacheStatus;
use canter_encode::tag;
use canter_files::boundary;
use canter_http::coding::Coding;
use canter_http::conditional::Validators;
use canter_http::etag::EntityTag;
use canter_http::range::{Piece, Span};
use canter_http::select::{Content, Selected, select};
use canter_http::{BodyFraming, KnownName, Version, date};

use super::cached::status_text;
use super::encode::clients_tag;
use super::files::{body_of, is_kept};
use super::local::{SERVER_TIMING, hsts, line};
use super::send::SHORT_BODY;
use super::{After, Conn, Stop};
use crate::app::App;
use crate::clock::unix_seconds;
use crate::facts::Facts;
use crate::insight::server_timing;
use crate::pages::Page;

const HSTS_LOWER: &str = "strict-transport-security";

impl<A: App> Conn<A> {
    /// Sends a stored page: all of it, a part, or word that it has not changed.
    pub(super) async fn send_page(
        &mut self,
        facts: &mut Facts,
        page: &Page,
        status: CacheStatus<'static>,
    ) -> Result<After, Stop> {
        facts.cache_status = status_text(&status);
        let entry = &*page.entry;
        let age = page.life.age(crate::pages::now());
        let length = entry.body().len();
        let now = unix_seconds();
        let etag = entry.etag(Coding::Identity);
        let conditions = facts
            .conditions
            .as_deref()
            .filter(|_| entry.status() == 200);
        let selected = conditions.map_or(Selected::Whole, |conditions| {
            let kind = String::from_utf8_lossy(entry.field("content-type").unwrap_or_default());
            let modified = entry.field("last-modified");
            let modified = modified.and_then(|text| date::parse_date(text, now));
            // Without the date of its last change, the date it was made stands in (RFC 9111,
            // section 4.3.2).
            let made = || date::parse_date(entry.field("date")?, now);
            let content = Content {
                length,
                content_type: &kind,
                validators: Validators {
                    etag: EntityTag::parse(&etag),
                    modified: modified.or_else(made),
                },
            };
            select(conditions, facts.method, &content, now, boundary)
        });
        if selected != Selected::Whole {
            return self.send_part_of_page(facts, page, &selected, age).await;
        }
        let close = !facts.request.keep_alive || !self.may_keep();
        let (form, varies) = self.form_of_page(facts, page).await;
        let body = form.as_ref().map_or(entry.body(), |(_, body)| body);
        let length = body.len();
        let mut out = std::mem::take(&mut self.out);
        out.clear();
        write_block(&mut out, page, age);
        if let Some((coding, _)) = &form {
            if !etag.is_empty() {
                line(&mut out, b"ETag", &tag::of_form(&etag, *coding, true));
            }
            line(&mut out, b"Content-Encoding", coding.name().as_bytes());
            line(&mut out, b"Content-Length", length.to_string().as_bytes());
            line(&mut out, b"Age", age.to_string().as_bytes());
        } else {
            let stated = (entry.status() != 204).then_some(length);
            entry.write_rest(&mut out, Coding::Identity, stated, age);
        }
        if varies {
            line(&mut out, b"Vary", b"Accept-Encoding");
        }
        self.end_head(&mut out, facts, close, entry.field(HSTS_LOWER).is_some());
        self.out = out;
        let begins = self.body_begins(self.out.len());
        let sent = if facts.request.is_head || length == 0 {
            self.send_all(&self.out, &[]).await
        } else if length <= SHORT_BODY as u64 {
            for chunk in body.chunks() {
                self.out.extend_from_slice(chunk);
            }
            self.send_all(&self.out, &[]).await
        } else {
            self.send_chunks(body).await
        };
        self.log(facts, entry.status(), self.sent_since(begins));
        sent?;
        Ok(self.after(close))
    }

    /// The head and the first chunk in one call of the system, then the others.
    async fn send_chunks(&self, body: &Body) -> Result<(), Stop> {
        let mut first: &[u8] = &self.out;
        let mut chunks = body.chunks();
        while let Some(chunk) = chunks.next() {
            self.send_all(first, chunk).await?;
            first = chunks.next().unwrap_or_default();
            if first.is_empty() {
                return Ok(());
            }
        }
        self.send_all(first, &[]).await
    }

    /// What follows the fields of a stored page, to the empty line.
    fn end_head(&self, out: &mut Vec<u8>, facts: &Facts, close: bool, has_hsts: bool) {
        let mut line = |name: &str, value: &[u8]| line(out, name.as_bytes(), value);
        if let Some(status) = &facts.cache_status {
            line("Cache-Status", status.text.as_bytes());
        }
        let hsts = hsts(&self.shared.settings, facts.https);
        if let Some((name, value)) = hsts.filter(|_| !has_hsts) {
            line(name, value.as_bytes());
        }
        if let Some(timing) = server_timing(facts) {
            line(SERVER_TIMING, timing.as_bytes());
        }
        match (close, facts.request.version) {
            (true, _) => line("Connection", b"close"),
            (false, Version::Http10) => line("Connection", b"keep-alive"),
            (false, Version::Http11) => {}
        }
        out.extend_from_slice(b"\r\n");
    }

    /// 206, 304, 412 or 416 from a stored page.
    async fn send_part_of_page(
        &mut self,
        facts: &Facts,
        page: &Page,
        selected: &Selected,
        age_seconds: u32,
    ) -> Result<After, Stop> {
        let entry = &*page.entry;
        let total = entry.body().len();
        let (range, etag, age) = (
            selected.content_range(total),
            entry.etag(Coding::Identity),
            age_seconds.to_string(),
        );
        let told = (*selected == Selected::NotModified).then(|| clients_tag(facts, &etag));
        let etag = told.flatten().unwrap_or(etag);
        let multipart = match selected {
            Selected::Parts { content_type, .. } => Some(content_type.as_bytes()),
            _ => None,
        };
        // As the whole page has it (RFC 9110, section 15.4.5).
        let varies = self.page_varies(facts, page);
        let extra: [(&[u8], Option<&[u8]>); 6] = [
            (b"Vary", varies.then_some(b"Accept-Encoding")),
            (b"ETag", Some(&*etag).filter(|etag| !etag.is_empty())),
            (b"Age", Some(age.as_bytes())),
            (b"Content-Range", range.as_ref().map(String::as_bytes)),
            (b"Content-Type", multipart),
            (
                b"Cache-Status",
                facts.cache_status.as_ref().map(|told| told.text.as_bytes()),
            ),
        ];
        let extra = extra
            .into_iter()
            .filter_map(|(name, value)| Some((name, value?)));
        let (ours, told_ttl) = browsers_words(page, age_seconds).unwrap_or_default();
        let fields = entry.fields();
        let kept = fields
            .iter()
            .map(|&(name, value)| {
                let is_ours = !ours.is_empty()
                    && name.eq_ignore_ascii_case(b"cache-control")
                    && value == ours.as_bytes();
                (name, if is_ours { told_ttl.as_bytes() } else { value })
            })
            .filter(|(name, _)| is_kept(selected, KnownName::classify(name)));
        let (length, _) = body_of(selected, total);
        let close = !self.may_keep();
        let head = (selected.status(), &b""[..]);
        let plan = match self.encode_file(facts, head, kept.chain(extra), Some(length), close) {
            Ok(plan) => plan,
            Err(bad) => return self.app_fault(facts, &bad.to_string()).await,
        };
        let part = |span: &Span| entry.body().slices(span.start, span.len);
        let mut parts: Vec<&[u8]> = Vec::new();
        let has_body = plan.framing != BodyFraming::None;
        match selected {
            Selected::Part(span) if has_body => parts.extend(part(span)),
            Selected::Parts { pieces, .. } if has_body => {
                for piece in pieces {
                    match piece {
                        Piece::Bytes(bytes) => parts.push(bytes),
                        Piece::Content(span) => parts.extend(part(span)),
                    }
                }
            }
            _ => {}
        }
        let begins = self.body_begins(self.out.len());
        let sent = self.send_pieces(&parts).await;
        self.log(facts, selected.status(), self.sent_since(begins));
        sent?;
        Ok(self.after(plan.close))
    }
}

/// What the stored block says to browsers of a rule's time, and what it must say to those who get the
/// page at this age: they count the time from the age they are told (RFC 9111, section 4.2.3).
fn browsers_words(page: &Page, age: u32) -> Option<(String, String)> {
    let ttl = page.browser_ttl.filter(|_| age > 0)?;
    let told = ttl.saturating_add(age);
    Some((format!("max-age={ttl}"), format!("max-age={told}")))
}

fn write_block(out: &mut Vec<u8>, page: &Page, age: u32) {
    let block = page.entry.block();
    let Some((ours, told)) = browsers_words(page, age) else {
        return out.extend_from_slice(block);
    };
    let ours = format!("\r\nCache-Control: {ours}\r\n");
    let at = block
        .windows(ours.len())
        .position(|part| part == ours.as_bytes());
    let Some((before, rest)) = at.and_then(|at| block.split_at_checked(at + 2)) else {
        return out.extend_from_slice(block);
    };
    out.extend_from_slice(before);
    line(out, b"Cache-Control", told.as_bytes());
    out.extend_from_slice(rest.get(ours.len() - 2..).unwrap_or_default());
}
