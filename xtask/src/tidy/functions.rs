//! Where functions begin and end in masked source. No judgement on them.

/// A function with its lines, from 1, both included.
#[derive(Debug, PartialEq, Eq)]
pub struct Function {
    /// Its name.
    pub name: String,
    /// The line of the name.
    pub first: usize,
    /// The line of its end.
    pub last: usize,
}

/// Functions with a body in masked Rust, in the order they begin.
pub fn rust(code: &str) -> Vec<Function> {
    let mut functions = Vec::new();
    for (at, _) in code.match_indices("fn ") {
        let starts_word = code
            .get(..at)
            .and_then(|before| before.chars().next_back())
            .is_none_or(|before| !before.is_alphanumeric() && before != '_');
        let Some(rest) = code.get(at + 3..).filter(|_| starts_word) else {
            continue;
        };
        let name: String = rest
            .trim_start()
            .chars()
            .take_while(|c| c.is_alphanumeric() || *c == '_')
            .collect();
        // A type such as `fn (u8)` has no name.
        if let Some(length) = body_end(rest).filter(|_| !name.is_empty()) {
            let first = line_at(code, at);
            functions.push(Function {
                name,
                first,
                last: line_at(code, at + 3 + length),
            });
        }
    }
    functions
}

/// The offset of the brace that ends the body; `None` for a declaration without one.
fn body_end(rest: &str) -> Option<usize> {
    let (mut brackets, mut braces) = (0_usize, 0_usize);
    for (at, character) in rest.char_indices() {
        match character {
            '(' | '[' => brackets += 1,
            ')' | ']' => brackets = brackets.saturating_sub(1),
            ';' if brackets == 0 && braces == 0 => return None,
            '{' => braces += 1,
            '}' => {
                braces = braces.checked_sub(1)?;
                if braces == 0 {
                    return Some(at);
                }
            }
            _ => {}
        }
    }
    None
}

fn line_at(text: &str, offset: usize) -> usize {
    text.bytes()
        .take(offset)
        .filter(|byte| *byte == b'\n')
        .count()
        + 1
}

/// Functions in masked Python, in the order they begin.
pub fn python(code: &str) -> Vec<Function> {
    let lines: Vec<&str> = code.lines().collect();
    let mut functions = Vec::new();
    for (index, line) in lines.iter().enumerate() {
        let trimmed = line.trim_start();
        let named = trimmed
            .strip_prefix("async ")
            .unwrap_or(trimmed)
            .strip_prefix("def ");
        let Some(rest) = named else { continue };
        let name: String = rest
            .chars()
            .take_while(|c| c.is_alphanumeric() || *c == '_')
            .collect();
        let indent = line.len() - trimmed.len();
        let mut last = signature_end(&lines, index);
        for (below, line) in lines.iter().enumerate().skip(last + 1) {
            if line.trim().is_empty() {
                continue;
            }
            if line.len() - line.trim_start().len() <= indent {
                break;
            }
            last = below;
        }
        functions.push(Function {
            name,
            first: index + 1,
            last: last + 1,
        });
    }
    functions
}

/// The index of the line on which the brackets of a signature are closed.
fn signature_end(lines: &[&str], first: usize) -> usize {
    let mut depth = 0_i64;
    for (index, line) in lines.iter().enumerate().skip(first) {
        for character in line.chars() {
            match character {
                '(' | '[' | '{' => depth += 1,
                ')' | ']' | '}' => depth -= 1,
                _ => {}
            }
        }
        if depth <= 0 {
            return index;
        }
    }
    first
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spans(functions: &[Function]) -> Vec<(&str, usize, usize)> {
        functions
            .iter()
            .map(|f| (f.name.as_str(), f.first, f.last))
            .collect()
    }

    #[test]
    fn rust_functions_end_at_their_brace() {
        let code = "fn a() -> [u8; 2] {\n  if x {\n  }\n}\nfn declared(x: u8);\n\
                    pub fn b() { fn c() {} }\ntype F = fn (u8);\nlet my_fn = 1;\n";
        assert_eq!(spans(&rust(code)), [("a", 1, 4), ("b", 6, 6), ("c", 6, 6)]);
        assert!(rust("fn broken() {").is_empty() && rust("fn broken() }").is_empty());
    }

    #[test]
    fn python_functions_end_at_their_last_indented_line() {
        let code = "def a(\n    x,\n) -> int:\n    if x:\n\n        y\n\nz = 1\n\
                    class C:\n    async def b(self):\n        pass\n    def c(self): pass\n";
        assert_eq!(
            spans(&python(code)),
            [("a", 1, 6), ("b", 10, 11), ("c", 12, 12)]
        );
    }
}
