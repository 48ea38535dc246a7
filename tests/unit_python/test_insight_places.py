"""Which line of an app is told of a statement: not that of what stands around it, and those of an app that was
installed as a package. In processes of their own, for Django has one configuration. Ids are those of the acceptance
list (C SQL).
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from canter import insight

APPS = Path(__file__).resolve().parent.parent / "apps"

MIDDLE = """
import json, sys
sys.path[:0] = sys.argv[1:3]
from django.conf import LazySettings
as_ever = LazySettings.configure
def configure(self, **words):
    words["MIDDLEWARE"].insert(0, "mine.own")
    as_ever(self, **words)
LazySettings.configure = configure
import relations
from canter import insight
from django.contrib.auth.models import User
from django.test import Client
from django.urls import path
import mine
relations.urlpatterns[:0] = [path("books/", mine.Books.as_view())]
relations.fill()
client = Client()
User.objects.create_superuser("root", password="x")
client.force_login(User.objects.get())
insight.install()
out = {}
for name in ("books/", "admin/library/book/"):
    assert client.get(f"/{name}").status_code == 200
    out[name] = insight.report()
print(json.dumps(out))
"""

MINE = """
from library.models import Author, Book
from relations import BookSerializer
from rest_framework.generics import ListAPIView
from rest_framework.renderers import JSONRenderer

def own(get_response):
    def call(request):
        Author.objects.filter(pk=1).first()
        response = get_response(request)
        return response
    return call

class Books(ListAPIView):
    queryset = Book.objects.all()
    serializer_class = BookSerializer
    renderer_classes = [JSONRenderer]
"""


@pytest.fixture(scope="module")
def within(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """What is told where a middleware of the app's own stands around all."""
    folder = tmp_path_factory.mktemp("mine")
    (folder / "mine.py").write_text(MINE, encoding="utf-8")
    program = [sys.executable, "-c", MIDDLE, str(APPS), str(folder)]
    done = subprocess.run(program, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0 and "canter:" not in done.stderr, done.stderr
    return json.loads(done.stdout)


def test_c1_what_a_view_asks_is_not_told_of_the_middleware_that_waits_for_it(within: Any) -> None:
    told = within["books/"]
    texts = {name: text for name, _bits, text in told[6]}
    places = {name: text.split("\n")[1:3] for name, text in told[7]}
    lines = MINE.splitlines()
    of_view = [str(lines.index("class Books(ListAPIView):") + 1), "Books"]
    of_own = [str(1 + next(at for at, line in enumerate(lines) if ".first()" in line)), "call"]
    asked = [(texts[statement], places[place], count) for statement, place, count, *_ in told[5]]
    of_books = [row[1:] for row in asked if " FROM library_" in row[0]]
    assert sorted(of_books) == sorted([(of_view, 8), (of_view, 1), (of_own, 1)]), asked
    # REST framework wants to know who asks, which is the view's doing, too.
    assert {tuple(row[1]) for row in asked} == {tuple(of_view), tuple(of_own)}
    assert [text.startswith('Book.objects.select_related("author")') for _, _, text in told[8]] == [True]


def test_c2_what_djangos_admin_asks_twice_by_itself_is_not_told_as_asked_again(within: Any) -> None:
    told = within["admin/library/book/"]
    twice = [name for name, _bits, text in told[6] if text.startswith("SELECT COUNT(*)")]
    rows = {statement: more for statement, _place, *more in told[5]}
    assert [rows[name][:3] for name in twice] == [[2, 1, 0]]
    # What a column of its list asks for each row is.
    assert [more[1] for more in rows.values() if more[1] >= 5] == [8, 8]


def test_c1_a_view_within_decorators_is_where_it_is_written() -> None:
    def view() -> None:
        pass

    scope: dict[str, Any] = {"view": view}
    again = "def again(inner):\n @wraps(inner)\n def wrapper(): inner()\n return wrapper\n"
    exec("from functools import wraps\n" + again + "wrapped = again(again(view))", scope)
    file, line, name = insight._view(scope["wrapped"])
    assert (file, line) == (__file__, view.__code__.co_firstlineno) and name.endswith("view")


PACKAGED = """
import json, sys
sys.path[:0] = sys.argv[1:3]
from django.conf import LazySettings
as_ever = LazySettings.configure
def configure(self, **words):
    as_ever(self, **{**words, "ROOT_URLCONF": "shopped.urls"})
LazySettings.configure = configure
import relations
from canter import insight
from django.test import Client
relations.fill()
insight.install()
assert Client().get("/").status_code == 200
print(json.dumps(insight.report()))
"""

SHOPPED = {
    "other.py": "def call(what):\n    return what()\n",
    "shopped/__init__.py": "",
    "shopped/views.py": """
from django.http import HttpResponse
from library.models import Author
from other import call

def view(request):
    return HttpResponse(str(call(Author.objects.count)))
""",
    "shopped/urls.py": """
from django.urls import path
from shopped import views
urlpatterns = [path("", views.view)]
""",
}


def test_c1_a_project_that_was_installed_as_a_package_has_lines(tmp_path: Path) -> None:
    folder = tmp_path / "site-packages"
    (folder / "shopped").mkdir(parents=True)
    for name, text in SHOPPED.items():
        (folder / name).write_text(text, encoding="utf-8")
    program = [sys.executable, "-c", PACKAGED, str(APPS), str(folder)]
    done = subprocess.run(program, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0 and "canter:" not in done.stderr, done.stderr
    ((_name, text),) = json.loads(done.stdout)[7]
    assert text.split("\n")[:3] == ["shopped/views.py", "7", "view"]
