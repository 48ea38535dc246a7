//! Owns the list of attacks, and what each result means.
//! Leaves how each is done to `slow`, `parser` and `h2`.

use std::pin::pin;
use std::time::Duration;

use crate::probe::Probes;
use crate::{Plan, h2, memory, parser, probe, slow};

/// Declares each attack once: name, id, what it does in one line.
macro_rules! attacks {
    ($($variant:ident $id:literal $name:literal $what:literal)+) => {
        /// One attack.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum Attack { $(#[doc = $what] $variant,)+ }

        impl Attack {
            /// All, in the order they are tried.
            pub const ALL: &[Self] = &[$(Self::$variant),+];

            /// A short id for reports.
            pub fn id(self) -> &'static str {
                match self { $(Self::$variant => $id),+ }
            }

            /// The name people know.
            pub fn name(self) -> &'static str {
                match self { $(Self::$variant => $name),+ }
            }

            /// What it does, in a line.
            pub fn what(self) -> &'static str {
                match self { $(Self::$variant => $what),+ }
            }
        }
    };
}

attacks! {
    Silent "S2" "silent connect" "Connections that never say a word"
    SlowHeader "S1" "slow header (slowloris)" "A header of which a byte comes every second"
    SlowPost "S3" "slow post (RUDY)" "A body of which a byte comes every second"
    SlowRead "S4" "slow read" "Clients that ask for a large response and hardly read it"
    Uploads "S5" "large uploads" "Uploads of 50 MB that stop after one"
    EarlyError "S8" "refused upload" "An upload that is refused must see why"
    Flood "S13" "connection flood" "Connections opened and left as fast as can be"
    Hoard "S14" "one client's connections" "Five times the connections from one address, kept after a request each"
    Parser "P" "broken requests" "Requests with two meanings, which must be refused"
    RapidReset "H1" "h2 rapid reset" "Streams opened and reset at once (CVE-2023-44487)"
    MadeReset "H2" "h2 made resets" "Streams that the server is made to reset (CVE-2025-8671)"
    Continuation "H3" "h2 continuation flood" "A header that never ends (CVE-2024-27316 and others)"
    HeaderBomb "H4" "h2 header bomb" "A small header that unpacks to a large one"
    ZeroWindow "H5" "h2 zero window" "Responses asked for and never taken"
    ControlFlood "H6" "h2 control flood" "SETTINGS and PING without end"
    SlowStreams "H7" "h2 slow clients" "Headers and bodies by drops, and connections without a request"
}

/// What became of an attack.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Visitors noticed nothing, and the attack was ended.
    Held,
    /// Visitors noticed nothing, but the server let it go on for as long as it was tried.
    Tolerated,
    /// Visitors had to wait or were turned away, a broken request was taken, or memory ran off.
    Fell,
    /// The server answers nobody any more.
    Down,
    /// The server does not speak what the attack is about.
    NotSpoken,
}

/// The result of one attack.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// Which.
    pub attack: Attack,
    /// What became of it.
    pub verdict: Verdict,
    /// Connections (or requests) it used.
    pub used: usize,
    /// How many of them the server ended.
    pub ended: usize,
    /// Ordinary requests meanwhile.
    pub probes: usize,
    /// How many were answered.
    pub answered: usize,
    /// The slowest of them.
    pub worst: Duration,
    /// Growth of the server's memory in kilobytes, when a process was named.
    pub grew: Option<i64>,
    /// More to say, such as the requests that were taken.
    pub notes: Vec<String>,
}

/// What the attacking side saw.
#[derive(Clone, Debug, Default)]
pub(crate) struct Seen {
    pub used: usize,
    pub ended: usize,
    pub notes: Vec<String>,
    /// Something was accepted that must not be.
    pub fell: bool,
    pub spoken: bool,
}

/// How long slow attacks go on: longer than a sound server's patience.
const SLOW: Duration = Duration::from_secs(25);
/// How long the other attacks go on at most.
const QUICK: Duration = Duration::from_secs(5);

/// Ordinary requests before each attack, and the time they are spread over.
const CALM_PROBES: usize = 5;
const CALM_TIME: Duration = Duration::from_millis(500);
/// Kilobytes that a server may grow by during an attack: half of what a small machine has.
const MOST_MEMORY: i64 = 256 * 1024;

