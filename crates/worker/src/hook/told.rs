//! Owns what is told of a request in the end: its groups by name, and the texts of what is named
//! for the first time.
//! Leaves the way to the front to `report`.

use std::sync::atomic::Ordering;
use std::time::Instant;

use canter_channel::report::{Advice, Report};
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::{PyString, PyTuple};

use super::placing::Spot;
use super::request::{Group, HELD_GAP, Request, us};
use super::{Hook, LOCAL};

/// Patterns of addresses whose text is kept.
const MOST_ROUTES: usize = 1024;

impl Hook {
    /// What is to be told of the calling thread's request, which is answered; None without one.
    pub(crate) fn take(&self, py: Python<'_>) -> Option<Report> {
        if self.is_off.load(Ordering::Relaxed) {
            let left = LOCAL.with(|local| local.try_borrow_mut().ok()?.request.take());
            drop(left);
            return None;
        }
        // It was not resolved when its last statement ran, or there was none.
        if let Err(error) = self.view(py) {
            self.disarm(py, error);
        }
        let taken = LOCAL.with(|local| {
            let mut local = local.try_borrow_mut().ok()?;
            let request = local.request.take()?;
            Some((request, std::mem::take(&mut local.counts), local.view))
        });
        let (request, mut counts, view) = taken?;
        let told = self.tell(request.bind(py), &counts, view);
        // Their memory is that of the next request.
        counts.clear();
        LOCAL.with(|local| {
            if let Ok(mut local) = local.try_borrow_mut() {
                local.counts = counts;
            }
        });
        told.map_err(|error| self.disarm(py, error)).ok()
    }

    fn tell(&self, request: &Bound<'_, PyAny>, counts: &Request, view: usize) -> PyResult<Report> {
        let py = request.py();
        let found = request.getattr(intern!(py, "resolver_match"))?;
        let mut report = Report {
            route: self.route(&found)?,
            queries: counts.queries,
            writes: counts.writes,
            sql_us: us(counts.sql),
            held_us: us(counts.held),
            times: counts.times.clone(),
            ..Report::default()
        };
        if counts.groups().is_empty() {
            return Ok(report);
        }
        let (round, is_new) = self.tables(|tables| tables.round(Instant::now()));
        if is_new {
            self.rare
                .bind(py)
                .call_method0(intern!(py, "_forget_captures"))?;
        }
        let mut named = Vec::with_capacity(counts.groups().len());
        report.groups.reserve(counts.groups().len());
        for group in counts.groups() {
            let Some(row) = counts.rows.get(group.row) else {
                continue;
            };
            let statement = row.statement.get();
            let name = statement.name;
            if statement.is_news(round) && self.tables(|tables| tables.is_news(name)) {
                let text = statement.text(py);
                report.statements.push((name, statement.bits, text));
            }
            let spot = (group.spot, view);
            let (place, is_own) = self.place(counts, spot, &found, &mut report.places)?;
            named.push((statement.name, place));
            let is_listed = counts.held >= HELD_GAP || group.is_notable();
            let key = (group.view, row.statement.as_ptr() as usize);
            let is_certain =
                !is_listed || self.tables(|tables| tables.habit(key).may_list(group.is_taken));
            if !is_certain {
                report.held_us = 0;
            }
            let values = match group.values() {
                _ if !is_certain => (0, 0),
                // Nobody here has written that it asks again.
                (distinct, _) if !is_own => (distinct, 0),
                values => values,
            };
            merge(&mut report.groups, (statement.name, place), group, values);
        }
        if counts.crowded_out > 0 && !self.is_crowded.swap(true, Ordering::Relaxed) {
            let name = intern!(py, "_say_crowded");
            let words = (&report.route, counts.queries, counts.crowded_out);
            self.rare.bind(py).call_method1(name, words)?;
        }
        if !counts.captured.is_empty() {
            self.advise(py, counts, &named, &mut report)?;
        }
        Ok(report)
    }

