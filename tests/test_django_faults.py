"""What the log says of a Django view that raises. Owns ``canter.django_faults`` from outside."""

from __future__ import annotations

import json
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
def told(request, words):
    raise ValueError(words)
urlpatterns = [re_path("^broken/", broken), re_path("^told/(?s:(.*))$", told)]
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


def test_with_the_json_log_it_is_one_object(tmp_path: Path) -> None:
    flags = ("--request-id-header", "X-Trace", "--log-format", "json")
    with serve(tmp_path, "DEBUG=False", *flags) as canter:
        assert canter.get("/broken/").status == 500
        entry = json.loads(canter.wait_log("the request failed"))
        assert all(json.loads(line) for line in canter.log.splitlines())
    assert (entry["level"], entry["method"], entry["path"]) == ("error", "GET", "/broken/")
    assert entry["error"] == "ValueError" and len(entry["request_id"]) == 32
    assert entry["traceback"].endswith("ValueError: on purpose\n")


def test_p20_what_a_client_says_through_an_exception_forges_no_line(tmp_path: Path) -> None:
    with serve(tmp_path, "DEBUG=False") as canter:
        assert canter.get("/told/a%0Acanter:%20GET%20/forged%1b%5d0;mine%07%C2%85b").status == 500
        canter.wait_log("ValueError: a", times=2)
        assert canter.logged(r"^    ValueError: a$") and canter.logged("^    canter: GET /forged")
        assert len(canter.logged("^canter: GET")) == 1
        assert not re.search("[\x07\x1b\x85]", canter.log)


@pytest.mark.parametrize("more", [f"DEBUG=False, {CONSOLE}", "DEBUG=True"])
def test_a_project_that_logs_it_is_not_repeated(tmp_path: Path, more: str) -> None:
    with serve(tmp_path, more) as canter:
        assert canter.get("/broken/").status == 500
        canter.wait_log("ValueError: on purpose")
        assert canter.get("/broken/").status == 500
        canter.wait_log("ValueError: on purpose", times=2)
        assert not canter.logged("^canter: GET")
