//! Owns the report of a run that could not begin: whoever waits for the files finds in them why.

use serde_json::json;

use super::files::{self, Case};
use super::{Forms, page, sentence};

/// Why there was no run.
#[derive(Debug, Clone, Copy)]
pub struct Unmeasured<'a> {
    /// What was to be loaded, as it was given.
    pub url: &'a str,
    /// What is wrong.
    pub what: &'a str,
    /// What to do.
    pub hint: Option<&'a str>,
}

impl Forms for Unmeasured<'_> {
    /// For a program: the fields of a report that say that nothing came of it.
    fn json(&self) -> String {
        let told = json!({
            "canter_bench": 1,
            "url": self.url,
            "hits": 0,
            "errors": 0,
            "timeouts": 0,
            "fault": {"what": self.what, "hint": self.hint},
            "prose": [self.what],
            "rows": [],
        });
        format!("{told:#}\n")
    }

    /// No rows, below their names.
    fn csv(&self) -> String {
        files::COLUMNS.to_owned()
    }

    /// For a build server.
    fn junit(&self) -> String {
        files::junit_of(self.url, 0.0, &self.cases())
    }

    /// For a code host.
    fn sarif(&self) -> String {
        files::sarif_of(self.url, &self.cases())
    }

    /// For a browser.
    fn html(&self) -> String {
        let hint = self.hint.map(|hint| format!("<p>{}</p>\n", sentence(hint)));
        let content = format!(
            "<h1>{}</h1>\n<p class=\"limit\">{}</p>\n{}",
            sentence(self.url),
            sentence(self.what),
            hint.unwrap_or_default()
        );
        page("canter bench: nothing was measured", &content)
    }
}

impl Unmeasured<'_> {
    fn cases(&self) -> [Case; 1] {
        [("is answered".to_owned(), Some(self.what.to_owned()))]
    }
}

#[cfg(test)]
mod tests {
    use super::{Forms, Unmeasured};

    #[test]
    fn each_form_says_why_there_was_no_run() {
        let report = Unmeasured {
            url: "http://<nowhere>/",
            what: "cannot look up `<nowhere>`",
            hint: Some("check the spelling"),
        };
        let told: serde_json::Value = serde_json::from_str(&report.json()).unwrap();
        assert_eq!(
            (&told["hits"], &told["fault"]["hint"]),
            (&0.into(), &"check the spelling".into())
        );
        assert!(report.csv().starts_with("at_s,") && report.csv().lines().count() == 1);
        assert!(
            report.junit().contains("failures=\"1\"") && report.junit().contains("cannot look up")
        );
        assert!(report.sarif().contains("\"level\": \"error\""));
        assert!(
            report.html().contains("<code>&lt;nowhere&gt;</code>")
                && report.html().contains("check the spelling")
        );
        for text in [report.junit(), report.html()] {
            assert!(!text.contains("<nowhere>"));
        }
    }
}