    /// The pattern of its address, for people.
    fn route(&self, found: &Bound<'_, PyAny>) -> PyResult<String> {
        let py = found.py();
        if found.is_none() {
            return Ok(String::new());
        }
        let pattern = found.getattr(intern!(py, "route"))?;
        let routes = self.routes.bind(py);
        let route = if let Some(route) = routes.get_item(&pattern)? {
            route
        } else {
            let name = intern!(py, "route");
            let route = self.rare.bind(py).call_method1(name, (&pattern,))?;
            if routes.len() >= MOST_ROUTES {
                routes.clear();
            }
            routes.set_item(pattern, &route)?;
            route
        };
        Ok(route.cast::<PyString>()?.to_str()?.to_owned())
    }

    fn place(
        &self,
        counts: &Request,
        (spot, view): (Spot, usize),
        found: &Bound<'_, PyAny>,
        texts: &mut Vec<(u64, String)>,
    ) -> PyResult<(u64, bool)> {
        let py = found.py();
        let line = spot.line();
        let key = (spot, if line.is_some() { 0 } else { view });
        let is_known = line.is_some() || view != 0;
        if is_known && let Some(known) = self.tables(|tables| tables.place(key)) {
            return Ok(known);
        }
        let code = line.and_then(|(code, _)| counts.code(code));
        let line = line.map_or(0, |(_, line)| line);
        let told = self
            .rare
            .bind(py)
            .call_method1(intern!(py, "_name_place"), (code, line, found))?;
        let (name, text, is_own): (u64, String, bool) = told.extract()?;
        let is_news = self.tables(|tables| {
            if is_known {
                tables.name_place(key, (name, is_own));
            }
            tables.is_news(name)
        });
        if is_news {
            texts.push((name, text));
        }
        Ok((name, is_own))
    }

    fn advise(
        &self,
        py: Python<'_>,
        counts: &Request,
        named: &[(u64, u64)],
        report: &mut Report,
    ) -> PyResult<()> {
        let captured: Vec<_> = counts.captured.iter().map(|(_, found)| found).collect();
        let statements = counts.rows.iter().map(|row| &row.statement.get().sql);
        let statements: Vec<_> = statements.collect();
        let texts = self
            .rare
            .bind(py)
            .call_method1(intern!(py, "_compose"), (captured, statements))?;
        // None for those that the front was told of.
        let texts: Vec<(String, u8)> = texts.extract()?;
        for ((group, _), (text, repeat)) in counts.captured.iter().zip(texts) {
            if let Some((statement, place)) = named.get(*group)
                && !text.is_empty()
            {
                report.advice.push(Advice {
                    statement: *statement,
                    place: *place,
                    repeat,
                    text,
                });
            }
        }
        Ok(())
    }
}

/// Adds a group to those told; statements that differ in values only are the same there.
fn merge(
    groups: &mut Vec<[u64; 8]>,
    (statement, place): (u64, u64),
    group: &Group,
    (distinct, repeats): (u64, u64),
) {
    let row = [
        statement,
        place,
        group.count.into(),
        distinct,
        repeats,
        us(group.total),
        us(group.most),
        us(group.price),
    ];
    let same = |other: &&mut [u64; 8]| other[0] == statement && other[1] == place;
    let Some(other) = groups.iter_mut().find(same) else {
        return groups.push(row);
    };
    for (at, (sum, more)) in other.iter_mut().zip(row).enumerate().skip(2) {
        *sum = if at == 6 { more.max(*sum) } else { *sum + more };
    }
}

/// For Python: the route alone where nothing was asked for.
pub(super) fn as_python(py: Python<'_>, told: Report) -> PyResult<Bound<'_, PyAny>> {
    if told.queries == 0 {
        return Ok(PyString::new(py, &told.route).into_any());
    }
    let groups = told.groups.iter().map(|group| PyTuple::new(py, group));
    let groups: Vec<_> = groups.collect::<PyResult<_>>()?;
    let advice = told.advice.into_iter();
    let advice: Vec<_> = advice.map(|it| (it.statement, it.place, it.text)).collect();
    let told = (
        told.route,
        told.queries,
        told.writes,
        told.sql_us,
        told.held_us,
        groups,
        told.statements,
        told.places,
        advice,
    );
    Ok(told.into_pyobject(py)?.into_any())
}
