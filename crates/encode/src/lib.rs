//! Content codings of answers (RFC 9110, section 8.4): owns which answer may be encoded and with
//! what ([`policy`]), doing so ([`Encoder`], [`encode`]), and the entity tags of encoded forms
//! ([`tag`]). Leaves sockets, threads and randomness to the front.
//!
//! ```
//! use canter_encode::{Coding, Encoder, Level, Pad};
//!
//! let mut out = Vec::new();
//! let mut encoder = Encoder::new(Coding::Gzip, Level::DEFAULT, Pad::NONE)?;
//! encoder.write(b"a page, ", &mut out)?;
//! encoder.flush(&mut out)?; // The client can read as far as here.
//! encoder.write(b"and its end", &mut out)?;
//! encoder.finish(&mut out)?;
//! # Ok::<(), std::io::Error>(())
//! ```
#![forbid(unsafe_code)]

mod brotli_stream;
mod encoder;
mod gzip;
mod level;
mod pad;
pub mod policy;
mod shape;
pub mod tag;
mod zstd_stream;

pub use canter_http::coding::Coding;
pub use encoder::{Encoder, encode};
pub use level::Level;
pub use pad::Pad;
pub use policy::{Policy, Verdict, Wish};
