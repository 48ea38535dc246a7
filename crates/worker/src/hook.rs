//! Owns what runs around each statement of a Django app: whose request it is, how long it took, and
//! what is told of the request in the end.
//! Leaves all that is rare to `canter.insight`: texts of places, advice, values for a plan, saying that
//! something is wrong.
//!
//! Runs in the threads of requests. No lock and no borrow is held across a call into Python, which may
//! run any code and a statement of its own.

mod placing;
mod request;
mod statement;
mod tables;
mod told;

use std::cell::RefCell;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Instant;

use canter_insight::operations::What;
use canter_insight::statement::{Dialect, strip};
use pyo3::exceptions::PyException;
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::{PyCode, PyDict, PyFrame, PyFrameMethods, PyModule, PyString};

use placing::{Source, Spot};
use request::{Look, Meant, Request, Run};
use statement::{Purpose, Statement};
use tables::{HabitKey, Tables, Whose};

/// Frames that are walked: an app may recurse without end.
const MOST_FRAMES: usize = 2000;

thread_local! {
    static LOCAL: RefCell<Local> = RefCell::default();
}

/// What a thread works on.
#[derive(Default)]
struct Local {
    request: Option<Py<PyAny>>,
    /// The address of its view, once it is resolved; 0 before.
    view: usize,
    counts: Request,
    shown: Option<Arc<Shown>>,
}

/// The statement a thread waits for, which others may ask for.
#[derive(Default)]
struct Shown(Mutex<Option<Py<PyAny>>>);

impl Shown {
    fn replace(&self, sql: Option<Py<PyAny>>) -> Option<Py<PyAny>> {
        std::mem::replace(
            &mut *self.0.lock().unwrap_or_else(PoisonError::into_inner),
            sql,
        )
    }
}

/// What watches the app of this process.
#[pyclass(frozen, module = "canter._worker")]
pub(crate) struct Hook {
    /// `canter.insight`.
    rare: Py<PyModule>,
    /// `sys._getframe`.
    getframe: Py<PyAny>,
    /// By its words, as Django has them.
    statements: Py<PyDict>,
    /// For people, by the pattern of the address.
    routes: Py<PyDict>,
    tables: Mutex<Tables>,
    threads: Mutex<Vec<(u64, Weak<Shown>)>>,
    wants_values: AtomicBool,
    /// It was said that a request asks for more statements than are told apart.
    is_crowded: AtomicBool,
    is_off: AtomicBool,
}

#[pymethods]
impl Hook {
    #[new]
    #[pyo3(signature = (rare, /))]
    fn new(rare: Bound<'_, PyModule>) -> PyResult<Self> {
        let py = rare.py();
        Ok(Self {
            getframe: py.import("sys")?.getattr("_getframe")?.unbind(),
            rare: rare.unbind(),
            statements: PyDict::new(py).unbind(),
            routes: PyDict::new(py).unbind(),
            tables: Mutex::default(),
            threads: Mutex::default(),
            wants_values: AtomicBool::new(false),
            is_crowded: AtomicBool::new(false),
            is_off: AtomicBool::new(false),
        })
    }

    /// The calling thread's request begins.
    #[staticmethod]
    #[pyo3(signature = (request, /))]
    fn begin(request: Py<PyAny>) {
        let old = LOCAL.with(|local| {
            let mut local = local.try_borrow_mut().ok()?;
            local.view = 0;
            local.counts.clear();
            local.request.replace(request)
        });
        drop(old);
    }

