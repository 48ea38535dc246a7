//! `canter serve`: prepares the process, binds the sockets, finds Python, and hands all of it to
//! the supervisor.
//!
//! Leaves running things to `canter_workers::supervisor`, and the front to `front_process`.

mod banner;
mod holder;
mod pid_file;
pub mod python;
pub mod sockets;

use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use canter_base::log::push_json_string;
use canter_base::options::{App, Config, LogTarget, Media, Origin, Resolved, Static};
use canter_base::sizing::{self, Machine, Sizing};
use canter_base::{Exit, Fault, info, warn};
use canter_sys::{machine, temp};
use canter_workers::supervisor::{self, Ended, Hooks, Loaded, Notify, Plan, Python};
use rustix::fs::Mode;

pub use pid_file::PidFile;

use crate::{admin, front_process, pooling, tiers, tls};

/// How a shell shows the end by a second Ctrl-C: 128 plus the number of SIGINT.
const INTERRUPTED: i32 = 130;

/// Serves until told to stop.
pub fn run(resolved: &Resolved) -> Result<Exit, Fault> {
    let config = &resolved.config;
    // Before anything of ours takes the numbers: inherited sockets are known by number only.
    let inherited = sockets::take_inherited(config)?;
    enter(config)?;
    let descriptors = machine::raise_open_files();
    let sizing = sizing::plan(measure(descriptors), config);
    let mut python = Python {
        program: python::find(config.python.as_deref(), &python::Places::of_this_process())?,
        env: variables(config),
        settings: settings_json(config, &sizing, None),
    };
    check_access_log(config)?;
    check_temp_dir(config)?;
    tiers::server(config)?;
    let tls = tls::Plan::new(config)?;
    // Before anything listens, and after all that can be wrong without it.
    if config.check_config {
        return check(&python);
    }
    let sockets = sockets::bind(config, inherited)?;
    let pooling = pooling::Plan::for_site(config, url_from(resolved))?;
    if let Some(pooling) = &pooling {
        python.settings = settings_json(config, &sizing, pooling.private_path());
        let url = pooling
            .url()
            .map(|url| ("CANTER_DATABASE_URL".to_owned(), url));
        python.env.extend(url);
    }
    let admin = admin::Plan::new(config)?;
    // By which the app itself reaches the server: `canter.purge()`.
    // Empty where there is none, so that no other server is taken for this one.
    let private = admin.private().unwrap_or_default();
    python.env.push(("CANTER_SOCKET".to_owned(), private));
    let pid_file = config.pid.as_deref().map(PidFile::write).transpose()?;
    let mut addresses = sockets.addresses().to_vec();
    let redirects = tls.iter().flat_map(tls::Plan::redirects);
    addresses.extend(redirects.map(|address| format!("{address}, which leads to HTTPS")));
    banner::show(resolved, &sizing, &addresses, pooling.as_ref());
    let plan = Plan {
        name: config.name.clone(),
        python,
        workers: sizing.workers as usize,
        preload: config.preload,
        graceful_timeout: config.graceful_timeout,
        reload: config.reload.then(|| watched(config)),
        notify: service_manager(),
    };
    let hooks = Hooks {
        front: &|start| {
            let plans = front_process::Plans {
                config,
                sizing: &sizing,
                pooling: pooling.as_ref(),
                tls: tls.as_ref(),
                admin: &admin,
            };
            front_process::run(start, &plans)
        },
        loaded: &|loaded: &Loaded| tell_loaded(loaded, config),
        closing: &|| {
            admin.close();
            pooling.iter().for_each(pooling::Plan::close);
            tls.iter().for_each(tls::Plan::close);
        },
    };
    let (listeners, files) = sockets.into_parts();
    let ended = supervisor::run(plan, listeners, hooks);
    drop(files);
    drop(pooling);
    drop(admin);
    drop(pid_file);
    match ended? {
        Ended::Stopped => Ok(Exit::Ok),
        Ended::Interrupted => canter_sys::process::exit_now(INTERRUPTED),
    }
}

/// What there is to say once the app is imported.
fn tell_loaded(loaded: &Loaded, config: &Config) {
    info!(
        "app loaded",
        app = &loaded.app,
        versions = &loaded.versions,
        took_ms = loaded.took_ms
    );
    if let Some(databases) = &loaded.pooled {
        info!(
            "Django reaches PostgreSQL through the pool",
            databases = databases.as_str(),
            with = pooling::connections(config.db_connections).as_str(),
            switch_off = "--db-pool off"
        );
    }
    for note in &loaded.notes {
        info!(note);
    }
}

