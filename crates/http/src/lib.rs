//! HTTP/1.1 for a server, without sockets: owns what a request or response may look like on the
//! wire. Reading, writing, clocks and time-outs are left to the front.
//!
//! The way in: [`head::HeadDecoder`] turns bytes into a [`head::Head`]; [`body::BodyDecoder`]
//! unframes the body behind it. Either answers with a [`reject::Reject`] instead, after which the
//! connection is answered with [`response::simple_response`] and closed. Nothing is repaired:
//! what two programs could read in two ways is refused (RFC 9112, section 11.2).
//!
//! The way out: [`response::encode_head`] checks everything the app said, decides the framing and
//! writes the head; [`response::encode_chunk_prefix`] and its neighbours frame a streamed body.
//!
//! ```
//! use canter_http::{Head, HeadDecoder, Limits, Progress};
//!
//! let received = b"GET /hello?x=1 HTTP/1.1\r\nHost: example.com\r\n\r\n";
//! let (mut decoder, mut head) = (HeadDecoder::new(), Head::new());
//! let progress = decoder.decode(&Limits::default(), received, &mut head);
//! assert_eq!(progress, Ok(Progress::Complete));
//! assert_eq!(head.path(received), b"/hello");
//! assert_eq!(head.query(received), b"x=1");
//! ```
#![forbid(unsafe_code)]

pub mod authority;
pub mod body;
pub mod check;
pub mod check_select;
pub mod coding;
pub mod conditional;
pub mod converse;
pub mod date;
pub mod escape;
pub mod etag;
pub mod field;
pub mod head;
pub mod interim;
pub mod limits;
pub mod media_type;
pub mod name;
pub mod range;
pub mod reject;
pub mod request_line;
pub mod response;
mod scan;
pub mod select;
pub mod status;
pub mod target;
pub mod template;

pub use body::{BodyDecoder, Decoded, Piece};
pub use head::{Field, FieldClass, Framing, Head, HeadDecoder, Progress, Span};
pub use limits::Limits;
pub use name::KnownName;
pub use reject::{Fault, Reject};
pub use request_line::{Method, TargetForm, Version};
pub use response::{Answer, BadResponse, BodyFraming, RequestFacts, ResponsePlan};
pub use scan::{is_ows, is_token, is_token_byte, trim_ows};
