"""The servers compared, each with its best documented settings and where those come from.

A peer turns a `Launch` into commands. Programs are named without a path: they are looked up in the
comparison's own environment first. Nobody writes an access log.
"""

from __future__ import annotations

import os
import shlex
import shutil
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from lib.cases import BODIES
from lib.postgres import CONNECTIONS


@dataclass(frozen=True)
class Launch:
    """What a case asks of a server."""

    application: str
    port: int
    cores: int
    scratch: Path
    #: `None`: as many as the server's own documentation advises.
    workers: int | None = None

    @property
    def address(self) -> str:
        """Where to listen."""
        return f"127.0.0.1:{self.port}"


@dataclass(frozen=True)
class Plan:
    """How a server is started, and how its site reaches the database (`apps/dj/settings.py`)."""

    commands: list[list[str]]
    database: str
    #: The variables the commands need besides the common ones.
    environment: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Peer:
    """A server with one way to set it up."""

    name: str
    title: str
    #: Where the settings come from.
    source: str
    #: The distributions whose versions are reported.
    packages: tuple[str, ...]
    plan: Callable[[Launch], Plan]


def _kept(workers: int, threads: int) -> str:
    """A connection per thread where the database allows it, else a pool in each process."""
    if workers * threads <= CONNECTIONS:
        return "persistent"
    return f"pool:{max(1, CONNECTIONS // workers)}"


def _canter(launch: Launch) -> Plan:
    command = ["canter", "serve", launch.application, "--bind", launch.address]
    command += ["--access-logfile", "none"]
    if launch.workers is None:
        # Not a flag and not a setting: Django's default, and the pool that is there by itself.
        return Plan([command], "fresh")
    return Plan([[*command, "--workers", str(launch.workers)]], "persistent")


def _fastpysgi(*options: str) -> Callable[[Launch], Plan]:
    def plan(launch: Launch) -> Plan:
        workers = launch.workers or launch.cores
        command = ["python", "fastpysgi_server.py", launch.application, str(launch.port)]
        return Plan([[*command, str(workers), *options]], _kept(workers, 1))

    return plan


def _granian(threads: int | None, fixed_workers: int | None = None) -> Callable[[Launch], Plan]:
    def plan(launch: Launch) -> Plan:
        workers = fixed_workers or launch.workers or launch.cores
        command = ["granian", "--interface", "wsgi", "--log-level", "warning"]
        command += ["--host", "127.0.0.1", "--port", str(launch.port), "--workers", str(workers)]
        if threads is not None:
            command += ["--blocking-threads", str(threads)]
        return Plan([[*command, launch.application]], _kept(workers, threads or 512))

    return plan


def _gunicorn(launch: Launch, workers: int, *options: str) -> list[str]:
    command = ["gunicorn", "--bind", launch.address, "--workers", str(workers)]
    return [*command, "--log-level", "warning", *options, launch.application]


def _gunicorn_sync(launch: Launch) -> Plan:
    workers = 2 * launch.cores + 1
    return Plan([_gunicorn(launch, workers)], _kept(workers, 1))


def _gunicorn_gthread(launch: Launch) -> Plan:
    workers, threads = launch.workers or launch.cores, 4 * launch.cores
    options = ["--worker-class", "gthread", "--threads", str(threads)]
    return Plan([_gunicorn(launch, workers, *options)], _kept(workers, threads))


def _gunicorn_gevent(launch: Launch) -> Plan:
    workers = launch.workers or launch.cores
    options = ["--worker-class", "gevent", "--worker-connections", "1000"]
    # A kept connection would belong to a greenlet, and each request has a new one.
    return Plan([_gunicorn(launch, workers, *options)], "fresh")


def _gunicorn_geventpool(launch: Launch) -> Plan:
    options = ["--worker-class", "gevent", "--worker-connections", "1000"]
    return Plan([_gunicorn(launch, 3, *options)], "geventpool:4")


def _waitress(threads: int | None) -> Callable[[Launch], Plan]:
    def plan(launch: Launch) -> Plan:
        command = ["waitress-serve", f"--listen={launch.address}"]
        if threads is not None:
            # Beyond a thousand connections select() itself fails: docs/arguments.rst.
            command += [f"--threads={threads}", "--connection-limit=2000", "--asyncore-use-poll"]
        return Plan([[*command, launch.application]], _kept(1, threads or 4))

    return plan


def _uwsgi(threads: int) -> Callable[[Launch], Plan]:
    def plan(launch: Launch) -> Plan:
        workers = launch.workers or launch.cores
        command = ["uwsgi", "--http", launch.address, "--http-keepalive=1"]
        command += ["--master", "--die-on-term", "--need-app", "--disable-logging"]
        command += ["--listen", "1024", "--processes", str(workers), "--threads", str(threads)]
        return Plan([[*command, "--module", launch.application]], _kept(workers, threads))

    return plan