/// Directory and umask, before anything is opened or created by name.
pub fn enter(config: &Config) -> Result<(), Fault> {
    if let Some(directory) = &config.chdir {
        std::env::set_current_dir(directory).map_err(|error| {
            Fault::new(
                Exit::File,
                format!("cannot change to `{}`: {error}", directory.display()),
            )
            .from("`--chdir`")
            .hint("name the folder that holds the project")
        })?;
    }
    if let Some(umask) = config.umask {
        rustix::process::umask(Mode::from_bits_truncate(umask.0));
    }
    Ok(())
}

fn measure(descriptors: u64) -> Machine {
    Machine {
        cores: u32::try_from(machine::cpus()).unwrap_or(u32::MAX),
        // Where nothing can be read, what a small box has.
        memory_bytes: machine::memory_limit().unwrap_or(512 << 20),
        descriptors,
    }
}

fn variables(config: &Config) -> Vec<(String, String)> {
    let pair =
        |variable: &canter_base::options::KeyValue| (variable.key.clone(), variable.value.clone());
    config.env.iter().map(pair).collect()
}

/// What `canter.zygote` reads. Nothing secret: arguments are visible to every user.
fn settings_json(config: &Config, sizing: &Sizing, pool: Option<&Path>) -> String {
    // First: of another version is what Python finds where the package was replaced meanwhile.
    let mut json = format!("{{\"version\":\"{}\",\"name\":", env!("CARGO_PKG_VERSION"));
    push_json_string(&mut json, &config.name);
    json.push_str(",\"app\":");
    match &config.app {
        Some(app) => push_json_string(&mut json, &App::to_string(app)),
        None => json.push_str("null"),
    }
    json.push_str(",\"pythonpath\":[");
    for (index, path) in config.pythonpath.iter().enumerate() {
        if index > 0 {
            json.push(',');
        }
        let path = std::path::absolute(path).unwrap_or_else(|_| path.clone());
        push_json_string(&mut json, &path.to_string_lossy());
    }
    json.push_str("],\"pool\":");
    match pool {
        Some(path) => push_json_string(&mut json, &path.to_string_lossy()),
        None => json.push_str("null"),
    }
    let _ = write!(
        json,
        ",\"insight\":{},\"static\":{},\"media\":{}",
        config.insight,
        config.static_ == Static::Auto,
        config.media.contains(&Media::Django)
    );
    json.push_str(",\"request_id_header\":");
    push_json_string(&mut json, &config.request_id_header.0);
    let _ = write!(
        json,
        ",\"log_format\":\"{}\",\"log_level\":\"{}\",\"watch\":{},\"worker\":{{\"threads\":{},\"threads_min\":{},\
         \"orphan_seconds\":{},\"temp_dir\":",
        config.log_format.word(),
        config.log_level.word(),
        config.reload,
        sizing.threads,
        config.threads_min,
        config.graceful_timeout.as_secs_f64()
    );
    push_json_string(
        &mut json,
        &front_process::temp_dir(config).to_string_lossy(),
    );
    json.push_str("}}");
    json
}

/// A bad `DATABASE_URL` that the app may well understand is no fault.
fn url_from(resolved: &Resolved) -> pooling::UrlFrom {
    let chosen = resolved.chosen.iter();
    let mut chosen = chosen.filter(|chosen| chosen.row.field == "database_url");
    if chosen.any(|chosen| matches!(chosen.origin, Origin::Platform(_))) {
        pooling::UrlFrom::Platform
    } else {
        pooling::UrlFrom::Option
    }
}

/// `--check-config`: the options were fine to get here; now the app.
fn check(python: &Python) -> Result<Exit, Fault> {
    let status = Command::new(&python.program)
        .args(["-m", "canter.zygote", &python.settings, "check"])
        .envs(python.env.iter().map(|(key, value)| (key, value)))
        .status()
        .map_err(|error| Fault::new(Exit::Python, format!("cannot start Python: {error}")))?;
    // Python has said what is wrong.
    Ok(if status.success() {
        Exit::Ok
    } else {
        Exit::App
    })
}

/// The front opens it; a person should hear now if it cannot.
fn check_access_log(config: &Config) -> Result<(), Fault> {
    let LogTarget::File(path) = &config.access_logfile else {
        return Ok(());
    };
    let opened = fs::OpenOptions::new().create(true).append(true).open(path);
    opened.map(drop).map_err(|error| {
        Fault::new(
            Exit::File,
            format!("cannot write the access log `{}`: {error}", path.display()),
        )
        .from("`--access-logfile`")
    })
}

