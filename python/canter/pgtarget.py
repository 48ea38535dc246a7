"""Owns where a PostgreSQL connection would lead: the parameters that libpq would use, merged from
the caller's, a service file and the environment (PostgreSQL documentation, "Connection Parameters",
"Environment Variables" and "The Connection Service File").

Leaves connecting to the driver, and what is done with the parameters to ``canter.django``. The
password file is only located: whoever logs in reads it.
"""

from __future__ import annotations

import os
import pwd
from collections.abc import Mapping
from pathlib import Path

ENVIRONMENT = {
    "host": "PGHOST",
    "hostaddr": "PGHOSTADDR",
    "port": "PGPORT",
    "dbname": "PGDATABASE",
    "user": "PGUSER",
    "password": "PGPASSWORD",
    "passfile": "PGPASSFILE",
    "channel_binding": "PGCHANNELBINDING",
    "connect_timeout": "PGCONNECT_TIMEOUT",
    "client_encoding": "PGCLIENTENCODING",
    "options": "PGOPTIONS",
    "application_name": "PGAPPNAME",
    "sslmode": "PGSSLMODE",
    "sslcompression": "PGSSLCOMPRESSION",
    "sslcert": "PGSSLCERT",
    "sslkey": "PGSSLKEY",
    "sslcertmode": "PGSSLCERTMODE",
    "sslrootcert": "PGSSLROOTCERT",
    "sslcrl": "PGSSLCRL",
    "sslcrldir": "PGSSLCRLDIR",
    "sslsni": "PGSSLSNI",
    "sslnegotiation": "PGSSLNEGOTIATION",
    "requirepeer": "PGREQUIREPEER",
    "require_auth": "PGREQUIREAUTH",
    "ssl_min_protocol_version": "PGSSLMINPROTOCOLVERSION",
    "ssl_max_protocol_version": "PGSSLMAXPROTOCOLVERSION",
    "gssencmode": "PGGSSENCMODE",
    "krbsrvname": "PGKRBSRVNAME",
    "gsslib": "PGGSSLIB",
    "gssdelegation": "PGGSSDELEGATION",
    "target_session_attrs": "PGTARGETSESSIONATTRS",
    "load_balance_hosts": "PGLOADBALANCEHOSTS",
    "min_protocol_version": "PGMINPROTOCOLVERSION",
    "max_protocol_version": "PGMAXPROTOCOLVERSION",
}
"""The variable that stands for a parameter."""

KEYWORDS = frozenset(ENVIRONMENT) | {
    "fallback_application_name",
    "keepalives",
    "keepalives_idle",
    "keepalives_interval",
    "keepalives_count",
    "tcp_user_timeout",
    "replication",
    "requiressl",
    "sslpassword",
    "sslkeylogfile",
    "service",
    "servicefile",
    "scram_client_key",
    "scram_server_key",
    "oauth_issuer",
    "oauth_client_id",
    "oauth_client_secret",
    "oauth_scope",
}
"""Parameters of libpq; whatever else a driver is given is the driver's own."""

SOCKET_FOLDERS = ("/var/run/postgresql", "/tmp")
"""Where servers put their sockets: as distributions have it, and as PostgreSQL's own source."""

SYSTEM_FOLDERS = ("/etc/postgresql-common", "/etc/sysconfig/pgsql", "/etc")
"""Where builds of libpq look for ``pg_service.conf`` when ``PGSYSCONFDIR`` does not say."""

_PATHS = ("passfile", "sslcert", "sslkey", "sslrootcert", "sslcrl", "sslcrldir")


class TargetError(Exception):
    """The parameters cannot be worked out; libpq would refuse them, too."""


