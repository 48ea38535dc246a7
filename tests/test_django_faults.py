"""What the log says of a Django view that raises. Owns ``canter.django_faults`` from outside."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
from harness.operated import Canter

pytest.importorskip("django")

APP = """
from django.conf import settings
settings.configure(ALLOWED_HOSTS=["*"], ROOT_URLCONF=__name__, SECRET_KEY="x" * 50, {more})
from django.core.wsgi import get_wsgi_application
from django.urls import path, re_path
def broken(request, **captured):
    raise ValueError("on purpose")
urlpatterns = [re_path("^broken/", broken)]
application = get_wsgi_application()
"""

CONSOLE = (
    'LOGGING={"version": 1, "disable_existing_loggers": False, '
    '"handlers": {"there": {"class": "logging.StreamHandler"}}, '
    '"loggers": {"django": {"handlers": ["there"], "level": "INFO"}}}'
)


def serve(folder: Path, more: str, *flags: str) -> Any:
    return Canter(folder, APP.format(more=more), "-w", "1", *flags)


def test_a_view_that_raises_is_in_the_log_with_djangos_own_defaults(tmp_path: Path) -> None:
    with serve(tmp_path, "DEBUG=False", "--request-id-header", "X-Trace") as canter:
        with canter.connect() as client:
            client.sendall(
                b"GET /broken/%0Aforged?password=hunter2 HTTP/1.1\r\n"
                b"Host: a\r\nX-Trace: id-7\r\nConnection: close\r\n\r\n"
            )
            reply = client.makefile("rb").read()
        assert reply.startswith(b"HTTP/1.1 500 ") and b"on purpose" not in reply
        canter.wait_log(r"ValueError: on purpose$", times=2)
        (line,) = canter.logged("^canter: GET")
        assert line.startswith("canter: GET /broken/%0Aforged failed (request id-7): ValueError")
        assert canter.logged(r'app\.py", line \d+, in broken')
        assert "hunter2" not in re.sub(r'(?m)^.*"GET .*$', "", canter.log)


@pytest.mark.parametrize("more", [f"DEBUG=False, {CONSOLE}", "DEBUG=True"])
def test_a_project_that_logs_it_is_not_repeated(tmp_path: Path, more: str) -> None:
    with serve(tmp_path, more) as canter:
        assert canter.get("/broken/").status == 500
        canter.wait_log("ValueError: on purpose")
        assert canter.get("/broken/").status == 500
        canter.wait_log("ValueError: on purpose", times=2)
        assert not canter.logged("^canter: GET")
