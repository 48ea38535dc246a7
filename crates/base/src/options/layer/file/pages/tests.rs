//! The table `[cache]` from outside: files in, values and faults out.

use std::io;
use std::path::Path;

use crate::Fault;
use crate::options::{Inputs, Resolved, resolve};

fn of(text: &str) -> Result<Resolved, Fault> {
    let read_file = |path: &Path| {
        let is_own = path == Path::new("canter.toml");
        is_own
            .then(|| text.to_owned())
            .ok_or_else(|| io::ErrorKind::NotFound.into())
    };
    resolve(Inputs {
        args: &[],
        env: &[],
        read_file: &read_file,
        process_id: 1,
    })
}

#[test]
fn page_rules_of_a_file_are_the_option_with_the_line_of_each_key() {
    let text = "[cache]\nsize = \"32MB\"\nenabled = true\n\n[[cache.rules]]\npath = \"/news/*\"\nttl = 60\n\
                query = [\"page\", \"q\"]\nstatus_ttl = { 404 = \"10s\" }\n\n[[cache.rules]]\npath = \"/me/*\"\nmode = \"bypass\"\n";
    let resolved = of(text).unwrap();
    let shown = |name: &str| {
        let found = resolved
            .chosen
            .iter()
            .find(|chosen| chosen.row.name() == name)
            .unwrap();
        (found.shown.join(","), found.origin.to_string())
    };
    let (rules, origin) = shown("cache-rule");
    assert_eq!(
        rules,
        "/news/* mode=override ttl=1m query=page,q status-ttl=404:10s,/me/* mode=bypass"
    );
    assert_eq!(origin, "canter.toml:5, key `cache.rules`");
    assert_eq!(shown("cache-size").0, "32MB");
    assert_eq!(shown("cache").0, "on");
    for (line, text) in [
        (
            "canter.toml:3, key `cache.rules[0].tlt`\n  hint: did you mean `ttl`?",
            "tlt = 60",
        ),
        (
            "canter.toml:3, key `cache.rules[0].mode`\n  hint: did you mean `override`?",
            "mode = \"overide\"",
        ),
        ("canter.toml:3, key `cache.rules[0].ttl`", "ttl = \"soon\""),
        ("canter.toml:3, key `cache.rules[0].tags`", "tags = \"a b\""),
        (
            "canter.toml:3, key `cache.rules[0].cookies`",
            "cookies = 2020-01-01",
        ),
        (
            "key `cache.rules`\n  hint: `mode=override` needs `ttl`",
            "mode = \"override\"",
        ),
    ] {
        let text = format!("[[cache.rules]]\npath = \"/\"\n{text}\n");
        let fault = of(&text).unwrap_err().render(false);
        assert!(fault.contains(line), "{fault}");
    }
    for (text, hint) in [
        ("[cache]\nrule = 1\n", "did you mean `rules`?"),
        ("[cache]\nrules = 1\n", "`[[cache.rules]]`"),
        ("[[cache.rules]]\nttl = 1\n", "`path = \"/*\"`"),
    ] {
        let fault = of(text).unwrap_err().render(false);
        assert!(fault.contains(hint), "{fault}");
    }
}
