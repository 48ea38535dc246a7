"""Owns the path that a site is mounted at: ``SCRIPT_NAME`` of the environment, as Gunicorn takes it.

Leaves taking it off the paths of requests to ``canter._worker``.
"""

from __future__ import annotations

import contextlib
import os
import sys

VARIABLE = "SCRIPT_NAME"


def script_name() -> str:
    """With a slash in front and none at the end; empty for a site at the root."""
    path = os.environ.get(VARIABLE, "").strip("/")
    return f"/{path}" if path else ""


def tell_django() -> None:
    """Have what Django makes of relative addresses outside of requests, as ``STATIC_URL``, begin with it.

    Django keeps the first that was made, and its own default is the root.
    """
    path = script_name()
    conf = sys.modules.get("django.conf")
    if not path or conf is None:
        return
    # Settings that cannot be used say so when somebody uses them.
    with contextlib.suppress(Exception):
        if conf.settings.FORCE_SCRIPT_NAME is None:
            from django.urls import set_script_prefix

            set_script_prefix(path + "/")
