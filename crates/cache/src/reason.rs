//! Owns the words that say why something was not answered from the cache or not stored. They stand
//! in `Cache-Status`, in the log and in the advice of `canter doctor`.

use std::fmt::Write as _;

macro_rules! reasons {
    ($($variant:ident $word:literal $text:literal $advice:literal,)*) => {
        /// Why the cache had no part in a request, or kept nothing of its answer.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        #[repr(u8)]
        pub enum Reason {
            $(#[doc = $text] $variant,)*
        }

        impl Reason {
            /// Every one.
            pub const ALL: &[Self] = &[$(Self::$variant,)*];

            /// The word on the wire: lower case and hyphens.
            pub const fn word(self) -> &'static str {
                match self { $(Self::$variant => $word,)* }
            }

            /// What it means, as a sentence.
            pub const fn text(self) -> &'static str {
                match self { $(Self::$variant => $text,)* }
            }

            /// Whether another request for the same may get an answer that is kept.
            pub const fn is_of_the_request(self) -> bool {
                matches!(
                    self,
                    Self::Method
                        | Self::RequestBody
                        | Self::SessionCookie
                        | Self::CookieName
                        | Self::ClientId
                        | Self::Authorization
                        | Self::Upgrade
                        | Self::OtherForm
                        | Self::Range
                        | Self::Operator
                        | Self::RequestNoCache
                        | Self::RequestNoStore
                        | Self::RequestTooOld
                        | Self::OnlyIfCached
                )
            }

            /// Whether the next answer may well be kept: what failed is mostly mended soon.
            pub const fn may_pass(self) -> bool {
                matches!(
                    self,
                    Self::NoFreshness
                        | Self::Status
                        | Self::AlreadyStale
                        | Self::Incomplete
                        | Self::Superseded
                        | Self::Failed
                )
            }

            /// What to do about it, as a sentence.
            pub const fn advice(self) -> &'static str {
                match self { $(Self::$variant => $advice,)* }
            }
        }
    };
}