/// Large bodies go there; a person should hear now if they cannot.
fn check_temp_dir(config: &Config) -> Result<(), Fault> {
    let used = config.temp_dir.clone().unwrap_or_else(temp::folder);
    if temp::is_memory(&used) {
        warn!(
            "large bodies go to memory, for that is what the folder for temporary files is; together they may take a quarter of it",
            folder = used.display().to_string().as_str(),
            hint = "name a folder on a disk: --temp-dir /var/tmp"
        );
    }
    let Some(directory) = &config.temp_dir else {
        check_usual_temp_dir(&used);
        return Ok(());
    };
    let access = rustix::fs::Access::WRITE_OK | rustix::fs::Access::EXEC_OK;
    let usable =
        fs::read_dir(directory).and_then(|_| Ok(rustix::fs::access(directory.as_path(), access)?));
    usable.map_err(|error| {
        Fault::new(
            Exit::File,
            format!(
                "cannot use the directory `{}`: {error}",
                directory.display()
            ),
        )
        .from("`--temp-dir`")
    })
}

/// Nobody named it: its fault is no reason not to serve.
fn check_usual_temp_dir(used: &Path) {
    let usual = std::env::temp_dir();
    let hint =
        "name a folder that the user Canter runs as may write to: --temp-dir /var/lib/mysite";
    if let Err(error) = temp::unlinked(used) {
        warn!(
            "large bodies will be answered 503: there is no folder for temporary files",
            reason = error.to_string().as_str(),
            hint = hint
        );
    } else if let Err(error) = temp::unlinked(&usual) {
        warn!(
            "the folder for temporary files cannot be used; another takes its place",
            reason = error.to_string().as_str(),
            used = used.display().to_string().as_str(),
            hint = hint
        );
    }
}

/// Where source may change, and files to watch besides.
fn watched(config: &Config) -> (Vec<PathBuf>, Vec<PathBuf>) {
    let absolute = |path: &PathBuf| std::path::absolute(path).unwrap_or_else(|_| path.clone());
    let mut roots: Vec<PathBuf> = std::env::current_dir().into_iter().collect();
    roots.extend(config.pythonpath.iter().map(absolute));
    (
        roots,
        config.reload_extra_file.iter().map(absolute).collect(),
    )
}

fn service_manager() -> Option<Notify> {
    let socket = std::env::var_os("NOTIFY_SOCKET")?;
    let number = |name: &str| std::env::var(name).ok()?.parse::<u64>().ok();
    let own = u64::from(std::process::id());
    let mine = number("WATCHDOG_PID").is_none_or(|pid| pid == own);
    let watchdog = number("WATCHDOG_USEC").filter(|_| mine);
    match Notify::new(&socket, watchdog) {
        Ok(notify) => Some(notify),
        Err(error) => {
            canter_base::warn!(
                "cannot reach the service manager",
                reason = &error.to_string()
            );
            None
        }
    }
}

#[cfg(test)]
mod tests {
    use std::ffi::OsString;

    use super::*;

    #[test]
    fn the_settings_for_python_are_json_without_the_environment() {
        let args = [
            "x.wsgi:a",
            "--env",
            "SECRET=hush",
            "--pythonpath",
            "/a\"b",
            "--temp-dir",
            "/tmp/t",
            "--reload",
        ];
        let args: Vec<OsString> = args.iter().map(OsString::from).collect();
        let read_file = |_: &Path| Err(std::io::ErrorKind::NotFound.into());
        let resolved = canter_base::options::resolve(canter_base::options::Inputs {
            args: &args,
            env: &[],
            read_file: &read_file,
            process_id: 1,
        });
        let config = resolved.unwrap().config;
        let sizing = sizing::plan(measure(1000), &config);
        let json = settings_json(
            &config,
            &Sizing {
                threads: 40,
                ..sizing
            },
            Some(Path::new("/tmp/p/s")),
        );
        assert_eq!(
            json.replace(env!("CARGO_PKG_VERSION"), "1"),
            "{\"version\":\"1\",\"name\":\"canter\",\"app\":\"x.wsgi:a\",\"pythonpath\":[\"/a\\\"b\"],\"pool\":\"/tmp/p/s\",\"insight\":true,\"static\":true,\"media\":false,\
             \"request_id_header\":\"X-Request-Id\",\"log_format\":\"human\",\"log_level\":\"info\",\"watch\":true,\
             \"worker\":{\"threads\":40,\"threads_min\":1,\"orphan_seconds\":30,\"temp_dir\":\"/tmp/t\"}}"
        );
        assert_eq!(
            variables(&config),
            [("SECRET".to_owned(), "hush".to_owned())]
        );
    }
}
