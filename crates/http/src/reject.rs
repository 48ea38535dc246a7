//! Why a request was refused: owns one row per reason with status, words and the rule broken.
//! Writing the answer, counting and logging are left to the front.
//!
//! Every reject closes the connection: after it nobody can be sure where the next request starts.

/// Who is to blame for a refused request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// The client sent what no correct client sends.
    Client,
    /// The request is well-formed and larger than a limit of ours.
    Limit,
    /// The request is well-formed and asks for what this server does not do.
    Unsupported,
}

/// What there is to say about one [`Reject`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RejectRow {
    /// The status code of the answer.
    pub status: u16,
    /// A short word for metrics and logs; never changes.
    pub word: &'static str,
    /// A sentence for a person.
    pub sentence: &'static str,
    /// The specification and section that the request breaks or that sets the status.
    pub section: &'static str,
    /// Who is to blame.
    pub fault: Fault,
}

macro_rules! rejects {
    ($($name:ident: $status:literal $word:literal $fault:ident $section:literal $sentence:literal;)*) => {
        /// The reason why a request was refused.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        pub enum Reject {
            $(#[doc = $sentence] $name,)*
        }

        impl Reject {
            /// Every reason, in the order of the table.
            pub const ALL: &[Self] = &[$(Self::$name,)*];

            /// The row of this reason.
            pub const fn row(self) -> RejectRow {
                match self {
                    $(Self::$name => RejectRow {
                        status: $status,
                        word: $word,
                        sentence: $sentence,
                        section: $section,
                        fault: Fault::$fault,
                    },)*
                }
            }
        }
    };
}

