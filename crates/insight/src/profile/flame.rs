//! Owns drawing a profile as one SVG that needs nothing else: a frame for each function, as wide as
//! its share of the time, callers above. Zoom and search are a script inside.
//! Leaves where the time went to `profile`.
//!
//! Names come from the app's code and its addresses: they are escaped, never markup.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use super::Profile;

/// Frames below this share of a whole are not drawn: nobody could see them.
const LEAST_SHARE: f64 = 0.0005;
/// Frames that are drawn at most.
const MOST_FRAMES: usize = 20_000;
/// Height of a frame, and of what stands above the first.
const ROW: usize = 18;
const TOP: usize = 64;
/// A width that nearly all screens have: for whoever reads it without a script.
const WIDTH: u64 = 1200;
/// About a letter's width.
const LETTER: u64 = 7;

#[derive(Default)]
struct Node<'p> {
    us: u64,
    children: BTreeMap<&'p str, Node<'p>>,
}

struct Drawing {
    out: String,
    whole: u64,
    deepest: usize,
    left: usize,
}

/// The picture; `title` stands above it.
pub fn svg(profile: &Profile, title: &str) -> String {
    let mut root = Node::default();
    for (stack, us) in profile.stacks() {
        root.us += us;
        let mut node = &mut root;
        for frame in stack.split(';') {
            node = node.children.entry(frame).or_default();
            node.us += us;
        }
    }
    let mut drawing = Drawing {
        out: String::new(),
        whole: root.us.max(1),
        deepest: 0,
        left: MOST_FRAMES,
    };
    drawing.frame("all", &root, 0, 0);
    let height = TOP + (drawing.deepest + 2) * ROW;
    let title = escaped(title);
    let (style, script) = (include_str!("flame.css"), include_str!("flame.js"));
    format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"100%\" height=\"{height}\" \
         font-family=\"ui-monospace,monospace\" font-size=\"12\" data-whole=\"{whole}\">\n\
         <style nonce=\"NONCE\">{style}</style>\n\
         <rect class=\"paper\" width=\"100%\" height=\"100%\"/>\n\
         <text class=\"head\" x=\"8\" y=\"22\">{title}</text>\n\
         <text class=\"note\" id=\"note\" x=\"8\" y=\"46\">Click a frame to zoom, Escape to go back.</text>\n\
         <foreignObject x=\"60%\" y=\"6\" width=\"38%\" height=\"28\">\
         <input xmlns=\"http://www.w3.org/1999/xhtml\" id=\"search\" type=\"search\" \
         placeholder=\"Search\" aria-label=\"Search functions\"/></foreignObject>\n\
         {frames}\
         <script nonce=\"NONCE\"><![CDATA[{script}]]></script>\n</svg>\n",
        whole = drawing.whole,
        frames = drawing.out,
    )
}

impl Drawing {
    fn frame(&mut self, name: &str, node: &Node<'_>, from: u64, depth: usize) {
        if self.left == 0 {
            return;
        }
        self.left -= 1;
        self.deepest = self.deepest.max(depth);
        let share = node.us as f64 / self.whole as f64;
        let kind = match depth {
            0 => "all",
            1 => "route",
            _ if name.contains("site-packages") || name.contains("(/") || name.contains("(<") => {
                "library"
            }
            _ => "own",
        };
        let pixels = node.us.saturating_mul(WIDTH) / self.whole;
        let fitting = usize::try_from(pixels.saturating_sub(6) / LETTER).unwrap_or(0);
        let label: String = if name.chars().count() <= fitting {
            name.to_owned()
        } else if fitting < 3 {
            String::new()
        } else {
            let start = name.chars().take(fitting - 1);
            start.chain(std::iter::once('…')).collect()
        };
        let (name_text, label) = (escaped(name), escaped(&label));
        let shade = name.bytes().fold(7_u32, |hash, byte| {
            hash.wrapping_mul(31).wrapping_add(byte.into())
        }) % 4;
        let y = TOP + depth * ROW;
        let _ = writeln!(
            self.out,
            "<g class=\"f {kind} s{shade}\" tabindex=\"0\" data-x=\"{from}\" data-w=\"{us}\" data-d=\"{depth}\" \
             data-n=\"{name_text}\"><title>{name_text}\n{seconds:.3} s, {percent:.1} %</title>\
             <rect x=\"{x:.3}%\" y=\"{y}\" width=\"{width:.3}%\" height=\"{height}\"/>\
             <text x=\"{x:.3}%\" dx=\"3\" y=\"{base}\">{label}</text></g>",
            us = node.us,
            seconds = node.us as f64 / 1e6,
            percent = 100.0 * share,
            x = 100.0 * from as f64 / self.whole as f64,
            width = 100.0 * share,
            height = ROW - 1,
            base = y + 13,
        );
        let mut at = from;
        for (name, child) in &node.children {
            if child.us as f64 >= LEAST_SHARE * self.whole as f64 {
                self.frame(name, child, at, depth + 1);
            }
            at += child.us;
        }
    }
}

/// Text for elements and attributes (XML 1.0, sections 2.2 and 2.4).
fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for one in text.chars() {
        match one {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&#39;"),
            one if one.is_control() || matches!(one, '\u{fffe}' | '\u{ffff}') => out.push(' '),
            one => out.push(one),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn drawn(lines: &str) -> String {
        let mut profile = Profile::default();
        profile.add(lines, None);
        svg(&profile, "wall time & more")
    }

    #[test]
    fn d9_a_frame_is_as_wide_as_its_share_and_below_its_caller() {
        let text = drawn("/a/;f (v.py:1);g (v.py:9) 750\n/a/;f (v.py:1) 150\n/b/;h 100\n");
        for (name, from, us, depth) in [
            ("all", 0, 1000, 0),
            ("/a/", 0, 900, 1),
            ("f (v.py:1)", 0, 900, 2),
            ("g (v.py:9)", 0, 750, 3),
            ("/b/", 900, 100, 1),
        ] {
            let frame =
                format!("data-x=\"{from}\" data-w=\"{us}\" data-d=\"{depth}\" data-n=\"{name}\"");
            assert!(text.contains(&frame), "{frame}\n{text}");
        }
        assert!(text.contains("wall time &amp; more"));
        assert!(!text.contains("href") && !text.contains("src="));
    }

    #[test]
    fn d9_hostile_names_are_text() {
        let text = drawn("/<script>alert(1)</script>;\"onload='x' ]]>;\u{202e}a&b\u{ffff} 5\n");
        assert_eq!(text.matches("<script").count(), 1);
        assert!(text.contains("data-n=\"/&lt;script&gt;alert(1)&lt;/script&gt;\""));
        assert!(text.contains("data-n=\"&quot;onload=&#39;x&#39; ]]&gt;\""));
        assert!(!text.contains('\u{ffff}'));
    }

    #[test]
    fn d9_what_nobody_could_see_is_not_drawn_and_an_empty_profile_is_a_picture() {
        let mut lines = "/;large 10000000\n".to_owned();
        for number in 0..2000 {
            let _ = writeln!(lines, "/;f{number} 1");
        }
        assert_eq!(drawn(&lines).matches("<g ").count(), 3);
        assert_eq!(drawn("").matches("<g ").count(), 1);
        let deep = (0..30_000).fold("/".to_owned(), |deep, _| deep + ";f") + " 5\n";
        // Deeper than workers tell: refused before it is drawn.
        assert!(drawn(&deep).matches("<g ").count() <= 1 + super::super::MOST_DEPTH);
    }
}
