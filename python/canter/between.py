"""Owns what Canter does to a thread's pooled connections when a request begins and when it is over: they stay
open where nobody can tell the difference, none leaves a transaction behind for the next request, and what has
ended meanwhile is not used again.

Leaves making connections to ``canter.django``, and a server that is lent to ``canter.lent``. Runs around every
request that asks a database, with the app's own code between, so that each line here costs a multiple of what it
costs in a loop: docs/decisions/0030-what-surrounds-a-page.md.
"""

from __future__ import annotations

import contextlib
import sys
import threading
from typing import Any

from canter import said
from canter._worker import around_requests, is_readable
from canter.lent import Loan
from canter.libpq import IDLE, IN_TRANSACTION, NO_SERVER, status, touched

_looks_after = False
"""Requests are looked after at their ends."""


class _Mine(threading.local):
    """The pooled connections that this thread has opened, so that a request that uses none costs
    nothing."""

    def __init__(self) -> None:
        self.wrappers: dict[str, Any] = {}
        self.is_clean = False
        """A request has ended and left nothing; none has begun since, and no connection was opened."""


_mine = _Mine()


def look_after(wrapper: Any, connection: Any, is_thread_bound: bool) -> None:
    """A wrapper has made a new connection, which only its thread uses where it ``is_thread_bound``."""
    global _looks_after
    if _is_mine(wrapper):
        _mine.wrappers[wrapper.alias] = wrapper
        _mine.is_clean = False
    end_loan(wrapper)
    outlives = wrapper.settings_dict.get("CONN_MAX_AGE") != 0
    _keep(wrapper, connection, is_thread_bound and not outlives)
    # Where connections outlive a request anyway: what is done on a lent one nobody else sees.
    if is_thread_bound and outlives:
        # What wraps the driver's connection may know no weak references: nothing is lent.
        with contextlib.suppress(TypeError):
            wrapper.canter_loan = Loan(connection)
    # From the first connection on: before, there is nothing to be left.
    if not _looks_after:
        # Not by Django's signals: a view that uses Django's test client, or another handler, has them
        # sent in the middle of its own transaction. The end comes after Django's, which closes what need
        # not stay.
        around_requests(begin_well, end_transactions)
        _looks_after = True


def _keep(wrapper: Any, connection: Any, may: bool) -> None:
    """Keep a connection that Django would close after each request: behind the pool it costs next
    to nothing, and a new one costs the driver half a millisecond. Django's setting means a fresh
    session for each request, so only one that is as good as fresh is kept; the pool knows."""
    wrapper.canter_kept = may and touched(connection) == "off"
    if wrapper.canter_kept:
        wrapper.close_at = None


def _is_mine(wrapper: Any) -> bool:
    """Whether a wrapper is this thread's. A pool of the app's own has all its connections made by the
    wrapper whose thread was the first to ask: what that one has open is not for others to end."""
    mine: bool = wrapper._thread_ident == threading.get_ident()
    return mine


def begin_well() -> None:
    """Drop kept connections that have ended meanwhile: the pool's process may have started anew."""
    mine = _mine
    wrappers = mine.wrappers
    if not wrappers:
        return
    if not mine.is_clean:
        _end_all(wrappers)
    mine.is_clean = False
    for wrapper in list(wrappers.values()):
        loan = wrapper.canter_loan
        if loan is not None:
            if loan.begin_request():
                _close_lent(wrapper)
        elif wrapper.canter_kept:
            connection = wrapper.connection
            # Between requests the pool has nothing to say but goodbye.
            if connection is not None and is_readable(connection.fileno()):
                wrapper.close()


def end_transactions() -> None:
    """Roll back what a request has left open, so that the next one on this thread starts clean and
    the server connection is free for others."""
    mine = _mine
    wrappers = mine.wrappers
    if not wrappers:
        return
    _end_all(wrappers)
    for wrapper in list(wrappers.values()):
        loan = wrapper.canter_loan
        if loan is not None and loan.end_request():
            _close_lent(wrapper)
    mine.is_clean = True


def _end_all(wrappers: dict[str, Any]) -> None:
    for alias, wrapper in list(wrappers.items()):
        connection = wrapper.connection
        if connection is None:
            end_loan(wrapper)
            del wrappers[alias]
            continue
        # The driver knows from the last answer of the server; nothing is sent for this.
        if status(connection) != IDLE:
            _end_transaction(wrapper)
            if wrappers.get(alias) is not wrapper:
                continue
        if wrapper.canter_kept and wrapper.connection is not None:
            if touched(wrapper.connection) != "off":
                wrapper.close()


def _close_lent(wrapper: Any) -> None:
    # As at the end of CONN_MAX_AGE: the app finds a new connection where it needs one.
    with contextlib.suppress(wrapper.Database.Error):
        wrapper.close()
    end_loan(wrapper)


def end_loan(wrapper: Any) -> None:
    """Give back the server that is lent to a wrapper's connection, which is closed, if there is one."""
    loan, wrapper.canter_loan = wrapper.canter_loan, None
    if loan is not None:
        loan.close()


def _end_transaction(wrapper: Any) -> None:
    connection = wrapper.connection
    now = status(connection)
    if now != NO_SERVER:
        said.once(f"a request left a transaction open on {wrapper.alias!r}: it was rolled back (said once)")
    is_plain = now in IN_TRANSACTION
    with contextlib.suppress(wrapper.Database.Error):
        if is_plain and not wrapper.in_atomic_block:
            if connection.autocommit:
                # The app has said BEGIN itself; psycopg2's rollback() would do nothing.
                with connection.cursor() as cursor:
                    cursor.execute("ROLLBACK")
            else:
                connection.rollback()
            return
    # A copy in progress, or an atomic block that nobody will leave: the next request gets a new
    # connection object.
    with contextlib.suppress(wrapper.Database.Error):
        connection.close()
    end_loan(wrapper)
    _mine.wrappers.pop(wrapper.alias, None)
    with contextlib.suppress(AttributeError):
        del sys.modules["django.db"].connections[wrapper.alias]
