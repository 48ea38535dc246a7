//! Owns how an answer of the app is encoded on its way out: what is decided of it, the fields that
//! change, the body at once or as a stream, and what the app is told of codings.
//! Leaves the rules to `canter_encode`, streams to `coder`, and sending to `send`.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt as _;

use canter_cache::Body;
use canter_channel::response::{FilePart, Response};
use canter_encode::policy::{self, Verdict};
use canter_encode::{Coding, Encoder, Pad, Wish, encode, tag};
use canter_http::coding::Accepted;
use canter_http::select::Selected as Wanted;
use canter_http::{BodyFraming, KnownName, Method, response};
use canter_shield::budget::Share;

use super::{Conn, Stop};
use crate::app::App;
use crate::coder::Coder;
use crate::facts::Facts;
use crate::pages::Page;
use crate::request::{self, Codings, Selected};
use crate::settings::Compress;

/// Bytes of a file that are encoded at a time.
const FILE_SLICE: u64 = 128 * 1024;

/// What becomes of one answer: its coding, and the fields that change.
#[derive(Debug, Default)]
pub(super) struct Form {
    /// None: as it is.
    coding: Option<Coding>,
    pad: u64,
    is_trickle: bool,
    /// The length that the app promised.
    promised: Option<u64>,
    /// In place of the app's own.
    vary: Option<Vec<u8>>,
    /// In place of the app's own.
    etag: Option<Vec<u8>>,
    /// What browsers are told of their time, in place of what the app says.
    browser: Option<Vec<u8>>,
}

impl Form {
    #[cfg(test)]
    pub fn of(coding: Coding) -> Self {
        Self {
            coding: Some(coding),
            etag: Some(b"\"a~\"".to_vec()),
            vary: Some(b"Accept-Encoding".to_vec()),
            ..Self::default()
        }
    }

    /// Whether the answer is encoded.
    pub fn is_encoded(&self) -> bool {
        self.coding.is_some()
    }

    /// Sends it as it is after all; another client may get another form still.
    fn give_up(&mut self) {
        (self.coding, self.etag) = (None, None);
    }

    /// The form of what is sent of content that conditions and ranges were held against.
    pub fn of_selected(mut self, facts: &Facts, selected: &Wanted, etag: Option<&[u8]>) -> Self {
        match selected {
            Wanted::Whole => {}
            Wanted::NotModified => {
                self.coding = None;
                self.etag = etag.and_then(|etag| clients_tag(facts, etag));
            }
            _ => self.give_up(),
        }
        self
    }

    /// Tells browsers the time that a page's rule gives them, as the stored page does.
    pub fn tell_browsers(&mut self, ttl: Option<u32>) {
        self.browser = ttl.map(|ttl| format!("max-age={ttl}").into_bytes());
    }

    /// The fields of the answer in this form.
    pub fn fields<'f>(
        &'f self,
        fields: impl Iterator<Item = (&'f [u8], &'f [u8])>,
    ) -> impl Iterator<Item = (&'f [u8], &'f [u8])> {
        let changes = self.coding.is_some() || self.vary.is_some() || self.etag.is_some();
        let is_replaced = |name: &[u8]| {
            let mut names = [&b"cache-control"[..], b"expires", b"pragma"].into_iter();
            self.browser.is_some() && names.any(|own| name.eq_ignore_ascii_case(own))
        };
        let fields = fields.filter(move |(name, _)| !is_replaced(name));
        let kept = fields.filter(move |(name, _)| {
            !changes
                || match KnownName::classify(name) {
                    KnownName::ContentLength | KnownName::ContentEncoding => self.coding.is_none(),
                    KnownName::Vary => self.vary.is_none(),
                    KnownName::Etag => self.etag.is_none(),
                    _ => true,
                }
        });
        let coding = self.coding.map(|coding| coding.name().as_bytes());
        let own: [(&[u8], Option<&[u8]>); 4] = [
            (b"Cache-Control", self.browser.as_deref()),
            (b"Content-Encoding", coding),
            (b"Vary", self.vary.as_deref()),
            (b"ETag", self.etag.as_deref()),
        ];
        let own = own.into_iter();
        kept.chain(own.filter_map(|(name, value)| Some((name, value?))))
    }
}

impl<A: App> Conn<A> {
    /// The codings that the client would take.
    pub(super) fn wish(&self) -> Wish {
        let (head, buf) = (&self.head, self.buffer.filled());
        if self.shared.settings.compress.is_none() || !head.has(KnownName::AcceptEncoding) {
            return Wish::NONE;
        }
        let fields = head.fields.iter();
        let lines = fields.filter(|field| field.known == KnownName::AcceptEncoding);
        Wish {
            accepted: Accepted::parse(lines.map(|field| field.value.of(buf))),
        }
    }

