"""Owns what an app sees of WSGI that is written in Python: the environ's fixed part and
``wsgi.file_wrapper`` (PEP 3333).

Leaves the rest of the environ, ``start_response`` and sending to ``canter._worker``.
"""

from __future__ import annotations

import io
import os
import stat
import sys
import tempfile
from collections.abc import Iterator
from typing import Any, Protocol

from canter import __version__


class Readable(Protocol):
    """What PEP 3333 asks of a file-like object in a file wrapper."""

    def read(self, size: int, /) -> bytes:
        """Answer up to ``size`` bytes, none at the end."""


class FileWrapper:
    """``wsgi.file_wrapper``: an iterable over a file-like object.

    A regular file in it is sent by the front from its descriptor; anything else is read here.
    """

    __slots__ = ("blksize", "filelike")

    def __init__(self, filelike: Readable, blksize: int = 8192) -> None:
        self.filelike = filelike
        self.blksize = blksize

    def __iter__(self) -> Iterator[bytes]:
        return self

    def __next__(self) -> bytes:
        data = self.filelike.read(self.blksize)
        if not data:
            raise StopIteration
        return data

    def close(self) -> None:
        """Close the file-like object if it can be closed."""
        close = getattr(self.filelike, "close", None)
        if close is not None:
            close()


def sendable(wrapper: FileWrapper) -> tuple[int, int, int] | None:
    """A duplicate of the wrapped file's descriptor, its position and the bytes that follow.

    None unless reading the object means reading a regular file: a ``GzipFile`` has a descriptor
    as well, but the bytes behind it are others than those it reads.
    """
    raw = _plain_file(wrapper.filelike)
    if raw is None:
        return None
    try:
        descriptor = raw.fileno()
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode) or not raw.readable():
            return None
        offset = raw.tell()
        return os.dup(descriptor), offset, max(0, status.st_size - offset)
    except (OSError, ValueError):
        return None


def _plain_file(filelike: object) -> io.BufferedReader | io.BufferedRandom | io.FileIO | None:
    """The file itself, out of a temporary file's or Django's wrapping."""
    for _ in range(3):
        if type(filelike) is io.FileIO:
            return filelike
        if type(filelike) in (io.BufferedReader, io.BufferedRandom):
            assert isinstance(filelike, (io.BufferedReader, io.BufferedRandom))
            return filelike if type(filelike.raw) is io.FileIO else None
        inner = getattr(filelike, "file", None)
        if inner is None or not _reads_through(filelike, inner):
            return None
        filelike = inner
    return None


def _reads_through(outer: object, inner: object) -> bool:
    """Whether ``outer`` hands out the ``read`` of ``inner`` itself, as Django's ``File`` does."""
    if isinstance(outer, tempfile._TemporaryFileWrapper):
        return True
    return getattr(outer, "read", None) == getattr(inner, "read", outer)


def base_environ(*, several_threads: bool) -> dict[str, Any]:
    """The part of an environ that is the same in every request of a process."""
    return {
        "SCRIPT_NAME": "",
        "PATH_INFO": "",
        "QUERY_STRING": "",
        # RFC 3875, section 4.1.17, which PEP 3333 asks to follow as far as it applies.
        "SERVER_SOFTWARE": f"canter/{__version__}",
        "wsgi.version": (1, 0),
        "wsgi.errors": sys.stderr,
        "wsgi.multithread": several_threads,
        "wsgi.multiprocess": True,
        "wsgi.run_once": False,
        "wsgi.file_wrapper": FileWrapper,
        "wsgi.input_terminated": True,
    }
