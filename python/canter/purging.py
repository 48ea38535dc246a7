"""Owns ``canter.purge``: asking the server for pages to be fetched anew, from a view, a signal or a
management command.

Leaves which pages are meant to the server.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from typing import Union


class PurgeError(Exception):
    """The server could not be asked, or refused."""


Words = Union[str, Iterable[str]]


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
    they are fetched anew, unless ``hard``. The server is ``CANTER_PURGE_SERVER`` or
    ``http://127.0.0.1:8000`` (with ``PORT``, that port), the token ``CANTER_CACHE_TOKEN``, unless they
    are given.
    """
    # Not before it is needed: importing canter costs every worker, and this does not.
    import urllib.error
    import urllib.parse
    import urllib.request

    pairs = [
        (name, word)
        for name, words in (("url", url), ("prefix", prefix), ("host", host), ("tag", tag))
        for word in ([words] if isinstance(words, str) else words)
    ]
    if everything:
        pairs.append(("all", "1"))
    if not pairs:
        raise ValueError("say what to purge: url, prefix, host, tag or everything")
    if hard:
        pairs.append(("hard", "1"))
    token = token or os.environ.get("CANTER_CACHE_TOKEN")
    if not token:
        raise PurgeError("there is no token: set CANTER_CACHE_TOKEN, for the server as well")
    port = os.environ.get("PORT", "8000")
    server = server or os.environ.get("CANTER_PURGE_SERVER") or f"http://127.0.0.1:{port}"
    if not server.startswith("http://"):
        raise ValueError(f"the server is an address such as http://127.0.0.1:8000, not {server!r}")
    query = urllib.parse.urlencode(pairs, quote_via=urllib.parse.quote)
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