NGINX_HEAD = """\
daemon off;
pid {scratch}/nginx.pid;
error_log stderr error;
worker_rlimit_nofile 8192;
{user}
events {{ worker_connections 4096; }}
http {{
  access_log off;
  sendfile on;
  tcp_nopush on;
  client_body_temp_path {scratch}/body;
  proxy_temp_path {scratch}/proxy;
  fastcgi_temp_path {scratch}/fastcgi;
  uwsgi_temp_path {scratch}/uwsgi;
  scgi_temp_path {scratch}/scgi;
  upstream app_server {{ server unix:{scratch}/gunicorn.sock fail_timeout=0; }}
"""
"""What both ways of starting nginx have."""

NGINX_CONFIGURATION = """\
worker_processes auto;
""" + NGINX_HEAD + """\
  keepalive_requests 1000000;
  client_max_body_size 4G;
  server {{
    listen 127.0.0.1:{port} deferred;
    location / {{
      proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for;
      proxy_set_header X-Forwarded-Proto $scheme;
      proxy_set_header Host $http_host;
      proxy_redirect off;
      proxy_pass http://app_server;
    }}
  }}
}}
"""


def _nginx_with(launch: Launch, text: str) -> list[str]:
    # nginx's own workers must be able to open the socket, which lies in a folder of ours.
    user = "user root;" if os.geteuid() == 0 else ""
    configuration = launch.scratch / "nginx.conf"
    configuration.write_text(text.format(scratch=launch.scratch, port=launch.port, user=user))
    return ["nginx", "-e", "stderr", "-p", str(launch.scratch), "-c", str(configuration)]


def _nginx(launch: Launch) -> Plan:
    workers = 2 * launch.cores + 1
    gunicorn = ["gunicorn", "--bind", f"unix:{launch.scratch}/gunicorn.sock"]
    gunicorn += ["--workers", str(workers), "--log-level", "warning", launch.application]
    nginx = _nginx_with(launch, NGINX_CONFIGURATION)
    return Plan([gunicorn, nginx], _kept(workers, 1))


def _static_folder(launch: Launch) -> Path:
    """A folder with the file of the case about files."""
    folder = launch.scratch / "static"
    folder.mkdir(exist_ok=True)
    (folder / "site.bin").write_bytes(BODIES["static-27k"])
    # nginx's own worker must be able to enter, where it runs as another user.
    for path in (launch.scratch, folder):
        path.chmod(0o755)
    return folder


def _canter_static(launch: Launch) -> Plan:
    plan = _canter(launch)
    plan.commands[0].append(f"--static-map=/static/={_static_folder(launch)}")
    return plan


NGINX_STATIC = """\
daemon off;
pid {scratch}/nginx.pid;
error_log stderr error;
worker_processes 1;
worker_rlimit_nofile 8192;
events {{ worker_connections 4096; }}
http {{
  access_log off;
  sendfile on;
  tcp_nopush on;
  keepalive_requests 100000000;
  open_file_cache max=1000;
  open_file_cache_valid 1s;
  client_body_temp_path {scratch}/body;
  proxy_temp_path {scratch}/proxy;
  fastcgi_temp_path {scratch}/fastcgi;
  uwsgi_temp_path {scratch}/uwsgi;
  scgi_temp_path {scratch}/scgi;
  server {{
    listen 127.0.0.1:{port};
    location /static/ {{ alias {folder}/; expires 60; }}
  }}
}}
"""


def _nginx_static(launch: Launch) -> Plan:
    configuration = launch.scratch / "nginx.conf"
    folder = _static_folder(launch)
    text = NGINX_STATIC.format(scratch=launch.scratch, port=launch.port, folder=folder)
    configuration.write_text(text)
    nginx = ["nginx", "-e", "stderr", "-p", str(launch.scratch), "-c", str(configuration)]
    return Plan([nginx], _kept(1, 1))


def _canter_cache(launch: Launch) -> Plan:
    plan = _canter(launch)
    plan.commands[0] += ["--cache-rule", "/* ttl=1h"]
    return plan


#: Who fills the caches of the others: it runs once for a page.
def _behind(launch: Launch) -> list[str]:
    bind = f"unix:{launch.scratch}/gunicorn.sock"
    return ["gunicorn", "--bind", bind, "--log-level", "warning", launch.application]


NGINX_CACHE = """\
worker_processes 1;
""" + NGINX_HEAD + """\
  keepalive_requests 100000000;
  open_file_cache max=1000;
  open_file_cache_valid 60s;
  proxy_cache_path {scratch}/cache levels=1:2 keys_zone=pages:10m inactive=1h use_temp_path=off;
  server {{
    listen 127.0.0.1:{port};
    location / {{
      proxy_cache pages;
      proxy_cache_valid 200 1h;
      proxy_cache_lock on;
      proxy_set_header Host $http_host;
      proxy_pass http://app_server;
    }}
  }}
}}
"""


def _nginx_cache(launch: Launch) -> Plan:
    nginx = _nginx_with(launch, NGINX_CACHE)
    return Plan([_behind(launch), nginx], _kept(1, 1))


VARNISH_RULES = """\
vcl 4.1;
backend app {{ .path = "{scratch}/gunicorn.sock"; }}
sub vcl_backend_response {{ set beresp.ttl = 1h; }}
"""