def resolve(given: Mapping[str, object], environ: Mapping[str, str] = os.environ) -> dict[str, str]:
    """All that libpq would go by when it is given these parameters in this environment."""
    found = {key: str(value) for key, value in given.items() if value is not None}
    for keyword, value in _of_service(found, environ).items():
        found.setdefault(keyword, value)
    found.pop("service", None)
    found.pop("servicefile", None)
    for keyword, variable in ENVIRONMENT.items():
        if variable in environ:
            found.setdefault(keyword, environ[variable])
    if environ.get("PGREQUIRESSL", "").startswith("1"):
        found.setdefault("sslmode", "require")
    # An empty value keeps the others out and then counts as none.
    found = {keyword: value for keyword, value in found.items() if value}
    if "user" not in found:
        found["user"] = _system_user()
    found.setdefault("dbname", found["user"])
    if "host" not in found and "hostaddr" not in found:
        found["host"] = _socket_folder(found.get("port", "5432"))
    _add_files(found, _home(environ))
    return found


def _of_service(given: Mapping[str, str], environ: Mapping[str, str]) -> dict[str, str]:
    name = given.get("service") or environ.get("PGSERVICE")
    if not name:
        return {}
    places = [given.get("servicefile") or environ.get("PGSERVICEFILE")]
    if not places[0]:
        home = _home(environ)
        places = [str(home / ".pg_service.conf")] if home else []
    system = environ.get("PGSYSCONFDIR")
    places += [f"{folder}/pg_service.conf" for folder in ([system] if system else SYSTEM_FOLDERS)]
    for place in places:
        try:
            with open(place or "", encoding="utf-8", errors="surrogateescape") as file:
                found = parse_service(file.read(), name)
        except (FileNotFoundError, NotADirectoryError):
            continue
        except OSError as error:
            raise TargetError(f"cannot read {place}: {error.strerror}") from error
        if found is not None:
            return found
    raise TargetError(f"there is no service {name!r} in {' or '.join(map(str, places))}")


def parse_service(text: str, name: str) -> dict[str, str] | None:
    """The parameters of one service in a service file; None when it is not there."""
    found: dict[str, str] | None = None
    for number, line in enumerate(text.splitlines(), 1):
        line = line.strip()
        if not line or line.startswith("#"):
            continue
        if line.startswith("["):
            if found is not None:
                break
            if line.startswith(f"[{name}]"):
                found = {}
            continue
        if found is None:
            continue
        # Blanks around the sign would belong to the name and the value.
        keyword, sign, value = line.partition("=")
        if not sign or keyword not in KEYWORDS or keyword in ("service", "servicefile"):
            raise TargetError(f"line {number} of the service file is no parameter")
        found.setdefault(keyword, value)
    return found


def _add_files(found: dict[str, str], home: Path | None) -> None:
    """The files that libpq looks for by itself, and absolute paths to all of them."""
    if home is not None:
        if "password" not in found:
            _add_file(found, "passfile", home / ".pgpass")
        if found.get("sslmode") != "disable":
            for keyword, name in (
                ("sslrootcert", "root.crt"),
                ("sslcrl", "root.crl"),
                ("sslcert", "postgresql.crt"),
                ("sslkey", "postgresql.key"),
            ):
                _add_file(found, keyword, home / ".postgresql" / name)
    for keyword in _PATHS:
        path = found.get(keyword)
        if not path or (keyword, path) == ("sslrootcert", "system"):
            continue
        # libpq goes on without these when they are not there, except where the server's
        # certificate must be checked.
        is_needed = keyword == "sslrootcert" and found.get("sslmode", "").startswith("verify-")
        if not is_needed and not os.path.exists(path):
            del found[keyword]
        else:
            found[keyword] = os.path.abspath(path)
    if "sslcert" not in found:
        found.pop("sslkey", None)


def _add_file(found: dict[str, str], keyword: str, path: Path) -> None:
    if keyword not in found and path.exists():
        found[keyword] = str(path)


def _socket_folder(port: str) -> str:
    for folder in SOCKET_FOLDERS:
        if os.path.exists(f"{folder}/.s.PGSQL.{port}"):
            return folder
    return SOCKET_FOLDERS[0]


def _home(environ: Mapping[str, str]) -> Path | None:
    home = environ.get("HOME")
    if home:
        return Path(home)
    try:
        return Path(pwd.getpwuid(os.geteuid()).pw_dir)
    except KeyError:
        return None


def _system_user() -> str:
    try:
        return pwd.getpwuid(os.geteuid()).pw_name
    except KeyError:
        raise TargetError(f"no user is given, and user {os.geteuid()} has no name") from None
