//! Owns turning a request's record into the environ of PEP 3333.
//! Leaves taking the record to `ring_reader`, and which fields reach it to the front.
//!
//! About 1 µs per request: one copy of a template, then only what differs. Strings are made from
//! bytes as ISO-8859-1, as PEP 3333 ("Unicode Issues") wants them.

use std::collections::HashMap;
use std::os::fd::{IntoRawFd, OwnedFd};

use canter_channel::Malformed;
use canter_channel::request::{Body, Facts, OF_THE_FRONT, Request};
use pyo3::exceptions::{PyOSError, PyRuntimeError};
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyDict, PyString};

use crate::field_names::FieldNames;

/// Builds one environ after the other. Used by the thread at the ring only.
pub(crate) struct Environs {
    template: Py<PyDict>,
    names: FieldNames,
    script_name: Vec<u8>,
    bytes_io: Py<PyAny>,
    open: Py<PyAny>,
    ends: Ends,
}

/// Who asked whom, and how, as the template says it: what rarely changes from one request to the next
/// is set there, and copied.
#[derive(Default)]
struct Ends {
    version: Option<u8>,
    https: Option<bool>,
    port: Option<u16>,
    server: Option<Vec<u8>>,
    client: Option<Vec<u8>>,
}

/// What a request needs beside its environ.
pub(crate) struct Made<'py> {
    pub environ: Bound<'py, PyDict>,
    pub method: Bound<'py, PyString>,
    pub target: Bound<'py, PyString>,
    pub id: Bound<'py, PyString>,
    /// The front asks, and no client.
    pub is_ours: bool,
    /// The file that holds the body, to be closed at the request's end.
    pub file: Option<Bound<'py, PyAny>>,
}

impl Environs {
    /// `template` has the keys that are the same in every request.
    pub fn new(template: &Bound<'_, PyDict>, script_name: &str) -> PyResult<Self> {
        let py = template.py();
        let io = py.import("io")?;
        for key in PER_REQUEST {
            // Present in the template, so that no copy has to grow while it is filled.
            template.set_item(PyString::intern(py, key), "")?;
        }
        Ok(Self {
            template: template.clone().unbind(),
            names: FieldNames::new(py),
            script_name: script_name.as_bytes().to_vec(),
            bytes_io: io.getattr("BytesIO")?.unbind(),
            open: io.getattr("open")?.unbind(),
            ends: Ends::default(),
        })
    }