    /// Django's `execute_wrapper`: times one statement.
    #[pyo3(signature = (execute, sql, params, many, context, /))]
    fn observe<'py>(
        &self,
        execute: &Bound<'py, PyAny>,
        sql: &Bound<'py, PyAny>,
        params: &Bound<'py, PyAny>,
        many: &Bound<'py, PyAny>,
        context: &Bound<'py, PyAny>,
    ) -> PyResult<Bound<'py, PyAny>> {
        let py = execute.py();
        let shown = self.shown(py);
        if let Some(shown) = &shown {
            drop(shown.replace(Some(sql.clone().unbind())));
        }
        let began = Instant::now();
        let result = execute.call1((sql, params, many, context));
        let ended = Instant::now();
        if let Some(shown) = &shown {
            drop(shown.replace(None));
            let ran = Ran {
                sql,
                params,
                many,
                context,
                raised: result.as_ref().err(),
            };
            if let Err(error) = self.note(&ran, began, ended) {
                // Somebody ends this thread's work meanwhile: that is for the app.
                if !error.is_instance_of::<PyException>(py) {
                    return Err(error);
                }
                self.disarm(py, error);
            }
        }
        result
    }

    /// A transaction of the calling thread ends.
    #[staticmethod]
    fn end_transaction() {
        LOCAL.with(|local| {
            if let Ok(mut local) = local.try_borrow_mut() {
                local.counts.end_transaction(Instant::now());
            }
        });
    }

    /// What is to be told of the calling thread's request, which is answered: its route alone when it has
    /// asked for nothing; None without a request.
    fn report<'py>(&self, py: Python<'py>) -> PyResult<Option<Bound<'py, PyAny>>> {
        self.take(py)
            .map(|told| told::as_python(py, told))
            .transpose()
    }

    /// The statement that a thread waits for now, without values.
    #[pyo3(signature = (ident, /))]
    fn current(&self, py: Python<'_>, ident: u64) -> PyResult<Option<String>> {
        let shown = {
            let threads = self.threads.lock().unwrap_or_else(PoisonError::into_inner);
            let found = threads.iter().find(|(other, _)| *other == ident);
            found.and_then(|(_, shown)| shown.upgrade())
        };
        let Some(shown) = shown else { return Ok(None) };
        let sql = {
            let sql = shown.0.lock().unwrap_or_else(PoisonError::into_inner);
            sql.as_ref().map(|sql| sql.clone_ref(py))
        };
        let Some(sql) = sql else { return Ok(None) };
        let Ok(sql) = sql.bind(py).cast::<PyString>() else {
            return Ok(None);
        };
        let known = self.statements.bind(py).get_item(sql)?;
        let known = known.and_then(|known| known.cast_into::<Statement>().ok());
        let dialect = Dialect::of_vendor(known.as_ref().map_or("", |known| &known.get().vendor));
        Ok(Some(strip(sql.to_string_lossy().as_bytes(), dialect).text))
    }

    /// The statement of this name as Django has it, if this process has asked it lately.
    #[pyo3(signature = (name, /))]
    fn template<'py>(&self, py: Python<'py>, name: u64) -> Option<Bound<'py, PyAny>> {
        let statements = self.statements.bind(py).iter();
        let mut known =
            statements.filter_map(|(sql, it)| Some((sql, it.cast_into::<Statement>().ok()?)));
        known
            .find(|(sql, it)| it.get().name == name && sql.is_instance_of::<PyString>())
            .map(|(sql, _)| sql)
    }

    /// Whether somebody wants the values of a statement.
    #[pyo3(signature = (wanted, /))]
    fn want_values(&self, wanted: bool) {
        self.wants_values.store(wanted, Ordering::Relaxed);
    }

    /// Watches no more.
    fn switch_off(&self) {
        self.is_off.store(true, Ordering::Relaxed);
    }
}

/// A statement that ran, as Django has handed it over.
struct Ran<'a, 'py> {
    sql: &'a Bound<'py, PyAny>,
    params: &'a Bound<'py, PyAny>,
    many: &'a Bound<'py, PyAny>,
    context: &'a Bound<'py, PyAny>,
    raised: Option<&'a PyErr>,
}