def _varnish(launch: Launch) -> Plan:
    # It lies outside the usual path of programs, and cannot be unpacked beside the others.
    program = shutil.which("varnishd", path=f"{os.environ.get('PATH', '')}:/usr/sbin")
    if program is None:
        raise RuntimeError("there is no `varnishd` here: apt-get install varnish")
    rules = launch.scratch / "rules.vcl"
    rules.write_text(VARNISH_RULES.format(scratch=launch.scratch))
    app = shlex.join(_behind(launch))
    varnish = [program, "-F", "-a", launch.address, "-f", str(rules), "-j", "none"]
    varnish += ["-n", f"{launch.scratch}/varnish", "-s", "malloc,64m"]
    # It wants to see the socket when it starts.
    wait = f"until [ -S {launch.scratch}/gunicorn.sock ]; do sleep 0.1; done"
    return Plan([["sh", "-c", f"{app} & {wait}; exec {shlex.join(varnish)}"]], _kept(1, 1))


_GUNICORN_DESIGN = "gunicorn docs/content/design.md, settings.md"

PEERS = {
    peer.name: peer
    for peer in (
        Peer(
            "canter",
            "Canter",
            "mixed: no settings but the port; else the case's workers, threads as the database allows",
            ("canter",),
            _canter,
        ),
        Peer(
            "canter-static",
            "Canter, files of a folder",
            "as Canter, with the folder of the file",
            ("canter",),
            _canter_static,
        ),
        Peer(
            "nginx-static",
            "nginx, sendfile and open_file_cache",
            "nginx.org, ngx_http_core_module: sendfile, tcp_nopush, open_file_cache; one worker",
            (),
            _nginx_static,
        ),
        Peer(
            "canter-cache",
            "Canter, a page rule",
            "as Canter, with a rule of an hour for all pages",
            ("canter",),
            _canter_cache,
        ),
        Peer(
            "nginx-cache",
            "nginx, proxy_cache",
            "nginx.org, ngx_http_proxy_module: proxy_cache, an hour, one worker",
            (),
            _nginx_cache,
        ),
        Peer(
            "varnish",
            "Varnish",
            "varnish-cache.org, varnishd(1): malloc storage, an hour, defaults",
            (),
            _varnish,
        ),
        Peer(
            "fastpysgi",
            "FastPySGI",
            "its author's entry in HttpArena, frameworks/fastpysgi-wsgi/app.py",
            ("fastpysgi",),
            _fastpysgi(),
        ),
        Peer(
            "fastpysgi-close",
            "FastPySGI, close() called for it",
            "as FastPySGI; PEP 3333: the server must call close() of what the app returns",
            ("fastpysgi",),
            _fastpysgi("close"),
        ),
        Peer(
            "granian",
            "Granian",
            "README: a worker per core, else defaults",
            ("granian",),
            _granian(None),
        ),
        Peer(
            "granian-1",
            "Granian, 1 blocking thread",
            "benchmarks/vs.md: one Python thread for WSGI that does not wait",
            ("granian",),
            _granian(1),
        ),
        Peer(
            "granian-350",
            "Granian, 3 x 350 threads",
            "README: blocking threads sized to what waits at once",
            ("granian",),
            _granian(350, fixed_workers=3),
        ),
        Peer(
            "gunicorn-sync",
            "Gunicorn sync",
            f"{_GUNICORN_DESIGN}: 2 x cores + 1 workers",
            ("gunicorn",),
            _gunicorn_sync,
        ),
        Peer(
            "gunicorn-gthread",
            "Gunicorn gthread",
            f"{_GUNICORN_DESIGN}: 2 to 4 x cores threads",
            ("gunicorn",),
            _gunicorn_gthread,
        ),
        Peer(
            "gunicorn-gevent",
            "Gunicorn gevent",
            f"{_GUNICORN_DESIGN}: 1000 connections a worker",
            ("gunicorn", "gevent"),
            _gunicorn_gevent,
        ),
        Peer(
            "gunicorn-geventpool",
            "Gunicorn gevent + pool",
            "README of django-db-geventpool: 4 connections in each of 3 workers",
            ("gunicorn", "gevent", "django-db-geventpool"),
            _gunicorn_geventpool,
        ),
        Peer("waitress", "Waitress", "its defaults: 4 threads", ("waitress",), _waitress(None)),
        Peer(
            "waitress-200",
            "Waitress, 200 threads",
            "docs/arguments.rst: threads, connection_limit above the clients, poll",
            ("waitress",),
            _waitress(200),
        ),
        Peer(
            "uwsgi",
            "uWSGI",
            "uwsgi-docs HTTP.html (its router faces clients) and ThingsToKnow.html",
            ("pyuwsgi",),
            _uwsgi(1),
        ),
        Peer(
            "uwsgi-threads",
            "uWSGI, 8 threads",
            "uwsgi-docs WSGIquickstart.html: processes and threads for apps that wait",
            ("pyuwsgi",),
            _uwsgi(8),
        ),
        Peer(
            "nginx",
            "nginx + Gunicorn sync",
            "gunicorn docs/content/deploy.md: buffering proxy before sync workers",
            ("gunicorn",),
            _nginx,
        ),
    )
}
