//! Owns the question whether a host may be loaded: this machine may; another has to say so.
//! Leaves insisting (`--i-own-this-host`) to the command.
//!
//! The owner starts the server with a token of their choice; it then answers at a path made of that
//! token. Whoever knows the token was told it by the owner.

use crate::inside::Watcher;
use crate::plan::Plan;
use crate::record::Kind;
use crate::run::run;
use crate::scenario::{Order, Request, Scenario};
use crate::schedule::{Load, Stage};

/// Where a server answers the challenge, the token behind it.
pub const PATH: &str = "/.well-known/canter-bench/";

/// Whether a text can be a token: long enough not to be guessed, and a part of a path.
pub fn is_token(token: &str) -> bool {
    let sound = |byte: u8| byte.is_ascii_alphanumeric() || b"-_".contains(&byte);
    (16..=128).contains(&token.len()) && token.bytes().all(sound)
}

/// Asks the host of a plan, once; true when it has agreed.
pub fn ask(plan: &Plan, token: &str) -> Result<bool, String> {
    if !is_token(token) {
        return Err("a token has 16 to 128 letters, digits, `-` or `_`".to_owned());
    }
    let mut question = plan.clone();
    question.scenario = Scenario {
        requests: vec![Request::get(format!("{PATH}{token}"))],
        order: Order::Weighted,
        left_out: Vec::new(),
    };
    let stage = Stage {
        from: 1.0,
        to: 1.0,
        time: std::time::Duration::from_secs(10),
    };
    question.load = Load::Users(vec![stage]);
    question.requests = Some(1);
    question.threads = 1;
    question.login = None;
    question.slow = 0.0;
    question.redirects = 0;
    question.warmup = std::time::Duration::ZERO;
    let stop = std::sync::atomic::AtomicBool::new(false);
    let outcome = run(&question, &stop, Watcher::default(), &mut |_| None)?;
    let failed = Kind::ALL
        .iter()
        .find(|kind| outcome.total.failed(**kind) > 0);
    if let Some(kind) = failed {
        return Err(format!(
            "{} does not answer: {}",
            plan.site.origin(),
            kind.word()
        ));
    }
    // 204 and nothing else: a site that answers every path with a page has not agreed.
    Ok(outcome.total.hits == 1 && outcome.total.classes[2] == 1 && outcome.total.no_content == 1)
}
