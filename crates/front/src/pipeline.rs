//! Owns the order of the steps that a request passes before the app: read it top to bottom.
//! Leaves what each step does to `steps`.
//!
//! Limits on the head are the codec's; the body is read after this, so a step that answers saves
//! reading it. Behind them stand static files (`canter_files`), and then the app.

use crate::guard::Guard;
use crate::settings::Settings;
use crate::steps::{self, Asked, Local};

/// The first step that answers wins; None means that the app is asked.
pub(crate) fn before(settings: &Settings, guard: &Guard, asked: &Asked<'_>) -> Option<Local> {
    None.or_else(|| steps::options::answer(asked.head))
        .or_else(|| steps::health::answer(settings.health, asked.hindrance, asked.head, asked.buf))
        .or_else(|| steps::challenge::answer(&settings.challenges, asked.head, asked.buf))
        .or_else(|| steps::bench::answer(settings.bench_token.as_deref(), asked.head, asked.buf))
        .or_else(|| steps::ban::answer(guard, asked.to_blame))
        .or_else(|| {
            let token = settings.purge_token.as_deref();
            steps::purge::answer(&settings.pages, token, asked.head, asked.buf)
        })
        .or_else(|| steps::redirect::answer(settings.redirect_https, asked))
        .or_else(|| steps::rate::answer(guard, asked))
}