/// Whether visitors noticed: one got no answer, or more than one in ten waited. A single one that
/// waits says nothing, for the attack and the server share this machine.
fn are_disturbed(probes: &Probes, limit: Duration) -> bool {
    probes.answered < probes.sent || probes.later_than(limit) * 10 > probes.sent
}

pub(crate) async fn run(attack: Attack, plan: &Plan) -> Outcome {
    // What a visitor meets without the attack, on this machine, as busy as it is now.
    let calm = probe::many(&plan.target, CALM_PROBES, CALM_TIME)
        .await
        .worst;
    let before = plan.process.and_then(memory::of_tree);
    let (mut seen, probes, peak) = attempt(attack, plan).await;
    let alive = probe::once(&plan.target, Duration::from_secs(10))
        .await
        .is_ok();
    let grew = before.zip(peak).map(|(before, peak)| {
        i64::try_from(peak).unwrap_or(i64::MAX) - i64::try_from(before).unwrap_or(0)
    });
    let is_bloated = grew.is_some_and(|kilobytes| kilobytes > MOST_MEMORY);
    if is_bloated {
        let most = MOST_MEMORY / 1024;
        seen.notes
            .push(format!("memory grew by more than {most} MB"));
    }
    let verdict = if !alive {
        Verdict::Down
    } else if !seen.spoken {
        Verdict::NotSpoken
    } else if seen.fell || is_bloated || are_disturbed(&probes, plan.patience + calm) {
        Verdict::Fell
    } else if seen.ended < seen.used {
        Verdict::Tolerated
    } else {
        Verdict::Held
    };
    Outcome {
        attack,
        verdict,
        used: seen.used,
        ended: seen.ended,
        probes: probes.sent,
        answered: probes.answered,
        worst: probes.worst,
        grew,
        notes: seen.notes,
    }
}

/// The attack and the ordinary requests side by side, and the most memory seen meanwhile.
async fn attempt(attack: Attack, plan: &Plan) -> (Seen, Probes, Option<u64>) {
    let long = matches!(
        attack,
        Attack::Silent
            | Attack::SlowHeader
            | Attack::SlowPost
            | Attack::SlowRead
            | Attack::Uploads
            | Attack::Hoard
            | Attack::ZeroWindow
            | Attack::SlowStreams
    );
    let time = if long { SLOW } else { QUICK };
    let attacking = async {
        match attack {
            Attack::Silent => slow::silent(plan, time).await,
            Attack::SlowHeader => slow::header(plan, time).await,
            Attack::SlowPost => slow::post(plan, time).await,
            Attack::SlowRead => slow::read(plan, time).await,
            Attack::Uploads => slow::uploads(plan, time).await,
            Attack::Flood => slow::flood(plan, time).await,
            Attack::Hoard => slow::hoard(plan, time).await,
            Attack::EarlyError => parser::early_error(plan).await,
            Attack::Parser => parser::broken_requests(plan).await,
            Attack::RapidReset => h2::rapid_reset(plan, time).await,
            Attack::MadeReset => h2::made_reset(plan, time).await,
            Attack::Continuation => h2::continuation(plan, time).await,
            Attack::HeaderBomb => h2::header_bomb(plan, time).await,
            Attack::ZeroWindow => h2::zero_window(plan, time).await,
            Attack::ControlFlood => h2::control_flood(plan, time).await,
            Attack::SlowStreams => h2::slow_streams(plan, time).await,
        }
    };
    // The first moments are those in which the connections are opened.
    let probing = async {
        tokio::time::sleep(Duration::from_secs(1)).await;
        probe::many(
            &plan.target,
            plan.probes,
            time.saturating_sub(Duration::from_secs(3)),
        )
        .await
    };
    let watching = async {
        let mut peak = None;
        let ticks = time.as_millis() / 250;
        for _ in 0..ticks {
            tokio::time::sleep(Duration::from_millis(250)).await;
            peak = peak.max(plan.process.and_then(memory::of_tree));
        }
        peak
    };
    let beside = async { tokio::join!(probing, watching) };
    let (mut attacking, mut beside) = (pin!(attacking), pin!(beside));
    tokio::select! {
        // Nothing happened that a visitor could have noticed.
        seen = &mut attacking => if seen.spoken {
            let (probes, peak) = beside.await;
            (seen, probes, peak)
        } else {
            (seen, Probes::default(), None)
        },
        (probes, peak) = &mut beside => (attacking.await, probes, peak),
    }
}