    /// Whether the app never hears which codings a client would take.
    pub(super) fn hides_codings(&self) -> bool {
        let compress = self.shared.settings.compress.as_ref();
        compress.is_some_and(|compress| compress.hides)
    }

    /// What the app is told of codings.
    pub(super) fn codings(&self, facts: &Facts) -> Codings {
        let Some(compress) = &self.shared.settings.compress else {
            return Codings::Pass;
        };
        let is_read = matches!(facts.method, Method::Get | Method::Head);
        Codings::Ours {
            hides: compress.hides,
            selected: match facts.wish.coding() {
                _ if !is_read => Selected::All,
                Some(coding) => Selected::One(coding),
                None => Selected::None,
            },
        }
    }

    /// Keeps the tags that the client has, and puts what is judged here into the app's words.
    pub(super) fn remember_forms(&self, facts: &mut Facts) {
        let (Some(conditions), Some(coding)) = (&mut facts.conditions, facts.wish.coding()) else {
            return;
        };
        if self.shared.settings.compress.is_none() {
            return;
        }
        if let Some(list) = &mut conditions.if_match
            && let Some(own) = tag::towards_the_app(list, None)
        {
            *list = own;
        }
        if let Some(list) = &mut conditions.if_none_match
            && let Some(own) = tag::towards_the_app(list, Some(coding))
        {
            facts.forms = Some(std::mem::replace(list, own).into_boxed_slice());
        }
    }

    /// Decides. `length` is the length of the body where all of it is there.
    pub(super) fn form(&self, facts: &Facts, answer: &Response<'_>, length: Option<u64>) -> Form {
        let Some(compress) = &self.shared.settings.compress else {
            return Form::default();
        };
        // The body of an answer to HEAD says nothing about the length of another's.
        let length = length.filter(|length| !facts.request.is_head || *length > 0);
        let status = answer.facts.status;
        if compress.policy.leaves(facts.wish, status, length) {
            return Form::default();
        }
        let told = policy::Answer::read(status, answer.fields(), length);
        let verdict = compress.policy.judge(facts.wish, &told);
        if verdict == Verdict::Leave {
            return Form::default();
        }
        let vary = policy::vary(
            answer
                .fields()
                .filter(|(name, _)| KnownName::classify(name) == KnownName::Vary)
                .map(|(_, value)| value),
        );
        let mut form = Form {
            vary,
            ..Form::default()
        };
        if status == 304 {
            form.etag = told.etag.and_then(|etag| clients_tag(facts, etag));
        }
        if let Verdict::Encode(coding) = verdict {
            form.coding = Some(coding);
            form.promised = told.stated;
            form.is_trickle = told.is_trickle();
            form.etag = told
                .etag
                .map(|etag| tag::of_form(etag, coding, told.is_public));
            form.pad = if told.is_public { 0 } else { request::random() };
        }
        form
    }

    /// The body in the form's coding; None when that cannot be made.
    pub(super) async fn encode_whole(&self, form: &Form, body: &[u8]) -> Option<Vec<u8>> {
        let (coding, compress) = (form.coding?, self.compress()?);
        let (level, pad) = (compress.level, pad(form));
        if body.len() <= level.quick() {
            return encode(body, coding, level, pad).ok();
        }
        let body = body.to_vec();
        let work = move || encode(&body, coding, level, pad).ok();
        self.shared.helper.run(work).await.flatten()
    }

    /// Whether another client may get a stored page in another form.
    pub(super) fn page_varies(&self, facts: &Facts, page: &Page) -> bool {
        self.verdict_of_page(facts, page) != Verdict::Leave
    }

    fn verdict_of_page(&self, facts: &Facts, page: &Page) -> Verdict {
        let Some(compress) = self.compress().filter(|_| !page.entry.is_encoded()) else {
            return Verdict::Leave;
        };
        let length = page.entry.body().len();
        let fields = page.entry.fields();
        let told = policy::Answer::read(page.entry.status(), fields, Some(length));
        compress.policy.judge(facts.wish, &told)
    }

