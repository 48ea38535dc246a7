//! What a client of the crowd says: legal pipelines and such as no driver sends, one phrase after
//! another. Each text, parameter and piece of data names its client and is there only once.

use super::super::driver::*;
use super::settings::NAMES;

pub(crate) struct Talker {
    pub(crate) client: usize,
    count: u32,
    listens: bool,
    /// May say what keeps its server.
    pub(crate) pins: bool,
}

/// Something said, or a pause until all that can be answered was.
#[derive(Debug, Clone)]
pub(crate) enum Piece {
    Says(Vec<u8>),
    /// What is left of that.
    Goes(Vec<u8>),
    Waits,
}

/// Names of statements, by who gives them.
const OF_PROTOCOL: [&str; 3] = ["a", "b", "d"];
const OF_SQL: [&str; 2] = ["x", "y"];

fn bind_with(portal: &str, name: &str, parameter: &str) -> Vec<u8> {
    let mut body = format!("{portal}\0{name}\0\0\0\0\x01").into_bytes();
    body.extend_from_slice(&(parameter.len() as u32).to_be_bytes());
    body.extend_from_slice(parameter.as_bytes());
    body.extend_from_slice(&[0, 0]);
    message(b'B', &body)
}

fn one_of<T: Copy>(state: &mut u64, all: &[T]) -> T {
    all[random(state) as usize % all.len()]
}

/// Once in so many times.
fn rarely(state: &mut u64, times: u64) -> bool {
    random(state).is_multiple_of(times)
}

impl Talker {
    pub(crate) fn new(client: usize, pins: bool) -> Self {
        Self {
            client,
            count: 0,
            listens: false,
            pins,
        }
    }

    fn tag(&mut self) -> String {
        self.count += 1;
        format!("{}_{}", self.client, self.count)
    }

    fn text(&mut self, state: &mut u64) -> String {
        let tag = self.tag();
        match random(state) % 16 {
            14 | 15 => self.prepared(state),
            12 => format!("hang {tag}"),
            13 => self.setting(state),
            0 => format!("fail {tag}"),
            1 => format!("copy t{tag} to stdout"),
            2 => format!("copy m{tag} to stdout"),
            3 => "select 'shared'".to_owned(),
            _ => format!("select '{tag}'"),
        }
    }

    /// A command about prepared statements. Those that SQL prepares have names of their own, and keep
    /// their server.
    fn prepared(&mut self, state: &mut u64) -> String {
        let of_sql = one_of(state, &OF_SQL);
        match random(state) % 12 {
            0..3 => format!("deallocate {}", one_of(state, &OF_PROTOCOL)),
            3 => format!("deallocate prepare {of_sql}"),
            4 => format!("deallocate {of_sql}"),
            5 => "deallocate all".to_owned(),
            6 => "discard all".to_owned(),
            7 => "discard plans".to_owned(),
            8 => format!("execute {of_sql}"),
            _ if !self.pins => "deallocate prepare all".to_owned(),
            9 | 10 => format!("prepare {of_sql} as select '{}'", self.tag()),
            _ => {
                let (name, tag) = (one_of(state, &NAMES), self.tag());
                format!("prepare {of_sql} as select set_config('{name}','v{tag}',false)")
            }
        }
    }

    /// What changes a setting.
    fn setting(&mut self, state: &mut u64) -> String {
        let (name, tag) = (one_of(state, &NAMES), self.tag());
        match random(state) % 8 {
            0 => format!("set local {name} = 'v{tag}'"),
            1 => format!("reset {name}"),
            2 if rarely(state, 2) => "reset all".to_owned(),
            3 => format!("select set_config('{name}','v{tag}',false)"),
            4 => format!("select set_config('{name}','v{tag}',true)"),
            _ => format!("set {name} = 'v{tag}'"),
        }
    }

