"""What an app finds around it: its path, its command line, the folder it starts in, Python's own threads."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from harness.operated import Canter, run_canter

APP = """
import json, multiprocessing, os, sys
argv = list(sys.argv)
def work(queue):
    queue.put(os.getppid())
def application(environ, start_response):
    path = environ["PATH_INFO"]
    told = {"script": environ["SCRIPT_NAME"], "path": path, "argv": argv}
    if path in ("/spawn", "/forkserver", "/fork"):
        context = multiprocessing.get_context(path[1:])
        queue = context.SimpleQueue()
        child = context.Process(target=work, args=(queue,))
        child.start()
        told["answered"] = queue.get() > 1
        child.join()
        told["code"] = child.exitcode
    start_response("200 OK", [("Content-Type", "application/json")])
    return [json.dumps(told).encode()]
"""


@pytest.mark.parametrize("how", ["environment", "-e"])
def test_script_name_is_where_the_app_is_mounted(tmp_path: Path, how: str) -> None:
    env = {"SCRIPT_NAME": "/shop"} if how == "environment" else {}
    flags = ["-e", "SCRIPT_NAME=/shop/"] if how == "-e" else []
    with Canter(tmp_path, APP, "-w", "1", *flags, env=env) as canter:
        canter.wait_ready()
        for path, expected in (
            ("/shop/cart/?a=b", ("/shop", "/cart/")),
            ("/shop", ("/shop", "")),
            ("/shopping", ("", "/shopping")),
            ("/", ("", "/")),
        ):
            told = json.loads(canter.get(path).body)
            assert (told["script"], told["path"]) == expected, path


DJANGO = """
from django.conf import settings
settings.configure(
    ALLOWED_HOSTS=["*"], ROOT_URLCONF=__name__, SECRET_KEY="of a test",
    INSTALLED_APPS=["django.contrib.staticfiles"], STATIC_URL="static/", STATIC_ROOT="collected",
)
from django.core.wsgi import get_wsgi_application
from django.http import HttpResponse
from django.templatetags.static import static
from django.urls import path, reverse
def view(request):
    return HttpResponse(f"{reverse('page')} {static('site.css')}")
urlpatterns = [path("page/", view, name="page")]
application = get_wsgi_application()
"""


def test_script_name_is_where_djangos_addresses_and_static_files_begin(tmp_path: Path) -> None:
    (tmp_path / "collected").mkdir()
    (tmp_path / "collected" / "site.css").write_text("body {}")
    with Canter(tmp_path, DJANGO, "-w", "1", env={"SCRIPT_NAME": "/shop"}) as canter:
        canter.wait_ready()
        assert canter.get("/shop/page/").text == "/shop/page/ /shop/static/site.css"
        # As it is, and as a proxy leaves it that takes the prefix off.
        assert canter.get("/shop/static/site.css").text == "body {}"
        assert canter.get("/static/site.css").text == "body {}"


@pytest.mark.parametrize("way", ["spawn", "forkserver", "fork"])
def test_an_app_sees_the_command_that_it_is_run_with_and_starts_processes(
    tmp_path: Path, way: str
) -> None:
    with Canter(tmp_path, APP, "-w", "1") as canter:
        canter.wait_ready()
        told = json.loads(canter.get(f"/{way}").body)
        assert told["argv"] == ["canter", "serve", "app"]
        assert (told["answered"], told["code"]) == (True, 0)


def test_an_app_in_the_folder_is_found_by_a_python_that_does_not_look_there(tmp_path: Path) -> None:
    (tmp_path / "app.py").write_text(APP)
    ended = run_canter("serve", "app", "--check-config", cwd=tmp_path, env={"PYTHONSAFEPATH": "1"})
    assert ended.returncode == 0, ended.stderr
    assert "app can be served" in ended.stdout


# What gevent and eventlet do, as far as it is noticed.
GEVENT = """
# monkey.patch_all() is what apps write:
EXAMPLE = 'monkey.patch_all()'
import socket
def patch_all():
    class Green(socket.socket):
        def __init__(self, *words, **more):
            raise BlockingIOError("there is no hub")
    socket.socket = Green
def is_module_patched(name):
    return name == "threading"
"""


def test_an_app_that_replaces_threads_is_refused_and_told_the_line(tmp_path: Path) -> None:
    (tmp_path / "gevent").mkdir()
    (tmp_path / "gevent" / "__init__.py").touch()
    (tmp_path / "gevent" / "monkey.py").write_text(GEVENT)
    (tmp_path / "app.py").write_text("from gevent import monkey\nmonkey.patch_all()  # first\n" + APP)
    ended = run_canter("serve", "app", "--bind", "127.0.0.1:0", cwd=tmp_path)
    assert ended.returncode == 3, ended.stderr
    assert "gevent's greenlets in place of Python's threads" in ended.stderr
    assert "remove line 2 of app.py, `monkey.patch_all()" in ended.stderr
    assert "Traceback" not in ended.stderr and "memory" not in ended.stderr


SCHEME = """
def application(environ, start_response):
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [b"by " + environ["wsgi.url_scheme"].encode()]
"""


def test_of_a_proxy_that_is_not_trusted_is_told_once(tmp_path: Path) -> None:
    said = "says who its clients are"
    with Canter(tmp_path, SCHEME, "-w", "1") as canter:
        canter.wait_ready()
        assert canter.get().text == "by http"
        assert said not in canter.log
        for _ in range(3):
            with canter.connect() as connection, connection.makefile("rb") as answer:
                connection.sendall(
                    b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n"
                    b"X-Forwarded-Proto: https\r\nX-Forwarded-For: 192.0.2.7\r\n\r\n"
                )
                assert answer.read().endswith(b"by http")
        assert "--forwarded-allow-ips '127.0.0.1'" in canter.wait_log(said)
        assert len(canter.logged(said)) == 1
