"""What is advised where a library has made the relation: the call that works with it, or to ask once for all values, and
never one that does not work. In a process of its own, for Django has one configuration. Ids are those of the acceptance
list (C SQL).
"""

from __future__ import annotations

import importlib.util
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

APPS = Path(__file__).resolve().parent.parent / "apps"
LIBRARIES = ("guardian", "mptt", "parler", "polymorphic", "taggit", "treebeard")
MISSING = [name for name in LIBRARIES if importlib.util.find_spec(name) is None]

pytestmark = pytest.mark.skipif(bool(MISSING), reason=f"LEFT OUT: {', '.join(MISSING)} not installed")

PROGRAM = """
import json, re, sys
sys.path.insert(0, sys.argv[1])
import borrowed
from canter import insight
from django.test import Client
borrowed.fill()
client = Client()
insight.install()

def ask(path, **query):
    response = client.get(path, query)
    assert response.status_code == 200, path
    told = insight.report()
    return {"queries": told[1], "advice": [row[2] for row in told[8]], "text": response.content.decode()}

out = {}
for name in borrowed.LOOPS:
    asked = ask(f"/{name}/")
    rows = [re.match(r"[\\w.]+(\\.\\w+\\(.*?\\)+)+(?=;|,| \\(|$)", text) for text in asked["advice"]]
    if rows and rows[0]:
        asked["mended"] = ask(f"/{name}/", rows=rows[0][0])
    out[name] = asked
print(json.dumps(out))
"""


@pytest.fixture(scope="module")
def told() -> Any:
    program = [sys.executable, "-W", "ignore", "-c", PROGRAM, str(APPS)]
    done = subprocess.run(program, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0 and "canter:" not in done.stderr, done.stderr
    return json.loads(done.stdout)


CALLS = {
    "tagged": 'Article.objects.prefetch_related("tags")',
    "labelled": 'Photo.objects.prefetch_related("labels")',
    "kinds": 'Task.objects.prefetch_related("project")',
    "parents": 'Category.objects.select_related("parent")',
    "branches": 'Leaflet.objects.select_related("branch")',
    "translated": 'Leaflet.objects.prefetch_related("translations")',
}


@pytest.mark.parametrize("name", CALLS)
def test_c5_a_librarys_relation_gets_the_call_that_works_with_it(told: Any, name: str) -> None:
    one = told[name]
    assert one["advice"] and one["advice"][0].startswith(CALLS[name]), one
    assert one["queries"] >= 9 and one["mended"]["queries"] <= 4, one
    assert one["mended"]["text"] == one["text"], one


@pytest.mark.parametrize("name", ["tagged_red", "ancestors", "branch_parents", "permitted"])
def test_c5_where_no_call_is_known_to_work_none_is_told(told: Any, name: str) -> None:
    assert told[name]["queries"] >= 9 and told[name]["advice"] == [], told[name]


def test_c5_names_of_tags_are_taken_from_tags_that_are_fetched(told: Any) -> None:
    (text,) = told["tag_names"]["advice"]
    start = 'Article.objects.prefetch_related("tags"), and the rows of row.tags.all() in place of values()'
    assert text.startswith(start), text
