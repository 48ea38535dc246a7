//! The app to serve, as named on the command line. Owns the grammar; importing is Python's.

use super::habits;
use crate::fault::Fault;

/// A module and, when given, the name of the app in it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct App {
    /// Dotted module name: `mysite.wsgi`.
    pub module: String,
    /// Name in the module, dotted if need be, or a call of it: `create_app()`. `application` when
    /// absent.
    pub attribute: Option<String>,
}

impl App {
    /// Reads `mysite.wsgi`, `mysite.wsgi:application` or `shop:create_app()`.
    pub fn parse(text: &str) -> Result<Self, Fault> {
        let (module, attribute) = match text.split_once(':') {
            Some((module, attribute)) => (module, Some(attribute)),
            None => (text, None),
        };
        let fault = |what: String| Fault::usage(what).from("command line");
        if !dotted(module) || !attribute.is_none_or(named_or_called) {
            let hint = if let Some(address) = habits::address(text) {
                format!("an address is named with a flag: `--bind {address}`")
            } else if let Some(module) = as_module(module) {
                format!("name the module, not the file: `{module}`")
            } else {
                "name a Python module, such as `mysite.wsgi`".to_owned()
            };
            return Err(fault(format!("`{text}` is not the name of an app")).hint(hint));
        }
        let last = module.rsplit('.').next().unwrap_or(module);
        if last == "asgi" {
            let wsgi = format!("{}wsgi", module.strip_suffix("asgi").unwrap_or_default());
            return Err(fault(format!(
                "cannot serve `{text}`: ASGI apps are not served yet"
            ))
            .hint(format!(
                "serve the project's WSGI app: `canter serve {wsgi}`"
            )));
        }
        Ok(Self {
            module: module.to_owned(),
            attribute: attribute.map(str::to_owned),
        })
    }
}

impl std::fmt::Display for App {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str(&self.module)?;
        self.attribute
            .iter()
            .try_for_each(|attribute| write!(formatter, ":{attribute}"))
    }
}

/// Python identifiers joined by dots. Non-ASCII letters are left to Python to judge.
fn dotted(name: &str) -> bool {
    name.split('.').all(|part| {
        !part.is_empty()
            && !part.starts_with(|first: char| first.is_ascii_digit())
            && part.chars().all(|c| c == '_' || c.is_alphanumeric())
    })
}

/// A name, or a call of one. What stands between the brackets is left to Python to judge.
fn named_or_called(attribute: &str) -> bool {
    match attribute.split_once('(') {
        Some((name, rest)) => dotted(name) && rest.ends_with(')'),
        None => dotted(attribute),
    }
}

/// The module a path such as `mysite/wsgi.py` stands for.
fn as_module(path: &str) -> Option<String> {
    let module = path.strip_prefix("./").unwrap_or(path);
    let module = module
        .strip_suffix(".py")
        .unwrap_or(module)
        .replace('/', ".");
    (module != path && dotted(&module)).then_some(module)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_module_and_an_attribute_are_read_and_shown_again() {
        for text in [
            "mysite.wsgi",
            "mysite.wsgi:application",
            "app",
            "a.b:c.d",
            "_x:Y",
            "shop:create_app()",
            "shop:site.create_app('a:b', debug=False)",
        ] {
            assert_eq!(App::parse(text).unwrap().to_string(), text);
        }
    }

    #[test]
    fn what_is_not_an_app_gets_a_hint() {
        for (text, hint) in [
            (
                "mysite/wsgi.py",
                "name the module, not the file: `mysite.wsgi`",
            ),
            ("./app.py", "name the module, not the file: `app`"),
            (
                "8001",
                "an address is named with a flag: `--bind 127.0.0.1:8001`",
            ),
            (
                "0:8001",
                "an address is named with a flag: `--bind 0.0.0.0:8001`",
            ),
            (
                "::1:8001",
                "an address is named with a flag: `--bind [::1]:8001`",
            ),
            ("mysite.", "name a Python module, such as `mysite.wsgi`"),
            (
                "mysite.wsgi:",
                "name a Python module, such as `mysite.wsgi`",
            ),
            ("", "name a Python module, such as `mysite.wsgi`"),
            ("a:b:c", "name a Python module, such as `mysite.wsgi`"),
            ("a:1b", "name a Python module, such as `mysite.wsgi`"),
            (
                "mysite.asgi",
                "serve the project's WSGI app: `canter serve mysite.wsgi`",
            ),
            (
                "asgi:app",
                "serve the project's WSGI app: `canter serve wsgi`",
            ),
            (
                "app:create_app(",
                "name a Python module, such as `mysite.wsgi`",
            ),
            ("app:(x)", "name a Python module, such as `mysite.wsgi`"),
        ] {
            assert_eq!(
                App::parse(text).unwrap_err().hint.as_deref(),
                Some(hint),
                "{text}"
            );
        }
    }
}
