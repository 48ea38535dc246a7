"""Makes the secret key once and keeps it in a private file.

Owns the file. Several processes may start at the same time, so the key is written under another
name and linked into place: whoever comes second finds a whole key, never a part of one.
"""

from __future__ import annotations

import os
import secrets
from contextlib import suppress
from pathlib import Path


def key_in(path: Path) -> str:
    """Returns the key kept in `path`, and makes one if there is none."""
    with suppress(FileNotFoundError):
        return path.read_text(encoding="ascii")
    draft = path.with_name(f"{path.name}.{os.getpid()}")
    with os.fdopen(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as file:
        file.write(secrets.token_urlsafe(50))
    with suppress(FileExistsError):
        os.link(draft, path)
    draft.unlink()
    return path.read_text(encoding="ascii")
