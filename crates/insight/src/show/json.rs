//! Owns writing JSON: commas, quotes and escapes. Leaves what is written to `snapshot`.

use std::fmt::{Display, Write as _};

use canter_base::log::push_json_string;

/// A text that becomes JSON.
#[derive(Default)]
pub struct Json {
    out: String,
    /// Something stands before, in this object or list.
    follows: bool,
}

impl Json {
    /// The text.
    pub fn into_text(self) -> String {
        self.out
    }

    fn comma(&mut self) {
        if self.follows {
            self.out.push(',');
        }
        self.follows = true;
    }

    /// `"key":`, with what `value` writes.
    pub fn key(&mut self, key: &str, value: impl FnOnce(&mut Self)) -> &mut Self {
        self.comma();
        push_json_string(&mut self.out, key);
        self.out.push(':');
        self.follows = false;
        value(self);
        self.follows = true;
        self
    }

    /// `"key": "text"`.
    pub fn text(&mut self, key: &str, text: &str) -> &mut Self {
        self.key(key, |json| push_json_string(&mut json.out, text))
    }

    /// `"key": 5`.
    pub fn number(&mut self, key: &str, number: impl Display) -> &mut Self {
        self.key(key, |json| {
            let _ = write!(json.out, "{number}");
        })
    }

    /// `"key": true`.
    pub fn flag(&mut self, key: &str, flag: bool) -> &mut Self {
        self.number(key, flag)
    }

    /// Microseconds as milliseconds.
    pub fn ms(&mut self, key: &str, us: u64) -> &mut Self {
        self.number(key, format_args!("{}.{:03}", us / 1000, us % 1000))
    }

    /// `{…}` as a value, or as the next element of a list.
    pub fn object(&mut self, fill: impl FnOnce(&mut Self)) {
        self.comma();
        self.out.push('{');
        self.follows = false;
        fill(self);
        self.out.push('}');
        self.follows = true;
    }

    /// `"key": […]`.
    pub fn list(&mut self, key: &str, fill: impl FnOnce(&mut Self)) -> &mut Self {
        self.key(key, |json| json.elements(fill))
    }

    /// `[…]` as a value, or as the next element of a list.
    pub fn elements(&mut self, fill: impl FnOnce(&mut Self)) {
        self.comma();
        self.out.push('[');
        self.follows = false;
        fill(self);
        self.out.push(']');
        self.follows = true;
    }

    /// A text as the next element of a list.
    pub fn text_element(&mut self, text: &str) {
        self.comma();
        push_json_string(&mut self.out, text);
    }

    /// A number as the next element of a list.
    pub fn element(&mut self, number: impl Display) {
        self.comma();
        let _ = write!(self.out, "{number}");
    }
}
