//! Owns where reports go: standard output and files. The files are made before the run, so that a wrong
//! name costs no run. Leaves their content to `canter_load::report`.

use std::fs::File;
use std::io::Write as _;

use canter_base::flags::Given;
use canter_base::{Exit, Fault};
use canter_load::report::{Forms, Report, Unmeasured};

/// The files that were asked for.
pub(super) struct Files {
    named: Vec<(&'static str, String, Option<File>)>,
}

impl Files {
    pub(super) fn open(given: &Given) -> Result<Self, Fault> {
        let mut named = Vec::new();
        for form in ["html", "json", "csv", "junit", "sarif"] {
            if let Some(path) = given.value(form) {
                let file = if path == "-" {
                    None
                } else {
                    Some(create(path)?)
                };
                named.push((form, path.to_owned(), file));
            }
        }
        Ok(Self { named })
    }

    pub(super) fn write(self, report: &Report<'_>) -> Result<(), Fault> {
        let on_stdout = self.named.iter().any(|(_, _, file)| file.is_none());
        if !on_stdout {
            super::print(&report.text());
        }
        self.fill(report)
    }

    /// Writes why there was no run.
    pub(super) fn write_unmeasured(self, url: &str, fault: &Fault) -> Result<(), Fault> {
        self.fill(&Unmeasured {
            url,
            what: &fault.what,
            hint: fault.hint.as_deref(),
        })
    }

    fn fill(mut self, report: &impl Forms) -> Result<(), Fault> {
        for (form, path, file) in &mut self.named {
            put(path, file.as_mut(), &report.form(form))?;
        }
        Ok(())
    }
}

/// Into the file, or to standard output where there is none.
fn put(path: &str, file: Option<&mut File>, content: &str) -> Result<(), Fault> {
    let Some(file) = file else {
        super::print(content);
        return Ok(());
    };
    file.write_all(content.as_bytes())
        .map_err(|error| Fault::new(Exit::File, format!("cannot write `{path}`: {error}")))
}

/// Makes a file.
pub(crate) fn create(path: &str) -> Result<File, Fault> {
    File::create(path)
        .map_err(|error| Fault::new(Exit::File, format!("cannot write `{path}`: {error}")))
}
