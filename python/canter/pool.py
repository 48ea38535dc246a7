"""Owns speaking with Canter's PostgreSQL pool: telling it where a database is, and the parameters
with which a driver reaches that database through the pool.

Leaves working out where a database is to ``canter.pgtarget``, and Django to ``canter.django``.
"""

from __future__ import annotations

import os
import socket
import struct
import time
from collections.abc import Mapping
from dataclasses import dataclass, field

from canter import pgtarget

REGISTRATION = 0x43414E54
"""The code of the packet that names a database: "CANT"."""

PATIENCE = 5.0
"""How long a pool that does not answer is asked again: its process may be starting anew."""

PASSWORD_KEPT = 300.0
"""A password that changes each time is a token. It serves for this long before the pool is told the
next one, so that all connections of that time share a place in the pool."""

OF_THE_CLIENT = ("options", "application_name", "fallback_application_name", "client_encoding")
"""Parameters of a session and not of the way to the server."""

NEUTRAL = {
    "hostaddr": "",
    "sslmode": "disable",
    "gssencmode": "disable",
    "channel_binding": "disable",
    "target_session_attrs": "any",
    "load_balance_hosts": "disable",
    "sslnegotiation": "postgres",
    "require_auth": "",
    "requirepeer": "",
    "min_protocol_version": "",
    "sslrootcert": "",
}
"""What a parameter must say on the way to the pool when the environment says something else."""


class Refused(Exception):
    """The pool cannot reach this database as asked; the text says why."""


class Unreachable(Exception):
    """Nobody answers at the pool's socket."""


@dataclass
class _Known:
    password: str
    target: str
    since: float


@dataclass
class Pool:
    """The pool behind the socket at ``path``, whose name is as libpq wants it."""

    path: str
    known: dict[tuple[tuple[str, str], ...], _Known] = field(default_factory=dict)

    @property
    def folder(self) -> str:
        """What libpq takes for ``host``."""
        return os.path.dirname(self.path)

    @property
    def port(self) -> str:
        """The end of the socket's name."""
        return self.path.rpartition(".")[2]

    def through(
        self,
        given: Mapping[str, object],
        settings: Mapping[str, str],
        environ: Mapping[str, str] = os.environ,
        *,
        afresh: bool = False,
    ) -> dict[str, object]:
        """Parameters that lead through the pool to where ``given`` leads.

        ``settings`` are start-up settings of the session; ``afresh`` tells the pool again what it
        was told before.
        """
        given = _by_libpqs_names(given)
        libpq = {key: value for key, value in given.items() if key in pgtarget.KEYWORDS}
        resolved = pgtarget.resolve(libpq, environ)
        target = self.register(_to_the_server(resolved), afresh=afresh)
        found = {key: value for key, value in given.items() if key not in pgtarget.KEYWORDS}
        options = [resolved["options"]] if "options" in resolved else []
        words = {**settings, "canter.target": target}
        options += [f"-c {name}={_escaped(value)}" for name, value in words.items()]
        found.update(
            host=self.folder,
            port=self.port,
            dbname=resolved["dbname"],
            user=resolved["user"],
            options=" ".join(options),
        )
        for keyword in ("application_name", "fallback_application_name", "client_encoding"):
            if keyword in resolved:
                found[keyword] = resolved[keyword]
        if "connect_timeout" in resolved:
            found["connect_timeout"] = resolved["connect_timeout"]
        for keyword, value in NEUTRAL.items():
            # Older versions of libpq do not know all of them.
            if keyword in ("hostaddr", "sslmode") or pgtarget.ENVIRONMENT[keyword] in environ:
                found[keyword] = value
        return found

    def refusal(self, given: Mapping[str, object]) -> str | None:
        """Why a connection with these parameters would go past the pool; None when it would not, or
        nobody answers."""
        given = _by_libpqs_names(given)
        libpq = {key: value for key, value in given.items() if key in pgtarget.KEYWORDS}
        try:
            _answer(self._say(_packet(_to_the_server(pgtarget.resolve(libpq)))))
        except (Refused, pgtarget.TargetError) as error:
            return str(error)
        except (OSError, EOFError):
            return None
        return None

    def register(self, target: Mapping[str, str], *, afresh: bool = False) -> str:
        """Tell the pool where a database is; its name for it."""
        key = tuple(sorted((name, text) for name, text in target.items() if name != "password"))
        password = target.get("password", "")
        known = self.known.get(key)
        now = time.monotonic()
        if known is not None and not afresh:
            if known.password == password or now - known.since < PASSWORD_KEPT:
                return known.target
        known = _Known(password, self._ask(target), now)
        self.known[key] = known
        return known.target

    def _ask(self, target: Mapping[str, str]) -> str:
        packet = _packet(target)
        until = time.monotonic() + PATIENCE
        pause = 0.02
        while True:
            try:
                return _answer(self._say(packet))
            except (OSError, EOFError) as error:
                if time.monotonic() + pause > until:
                    raise Unreachable(
                        f"Canter's pool does not answer at {self.path} ({error}); "
                        "is canter serve still running?"
                    ) from error
            time.sleep(pause)
            pause = min(pause * 2, 0.5)

    def _say(self, packet: bytes) -> bytes:
        with socket.socket(socket.AF_UNIX) as client:
            client.settimeout(PATIENCE)
            client.connect(self.path)
            client.sendall(packet)
            answer = b""
            while chunk := client.recv(4096):
                answer += chunk
                if len(answer) > 65536:
                    break
            return answer


def _by_libpqs_names(given: Mapping[str, object]) -> Mapping[str, object]:
    """Django 3.2 gives psycopg2 its old word for the database (psycopg2.connect, "database")."""
    if "database" not in given or "dbname" in given:
        return given
    return {"dbname" if key == "database" else key: value for key, value in given.items()}


def _to_the_server(resolved: Mapping[str, str]) -> dict[str, str]:
    return {key: value for key, value in resolved.items() if key not in OF_THE_CLIENT}


def _packet(target: Mapping[str, str]) -> bytes:
    """The words in which the pool is told of a database."""
    body = b"".join(
        part.encode("utf-8", "surrogateescape") + b"\0"
        for pair in target.items()
        for part in pair
    )
    return struct.pack("!ii", len(body) + 9, REGISTRATION) + body + b"\0"


def _answer(answer: bytes) -> str:
    """The target's name out of ParameterStatus, or the text of an ErrorResponse."""
    while len(answer) >= 5:
        kind, length = answer[:1], int.from_bytes(answer[1:5], "big")
        body, answer = answer[5 : length + 1], answer[length + 1 :]
        if kind == b"S":
            name, value = body.split(b"\0")[:2]
            if name == b"canter.target":
                return value.decode("ascii")
        if kind == b"E":
            fields = {part[:1]: part[1:].decode("utf-8", "replace") for part in body.split(b"\0")}
            raise Refused(fields.get(b"M", "no reason was given"))
    raise EOFError("it ended without an answer")


def _escaped(value: str) -> str:
    """As a word of ``options``, where blanks separate words."""
    return value.replace("\\", "\\\\").replace(" ", "\\ ")
