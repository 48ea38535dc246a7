//! Owns what one release changed beside another: findings that are gone and what came of it, and what was usual
//! before the start.
//! Leaves counting to `releases`, and what a finding is to the rest of `site`.

use std::collections::{HashMap, HashSet};

use super::{Seen, Site};
use crate::releases::{Before, Came};
use crate::rules::Rule;
use crate::usual;

/// Findings that are told as mended.
const MOST_MENDED: usize = 20;

impl Site {
    /// Those that no request of this release has shown, though their routes were asked for often enough, with
    /// what came of it; a line that has only moved is no other finding.
    pub fn mended(&self, now_s: u64) -> Vec<(Seen<'_>, Before, Came)> {
        let all = self.all(now_s);
        let (mended, open): (Vec<_>, Vec<_>) =
            all.into_iter().partition(|seen| self.is_mended(seen));
        let open: HashSet<_> = open.into_iter().map(|seen| seen.id).collect();
        let gone = |seen: &Seen<'_>| !open.contains(&seen.id);
        let mended: Vec<_> = mended.into_iter().filter(gone).collect();
        // What a route has gained is of all that was mended there; these two count what others count, too.
        let mut predicted: HashMap<String, u64> = HashMap::new();
        for seen in &mended {
            if !matches!(seen.rule, Rule::Holding | Rule::More) {
                *predicted.entry(seen.route.label()).or_default() +=
                    seen.finding.lost_per_request_us();
            }
        }
        let told = mended.into_iter().filter_map(|seen| {
            let release = &seen.route.release;
            let before = release.before()?;
            let predicted_us = predicted.get(&seen.route.label()).copied().unwrap_or(0);
            let came = Came::of(predicted_us, &before, release);
            Some((seen, before, came))
        });
        told.take(MOST_MENDED).collect()
    }

    pub(super) fn is_mended(&self, seen: &Seen<'_>) -> bool {
        seen.finding.release < self.release && seen.quiet_for >= seen.quiet_until
    }

    /// Lines of what was usual before the start, as [`Site::usual`] told them.
    pub fn remember(&mut self, lines: &str) {
        self.routes.remember(usual::read(lines));
    }

    /// Lines of what routes usually ask for by now.
    pub fn usual(&self) -> String {
        usual::text(&self.routes.usual())
    }
}
