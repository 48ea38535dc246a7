"""Owns checking what Canter does to Django's PostgreSQL backend, with a backend and a driver played
by the test. Leaves the real ones to ``tests/test_db_serve.py``.
"""

from __future__ import annotations

import functools
import importlib
import socket
import sys
import threading
import types
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from canter import between, said
from canter import django as canter_django
from canter._worker import is_readable
from canter.pool import Pool, Refused, Unreachable


class PlayedPool(Pool):
    """Knows every database, or says what it is told to say."""

    def __init__(self) -> None:
        super().__init__("/somewhere/.s.PGSQL.5432")
        self.asked: list[tuple[dict[str, str], bool]] = []
        self.failure: Exception | None = None

    def register(self, target: Mapping[str, str], *, afresh: bool = False) -> str:
        self.asked.append((dict(target), afresh))
        if self.failure is not None:
            raise self.failure
        return f"t{len(self.asked)}"

    def refusal(self, given: Mapping[str, object]) -> str | None:
        return None


class DriverError(Exception):
    """What drivers raise."""


class Connection:
    """A driver's connection whose transaction is where the test wants it."""

    def __init__(self, words: Mapping[str, Any]) -> None:
        self.words = dict(words)
        self.touched: str | None = "off"
        self.info = types.SimpleNamespace(
            transaction_status=0,
            parameter_status=lambda name: self.touched if name == "canter.touched" else None,
        )
        self.autocommit = True
        self.said: list[str] = []
        # The pool's end and ours.
        self.far, self.near = socket.socketpair()

    def fileno(self) -> int:
        return self.near.fileno()

    def cursor(self) -> Connection:
        return self

    def __enter__(self) -> Connection:
        return self

    def __exit__(self, *_error: object) -> None:
        pass

    def execute(self, text: str) -> None:
        self.said.append(text)

    def rollback(self) -> None:
        self.said.append("rollback()")

    def close(self) -> None:
        self.said.append("close()")


def backend(failures: list[str]) -> types.ModuleType:
    """A module like Django's, whose driver fails with these texts first."""
    module = types.ModuleType("django.db.backends.postgresql.base")

    class DatabaseWrapper:
        Database = types.SimpleNamespace(OperationalError=DriverError, Error=DriverError)
        alias = "default"
        timezone_name = "UTC"
        in_atomic_block = False
        connection: Connection | None = None
        close_at: float | None = 1.0

        def __init__(self, max_age: int | None = 0) -> None:
            self.settings_dict = {"CONN_MAX_AGE": max_age, "ENGINE": "played"}
            self._thread_ident = threading.get_ident()

        def get_connection_params(self) -> dict[str, Any]:
            return {"host": "h", "user": "u"}

        @property
        def pool(self) -> str:
            return "of its own"

        def get_new_connection(self, params: Mapping[str, Any]) -> Connection:
            if failures:
                raise DriverError(failures.pop(0))
            return Connection(params)

        def connect(self) -> Connection:
            self.connection = self.get_new_connection({"host": "h", "user": "u"})
            return self.connection

        def close(self) -> None:
            self.connection = None

    DatabaseWrapper.__module__ = "django.db.backends.postgresql.base"
    module.DatabaseWrapper = DatabaseWrapper  # type: ignore[attr-defined]
    return module


@pytest.fixture
def failures() -> list[str]:
    return []


@pytest.fixture
def pool() -> PlayedPool:
    return PlayedPool()


@pytest.fixture
def module(
    failures: list[str], pool: PlayedPool, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Any]:
    module = backend(failures)
    monkeypatch.setattr(between, "_looks_after", True)
    monkeypatch.setattr(said, "_warned", set())
    canter_django._patch(module, pool)
    yield module
    between._mine.wrappers.clear()


def test_a_connection_leads_to_the_pool_with_the_zone_and_the_thread(
    module: Any, pool: PlayedPool
) -> None:
    connection = module.DatabaseWrapper().connect()
    assert connection.words["host"] == "/somewhere"
    assert pool.asked == [({"host": "h", "user": "u", "dbname": "u"}, False)]
    options = connection.words["options"].split(" -c ")
    assert options[0] == "-c TimeZone=UTC"
    assert options[1].startswith("canter.thread=") and options[2] == "canter.target=t1"


def test_a_derived_backend_has_the_last_word_on_the_parameters(
    module: Any, pool: PlayedPool
) -> None:
    class Derived(module.DatabaseWrapper):  # type: ignore[misc]
        def get_new_connection(self, params: Mapping[str, Any]) -> Any:
            return super().get_new_connection({**params, "password": "token"})

    Derived.__module__ = "some_cloud.backend"
    connection = Derived().connect()
    assert pool.asked[0][0]["password"] == "token"
    # It may have a pool of its own: the thread that connects need not be the one that asks.
    assert "canter.thread" not in connection.words["options"]


