//! Owns answers that are files: of the site (`canter_files`), those the app points to, and those it
//! hands over itself. Conditions and ranges are met here, without the app.
//! Leaves finding files to `canter_files`, and bytes to `send`.

use std::borrow::Cow;
use std::cell::Cell;
use std::fs::File;
use std::iter;

use canter_channel::response::{FilePart, Response};
use canter_files::{Answer, Body, Bytes, FileAnswer, Pointed, boundary};
use canter_http::conditional::{Conditions, Validators};
use canter_http::etag::EntityTag;
use canter_http::range::{Piece, Span};
use canter_http::select::{Content, Selected, select};
use canter_http::template::Template;
use canter_http::{
    Answer as HttpAnswer, BadResponse, BodyFraming, KnownName, Method, ResponsePlan, date,
    response, status,
};

use super::encode::Form;
use super::local::{APP_FAULT, HSTS, hsts};
use super::send::SHORT_BODY;
use super::{After, Conn, Stop, cached};
use crate::app::App;
use crate::clock::unix_seconds;
use crate::facts::Facts;

/// What is sent in place of the app's answer.
pub(super) enum FileInstead {
    /// A file of the site: the app was asked before it was known which paths are those of files.
    Found(Answer),
    /// The file that the app points to.
    Pointed(Pointed),
    /// It points to what it may not; why.
    Refused(&'static str),
}

impl<A: App> Conn<A> {
    /// Keeps what will be needed once the head is gone.
    pub(super) fn remember(&self, facts: &mut Facts) {
        let buf = self.buffer.filled();
        let is_read = matches!(facts.method, Method::Get | Method::Head);
        if is_read {
            facts.conditions = Conditions::of(&self.head, buf).map(Box::new);
            self.remember_forms(facts);
        }
        if is_read && !self.shared.settings.files.is_complete() {
            let head = buf.get(..self.head.length).unwrap_or_default().to_vec();
            facts.early = Some(Box::new((self.head.clone(), head)));
        }
    }

    /// Answers with a file, or word of it.
    pub(super) async fn answer_file(
        &mut self,
        facts: &Facts,
        answer: &Answer,
        unread: bool,
    ) -> Result<After, Stop> {
        const NO_STORE: (&str, Cow<'static, str>) = ("Cache-Control", Cow::Borrowed("no-store"));
        match answer {
            Answer::File(file) => self.send_entry(facts, file, unread).await,
            Answer::Redirect(place) => {
                let fields = [("Location", Cow::Owned(place.clone()))];
                self.answer_locally(facts, 302, &fields, "", unread).await
            }
            Answer::NotFound => {
                self.answer_locally(facts, 404, &[NO_STORE], "", unread)
                    .await
            }
            Answer::NotAllowed => {
                let fields = [("Allow", Cow::Borrowed("GET, HEAD"))];
                self.answer_locally(facts, 405, &fields, "", unread).await
            }
        }
    }

    async fn send_entry(
        &mut self,
        facts: &Facts,
        answer: &FileAnswer,
        unread: bool,
    ) -> Result<After, Stop> {
        let close = unread || !self.may_keep();
        let is_plain = facts.request == Template::REQUEST && !close;
        if let Some((head, bytes)) = answer.ready().filter(|_| is_plain)
            && hsts(&self.shared.settings, facts.https).is_none()
        {
            self.out.clear();
            head.write(&mut self.out, &self.shared.clock.date(facts.started));
            let length = answer.length();
            let begins = self.body_begins(self.out.len());
            let sent = match bytes {
                Bytes::Memory(bytes) => self.send_all(&self.out, bytes).await.map(|()| true),
                Bytes::File(file) => self.send_whole(file, length).await,
                Bytes::Sealed(sealed) => self.send_whole(sealed.file(), length).await,
            };
            self.log(facts, 200, self.sent_since(begins));
            let is_whole = sent?;
            return if is_whole {
                Ok(self.after(false))
            } else {
                Err(Stop::Gone)
            };
        }
        let plan = self.encode_file(
            facts,
            (answer.status(), b""),
            answer.fields(),
            Some(answer.length()),
            close,
        );
        let plan = match plan {
            Ok(plan) => plan,
            Err(bad) => return self.app_fault(facts, &bad.to_string()).await,
        };
        let Some(bytes) = answer.bytes() else {
            return self.app_fault(facts, APP_FAULT).await;
        };
        let body = if plan.framing == BodyFraming::None {
            Body::None
        } else {
            answer.body()
        };
        let begins = self.body_begins(self.out.len());
        let sent = match bytes {
            Bytes::Memory(bytes) => self.send_from_memory(&body, bytes).await.map(|()| true),
            Bytes::File(file) => self.send_from_file(&body, file, 0).await,
            Bytes::Sealed(sealed) => self.send_from_file(&body, sealed.file(), 0).await,
        };
        self.log(facts, answer.status(), self.sent_since(begins));
        match sent? {
            true if unread => Ok(After::Linger),
            true => Ok(self.after(plan.close)),
            // It has become shorter: the client must not take it for whole.
            false => Err(Stop::Gone),
        }
    }

    /// Writes a head to `self.out`.
    pub(super) fn encode_file<'a>(
        &mut self,
        facts: &Facts,
        (status, reason): (u16, &[u8]),
        fields: impl Iterator<Item = (&'a [u8], &'a [u8])>,
        length: Option<u64>,
        close: bool,
    ) -> Result<ResponsePlan, BadResponse> {
        let date = self.shared.clock.date(facts.started);
        let hsts = hsts(&self.shared.settings, facts.https);
        let hsts = hsts.map(|(name, value)| (name.as_bytes(), value.as_bytes()));
        let mut out = std::mem::take(&mut self.out);
        out.clear();
        let has_hsts = Cell::new(false);
        let fields = fields.map(|(name, value)| {
            let is_hsts = hsts.is_some() && name.eq_ignore_ascii_case(HSTS.as_bytes());
            has_hsts.set(has_hsts.get() || is_hsts);
            (name, value)
        });
        // Asked once all others were seen.
        let own = iter::once_with(|| hsts.filter(|_| !has_hsts.get())).flatten();
        let answer = HttpAnswer {
            status,
            reason: if reason.is_empty() {
                status::reason_phrase(status).as_bytes()
            } else {
                reason
            },
            fields: fields.chain(own),
            length,
            close,
        };
        let plan = response::encode_head(&mut out, facts.request, answer, &date);
        self.out = out;
        plan
    }

