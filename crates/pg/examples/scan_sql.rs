//! Tells what the scanner sees in texts, one line of hexadecimal bytes for each on standard input;
//! a `-` before it turns `standard_conforming_strings` off. For comparison with a real server:
//! see `tests/differential/sql.py`.

use std::io::{self, BufRead as _, Write as _};

use canter_pg::sql::{Flags, scan};

fn main() -> io::Result<()> {
    let mut out = io::stdout().lock();
    for line in io::stdin().lock().lines() {
        let line = line?;
        let (conforming, hex) = line
            .strip_prefix('-')
            .map_or((true, &*line), |hex| (false, hex));
        let text: Vec<u8> = hex
            .as_bytes()
            .chunks(2)
            .filter_map(|pair| u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok())
            .collect();
        let seen = scan(&text, conforming);
        write!(out, "{}", seen.statements)?;
        for (name, flag) in Flags::NAMED {
            if seen.flags.has(*flag) {
                write!(out, " {name}")?;
            }
        }
        for setting in &seen.settings {
            write!(out, " {}", setting.name.escape_debug())?;
        }
        writeln!(out)?;
        out.flush()?;
    }
    Ok(())
}