def test_a_pool_of_djangos_own_is_passed_over_only_on_pooled_connections(
    module: Any, pool: PlayedPool
) -> None:
    wrapper = module.DatabaseWrapper()
    assert wrapper.pool == "of its own"
    wrapper.connect()
    assert wrapper.pool is None
    pool.failure = Refused("replication cannot be pooled")
    wrapper.connect()
    assert wrapper.pool == "of its own"


def decorated(function: Callable[..., Any]) -> Callable[..., Any]:
    """As Django's ``async_unsafe``."""

    @functools.wraps(function)
    def inner(*args: Any) -> Any:
        return function(*args)

    return inner


def test_an_engine_that_opens_its_connections_itself_is_not_told_to_be_pooled(
    module: Any, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    class OfItsOwn(module.DatabaseWrapper):  # type: ignore[misc]
        def get_new_connection(self, params: Mapping[str, Any]) -> Any:
            return self.pool

    class Forwarding(module.DatabaseWrapper):  # type: ignore[misc]
        @decorated
        def get_new_connection(self, params: Mapping[str, Any]) -> Any:
            made = (lambda: self._get_new_connection(params),)
            return made[0]()

        def _get_new_connection(self, params: Mapping[str, Any]) -> Any:
            return super().get_new_connection(params)

    wrappers = {
        "default": module.DatabaseWrapper(),
        "own": OfItsOwn(),
        "forwarding": Forwarding(),
    }
    monkeypatch.setitem(sys.modules, canter_django.MODULE, module)
    played = types.SimpleNamespace(connections=wrappers)
    monkeypatch.setitem(sys.modules, "django.db", played)  # type: ignore[arg-type]
    assert canter_django.pooled_databases() == ["default", "forwarding"]
    said = capfd.readouterr().err
    assert "database 'own' is reached without the pool: its engine" in said
    assert [canter_django.is_pooled(one) for one in wrappers.values()] == [True, False, True]


def test_what_the_pool_refuses_goes_straight_there_and_is_said_once(
    module: Any, pool: PlayedPool, capfd: pytest.CaptureFixture[str]
) -> None:
    pool.failure = Refused("replication cannot be pooled")
    for _ in range(2):
        assert module.DatabaseWrapper().connect().words == {"host": "h", "user": "u"}
    text = capfd.readouterr().err
    assert text.count("'default' is reached without the pool: replication cannot") == 1


def test_a_pool_that_has_forgotten_is_told_again(
    module: Any, pool: PlayedPool, failures: list[str]
) -> None:
    failures.append("FATAL:  this target is not known (any more)")
    connection = module.DatabaseWrapper().connect()
    assert [afresh for _, afresh in pool.asked] == [False, True]
    assert "canter.target=t2" in connection.words["options"]


@pytest.mark.parametrize(
    "texts", [["password authentication failed"], ["Connection refused", "Connection refused"]]
)
def test_other_errors_are_the_apps_own(module: Any, failures: list[str], texts: list[str]) -> None:
    failures.extend(texts)
    with pytest.raises(DriverError, match=texts[0]):
        module.DatabaseWrapper().connect()
    assert failures == []


def test_a_pool_that_is_gone_is_a_database_error(module: Any, pool: PlayedPool) -> None:
    pool.failure = Unreachable("nobody answers")
    with pytest.raises(DriverError, match="nobody answers"):
        module.DatabaseWrapper().connect()


def test_requests_are_looked_after_from_the_first_connection_on(
    pool: PlayedPool, failures: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    heard: list[object] = []
    monkeypatch.setattr(between, "around_requests", lambda begin, end: heard.extend((begin, end)))
    monkeypatch.setattr(between, "_looks_after", False)
    monkeypatch.setattr(between._mine, "wrappers", {})
    module: Any = backend(failures)
    canter_django._patch(module, pool)
    assert heard == [], "a request that asks no database pays for nothing"
    for _ in range(2):
        module.DatabaseWrapper().connect()
    assert heard == [between.begin_well, between.end_transactions]


def leave(module: Any, status: int, **words: Any) -> Any:
    """A wrapper whose request ends with its transaction at ``status``."""
    wrapper = module.DatabaseWrapper()
    connection = wrapper.connect()
    connection.info.transaction_status = status
    for name, value in words.items():
        setattr(wrapper if name == "in_atomic_block" else connection, name, value)
    between.end_transactions()
    return connection


@pytest.mark.parametrize(
    "status, words, said",
    [
        (0, {}, []),
        (2, {}, ["ROLLBACK"]),
        (3, {"autocommit": False}, ["rollback()"]),
        (1, {}, ["close()"]),
        (2, {"in_atomic_block": True}, ["close()"]),
    ],
)
def test_a_request_ends_without_a_transaction(
    module: Any, monkeypatch: pytest.MonkeyPatch, status: int, words: Any, said: list[str]
) -> None:
    connections: dict[str, object] = {"default": None}
    played = types.SimpleNamespace(connections=connections)
    monkeypatch.setitem(sys.modules, "django.db", played)  # type: ignore[arg-type]
    assert leave(module, status, **words).said == said
    # A wrapper in a state that nobody will end is not the next request's.
    assert ("default" in connections) == (said != ["close()"])


def test_what_a_request_left_that_never_came_to_its_end_is_ended_before_the_next(module: Any) -> None:
    wrapper = module.DatabaseWrapper()
    connection = wrapper.connect()
    connection.info.transaction_status = 2
    between.begin_well()
    assert connection.said == ["ROLLBACK"]
    between.end_transactions()
    assert connection.said == ["ROLLBACK"] * 2
    # Nothing of the app runs between an end and a beginning.
    between.begin_well()
    assert connection.said == ["ROLLBACK"] * 2


def test_psycopg_3_is_asked_without_its_objects(module: Any) -> None:
    wrapper = module.DatabaseWrapper()
    connection = wrapper.connect()
    del connection.info
    seen = {b"canter.touched": b"off"}
    connection.pgconn = types.SimpleNamespace(transaction_status=3, parameter_status=seen.get)
    between.end_transactions()
    assert connection.said == ["ROLLBACK"]
    assert wrapper.connection is connection
    seen[b"canter.touched"] = b"on"
    between.end_transactions()
    assert wrapper.connection is None


def test_what_another_thread_has_open_is_left_to_it(module: Any) -> None:
    # A pool of the app's own keeps calling the wrapper whose thread has made the pool.
    wrapper = module.DatabaseWrapper()
    wrapper.connect().info.transaction_status = 2

    def serve() -> None:
        wrapper.get_new_connection({"host": "h", "user": "u"})
        between.end_transactions()

    request = threading.Thread(target=serve)
    request.start()
    request.join()
    assert wrapper.connection.said == []
    between.end_transactions()
    assert wrapper.connection.said == ["ROLLBACK"]


def test_a_closed_connection_is_forgotten(module: Any) -> None:
    wrapper = module.DatabaseWrapper()
    wrapper.connect()
    wrapper.connection = None
    between.end_transactions()
    assert between._mine.wrappers == {}


def test_a_connection_is_kept_until_its_session_may_differ_from_a_new_one(module: Any) -> None:
    wrapper = module.DatabaseWrapper()
    connection = wrapper.connect()
    assert wrapper.close_at is None
    between.begin_well()
    between.end_transactions()
    assert wrapper.connection is connection
    connection.touched = "on"
    between.end_transactions()
    assert wrapper.connection is None


def test_a_kept_connection_that_has_ended_is_not_used_again(module: Any) -> None:
    wrapper = module.DatabaseWrapper()
    wrapper.connect().far.close()
    between.begin_well()
    assert wrapper.connection is None


@pytest.mark.parametrize(("max_age", "touched"), [(60, "off"), (None, "off"), (0, None)])
def test_what_the_project_wants_or_the_pool_does_not_say_is_left_alone(
    module: Any, max_age: int | None, touched: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    wrapper = module.DatabaseWrapper(max_age)
    monkeypatch.setattr(between, "touched", lambda connection: touched)
    wrapper.connect()
    assert wrapper.close_at == 1.0
    monkeypatch.setattr(between, "touched", lambda connection: "on")
    between.end_transactions()
    assert wrapper.connection is not None


def test_a_descriptor_is_readable_when_its_other_side_spoke_or_went() -> None:
    near, far = socket.socketpair()
    idle, idle_far = socket.socketpair()
    with near, idle, idle_far:
        assert not is_readable() and not is_readable(near.fileno(), idle.fileno())
        far.send(b"x")
        assert is_readable(near.fileno()) and is_readable(idle.fileno(), near.fileno())
        near.recv(1)
        assert not is_readable(near.fileno())
        far.close()
        assert is_readable(near.fileno())
        closed = near.fileno()
    assert is_readable(closed)
    with pytest.raises(ValueError, match="not negative"):
        is_readable(-1)


def test_the_backend_is_changed_when_the_app_imports_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    package = tmp_path / "played_backend"
    package.mkdir()
    (package / "__init__.py").touch()
    (package / "base.py").write_text("class DatabaseWrapper:\n    pass\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setattr(sys, "meta_path", list(sys.meta_path))
    monkeypatch.setattr(canter_django, "MODULE", "played_backend.base")
    patched: list[types.ModuleType] = []
    note: Callable[[types.ModuleType, Pool], None] = lambda module, pool: patched.append(module)
    monkeypatch.setattr(canter_django, "_patch", note)
    canter_django.install("/somewhere/.s.PGSQL.5432")
    assert patched == []
    module = importlib.import_module("played_backend.base")
    assert patched == [module]
    # What tracebacks ask for.
    assert module.__loader__ is not None
    assert "class DatabaseWrapper" in module.__loader__.get_source("played_backend.base")
    # Once it is there, it is changed at once.
    canter_django.install("/somewhere/.s.PGSQL.5432")
    assert patched == [module, module]