impl Ran<'_, '_> {
    /// Of which kind it was for metrics.
    fn what(&self, statement: Option<&Statement>, connection: &Bound<'_, PyAny>) -> PyResult<What> {
        let py = self.sql.py();
        let what = if let Some(statement) = statement {
            statement.what
        } else {
            let vendor = connection.getattr(intern!(py, "vendor"))?;
            What::unread(vendor.cast::<PyString>()?.to_str()?)
        };
        Ok(match self.raised {
            Some(error) => what.failed(error.get_type(py).name()?.to_str()?),
            None => what,
        })
    }
}

impl Hook {
    fn tables<T>(&self, look: impl FnOnce(&mut Tables) -> T) -> T {
        look(&mut self.tables.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Where others look for this thread's statement; None where nothing is watched.
    fn shown(&self, py: Python<'_>) -> Option<Arc<Shown>> {
        if self.is_off.load(Ordering::Relaxed) {
            return None;
        }
        let known = LOCAL.with(|local| {
            let local = local.try_borrow().ok()?;
            local.request.as_ref()?;
            Some(local.shown.clone())
        });
        match known? {
            Some(shown) => Some(shown),
            None => self.show(py),
        }
    }

    fn show(&self, py: Python<'_>) -> Option<Arc<Shown>> {
        let ident = py
            .import("threading")
            .ok()?
            .call_method0("get_ident")
            .ok()?;
        let ident = ident.extract().ok()?;
        let shown = Arc::new(Shown::default());
        let mut threads = self.threads.lock().unwrap_or_else(PoisonError::into_inner);
        // The numbers of threads that have ended are given again.
        threads.retain(|(other, shown)| *other != ident && shown.strong_count() > 0);
        threads.push((ident, Arc::downgrade(&shown)));
        LOCAL.with(|local| {
            local
                .try_borrow_mut()
                .ok()?
                .shown
                .replace(Arc::clone(&shown))
        });
        Some(shown)
    }

    fn note(&self, ran: &Ran<'_, '_>, began: Instant, ended: Instant) -> PyResult<()> {
        let py = ran.sql.py();
        let connection = ran.context.get_item(intern!(py, "connection"))?;
        let statement = match ran.sql.cast::<PyString>() {
            Ok(sql) => Some(self.statement(sql, &connection)?),
            // A driver's own kind of statement is counted only.
            Err(_) => None,
        };
        let run = Run {
            began,
            ended,
            in_transaction: connection
                .getattr(intern!(py, "in_atomic_block"))?
                .is_truthy()?,
            what: ran.what(statement.as_ref().map(Bound::get), &connection)?,
        };
        if self.wants_values.load(Ordering::Relaxed)
            && let Some(statement) = &statement
        {
            let name = statement.get().name;
            let arguments = (name, ran.sql, ran.params, ran.many, &connection);
            self.rare
                .bind(py)
                .call_method1(intern!(py, "_keep_sample"), arguments)?;
        }
        let begun = match &statement {
            Some(it) if run.in_transaction && it.get().purpose.writes() => {
                statement::savepoint(&connection)?
            }
            _ => 0,
        };
        let number = with_counts(|counts| u64::from(counts.queries)).unwrap_or_default();
        let (value, is_write) = match &statement {
            Some(statement) => {
                let statement = statement.get();
                let asks = statement.purpose == Purpose::Asks;
                let is_write = statement.purpose.writes() || !asks && ran.many.is_truthy()?;
                let value = statement.tell_apart(ran.params, ran.many, number)?;
                (value, is_write)
            }
            None => (None, false),
        };
        let view = self.view(py)?;
        let met = with_counts(|counts| {
            counts.count(&run);
            let (row, times) = counts.row(statement.as_ref()?)?;
            Some((row, times, counts.is_long(&run)))
        });
        let Some((Some((row, times, is_long)), Some(statement))) = met.map(|met| (met, statement))
        else {
            if is_write {
                with_counts(Request::note_write);
            }
            return Ok(());
        };
        let key = (view, statement.as_ptr() as usize);
        let is_open = with_counts(|counts| counts.is_open(row)) == Some(true);
        let (spot, is_taken) = self.locate(py, key, times, (is_long, is_open))?;
        let many = with_counts(|counts| {
            if is_write {
                counts.note_write();
            }
            let group = counts.add(row, spot, &run)?;
            group.view = view;
            group.is_taken |= is_taken;
            counts.note_transaction(row, begun);
            counts.note_value(row, value?)
        });
        if let Some(Some((group, look))) = many {
            self.capture(py, group, look)?;
        }
        Ok(())
    }

    /// The statement of these words; what is new is named.
    fn statement<'py>(
        &self,
        sql: &Bound<'py, PyString>,
        connection: &Bound<'py, PyAny>,
    ) -> PyResult<Bound<'py, Statement>> {
        let py = sql.py();
        let statements = self.statements.bind(py);
        if let Some(known) = statements.get_item(sql)? {
            return Ok(known.cast_into::<Statement>()?);
        }
        let vendor = connection.getattr(intern!(py, "vendor"))?;
        let statement = Statement::read(sql, vendor.cast::<PyString>()?.to_str()?);
        let kept = statement.sql.bind(py);
        // A long one is known by its name, so that its text goes with its run; and what has another text each time.
        let key = if kept.is(sql) && !statement.is_savepoint() {
            kept.clone().into_any()
        } else {
            statement.name.into_pyobject(py)?.into_any()
        };
        if let Some(known) = statements.get_item(&key)? {
            return Ok(known.cast_into::<Statement>()?);
        }
        let bytes = kept.to_str().map_or(0, str::len);
        if !self.tables(|tables| tables.has_room(statements.len(), bytes)) {
            statements.clear();
        }
        let statement = Bound::new(py, statement)?;
        statements.set_item(key, &statement)?;
        Ok(statement)
    }