    /// A transaction with settings and savepoints in it, one statement after the other.
    fn transaction(&mut self, state: &mut u64) -> Vec<Piece> {
        let mut texts = vec!["begin".to_owned()];
        for _ in 0..random(state) % 6 {
            let text = match random(state) % 8 {
                0 | 1 => format!("savepoint {}", one_of(state, &["s", "u"])),
                2 => format!("rollback to {}", one_of(state, &["s", "u"])),
                3 => format!("release {}", one_of(state, &["s", "u"])),
                4 | 5 => self.setting(state),
                _ => self.text(state),
            };
            texts.push(text);
        }
        texts.push(one_of(state, &["commit", "commit", "rollback"]).to_owned());
        texts.push(format!("select '{}'", self.tag()));
        let waits = rarely(state, 2);
        let mut pieces = Vec::new();
        for text in texts {
            let said = if rarely(state, 3) {
                let steps = [parse("", &text), bind_with("", "", &self.tag())];
                [&steps.concat(), &execute("")[..], SYNC].concat()
            } else {
                q(&text)
            };
            pieces.push(Piece::Says(said));
            if waits {
                pieces.push(Piece::Waits);
            }
        }
        pieces
    }

    /// A portal with a name, fetched from in parts.
    fn portal(&mut self, state: &mut u64) -> Vec<u8> {
        let name = one_of(state, &["", "p", "r"]);
        let text = format!("rows {}", self.tag());
        let mut said = [parse("", &text), bind_with(name, "", &self.tag())].concat();
        for _ in 0..=random(state) % 3 {
            match random(state) % 6 {
                0 => said.extend(describe('P', name)),
                1 => said.extend_from_slice(crate::wire::build::FLUSH),
                2 => said.extend(parse("", &format!("select '{}'", self.tag()))),
                _ => {}
            }
            let most = [0, 1, 2, 3][random(state) as usize % 4];
            said.extend(message(
                b'E',
                &[name.as_bytes(), &[0, 0, 0, 0, most]].concat(),
            ));
        }
        if rarely(state, 2) {
            said.extend(close('P', name));
        }
        said.extend_from_slice(SYNC);
        said
    }

    /// `Parse`, `Bind` and `Execute` of a statement with or without a name.
    fn steps(&mut self, state: &mut u64) -> Vec<u8> {
        let mut said = Vec::new();
        let name = if rarely(state, 12) {
            one_of(state, &OF_SQL)
        } else {
            one_of(state, &["", "", "a", "b", "d"])
        };
        let text = self.text(state);
        let text = if rarely(state, 12) {
            text.replace("select", "bad")
        } else {
            text
        };
        if OF_SQL.contains(&name) {
            if rarely(state, 4) {
                said.extend(close('S', name));
            }
        } else if name.is_empty() || rarely(state, 2) {
            if !name.is_empty() && rarely(state, 2) {
                said.extend(close('S', name));
            }
            said.extend(parse(name, &text));
        }
        if rarely(state, 6) {
            said.extend(describe('S', name));
        }
        for _ in 0..=random(state) % 2 {
            said.extend(bind_with("", name, &self.tag()));
            if rarely(state, 3) {
                said.extend(describe('P', ""));
            }
            said.extend(execute(""));
        }
        said
    }

    /// The data of a COPY and its end, with what may be amid.
    fn data(&mut self, state: &mut u64) -> Vec<u8> {
        let mut said = Vec::new();
        for _ in 0..random(state) % 3 {
            let bad = if rarely(state, 6) { "bad" } else { "" };
            said.extend(message(b'd', format!("{bad}{}", self.tag()).as_bytes()));
            if rarely(state, 8) {
                said.extend_from_slice(one_of(state, &[SYNC, crate::wire::build::FLUSH]));
            }
        }
        match random(state) % 8 {
            0 => {}
            1 => said.extend(message(b'f', b"why\0")),
            _ => said.extend(message(b'c', b"")),
        }
        said
    }

