//! Owns the words that say why something was not answered from the cache or not stored. They stand
//! in `Cache-Status`, in the log and in the advice of `canter doctor`.

macro_rules! reasons {
    ($($variant:ident $word:literal $text:literal,)*) => {
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
        }
    };
}

reasons! {
    Method "method" "The method is neither GET nor HEAD.",
    RequestBody "request-body" "The request has a body, which no key holds.",
    SessionCookie "session-cookie" "The request carries a cookie that makes its page personal.",
    Authorization "authorization" "The request has Authorization, and the response does not say that it may be shared all the same.",
    Upgrade "upgrade" "The request asks for another protocol.",
    OtherForm "other-form" "The request asks for another form of the page, on which its rule does not say that it depends.",
    Range "range" "A part was asked for, and the whole is not stored.",
    RuleBypass "rule-bypass" "A page rule says to bypass the cache.",
    Operator "operator" "The cache is switched off, or this request asked to go around it with the right to do so.",
    RequestNoCache "request-no-cache" "The client asked for a response that is not from the cache.",
    RequestNoStore "request-no-store" "The client asked for a response that is not stored.",
    RequestTooOld "request-max-age" "The stored response is older than the client accepts.",
    OnlyIfCached "only-if-cached" "The client wants a stored response only, and there is none.",
    KnownUncacheable "known-uncacheable" "An answer from here could not be stored a moment ago.",
    SetCookie "set-cookie" "The response sets a cookie.",
    Private "private" "The response says that it is private.",
    NoStore "no-store" "The response says that it must not be stored.",
    MustUnderstand "must-understand" "The response may be stored only by who understands its status.",
    NoCache "no-cache" "The response must be validated each time, and has no entity tag for that.",
    VaryStar "vary-star" "The response varies on more than the request.",
    VaryUserAgent "vary-user-agent" "The response varies on User-Agent, of which there are too many.",
    VaryTooLong "vary-too-long" "The response varies on too many fields, or on values too long to keep.",
    Status "status" "A response with this status is stored only with freshness that the app states.",
    StatusNever "status-never" "A response with this status is never stored.",
    Partial "partial" "The response is a part, not the whole.",
    Incomplete "incomplete" "The response ended before it was complete.",
    NoFreshness "no-freshness" "The response does not say how long it is fresh, and no page rule does.",
    AlreadyStale "already-stale" "The response was stale when it came, and nothing could validate it.",
    CspNonce "csp-nonce" "The response has a nonce in its Content-Security-Policy.",
    Debug "debug" "DEBUG is on: pages are not stored.",
    TypeMismatch "type-mismatch" "A page rule covers the path, and its extension and the response's type disagree.",
    Pointer "pointer" "The response points to a file to send, which was not resolved.",
    TooLarge "too-large" "The response is larger than one entry may be.",
    HeadTooLarge "head-too-large" "The fields of the response are larger than one entry's may be.",
    KeyTooLarge "key-too-large" "The URL and what else is in the key are longer than a key may be.",
    Superseded "superseded" "The page was purged while it was made.",
    Failed "failed" "The app failed.",
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
            assert!(reason.text().ends_with('.'));
        }
    }
}
