//! Owns the field `traceparent` of W3C Trace Context (<https://www.w3.org/TR/trace-context/>): reading
//! what came, and what the app is told of this request.
//! Leaves which traces are kept to the front, and numbers by chance to whoever makes them.

/// The length of the field in version 00.
const LENGTH: usize = 55;
/// The flag that says that whoever called keeps the trace.
const SAMPLED: u8 = 1;

/// Where a request stands in a trace.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Context {
    /// Of all that belongs together.
    pub trace: [u8; 16],
    /// Of whoever called; None where a trace begins here.
    pub parent: Option<[u8; 8]>,
    /// Of this request, where it is told as a span of its own; None where it only passes.
    pub span: Option<[u8; 8]>,
    /// Whether whoever called keeps the trace.
    pub sampled: bool,
}

impl Context {
    /// Reads the field; None for what the specification calls invalid.
    pub fn read(value: &[u8]) -> Option<Self> {
        let (head, rest) = value.split_at_checked(LENGTH)?;
        let text = |from: usize, to: usize| head.get(from..to);
        let version = hex::<1>(text(0, 2)?)?;
        // Later versions may have more behind it (section 4.3); 255 is none.
        let ends = rest.is_empty() || (version[0] > 0 && rest.first() == Some(&b'-'));
        let dashes = [2, 35, 52].map(|at| head.get(at));
        if version[0] == 255 || !ends || dashes != [Some(&b'-'); 3] {
            return None;
        }
        let trace = hex::<16>(text(3, 35)?)?;
        let parent = hex::<8>(text(36, 52)?)?;
        let flags = hex::<1>(text(53, 55)?)?;
        (trace != [0; 16] && parent != [0; 8]).then_some(Self {
            trace,
            parent: Some(parent),
            span: None,
            sampled: flags[0] & SAMPLED != 0,
        })
    }

    /// The field for whoever is called from here.
    pub fn field(&self) -> String {
        let parent = self.span.or(self.parent).unwrap_or_default();
        let flags = u8::from(self.sampled);
        format!("00-{}-{}-{flags:02x}", Hex(&self.trace), Hex(&parent))
    }
}

/// Bytes in hexadecimal digits.
pub struct Hex<'a>(pub &'a [u8]);

impl std::fmt::Display for Hex<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

/// Digits in lower case, as the specification wants them.
fn hex<const N: usize>(text: &[u8]) -> Option<[u8; N]> {
    let digit = |byte: &u8| match byte {
        b'0'..=b'9' => Some(byte - b'0'),
        b'a'..=b'f' => Some(byte - b'a' + 10),
        _ => None,
    };
    let mut out = [0; N];
    for (byte, pair) in out.iter_mut().zip(text.chunks_exact(2)) {
        *byte = digit(pair.first()?)? << 4 | digit(pair.last()?)?;
    }
    (text.len() == 2 * N).then_some(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

    #[test]
    fn d8_what_came_is_what_the_next_one_gets_with_this_request_as_its_parent() {
        let mut context = Context::read(GOOD.as_bytes()).unwrap();
        assert!(context.sampled);
        assert_eq!(context.field(), GOOD, "what only passes is not changed");
        context.span = Some([0xAB; 8]);
        let told = context.field();
        assert_eq!(told, GOOD.replace("00f067aa0ba902b7", "abababababababab"));
        let back = Context::read(told.as_bytes()).unwrap();
        assert_eq!((back.trace, back.parent), (context.trace, context.span));
    }

    #[test]
    fn d8_other_flags_and_later_versions_are_read_as_far_as_they_are_known() {
        for (other, sampled) in [
            (GOOD.replace("-01", "-00"), false),
            (GOOD.replace("-01", "-02"), false),
            (GOOD.replace("-01", "-ff"), true),
            (GOOD.replacen("00", "01", 1), true),
            (GOOD.replacen("00", "cc", 1) + "-what-comes", true),
        ] {
            let read = Context::read(other.as_bytes()).unwrap();
            assert_eq!(read.sampled, sampled, "{other}");
        }
    }

    #[test]
    fn d8_what_is_invalid_is_no_context() {
        for bad in [
            String::new(),
            GOOD[..54].to_owned(),
            format!("{GOOD}-more"),
            format!("{GOOD}x"),
            GOOD.to_uppercase(),
            GOOD.replacen("00", "ff", 1),
            GOOD.replacen("00", "01", 1) + "x",
            GOOD.replace('-', "_"),
            GOOD.replace("4bf92f3577b34da6a3ce929d0e0e4736", &"0".repeat(32)),
            GOOD.replace("00f067aa0ba902b7", &"0".repeat(16)),
            GOOD.replace("4bf9", "4bg9"),
            GOOD.replace("-01", "- 1"),
        ] {
            assert_eq!(Context::read(bad.as_bytes()), None, "{bad}");
        }
    }
}
