//! Options: declared once in `table.rs`, everything else here follows from that table.
//!
//! `layer/` finds settings in flags, variables and files; `resolve.rs` decides which one wins and
//! builds `Config`; `help.rs`, `reference.rs` and `report.rs` print. No I/O: what a layer holds is
//! an argument.

mod address;
mod app;
mod cache_url;
mod choice;
mod database_url;
mod declare;
mod folder;
mod gunicorn;
mod habits;
mod help;
mod layer;
mod otlp;
mod page_rule;
mod priority;
mod quantity;
mod rate;
mod reference;
mod report;
mod resolve;
mod rules;
mod secret;
mod table;
mod text;
mod value;
mod web;

pub use address::{Address, Host, Network};
pub use app::App;
pub use cache_url::{CachePlace, CacheServer, CacheUrl};
pub use choice::{
    AccessLogFormat, Ban, Cache, Compress, DbAuth, DbPool, ForwardedHeader, Http2, LogTarget,
    PlatformName, Preload, Static, WorkerClass,
};
pub use database_url::{DatabaseUrl, RoleName};
pub use declare::{Group, Row};
pub use folder::{Media, UrlFolder};
pub use help::{long_help, short_help};
pub use layer::Origin;
pub use otlp::{OtlpEndpoint, OtlpHeader};
pub use page_rule::{PageRule, RuleMode, RuleQuery};
pub use priority::Priority;
pub use quantity::{Mode, Size};
pub use rate::{RateKey, RateLimit};
pub use reference::reference_page;
pub use report::{report_json, report_text};
pub use resolve::{Chosen, Found, Inputs, Platform, Resolved, resolve};
pub use secret::Secret;
pub use table::{Config, ROWS};
pub use text::{BenchToken, HeaderName, KeyValue, Token, TypePattern};
pub use value::{Field, Reading, Shape, Value, Wrong};
pub use web::{AcmeDirectory, DomainName, EarlyHint, Hsts};

#[cfg(test)]
pub(crate) use resolve::tests_support::defaults as resolve_defaults_for_tests;