    /// The form of a stored page that this client gets, and whether another may get another.
    pub(super) async fn form_of_page(
        &self,
        facts: &Facts,
        page: &Page,
    ) -> (Option<(Coding, Body)>, bool) {
        let coding = match self.verdict_of_page(facts, page) {
            Verdict::Leave => return (None, false),
            Verdict::Encode(coding) => coding,
            Verdict::Vary => return (None, true),
        };
        let Some(compress) = self.compress() else {
            return (None, false);
        };
        if let Some(body) = page.entry.content(coding) {
            return (Some((coding, body.clone())), true);
        }
        let pages = &self.shared.settings.pages;
        let making = match pages.form(page, coding).await {
            Ok(body) => return (Some((coding, body)), true),
            Err(making) => making,
        };
        // A page for everybody holds nobody's secret: its length may be known.
        let (content, level) = (page.entry.body().clone(), compress.level);
        let is_quick = content.len() <= level.quick() as u64;
        let work = move || {
            let content: Vec<u8> = content.chunks().collect::<Vec<_>>().concat();
            encode(&content, coding, level, Pad::NONE).ok()
        };
        let encoded = if is_quick {
            work()
        } else {
            self.shared.helper.run(work).await.flatten()
        };
        let body = encoded.map(Body::new);
        if let Some(body) = &body {
            making.done(body);
        }
        (body.map(|body| (coding, body)), true)
    }

    /// The coder of a streamed body. Where there is no memory for one, the form becomes the answer as
    /// it is.
    pub(super) fn coder(&self, form: &mut Form) -> Option<Coder> {
        let (encoder, share) = self.encoder(form)?;
        let quick = self.compress()?.level.quick();
        Some(Coder::new(encoder, form.promised, quick, share))
    }

    /// An encoder and the memory it takes; as for [`Self::coder`].
    pub(super) fn encoder(&self, form: &mut Form) -> Option<(Encoder, Share)> {
        let (coding, level) = (form.coding?, self.compress()?.level);
        let mut share = self.shared.memory.share();
        let begun = share
            .grow(Encoder::memory(coding, level, form.is_trickle))
            .then(|| {
                if form.is_trickle {
                    Encoder::trickle(coding, level, pad(form))
                } else {
                    Encoder::new(coding, level, pad(form))
                }
            });
        let Some(Ok(encoder)) = begun else {
            form.give_up();
            return None;
        };
        Some((encoder, share))
    }

    /// Sends what was written to `self.out`, then a part of a file through an encoder, a slice at a
    /// time; false when the file turned out shorter. The helper reads and encodes, this thread sends.
    pub(super) async fn send_encoded_file(
        &self,
        mut encoder: Encoder,
        file: &File,
        part: FilePart,
        framing: BodyFraming,
    ) -> Result<bool, Stop> {
        self.send_all(&self.out, &[]).await?;
        let (mut at, mut left) = (part.offset, part.len);
        loop {
            let Ok(file) = file.try_clone() else {
                return Ok(false);
            };
            let length = left.min(FILE_SLICE);
            let ends = length == left;
            let work = move || slice(encoder, &file, at, length as usize, ends);
            let Some(Ok((back, bytes))) = self.shared.helper.run(work).await else {
                return Ok(false);
            };
            let mut prefix = Vec::new();
            if framing == BodyFraming::Chunked {
                response::encode_chunk_prefix(&mut prefix, bytes.len() as u64);
            }
            self.send_all(&prefix, &bytes).await?;
            let end: &[&[u8]] = match (framing, bytes.is_empty(), ends) {
                (BodyFraming::Chunked, false, true) => &[response::CHUNK_END, response::LAST_CHUNK],
                (BodyFraming::Chunked, false, false) => &[response::CHUNK_END],
                (BodyFraming::Chunked, true, true) => &[response::LAST_CHUNK],
                _ => &[],
            };
            self.send_all(&end.concat(), &[]).await?;
            let Some(back) = back else {
                return Ok(true);
            };
            (encoder, at, left) = (back, at + length, left - length);
        }
    }

    fn compress(&self) -> Option<&Compress> {
        self.shared.settings.compress.as_ref()
    }
}

/// A slice of a file, encoded; the encoder comes back unless the stream has ended.
fn slice(
    mut encoder: Encoder,
    file: &File,
    at: u64,
    length: usize,
    ends: bool,
) -> io::Result<(Option<Encoder>, Vec<u8>)> {
    let mut content = vec![0; length];
    file.read_exact_at(&mut content, at)?;
    let mut out = Vec::with_capacity(length / 3 + 64);
    encoder.write(&content, &mut out)?;
    if ends {
        encoder.finish(&mut out)?;
        return Ok((None, out));
    }
    Ok((Some(encoder), out))
}

/// The tag in the client's words, where it has named a form of ours.
pub(super) fn clients_tag(facts: &Facts, etag: &[u8]) -> Option<Vec<u8>> {
    let list = facts.forms.as_deref()?;
    tag::in_the_clients_words(etag, list, facts.wish.coding()?)
}

/// What nobody can foretell; one that is known by its bytes has none.
fn pad(form: &Form) -> Pad {
    match form.pad {
        0 => Pad::NONE,
        number => Pad::random(number),
    }
}