    async fn send_from_memory(&mut self, body: &Body<'_>, bytes: &[u8]) -> Result<(), Stop> {
        let part = |span: &Span| {
            let start = usize::try_from(span.start).unwrap_or(usize::MAX);
            let end = start.saturating_add(usize::try_from(span.len).unwrap_or(usize::MAX));
            bytes.get(start..end).unwrap_or_default()
        };
        match body {
            Body::None => self.send_all(&self.out, &[]).await,
            // One short string costs the system less than two.
            Body::Part(span) if span.len <= SHORT_BODY as u64 => {
                self.out.extend_from_slice(part(span));
                self.send_all(&self.out, &[]).await
            }
            Body::Part(span) => self.send_all(&self.out, part(span)).await,
            Body::Pieces(pieces) => {
                let parts = pieces.iter().map(|piece| match piece {
                    Piece::Bytes(bytes) => bytes,
                    Piece::Content(span) => part(span),
                });
                let parts: Vec<&[u8]> = parts.collect();
                self.send_pieces(&parts).await
            }
        }
    }

    async fn send_whole(&self, file: &File, len: u64) -> Result<bool, Stop> {
        let body = Body::Part(Span { start: 0, len });
        self.send_from_file(&body, file, 0).await
    }

    /// The head, then parts of a file whose content begins at `offset`; false when the file turned
    /// out shorter.
    async fn send_from_file(
        &self,
        body: &Body<'_>,
        file: &File,
        offset: u64,
    ) -> Result<bool, Stop> {
        match body {
            Body::Part(span) if span.len > 0 => self.send_before_file(&self.out).await?,
            _ => self.send_all(&self.out, &[]).await?,
        }
        match body {
            Body::None => Ok(true),
            Body::Part(span) => {
                self.send_file(file, offset.saturating_add(span.start), span.len)
                    .await
            }
            Body::Pieces(pieces) => {
                for piece in *pieces {
                    let is_whole = match piece {
                        Piece::Bytes(bytes) => self.send_all(bytes, &[]).await.map(|()| true),
                        Piece::Content(span) => {
                            let at = offset.saturating_add(span.start);
                            self.send_file(file, at, span.len).await
                        }
                    };
                    if !is_whole? {
                        return Ok(false);
                    }
                }
                Ok(true)
            }
        }
    }

    /// What is to be sent in place of the app's answer, if anything is.
    pub(super) fn in_its_place(&self, facts: &Facts, message: &[u8]) -> Option<FileInstead> {
        let files = &self.shared.settings.files;
        let pointers = files.pointers();
        if facts.early.is_none() && pointers.is_empty() {
            return None;
        }
        let answer = Response::read(message).ok()?;
        if let Some((head, buf)) = facts.early.as_deref()
            && answer.facts.status == 404
            && let Some(found) = files.find(head, buf, facts.started)
        {
            return Some(FileInstead::Found(found));
        }
        if pointers.is_empty() {
            return None;
        }
        let opened = answer
            .fields()
            .find_map(|(name, value)| match known(name) {
                KnownName::XSendfile => Some(pointers.sendfile(value)),
                KnownName::XAccelRedirect => Some(pointers.accel(value)),
                _ => None,
            })?;
        Some(opened.map_or_else(FileInstead::Refused, FileInstead::Pointed))
    }

