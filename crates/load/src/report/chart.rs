//! Owns line charts as SVG, drawn with classes that a style sheet colours for light and dark.
//! Leaves what is drawn to its callers.

use std::fmt::Write as _;

use super::escape;

const WIDTH: f64 = 860.0;
const LEFT: f64 = 58.0;
const RIGHT: f64 = 14.0;
const TOP: f64 = 10.0;
const BOTTOM: f64 = 22.0;

/// A line: its name, its style (`a` to `d`), its points.
pub struct Line {
    /// For the legend.
    pub name: String,
    /// The class of the style sheet.
    pub class: char,
    /// Where it goes.
    pub points: Vec<(f64, f64)>,
    /// Whether each point is drawn as a dot and not joined.
    pub dots: bool,
}

/// A vertical line with a word.
pub struct Mark {
    /// Where.
    pub at: f64,
    /// What.
    pub word: String,
    /// `e` for errors, `t` for time-outs, `n` for other things.
    pub class: char,
}

/// A chart.
pub struct Chart {
    /// Its heading.
    pub title: String,
    /// What the horizontal axis counts.
    pub across: String,
    /// What is drawn.
    pub lines: Vec<Line>,
    /// What is marked.
    pub marks: Vec<Mark>,
    /// What a pointer resting at a place is told.
    pub tips: Vec<(f64, String)>,
    /// The height of the drawing.
    pub height: f64,
}

impl Chart {
    /// Heading, legend and drawing.
    pub fn svg(&self) -> String {
        let points = || self.lines.iter().flat_map(|line| &line.points);
        let last = points().map(|point| point.0).fold(0.0, f64::max).max(1e-9);
        let top = nice(points().map(|point| point.1).fold(0.0, f64::max));
        let place_x = |x: f64| LEFT + (WIDTH - LEFT - RIGHT) * x / last;
        let place_y = |y: f64| TOP + (self.height - TOP - BOTTOM) * (1.0 - y / top);
        let mut out = format!("<figure><figcaption>{}", escape(&self.title));
        for line in self.lines.iter().filter(|line| !line.name.is_empty()) {
            let _ = write!(
                out,
                " <span class=\"k {}\">{}</span>",
                line.class,
                escape(&line.name)
            );
        }
        let _ = write!(
            out,
            "</figcaption><svg viewBox=\"0 0 {WIDTH} {}\" role=\"img\" aria-label=\"{}\">",
            self.height,
            escape(&self.title)
        );
        for step in 0..=4 {
            let value = top * f64::from(step) / 4.0;
            let y = place_y(value);
            let _ = write!(
                out,
                "<line class=\"g\" x1=\"{LEFT}\" x2=\"{}\" y1=\"{y:.1}\" y2=\"{y:.1}\"/>\
                 <text class=\"l\" x=\"{}\" y=\"{:.1}\" text-anchor=\"end\">{}</text>",
                WIDTH - RIGHT,
                LEFT - 6.0,
                y + 4.0,
                label(value)
            );
        }
        self.across(&mut out, last, &place_x);
        for mark in &self.marks {
            let x = place_x(mark.at.min(last));
            let (anchor, shift) = if x > WIDTH * 0.7 {
                ("end", -4.0)
            } else {
                ("start", 4.0)
            };
            let y = TOP + if mark.class == 't' { 24.0 } else { 10.0 };
            let _ = write!(
                out,
                "<line class=\"m {0}\" x1=\"{x:.1}\" x2=\"{x:.1}\" y1=\"{TOP}\" y2=\"{1}\"/>\
                 <text class=\"w {0}\" x=\"{2:.1}\" y=\"{y}\" text-anchor=\"{anchor}\">{3}</text>",
                mark.class,
                self.height - BOTTOM,
                x + shift,
                escape(&mark.word)
            );
        }
        for line in &self.lines {
            draw(&mut out, line, &place_x, &place_y);
        }
        self.tips(&mut out, &place_x);
        out.push_str("</svg></figure>\n");
        out
    }

    fn across(&self, out: &mut String, last: f64, place_x: &dyn Fn(f64) -> f64) {
        let step = nice(last / 6.0);
        let mut at = 0.0;
        while at <= last + 1e-9 {
            let _ = write!(
                out,
                "<text class=\"l\" x=\"{:.1}\" y=\"{}\" text-anchor=\"middle\">{}{}</text>",
                place_x(at),
                self.height - 5.0,
                label(at),
                self.across
            );
            at += step;
        }
    }

    /// Invisible columns whose title is shown where a pointer rests; no script is needed.
    fn tips(&self, out: &mut String, place_x: &dyn Fn(f64) -> f64) {
        for (index, (at, words)) in self.tips.iter().enumerate() {
            let from = place_x(*at);
            let to = self
                .tips
                .get(index + 1)
                .map_or(WIDTH - RIGHT, |next| place_x(next.0));
            let _ = write!(
                out,
                "<rect class=\"h\" x=\"{from:.1}\" y=\"{TOP}\" width=\"{:.1}\" height=\"{}\">\
                 <title>{}</title></rect>",
                (to - from).max(1.0),
                self.height - TOP - BOTTOM,
                escape(words)
            );
        }
    }
}

fn draw(out: &mut String, line: &Line, place_x: &dyn Fn(f64) -> f64, place_y: &dyn Fn(f64) -> f64) {
    if line.dots || line.points.len() == 1 {
        for (x, y) in &line.points {
            let _ = write!(
                out,
                "<circle class=\"o {}\" cx=\"{:.1}\" cy=\"{:.1}\" r=\"3.5\"/>",
                line.class,
                place_x(*x),
                place_y(*y)
            );
        }
        return;
    }
    let _ = write!(out, "<polyline class=\"p {}\" points=\"", line.class);
    for (x, y) in &line.points {
        let _ = write!(out, "{:.1},{:.1} ", place_x(*x), place_y(*y));
    }
    out.push_str("\"/>");
}

/// The next of 1, 2, 5 times a power of ten.
fn nice(value: f64) -> f64 {
    if value <= 0.0 || !value.is_finite() {
        return 1.0;
    }
    let power = 10_f64.powf(value.log10().floor());
    let steps = [1.0, 2.0, 2.5, 5.0, 10.0];
    let found = steps.iter().find(|step| *step * power >= value * 0.999_999);
    found.map_or(power * 10.0, |step| step * power)
}

fn label(value: f64) -> String {
    if value >= 10_000.0 {
        format!("{:.0}k", value / 1000.0)
    } else if value >= 10.0 || value.fract().abs() < 1e-9 {
        format!("{value:.0}")
    } else if value >= 1.0 {
        format!("{value:.1}")
    } else {
        format!("{value:.2}")
    }
}