reasons! {
    Method "method" "The method is neither GET nor HEAD."
        "Nothing to do: only GET and HEAD of the site's own hosts are cached.",
    RequestBody "request-body" "The request has a body, which no key holds."
        "Send what the page needs in its query.",
    SessionCookie "session-cookie" "The request carries a cookie that makes its page personal."
        "Ask without that cookie: visitors who are not signed in get the stored page.",
    CookieName "cookie-name" "The name of a cookie begins or ends with a byte that some readers strip."
        "Nothing to do: browsers take no such name from a page of yours, unless a script of it sets one.",
    ClientId "client-id" "The app was told a request id that the client chose, and may have written it into the page."
        "Name the proxy that writes the id in `--forwarded-allow-ips`.",
    Authorization "authorization" "The request has Authorization, and the response does not say that it may be shared all the same."
        "Leave the page to each client, or say `Cache-Control: public` in its answer.",
    Upgrade "upgrade" "The request asks for another protocol."
        "Nothing to do.",
    OtherForm "other-form" "The request asks for another form of the page, on which its rule does not say that it depends."
        "Name the field in `headers=` of the page's rule.",
    Range "range" "A part was asked for, and the whole is not stored."
        "Nothing to do: ask for the whole once.",
    RuleBypass "rule-bypass" "A page rule says to bypass the cache."
        "Take the path out of the rule with `mode=bypass`, or put another rule before it.",
    Operator "operator" "The cache is switched off, or this request asked to go around it with the right to do so."
        "Ask without the field that names another method or address.",
    ProxyRepeats "proxy-repeats" "A trusted proxy passed on more than one line of a field in which it speaks."
        "Let the proxy set the field in place of adding to what the client sent.",
    RequestNoCache "request-no-cache" "The client asked for a response that is not from the cache."
        "Nothing to do.",
    RequestNoStore "request-no-store" "The client asked for a response that is not stored."
        "Nothing to do.",
    RequestTooOld "request-max-age" "The stored response is older than the client accepts."
        "Nothing to do.",
    OnlyIfCached "only-if-cached" "The client wants a stored response only, and there is none."
        "Nothing to do.",
    KnownUncacheable "known-uncacheable" "An answer from here could not be stored a moment ago."
        "Ask again in half a minute, once the cause is mended.",
    SetCookie "set-cookie" "The response sets a cookie."
        "Do not set a cookie on this page: leave the session and the CSRF token alone where nobody is signed in.",
    Private "private" "The response says that it is private."
        "Take `private` off the answer, or `@never_cache` and `login_required` off the view.",
    NoStore "no-store" "The response says that it must not be stored."
        "Take `no-store` off the answer, or `@never_cache` off the view.",
    MustUnderstand "must-understand" "The response may be stored only by who understands its status."
        "Take `must-understand` off the answer.",
    NoCache "no-cache" "The response must be validated each time, and has no entity tag for that."
        "Let the view send an ETag, with `ConditionalGetMiddleware` or `@condition`.",
    VaryStar "vary-star" "The response varies on more than the request."
        "Name in Vary what the page depends on.",
    VaryUserAgent "vary-user-agent" "The response varies on User-Agent, of which there are too many."
        "Take User-Agent off Vary: choose by width in the browser.",
    VaryTooLong "vary-too-long" "The response varies on too many fields, or on values too long to keep."
        "Name fewer fields in Vary.",
    Status "status" "A response with this status is stored only with freshness that the app states."
        "Let the app say how long with `Cache-Control`, or the rule with `status-ttl=404:10s`.",
    StatusNever "status-never" "A response with this status is never stored."
        "Nothing to do.",
    Partial "partial" "The response is a part, not the whole."
        "Answer with the whole: Canter cuts parts from it.",
    Incomplete "incomplete" "The response ended before it was complete."
        "See the log for why the answer broke off.",
    NoFreshness "no-freshness" "The response does not say how long it is fresh, and no page rule does."
        "Write a rule, such as `--cache-rule \"/news/* ttl=60s\"`, or let the view say `Cache-Control: max-age=60, public`.",
    AlreadyStale "already-stale" "The response was stale when it came, and nothing could validate it."
        "Let the app say a longer time.",
    CspNonce "csp-nonce" "The response has a nonce in its Content-Security-Policy."
        "Use hashes in the policy in place of nonces on pages for everybody.",
    Debug "debug" "DEBUG is on: pages are not stored."
        "Set `DEBUG = False`.",
    TypeMismatch "type-mismatch" "A page rule covers the path, and its extension and the response's type disagree."
        "Give the page a path without that extension.",
    Pointer "pointer" "The response points to a file to send, which was not resolved."
        "See that the file lies below STATIC_ROOT, MEDIA_ROOT or a `--sendfile-root`.",
    TooLarge "too-large" "The response is larger than one entry may be."
        "Nothing larger than 1 MiB is kept, nor than an eighth of `--cache-size`.",
    HeadTooLarge "head-too-large" "The fields of the response are larger than one entry's may be."
        "Send fewer or shorter fields.",
    KeyTooLarge "key-too-large" "The URL and what else is in the key are longer than a key may be."
        "Let the rule count fewer parameters with `query=`.",
    TooManyTags "too-many-tags" "The response has more or longer tags than one entry may have."
        "Send fewer than 32 kB of tags, each shorter than 1 kB.",
    Superseded "superseded" "The page was purged while it was made."
        "Nothing to do: the next one is kept.",
    Failed "failed" "The app failed."
        "See the log for the app's error.",
}

impl Reason {
    /// `docs/reference/cache-status.md`, printed from the table above.
    pub fn reference_page() -> String {
        let mut page = String::from(
            "# Words of `Cache-Status`\n\n\
             <!-- Generated by `cargo xtask docs` from `crates/cache/src/reason.rs`. -->\n\n\
             Why an answer did not come from the page cache, or was not kept: `detail` of `Cache-Status` \
             (RFC 9211), `cache_detail` of the access log, and what `canter doctor --cache` quotes. \
             [The page cache](../explain/page-cache.md) tells the rules.\n\n\
             | word | why | what to do |\n| --- | --- | --- |\n",
        );
        for reason in Self::ALL {
            let _ = writeln!(
                page,
                "| `{}` | {} | {} |",
                reason.word(),
                reason.text(),
                reason.advice()
            );
        }
        page
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_reason_has_its_own_word_and_a_sentence() {
        for (at, reason) in Reason::ALL.iter().enumerate() {
            let word = reason.word();
            assert!(word.bytes().all(|b| b.is_ascii_lowercase() || b == b'-'));
            assert!(Reason::ALL[..at].iter().all(|other| other.word() != word));
            assert!(reason.text().ends_with('.') && reason.advice().ends_with('.'));
        }
    }
}