    /// Sends it. What the app has still to say is not waited for.
    pub(super) async fn answer_instead(
        &mut self,
        facts: &Facts,
        message: &[u8],
        instead: FileInstead,
    ) -> Result<After, Stop> {
        match instead {
            FileInstead::Found(answer) => self.answer_file(facts, &answer, false).await,
            FileInstead::Refused(why) => {
                let what = format!("the file that it points to cannot be sent: {why}");
                self.app_fault(facts, &what).await
            }
            FileInstead::Pointed(pointed) => {
                let Ok(answer) = Response::read(message) else {
                    return self.app_fault(facts, APP_FAULT).await;
                };
                self.send_pointed(facts, &answer, &pointed).await
            }
        }
    }

    async fn send_pointed(
        &mut self,
        facts: &Facts,
        answer: &Response<'_>,
        pointed: &Pointed,
    ) -> Result<After, Stop> {
        let modified = pointed.modified.map(date::format_date);
        let own: [(&[u8], &[u8]); 3] = [
            (b"Content-Type", pointed.content_type.as_bytes()),
            (b"ETag", pointed.etag.as_bytes()),
            (b"Last-Modified", modified.as_ref().map_or(&[], |text| text)),
        ];
        let fields: Vec<_> = answer
            .fields()
            .filter(|(name, _)| !is_pointer(name))
            .collect();
        let missing = own.into_iter().filter(|(name, value)| {
            let mut fields = fields.iter();
            !value.is_empty() && !fields.any(|(known, _)| known.eq_ignore_ascii_case(name))
        });
        let fields: Vec<_> = fields.iter().copied().chain(missing).collect();
        let part = FilePart {
            offset: 0,
            len: pointed.length,
        };
        let form = Form::default();
        self.send_described(facts, answer, form, &fields, &pointed.file, part)
            .await
    }

    /// A file that the app hands over (`wsgi.file_wrapper`), or a body that it was too large for.
    pub(super) async fn send_file_answer(
        &mut self,
        facts: &Facts,
        message: &[u8],
        file: &File,
    ) -> Result<After, Stop> {
        let parts = Response::read(message).and_then(|answer| {
            Ok((
                answer,
                FilePart::read(message.get(answer.body_at..).unwrap_or_default())?,
            ))
        });
        let Ok((answer, part)) = parts else {
            return self.app_fault(facts, APP_FAULT).await;
        };
        let fields: Vec<_> = answer.fields().collect();
        // A worker has made the file; where that is memory, it leaves less for uploads.
        let mut held = self
            .shared
            .memory
            .files()
            .map(canter_shield::budget::Budget::share);
        if let Some(held) = &mut held {
            held.force(part.len);
        }
        let form = self.form(facts, &answer, Some(part.len));
        self.send_described(facts, &answer, form, &fields, file, part)
            .await
    }

    /// A file with the fields of the app's answer: with validators among them, conditions and ranges
    /// are met.
    async fn send_described(
        &mut self,
        facts: &Facts,
        answer: &Response<'_>,
        form: Form,
        fields: &[(&[u8], &[u8])],
        file: &File,
        part: FilePart,
    ) -> Result<After, Stop> {
        let status = answer.facts.status;
        let now = unix_seconds();
        let validators = validators_of(fields, now);
        let is_described = is_described(facts, status, fields, &validators);
        let selected = if is_described {
            select_part(facts, fields, part.len, validators, now)
        } else {
            Selected::Whole
        };
        let mut form = form.of_selected(facts, &selected, value_of(fields, KnownName::Etag));
        let encoder = self.encoder(&mut form);
        let range = selected.content_range(part.len);
        let extra = [
            range.as_deref().map(|range| ("Content-Range", range)),
            (is_described
                && !form.is_encoded()
                && value_of(fields, KnownName::AcceptRanges).is_none())
            .then_some(("Accept-Ranges", "bytes")),
            match &selected {
                Selected::Parts { content_type, .. } => {
                    Some(("Content-Type", content_type.as_str()))
                }
                _ => None,
            },
        ];
        let extra = extra.into_iter().flatten();
        let extra = extra.map(|(name, value)| (name.as_bytes(), value.as_bytes()));
        let kept = fields
            .iter()
            .copied()
            .filter(|(name, _)| cached::is_for_clients(name) && is_kept(&selected, known(name)));
        let (length, body) = body_of(&selected, part.len);
        let (status, reason) = if selected == Selected::Whole {
            (status, answer.facts.reason)
        } else {
            (selected.status(), &b""[..])
        };
        let close = !self.may_keep();
        let fields = form.fields(kept.chain(extra));
        let stated = (!form.is_encoded()).then_some(length);
        let plan = match self.encode_file(facts, (status, reason), fields, stated, close) {
            Ok(plan) => plan,
            Err(bad) => return self.app_fault(facts, &bad.to_string()).await,
        };
        self.add_own_fields(facts);
        let begins = self.body_begins(self.out.len());
        let whole = match encoder {
            _ if plan.framing == BodyFraming::None => {
                self.send_from_file(&Body::None, file, part.offset).await
            }
            Some((encoder, _memory)) => {
                self.send_encoded_file(encoder, file, part, plan.framing)
                    .await
            }
            None => self.send_from_file(&body, file, part.offset).await,
        };
        self.log(facts, status, self.sent_since(begins));
        if whole? {
            Ok(self.after(plan.close))
        } else {
            if plan.framing == BodyFraming::UntilClose {
                // Only a reset tells this client that something is missing.
                self.stream.reset_on_close();
            }
            Err(Stop::Gone)
        }
    }
}

fn known(name: &[u8]) -> KnownName {
    KnownName::classify(name)
}

/// The value of the first field of this name.
fn value_of<'a>(fields: &[(&[u8], &'a [u8])], wanted: KnownName) -> Option<&'a [u8]> {
    let mut fields = fields.iter();
    let found = fields.find(|(name, _)| known(name) == wanted);
    found.map(|(_, value)| *value)
}