    /// A COPY from the client, waited for or not, with `Sync` or more ahead of its data.
    fn copy(&mut self, state: &mut u64) -> Vec<Piece> {
        let table = one_of(state, &["t", "t", "t", "t", "t", "m"]);
        let text = format!("copy {table}{} from stdin", self.tag());
        let is_simple = rarely(state, 2);
        let mut said = if is_simple {
            let before = if rarely(state, 4) {
                format!("select '{}';", self.tag())
            } else {
                String::new()
            };
            let behind = match random(state) % 6 {
                0 => format!(";select '{}'", self.tag()),
                1 => format!(";copy t{} from stdin", self.tag()),
                _ => String::new(),
            };
            q(&format!("{before}{text}{behind}"))
        } else {
            let parameter = self.tag();
            [parse("", &text), bind_with("", "", &parameter), execute("")].concat()
        };
        for _ in 0..one_of(state, &[0, 0, 1, 1, 2]) {
            said.extend_from_slice(SYNC);
        }
        // A server that still reads COPY data ends the connection then.
        if rarely(state, 10) {
            said.extend(self.steps(state));
            if rarely(state, 2) {
                said.extend_from_slice(SYNC);
            }
        }
        let mut pieces = Vec::new();
        if rarely(state, 3) {
            pieces.push(Piece::Says(std::mem::take(&mut said)));
            pieces.push(Piece::Waits);
        }
        for _ in 0..one_of(state, &[1, 1, 1, 2]) {
            said.extend(self.data(state));
        }
        if !is_simple || rarely(state, 3) {
            said.extend_from_slice(SYNC);
        }
        pieces.push(Piece::Says(said));
        pieces
    }

    pub(crate) fn phrase(&mut self, state: &mut u64) -> Vec<Piece> {
        let says = |said| vec![Piece::Says(said)];
        match random(state) % 20 {
            16 => says(q(&self.setting(state))),
            17 | 18 => self.transaction(state),
            19 => says(self.portal(state)),
            0 | 1 => says(q(&self.text(state))),
            2 => {
                let texts = [self.text(state), self.text(state)].join(";");
                // Amid others the server reads a name that it does not know.
                let is_named = |name: &&str| texts.contains(&format!("deallocate {name}"));
                if OF_PROTOCOL.iter().any(is_named) {
                    return says(q(""));
                }
                says(q(&texts))
            }
            3..=5 => self.copy(state),
            6 => says(message(b'F', b"\0\0\0\x01\0\0\0\0\0\0")),
            7 => says(q(one_of(state, &["begin", "commit", "rollback"]))),
            8 => {
                let text = one_of(state, &["begin", "commit", "rollback"]);
                let steps = [parse("", text), bind_with("", "", ""), execute("")].concat();
                says([&steps, SYNC].concat())
            }
            9 => says(SYNC.to_vec()),
            10 if self.pins => {
                self.listens = !self.listens;
                let text = if self.listens {
                    format!("listen c{}", self.tag())
                } else {
                    "unlisten *".to_owned()
                };
                says(q(&text))
            }
            11 => vec![Piece::Waits],
            12 => says(q("")),
            _ => {
                let mut said = self.steps(state);
                match random(state) % 5 {
                    0 => {}
                    1 => said.extend_from_slice(crate::wire::build::FLUSH),
                    _ => said.extend_from_slice(SYNC),
                }
                says(said)
            }
        }
    }

    /// Ends whatever is under way, so that nothing of it is left.
    pub(crate) fn last_words(&mut self) -> Vec<Piece> {
        let end = [message(b'f', b"over\0"), SYNC.to_vec(), SYNC.to_vec()].concat();
        let mut all = vec![
            Piece::Waits,
            Piece::Says(end),
            Piece::Waits,
            Piece::Says(q("rollback")),
        ];
        if self.pins {
            all.extend([Piece::Waits, Piece::Says(q("unlisten *"))]);
            all.extend([Piece::Waits, Piece::Says(q("deallocate all"))]);
        }
        all.push(Piece::Waits);
        all.push(Piece::Says(q(&format!("select '{}'", self.tag()))));
        all
    }
}
