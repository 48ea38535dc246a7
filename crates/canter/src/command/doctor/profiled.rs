//! Owns what the last profile tells of code that every request runs through: a middleware, the loading of
//! templates. Leaves making a profile to `canter profile`.

use serde_json::Value as Json;

/// Django puts this between a middleware and the next: what runs below it is the next one's.
const BORDER: &str = "core/handlers/exception.py";
/// As the front calls a profile of all that requests wait for, and of every route.
const OF_ALL: &str = "Wall time of requests:";

/// A profile that tells of all requests.
#[derive(Clone, Debug)]
pub struct Profiled(String);

impl Profiled {
    /// Whether the profile that was made last is one, by what the server says of it.
    pub fn is_there(progress: &Json) -> bool {
        let title = progress["title"].as_str().unwrap_or_default();
        progress["state"] == "done"
            && title.starts_with(OF_ALL)
            && progress["sampled_ms"].as_f64().unwrap_or(0.0) > 0.0
    }

    /// Of lines of a stack, a blank and microseconds.
    pub fn of(stacks: String) -> Self {
        Self(stacks)
    }

    /// The share of all sampled time that was spent in frames of these, and in what they have called; what a
    /// middleware passes on is not its own.
    pub fn share(&self, is_meant: impl Fn(&str) -> bool) -> f64 {
        let (mut all, mut own) = (0.0, 0.0);
        for line in self.0.lines() {
            let Some((stack, us)) = line.rsplit_once(' ') else {
                continue;
            };
            let us: f64 = us.parse().unwrap_or(0.0);
            all += us;
            // From the innermost outwards; the first word is the route.
            let frames = stack.rsplit(';');
            let mut inside = frames.take_while(|frame| !frame.contains(BORDER));
            if inside.any(&is_meant) {
                own += us;
            }
        }
        if all > 0.0 { own / all } else { 0.0 }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_a_middleware_passes_on_is_not_its_own() {
        let outer = "/a/;M.__call__ (whitenoise/middleware.py:9);inner (django/core/handlers/exception.py:55)";
        let profiled = Profiled::of(format!(
            "{outer};view (v.py:3) 700\n{outer};G.process_response (django/middleware/gzip.py:40);compress (gzip.py:1) 200\n\
             /a/;M.__call__ (whitenoise/middleware.py:12) 100\nno line of a stack\n"
        ));
        let share = |part: &str| {
            format!(
                "{:.0} %",
                profiled.share(|frame| frame.contains(part)) * 100.0
            )
        };
        assert_eq!(
            [
                share("whitenoise/"),
                share("middleware/gzip.py"),
                share("v.py"),
                share("silk/")
            ],
            ["10 %", "20 %", "70 %", "0 %"]
        );
        assert!(Profiled::of(String::new()).share(|_| true) <= 0.0);
    }

    #[test]
    fn only_a_finished_profile_of_all_requests_tells_of_them() {
        let told = |state: &str, title: &str, sampled_ms: f64| {
            Profiled::is_there(&json!({"state": state, "title": title, "sampled_ms": sampled_ms}))
        };
        let title = "Wall time of requests: 30 s, 2 workers, 100 samples a second";
        assert!(told("done", title, 9.5));
        assert!(!told("running", title, 9.5) && !told("done", title, 0.0));
        assert!(!told("done", "Wall time of requests of /a/: 30 s", 9.5));
        assert!(!told("done", "Interpreter time of requests: 30 s", 9.5));
        assert!(!Profiled::is_there(&json!({"state": "none"})));
    }
}
