//! Owns what a piece of advice is made of. Leaves what is advised to `checks` and `plans`.

/// One thing to do.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Advice {
    /// For programs.
    pub id: &'static str,
    /// What is the matter.
    pub title: String,
    /// What was seen.
    pub evidence: String,
    /// What to change, and to what.
    pub remedy: String,
    /// Milliseconds that could be saved in an hour, where that was measured.
    pub gain_ms: Option<f64>,
}

/// Advice whose gain nobody has measured.
pub fn advice(id: &'static str, title: &str, evidence: String, remedy: &str) -> Advice {
    Advice {
        id,
        title: title.to_owned(),
        evidence,
        remedy: remedy.to_owned(),
        gain_ms: None,
    }
}