    /// The environ of one request. `file` is the body's, when the record says that it has one.
    pub fn make<'py>(
        &mut self,
        py: Python<'py>,
        request: &Request<'_>,
        file: Option<OwnedFd>,
    ) -> PyResult<Made<'py>> {
        let facts = &request.facts;
        self.ends.set(self.template.bind(py), facts)?;
        let environ = self.template.bind(py).copy()?;
        let method = method_text(py, facts.method);
        let target = text(py, facts.target);
        let id = text(py, facts.id);
        environ.set_item(intern!(py, "REQUEST_METHOD"), &method)?;
        environ.set_item(intern!(py, "RAW_URI"), &target)?;
        environ.set_item(intern!(py, "REQUEST_URI"), &target)?;
        environ.set_item(intern!(py, "canter.request_id"), &id)?;
        self.set_path(&environ, facts, &target)?;
        if facts.client_port != 0 {
            let port = decimal(py, facts.client_port);
            environ.set_item(intern!(py, "REMOTE_PORT"), port)?;
        }
        let body = self.set_fields(&environ, request)?;
        let length = match request.body_at {
            Body::Inline => body.len() as u64,
            Body::File(length) => length,
        };
        set_content_length(&environ, length)?;
        let (input, file) = self.input(py, request.body_at, body, file)?;
        environ.set_item(intern!(py, "wsgi.input"), input)?;
        Ok(Made {
            environ,
            method,
            target,
            id,
            is_ours: facts.path == OF_THE_FRONT,
            file,
        })
    }

    fn set_path(
        &self,
        environ: &Bound<'_, PyDict>,
        facts: &Facts<'_>,
        target: &Bound<'_, PyString>,
    ) -> PyResult<()> {
        let py = environ.py();
        let path = match under(&self.script_name, facts.path) {
            Some(path) => {
                let script_name = text(py, &self.script_name);
                environ.set_item(intern!(py, "SCRIPT_NAME"), script_name)?;
                path
            }
            None => facts.path,
        };
        if path == facts.target {
            environ.set_item(intern!(py, "PATH_INFO"), target)?;
        } else {
            environ.set_item(intern!(py, "PATH_INFO"), text(py, path))?;
        }
        if !facts.query.is_empty() {
            environ.set_item(intern!(py, "QUERY_STRING"), text(py, facts.query))?;
        }
        Ok(())
    }

    /// Sets a key for each field and answers the bytes of the body.
    fn set_fields<'r>(
        &mut self,
        environ: &Bound<'_, PyDict>,
        request: &Request<'r>,
    ) -> PyResult<&'r [u8]> {
        let py = environ.py();
        // Gathered first: a string that grows by each line would be copied for each.
        let mut lines = Lines::default();
        let body = request.fields::<Refused>(|field| {
            if request.repeated {
                lines.add(field.name, field.value);
            } else if let Some(key) = self.names.key(py, field.name) {
                environ.set_item(key, text(py, field.value))?;
            }
            Ok(())
        });
        for (name, value) in lines.all {
            if let Some(key) = self.names.key(py, name) {
                environ.set_item(key, text(py, &value))?;
            }
        }
        body.map_err(|refused| refused.0)
    }

    fn input<'py>(
        &self,
        py: Python<'py>,
        body_at: Body,
        body: &[u8],
        file: Option<OwnedFd>,
    ) -> PyResult<(Bound<'py, PyAny>, Option<Bound<'py, PyAny>>)> {
        let bytes_io = self.bytes_io.bind(py);
        match (body_at, file) {
            (Body::Inline, _) if body.is_empty() => Ok((bytes_io.call0()?, None)),
            (Body::Inline, _) => Ok((bytes_io.call1((PyBytes::new(py, body),))?, None)),
            (Body::File(_), None) => Err(PyRuntimeError::new_err("the body's file did not come")),
            (Body::File(_), Some(file)) => {
                // The front has written through the same open file, so its position is the end.
                rustix::fs::seek(&file, rustix::fs::SeekFrom::Start(0))
                    .map_err(|errno| PyOSError::new_err(errno.to_string()))?;
                let opened = self.open.bind(py).call1((file.into_raw_fd(), "rb"))?;
                Ok((opened.clone(), Some(opened)))
            }
        }
    }
}

/// Fields of which some have several lines: one line of each name.
#[derive(Default)]
struct Lines<'r> {
    all: Vec<(&'r [u8], Vec<u8>)>,
    places: HashMap<&'r [u8], usize>,
}

impl<'r> Lines<'r> {
    fn add(&mut self, name: &'r [u8], value: &[u8]) {
        let next = self.all.len();
        let place = *self.places.entry(name).or_insert(next);
        let Some((_, joined)) = self.all.get_mut(place) else {
            self.all.push((name, value.to_vec()));
            return;
        };
        // RFC 9110 5.3, and RFC 6265 5.4 for cookies.
        let comma: &[u8] = if name == b"cookie" { b"; " } else { b"," };
        joined.extend_from_slice(comma);
        joined.extend_from_slice(value);
    }
}

/// Set in every request; the template holds them so that a copy has the room.
const PER_REQUEST: &[&str] = &[
    "REQUEST_METHOD",
    "SCRIPT_NAME",
    "PATH_INFO",
    "QUERY_STRING",
    "RAW_URI",
    "REQUEST_URI",
    "SERVER_NAME",
    "SERVER_PORT",
    "SERVER_PROTOCOL",
    "REMOTE_ADDR",
    "REMOTE_PORT",
    "wsgi.url_scheme",
    "wsgi.input",
    "wsgi.early_hints",
    "canter.request_id",
];