/// Whether the app says enough of what it sends that conditions and ranges are met here, and has not met
/// them itself.
fn is_described(
    facts: &Facts,
    status: u16,
    fields: &[(&[u8], &[u8])],
    validators: &Validators<'_>,
) -> bool {
    let has = |name| value_of(fields, name).is_some();
    status == 200
        && matches!(facts.method, Method::Get | Method::Head)
        && (validators.etag.is_some() || validators.modified.is_some())
        && !has(KnownName::ContentRange)
}

fn validators_of<'a>(fields: &[(&[u8], &'a [u8])], now: u64) -> Validators<'a> {
    let modified = value_of(fields, KnownName::LastModified);
    Validators {
        etag: value_of(fields, KnownName::Etag).and_then(EntityTag::parse),
        modified: modified.and_then(|text| date::parse_date(text, now)),
    }
}

/// What of content of this length is sent, by the conditions of its request and the app's fields.
fn select_part(
    facts: &Facts,
    fields: &[(&[u8], &[u8])],
    length: u64,
    validators: Validators<'_>,
    now: u64,
) -> Selected {
    let Some(conditions) = facts.conditions.as_deref() else {
        return Selected::Whole;
    };
    let content_type = value_of(fields, KnownName::ContentType).unwrap_or_default();
    let content = Content {
        length,
        content_type: &String::from_utf8_lossy(content_type),
        validators,
    };
    select(conditions, facts.method, &content, now, boundary)
}

/// The body of what is sent of content of this length, and how long it is.
pub(super) fn body_of(selected: &Selected, length: u64) -> (u64, Body<'_>) {
    match selected {
        Selected::Whole => {
            let all = Span {
                start: 0,
                len: length,
            };
            (length, Body::Part(all))
        }
        Selected::Part(span) => (span.len, Body::Part(*span)),
        Selected::Parts { pieces, length, .. } => (*length, Body::Pieces(pieces)),
        Selected::NotModified | Selected::Failed | Selected::Unsatisfiable => (0, Body::None),
    }
}

/// Words between the app and whoever sends the file, and what is about the body that is not sent.
fn is_pointer(name: &[u8]) -> bool {
    let starts = |start: &[u8]| {
        name.get(..start.len())
            .is_some_and(|head| head.eq_ignore_ascii_case(start))
    };
    matches!(known(name), KnownName::XSendfile | KnownName::ContentLength) || starts(b"x-accel-")
}

/// Whether a field of the app is sent with this answer: not what is about the whole where a part or
/// nothing is sent.
pub(super) fn is_kept(selected: &Selected, name: KnownName) -> bool {
    match selected {
        Selected::Whole => true,
        Selected::Part(_) => name != KnownName::ContentLength,
        Selected::Parts { .. } => {
            !matches!(name, KnownName::ContentLength | KnownName::ContentType)
        }
        // RFC 9110, section 15.4.5: metadata only where it guides the update of a cache.
        Selected::NotModified => !matches!(
            name,
            KnownName::ContentLength
                | KnownName::ContentType
                | KnownName::ContentEncoding
                | KnownName::ContentLanguage
        ),
        Selected::Failed | Selected::Unsatisfiable => !matches!(
            name,
            KnownName::ContentLength
                | KnownName::ContentType
                | KnownName::ContentEncoding
                | KnownName::ContentDisposition
                | KnownName::CacheControl
                | KnownName::Expires
        ),
    }
}
