"""Owns ``canter.purge``: asking the server for pages to be fetched anew, from a view, a signal or a
management command. On the machine of the server that needs no set-up: its private socket is open to
the same user only.

Leaves which pages are meant to the server.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from typing import Union


class PurgeError(Exception):
    """The server could not be asked, or refused."""


Words = Union[str, Iterable[str]]

# Of the words that the server takes at once, and of the request line that it reads.
MOST_WORDS = 200
MOST_BYTES = 6000


def purge(
    *,
    url: Words = (),
    prefix: Words = (),
    host: Words = (),
    tag: Words = (),
    everything: bool = False,
    hard: bool = False,
    server: str | None = None,
    token: str | None = None,
    timeout: float = 5,
) -> int:
    """Purge pages from Canter's cache; how many pages there were.

    ``url`` is a path (on all hosts, with any query) or a whole URL. Pages are kept to be shown while
    they are fetched anew, unless ``hard``.

    Without ``server`` and ``token`` it is the server that runs this code, or the one of this user that was
    started in this folder; no other is taken for it. ``server`` may be the path of another's private socket.
    Otherwise it is ``server``, ``CANTER_PURGE_SERVER`` or ``http://127.0.0.1:8000``
    (with ``PORT``, that port), with ``token`` or ``CANTER_CACHE_TOKEN``; so it is as well where the server
    that runs this code has no private socket.
    """
    # Not before it is needed: importing canter costs every worker, and this does not.
    import urllib.parse

    pairs = [
        (name, word)
        for name, words in (("url", url), ("prefix", prefix), ("host", host), ("tag", tag))
        for word in ([words] if isinstance(words, str) else words)
    ]
    if everything:
        pairs.append(("all", "1"))
    if not pairs:
        raise ValueError("say what to purge: url, prefix, host, tag or everything")
    last = "&hard=1" if hard else ""
    words = (f"{name}={urllib.parse.quote(word, safe='')}" for name, word in pairs)
    queries = [query + last for query in _batches(words)]
    if server is not None and server.startswith("/"):
        return sum(_ask_here(server, query, timeout) for query in queries)
    others: list[str] = []
    if server is None and token is None and "CANTER_PURGE_SERVER" not in os.environ:
        path, others = _private_socket()
        if path is not None:
            return sum(_ask_here(path, query, timeout) for query in queries)
    token = token or os.environ.get("CANTER_CACHE_TOKEN")
    if not token:
        raise PurgeError(
            "no server of this user was started in this folder; name one of these as `server`: " + ", ".join(others)
            if others
            else "no server of this user is found here, and there is no token for another: "
            "set CANTER_CACHE_TOKEN, for the server as well"
        )
    port = os.environ.get("PORT", "8000")
    server = server or os.environ.get("CANTER_PURGE_SERVER") or f"http://127.0.0.1:{port}"
    if not server.startswith("http://"):
        raise ValueError(f"the server is an address such as http://127.0.0.1:8000, not {server!r}")
    return sum(_ask(server, token, query, timeout) for query in queries)


def _batches(words: Iterable[str]) -> list[str]:
    """As many queries as need be: the server takes so many words, and a request line so long, at once."""
    found: list[str] = []
    count = 0
    for word in words:
        if found and count < MOST_WORDS and len(found[-1]) + len(word) < MOST_BYTES:
            found[-1] += "&" + word
            count += 1
        else:
            found.append(word)
            count = 1
    return found


def _private_socket() -> tuple[str | None, list[str]]:
    """Where the server that runs this code is asked, or the one that was started in this folder; and all of
    this user, where neither is known."""
    own = os.environ.get("CANTER_SOCKET")
    if own is not None:
        if own:
            return own, []
        # It is asked as from elsewhere, where that is allowed.
        if not os.environ.get("CANTER_CACHE_TOKEN"):
            raise PurgeError(
                "the server that runs this has no private socket (its log says why), "
                "and there is no token to ask it without: set CANTER_CACHE_TOKEN"
            )
        return None, []
    runtime = os.environ.get("XDG_RUNTIME_DIR", "")
    if os.path.isabs(runtime) and os.path.isdir(runtime):
        folder = os.path.join(runtime, "canter")
    else:
        folder = f"/tmp/canter-{os.geteuid()}"
    try:
        about = os.lstat(folder)
        # Others could put a socket of their own into a folder that is open to them.
        if about.st_uid != os.geteuid() or about.st_mode & 0o077:
            return None, []
        found = [os.path.join(folder, name) for name in sorted(os.listdir(folder))]
    except OSError:
        return None, []
    alive = [path for path in found if _answers(path)]
    mine = [path for path in alive if _home_of(path) == os.getcwd()]
    return (mine[0], []) if len(mine) == 1 else (None, alive)


def _home_of(path: str) -> str | None:
    """Where the server of a private socket was started."""
    pid = os.path.splitext(os.path.basename(path))[0]
    try:
        return os.readlink(f"/proc/{pid}/cwd")
    except OSError:
        return None


def _answers(path: str) -> bool:
    import socket

    with socket.socket(socket.AF_UNIX) as connection:
        connection.settimeout(1)
        try:
            connection.connect(path)
        except OSError:
            return False
        return True


def _ask_here(path: str, query: str, timeout: float) -> int:
    import json
    import socket

    answer = b""
    try:
        with socket.socket(socket.AF_UNIX) as connection:
            connection.settimeout(timeout)
            connection.connect(path)
            # The field says that no page of a browser has sent this.
            connection.sendall(
                f"POST /-/canter/purge?{query} HTTP/1.1\r\nHost: localhost\r\nX-Canter: 1\r\n"
                "Content-Length: 0\r\nConnection: close\r\n\r\n".encode()
            )
            while piece := connection.recv(65536):
                answer += piece
        told = json.loads(answer.partition(b"\r\n\r\n")[2])
        return int(told["purged"])
    except OSError as error:
        raise PurgeError(f"{path} does not answer: {error}") from error
    except (ValueError, KeyError, TypeError):
        what = answer.rpartition(b"\r\n")[2].decode("utf-8", "replace").strip()
        raise PurgeError(f"the server does not purge: {what}") from None


def _ask(server: str, token: str, query: str, timeout: float) -> int:
    import urllib.error
    import urllib.request

    request = urllib.request.Request(
        f"{server.rstrip('/')}/-/purge?{query}",
        data=b"",
        headers={"Authorization": f"Bearer {token}"},
        method="POST",
    )
    # A proxy of the environment is not on the way to this machine.
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with opener.open(request, timeout=timeout) as response:
            # Behind the line with the status.
            return int(response.read().split()[-1])
    except urllib.error.HTTPError as error:
        what = error.read().decode("utf-8", "replace").strip()
        raise PurgeError(f"the server answered {error.code}: {what}") from None
    except (OSError, ValueError, IndexError) as error:
        raise PurgeError(f"{server} does not answer: {error}") from error