rejects! {
    // Lines and bytes.
    BareLf: 400 "bare-lf" Client "RFC 9112 2.2" "A line ends in LF without CR.";
    BareCr: 400 "bare-cr" Client "RFC 9112 2.2" "A CR is not followed by LF.";
    ControlByte: 400 "control-byte" Client "RFC 9110 5.5" "The head holds a control byte.";
    TooManyEmptyLines: 400 "empty-lines" Client "RFC 9112 2.2" "Too many empty lines come before the request line.";
    // Request line.
    RequestLineTooLong: 414 "request-line-too-long" Limit "RFC 9112 3" "The request line is longer than allowed.";
    BadRequestLine: 400 "bad-request-line" Client "RFC 9112 3" "The request line is not a method, a target and a version with one space between.";
    BadMethod: 400 "bad-method" Client "RFC 9110 9.1" "The method is not a token.";
    MethodUnknown: 501 "method-unknown" Unsupported "RFC 9110 15.6.2" "The method is longer than any known one or has lower-case letters.";
    MethodRefused: 405 "method-refused" Unsupported "RFC 9110 15.5.6" "This server does not take CONNECT or TRACE.";
    BadVersion: 400 "bad-version" Client "RFC 9112 2.3" "The protocol version is missing or malformed.";
    VersionUnsupported: 505 "version-unsupported" Unsupported "RFC 9110 15.6.6" "The protocol version is neither HTTP/1.1 nor HTTP/1.0.";
    BadTarget: 400 "bad-target" Client "RFC 9112 3.2" "The request target has a form or a byte that is not allowed.";
    BadEscape: 400 "bad-escape" Client "RFC 3986 2.1" "The path holds a percent sign without two hexadecimal digits.";
    NulInPath: 400 "nul-in-path" Client "RFC 3986 7.3" "The path holds an escaped NUL byte.";
    OverlongInPath: 400 "overlong-in-path" Client "RFC 3629 3" "The path holds a character in an overlong UTF-8 form.";
    // Field lines.
    HeaderTooLarge: 431 "header-too-large" Limit "RFC 6585 5" "The field lines together are larger than allowed.";
    FieldTooLong: 431 "field-too-long" Limit "RFC 6585 5" "A field line is longer than allowed.";
    TooManyFields: 431 "too-many-fields" Limit "RFC 6585 5" "There are more field lines than allowed.";
    FoldedLine: 400 "folded-line" Client "RFC 9112 5.2" "A field line starts with white space.";
    NoColon: 400 "no-colon" Client "RFC 9112 5" "A field line has no colon.";
    EmptyFieldName: 400 "empty-field-name" Client "RFC 9110 5.1" "A field line has no name.";
    SpaceBeforeColon: 400 "space-before-colon" Client "RFC 9112 5.1" "White space stands between a field name and its colon.";
    BadFieldName: 400 "bad-field-name" Client "RFC 9110 5.1" "A field name is not a token.";
    DuplicateField: 400 "duplicate-field" Client "RFC 9110 5.3" "A field that may be sent once only is repeated.";
    // Host.
    HostMissing: 400 "host-missing" Client "RFC 9112 3.2" "An HTTP/1.1 request has no Host field.";
    HostRepeated: 400 "host-repeated" Client "RFC 9112 3.2" "The request has more than one Host field.";
    BadHost: 400 "bad-host" Client "RFC 9110 7.2" "The host is not a name or address with an optional port.";
    HostDisagrees: 400 "host-disagrees" Client "RFC 9112 3.2.2" "The host in the target differs from the Host field.";
    // Framing.
    BadContentLength: 400 "bad-content-length" Client "RFC 9110 8.6" "Content-Length is not one decimal number.";
    ContentLengthRepeated: 400 "content-length-repeated" Client "RFC 9112 6.3" "The request has more than one Content-Length field.";
    LengthAndEncoding: 400 "length-and-encoding" Client "RFC 9112 6.1" "The request has both Content-Length and Transfer-Encoding.";
    TransferEncodingRepeated: 400 "transfer-encoding-repeated" Client "RFC 9112 6.1" "The request has more than one Transfer-Encoding field.";
    BadTransferEncoding: 400 "bad-transfer-encoding" Client "RFC 9112 6.1" "Transfer-Encoding is malformed or does not end in one chunked.";
    TransferEncodingUnknown: 501 "transfer-encoding-unknown" Unsupported "RFC 9112 6.1" "Transfer-Encoding names a coding other than chunked.";
    TransferEncodingIn10: 400 "transfer-encoding-in-1.0" Client "RFC 9112 6.1" "An HTTP/1.0 request has a Transfer-Encoding field.";
    ExpectationUnknown: 417 "expectation-unknown" Unsupported "RFC 9110 10.1.1" "Expect asks for something other than 100-continue.";
    // Body.
    BodyTooLarge: 413 "body-too-large" Limit "RFC 9110 15.5.14" "The request body is larger than allowed.";
    BadChunkSize: 400 "bad-chunk-size" Client "RFC 9112 7.1" "A chunk size is not a plain hexadecimal number.";
    BadChunkExtension: 400 "bad-chunk-extension" Client "RFC 9112 7.1.1" "A chunk extension is malformed.";
    ChunkExtensionTooLong: 400 "chunk-extension-too-long" Limit "RFC 9112 7.1.1" "The chunk extensions are longer than allowed.";
    ChunkSpill: 400 "chunk-spill" Client "RFC 9112 7.1" "A chunk is not followed by CRLF where its size says it ends.";
    ForbiddenTrailer: 400 "forbidden-trailer" Client "RFC 9110 6.5.1" "The trailer section holds a field about framing, routing or authentication.";
    TrailerTooLarge: 431 "trailer-too-large" Limit "RFC 6585 5" "The trailer section is larger than allowed.";
}

/// The methods named in `Allow` beside a 405, which must carry that field (RFC 9110, 15.5.6).
const ALLOW: &str = "GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS";

impl Reject {
    /// The status code of the answer.
    pub const fn status(self) -> u16 {
        self.row().status
    }

    /// A short word for metrics and logs.
    pub const fn word(self) -> &'static str {
        self.row().word
    }

    /// A field the answer must carry beside the usual ones.
    pub const fn extra_field(self) -> Option<(&'static str, &'static str)> {
        match self {
            Self::MethodRefused => Some(("Allow", ALLOW)),
            _ => None,
        }
    }
}

impl std::fmt::Display for Reject {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let row = self.row();
        write!(formatter, "{} ({})", row.sentence, row.section)
    }
}

impl std::error::Error for Reject {}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    #[test]
    fn words_are_unique_and_fit_a_metric_label() {
        let words: HashSet<_> = Reject::ALL.iter().map(|reject| reject.word()).collect();
        assert_eq!(words.len(), Reject::ALL.len());
        let plain = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-' || b == b'.';
        assert!(words.iter().all(|word| word.bytes().all(plain)));
    }

    #[test]
    fn every_row_has_a_known_status_and_a_sentence() {
        for reject in Reject::ALL {
            let row = reject.row();
            assert!(
                !crate::status::reason_phrase(row.status).is_empty(),
                "{reject:?}"
            );
            assert!(
                row.sentence.ends_with('.') && row.section.starts_with("RFC "),
                "{reject:?}"
            );
        }
    }
}