/// The part of `path` below the place where the app is mounted.
fn under<'a>(script_name: &[u8], path: &'a [u8]) -> Option<&'a [u8]> {
    let rest = path.strip_prefix(script_name)?;
    (!script_name.is_empty() && (rest.is_empty() || rest.starts_with(b"/"))).then_some(rest)
}

/// The real size, which differs from what the client sent when it sent chunks. Without a body
/// the key is there when the client has sent it.
fn set_content_length(environ: &Bound<'_, PyDict>, length: u64) -> PyResult<()> {
    let key = intern!(environ.py(), "CONTENT_LENGTH");
    if length > 0 {
        environ.set_item(key, length.to_string())?;
    }
    Ok(())
}

fn method_text<'py>(py: Python<'py>, method: &[u8]) -> Bound<'py, PyString> {
    match method {
        b"GET" => intern!(py, "GET").clone(),
        b"HEAD" => intern!(py, "HEAD").clone(),
        b"POST" => intern!(py, "POST").clone(),
        _ => text(py, method),
    }
}

/// ISO-8859-1, by way of UTF-8: for ASCII, the usual case, both are the bytes themselves.
fn text<'py>(py: Python<'py>, bytes: &[u8]) -> Bound<'py, PyString> {
    match std::str::from_utf8(bytes) {
        Ok(ascii) if ascii.is_ascii() => PyString::new(py, ascii),
        _ => {
            let latin: String = bytes.iter().copied().map(char::from).collect();
            PyString::new(py, &latin)
        }
    }
}

/// A number as text, without a detour over the heap.
fn decimal(py: Python<'_>, number: u16) -> Bound<'_, PyString> {
    let mut digits = [b'0'; 5];
    let (mut rest, mut start) = (number, digits.len());
    for digit in digits.iter_mut().rev() {
        *digit += (rest % 10) as u8;
        rest /= 10;
        start -= 1;
        if rest == 0 {
            break;
        }
    }
    text(py, digits.get(start..).unwrap_or_default())
}

impl Ends {
    fn set(&mut self, template: &Bound<'_, PyDict>, facts: &Facts<'_>) -> PyResult<()> {
        let py = template.py();
        if self.https != Some(facts.https) {
            let scheme = if facts.https {
                intern!(py, "https")
            } else {
                intern!(py, "http")
            };
            template.set_item(intern!(py, "wsgi.url_scheme"), scheme)?;
            self.https = Some(facts.https);
        }
        if self.version != Some(facts.version) {
            let protocol = match facts.version {
                0 => intern!(py, "HTTP/1.0"),
                1 => intern!(py, "HTTP/1.1"),
                _ => intern!(py, "HTTP/2.0"),
            };
            template.set_item(intern!(py, "SERVER_PROTOCOL"), protocol)?;
            self.version = Some(facts.version);
        }
        // PEP 3333: SERVER_NAME and SERVER_PORT are never empty, also on a unix socket.
        let port = match (facts.server_port, facts.https) {
            (0, true) => 443,
            (0, false) => 80,
            (port, _) => port,
        };
        if self.port != Some(port) {
            template.set_item(intern!(py, "SERVER_PORT"), decimal(py, port))?;
            self.port = Some(port);
        }
        let name = if facts.server.is_empty() {
            b"localhost"
        } else {
            facts.server
        };
        if self.server.as_deref() != Some(name) {
            template.set_item(intern!(py, "SERVER_NAME"), text(py, name))?;
            name.clone_into(self.server.get_or_insert_default());
        }
        if self.client.as_deref() != Some(facts.client) {
            template.set_item(intern!(py, "REMOTE_ADDR"), text(py, facts.client))?;
            facts.client.clone_into(self.client.get_or_insert_default());
        }
        Ok(())
    }
}

/// Joins the two ways in which reading fields can fail.
struct Refused(PyErr);

impl From<Malformed> for Refused {
    fn from(malformed: Malformed) -> Self {
        Self(PyRuntimeError::new_err(malformed.to_string()))
    }
}

impl From<PyErr> for Refused {
    fn from(error: PyErr) -> Self {
        Self(error)
    }
}
