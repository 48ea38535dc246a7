"""What is said of rows that are written one by one: the call that writes them at once, where that comes to the same,
and nothing else. In a process of its own, for Django has one configuration. Ids are those of the acceptance list
(C SQL).
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

APPS = Path(__file__).resolve().parent.parent / "apps"

PROGRAM = """
import json, sys
sys.path.insert(0, sys.argv[1])
import relations
import savers
from canter import insight
from django.test import Client
savers.prepare()
client = Client()
insight.install()
out = {}
for view in (*savers.LOOPS, *savers.MEANT):
    assert client.get(f"/write/{view.__name__}/").status_code == 200, view
    out[view.__name__] = insight.report()
# Each is what a person writes who follows the advice.
rows = list(savers.Stamped.objects.all())
savers.Tag.objects.bulk_create([savers.Tag(name="x")])
savers.Stamped.objects.bulk_update(rows, ["price", "name"])
savers.Stamped.objects.filter(pk__in=[1]).update(price=1)
savers.Tag.objects.filter(name__in=["x"]).delete()
print(json.dumps({"told": out, "loops": [it.__name__ for it in savers.LOOPS]}))
"""


@pytest.fixture(scope="module")
def told() -> Any:
    program = [sys.executable, "-c", PROGRAM, str(APPS)]
    done = subprocess.run(program, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0 and "canter:" not in done.stderr, done.stderr
    return json.loads(done.stdout)["told"]


CALLS = {
    "created": "gather the rows and write them at once: Tag.objects.bulk_create(rows)",
    "constructed": "gather the rows and write them at once: Tag.objects.bulk_create(rows)",
    "related": "gather the rows and write them at once: Stamped.objects.bulk_create(rows)",
    "saved": (
        "change the rows and write them at once: Stamped.objects.bulk_update(rows, fields), with the names of the "
        'fields that change; "changed" is not set by it'
    ),
    "saved_only": 'change the rows and write them at once: Stamped.objects.bulk_update(rows, ["name", "price"])'
    '; "changed" is not set by it',
    "deleted": "gather the keys and delete once: Tag.objects.filter(pk__in=keys).delete()",
    "updated": 'change the rows and write them at once: Stamped.objects.bulk_update(rows, ["price"]); where all get '
    "the same, Stamped.objects.filter(pk__in=values).update(price=…)",
    "filtered_delete": "gather the values and delete once: Tag.objects.filter(name__in=values).delete()",
}


@pytest.mark.parametrize("name", CALLS)
def test_c2_rows_that_are_written_one_by_one_are_told_with_the_call_that_writes_them_at_once(
    told: Any, name: str
) -> None:
    row = told[name]
    assert [text for _statement, _place, text in row[8]] == [CALLS[name]], row
    ((statement, place, _text),) = row[8]
    (group,) = [more for at, where, *more in row[5] if (at, where) == (statement, place)]
    assert group[0] == group[1] >= 25, group


def meant() -> list[str]:
    text = (APPS / "savers.py").read_text(encoding="utf-8")
    return re.findall(r"^def (\w+)", text.partition("# --- and what is no loop")[2], re.M)[:-1]


@pytest.mark.parametrize("name", meant())
def test_c2_writes_that_belong_to_a_row_or_to_others_are_not_told(told: Any, name: str) -> None:
    assert told[name][2] >= 18, told[name]
    assert told[name][8] == [], told[name]