    /// The address of the view that the request was resolved to; 0 before.
    fn view(&self, py: Python<'_>) -> PyResult<usize> {
        let known = LOCAL.with(|local| {
            let local = local.try_borrow().ok()?;
            Some((local.view, local.request.as_ref()?.clone_ref(py)))
        });
        let Some((0, request)) = known else {
            return Ok(known.map_or(0, |(view, _)| view));
        };
        let found = request.bind(py).getattr(intern!(py, "resolver_match"))?;
        if found.is_none() {
            return Ok(0);
        }
        let view = found.getattr(intern!(py, "func"))?;
        let address = view.as_ptr() as usize;
        let forgotten = self.tables(|tables| tables.keep_view(address, view.unbind()));
        drop(forgotten);
        LOCAL.with(|local| {
            if let Ok(mut local) = local.try_borrow_mut() {
                local.view = address;
            }
        });
        Ok(address)
    }

    /// Where the statement that ran last was asked for, and whether that was taken from habit; None for
    /// where it was asked for last. It is looked up where the run `is_long`, and not taken from the last run
    /// where it `is_open` whether that place is a loop of writes.
    fn locate(
        &self,
        py: Python<'_>,
        key: HabitKey,
        times: u32,
        (is_long, is_open): (bool, bool),
    ) -> PyResult<(Option<Spot>, bool)> {
        let source = if is_long {
            Source::Frames
        } else {
            self.tables(|tables| tables.habit(key).source(times))
        };
        match source {
            Source::Last if !is_open => return Ok((None, false)),
            Source::Habit(spot) if self.keep_code(py, spot) => {
                return Ok((Some(spot), true));
            }
            // A habit whose code was forgotten meanwhile is worth nothing.
            Source::Habit(_) | Source::Last | Source::Frames => {}
        }
        let spot = self.walk(py)?;
        self.tables(|tables| tables.habit(key).saw(spot, times));
        Ok((Some(spot), false))
    }

    /// Keeps the code object of this place until the request is told of; false where it was forgotten.
    fn keep_code(&self, py: Python<'_>, spot: Spot) -> bool {
        let Some((number, _)) = spot.line() else {
            return true;
        };
        if with_counts(|counts| counts.code(number).is_some()) == Some(true) {
            return true;
        }
        let Some(code) = self.tables(|tables| tables.code(py, number)) else {
            return false;
        };
        with_counts(|counts| counts.keep_code(number, code));
        true
    }

    /// The innermost line that is the app's own, but for that of middleware that waits for the answer.
    fn walk(&self, py: Python<'_>) -> PyResult<Spot> {
        let frame = self.getframe.bind(py).call0()?;
        let mut next = frame.cast_into::<PyFrame>().ok();
        for _ in 0..MOST_FRAMES {
            let Some(frame) = next else { break };
            let code = frame.code();
            let address = code.as_ptr() as usize;
            let known = self.tables(|tables| tables.whose(address));
            let whose = match known {
                Some(whose) => whose,
                None => self.whose(&code)?,
            };
            match whose {
                Whose::Library => next = frame.outer(),
                Whose::Handler => break,
                Whose::App(number) => {
                    with_counts(|counts| counts.keep_code(number, code.into_any().unbind()));
                    let line = frame.line_number();
                    return Ok(Spot::Line { code: number, line });
                }
            }
        }
        Ok(Spot::Nowhere)
    }

    /// Whose code is that was not met yet, which is asked once.
    fn whose(&self, code: &Bound<'_, PyCode>) -> PyResult<Whose<u64>> {
        let py = code.py();
        let rare = self.rare.bind(py);
        let whose = rare.call_method1(intern!(py, "_whose"), (code,))?;
        let whose: Whose = match whose.extract::<Option<bool>>()? {
            Some(false) => Whose::Library,
            Some(true) => Whose::App(()),
            None => Whose::Handler,
        };
        let kept = code.clone().into_any().unbind();
        let (known, forgotten) =
            self.tables(|tables| tables.keep_code(code.as_ptr() as usize, kept, whose));
        drop(forgotten);
        Ok(known)
    }

    /// What the rows of a repeated statement are read for.
    fn capture(&self, py: Python<'_>, group: usize, look: Look) -> PyResult<()> {
        let key = with_counts(|counts| {
            let found = counts.groups().get(group)?;
            let row = counts.rows.get(found.row)?;
            let sql = row.statement.get().sql.clone_ref(py);
            Some((sql, found.spot.line(), found.view))
        });
        let Some(Some((sql, line, view))) = key else {
            return Ok(());
        };
        let request = LOCAL.with(|local| {
            let local = local.try_borrow().ok()?;
            Some(local.request.as_ref()?.clone_ref(py))
        });
        let Some(request) = request else {
            return Ok(());
        };
        let rare = self.rare.bind(py);
        let words = (sql, line, view, request, look.word());
        let found = rare.call_method1(intern!(py, "_capture"), words)?;
        let (meant, found): (u8, Option<Py<PyAny>>) = found.extract()?;
        let meant = match meant {
            0 => Meant::Nothing,
            1 => Meant::Others,
            _ => Meant::All,
        };
        with_counts(|counts| counts.capture(group, meant, found));
        Ok(())
    }

    /// Something in here is wrong: the app goes on without it.
    fn disarm(&self, py: Python<'_>, error: PyErr) {
        self.is_off.store(true, Ordering::Relaxed);
        let error = error.into_value(py);
        if let Err(worse) = self
            .rare
            .bind(py)
            .call_method1(intern!(py, "disarm"), (error,))
        {
            worse.write_unraisable(py, None);
        }
    }
}

/// None while they are in use further up, as when looking at a value has run a statement.
fn with_counts<T>(look: impl FnOnce(&mut Request) -> T) -> Option<T> {
    LOCAL.with(|local| Some(look(&mut local.try_borrow_mut().ok()?.counts)))
}
