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
import json, re, sys
sys.path.insert(0, sys.argv[1])
import relations
import adders
import savers
from canter import insight
from django.db import connection, transaction
from django.test import Client
savers.prepare()
client = Client()
insight.install()
out = {}
for view in (*savers.LOOPS, *savers.MEANT, *adders.MEANT):
    assert client.get(f"/write/{view.__name__}/").status_code == 200, view
    out[view.__name__] = insight.report()

# What a person has at hand who follows the advice.
from savers import Book, ROWS, Soft, Stamped, Tag

def changed(rows, add):
    for row in rows:
        row.price = add(row)
    return rows

def tags():
    return {"rows": [Tag(name=f"n{n}") for n in range(ROWS)]}

AT_HAND = {
    "added": lambda: {"rows": list(Tag.objects.order_by("-pk")[:ROWS]), "book": Book.objects.get(pk=1)},
    "added_together": lambda: {"rows": list(Book.objects.all()[:ROWS]), "books": Tag.objects.last().books},
    "executed": lambda: {
        "sql": "INSERT INTO library_tag (name) VALUES (%s)", "cursor": connection.cursor(),
        "values": [[f"x{n}"] for n in range(ROWS)],
    },
    "executed_update": lambda: {
        "sql": "UPDATE library_stamped SET price = price + 2 WHERE id = %s", "cursor": connection.cursor(),
        "values": [[n] for n in range(ROWS)],
    },
    "created": tags,
    "constructed": tags,
    "helped": tags,
    "related": lambda: {"rows": [Stamped(name=f"n{n}", up_id=1) for n in range(ROWS)]},
    "saved": lambda: {"rows": changed(Stamped.objects.filter(up=None), lambda row: row.price + 1), "fields": ["price"]},
    "saved_only": lambda: {"rows": changed(Stamped.objects.all(), lambda row: row.price + 1)},
    "deleted": lambda: {"keys": list(Tag.objects.order_by("-pk").values_list("pk", flat=True)[:ROWS])},
    "updated": lambda: {"rows": changed(Stamped.objects.filter(pk__in=range(ROWS)), lambda row: row.pk)},
    "filtered_delete": lambda: {"values": [f"n{n}" for n in range(ROWS)]},
    "soft_saved": lambda: {"rows": changed(Soft.every.all(), lambda row: row.price + 1)},
    "soft_deleted": lambda: {"keys": list(Soft.every.order_by("-pk").values_list("pk", flat=True)[:ROWS])},
    "soft_updated": lambda: {
        "rows": changed(Soft.every.filter(pk__in=range(1, 1 + ROWS)), lambda row: 300),
        "values": range(1, 1 + ROWS),
    },
}

def after(run):
    with transaction.atomic():
        run()
        models = (Tag, *savers.ADDED)
        fields = {one: [it.name for it in one._meta.concrete_fields if not getattr(it, "auto_now", False)] for one in models}
        found = {one.__name__: list(one._base_manager.order_by("pk").values(*fields[one])) for one in models}
        # Of the keys of a table between nobody knows.
        found["tags"] = set(Book.tags.through.objects.values_list("book", "tag"))
        transaction.set_rollback(True)
    return found

savers.created()
Soft.every.update(price=0)
before, same = after(lambda: None), {}
for loop in savers.LOOPS:
    name = loop.__name__
    wanted = after(loop)
    text = " ".join(text for _statement, _place, text in out[name][8])
    for call in re.findall(r"\\w+\\.(?:tags\\.add|add|executemany)\\(.*\\)|\\w+\\.\\w+\\.(?:bulk_\\w+|filter)\\([^()]*\\)(?:\\.(?:delete|update)\\([^()]*\\))?", text):
        names = AT_HAND[name]()
        if "=values)" in call and "values" not in names:
            continue
        found = after(lambda: eval(call.replace("…", "300"), {**vars(savers), **names}))
        same.setdefault(name, []).append([call, found == wanted, wanted != before])
print(json.dumps({"told": out, "same": same, "loops": [it.__name__ for it in savers.LOOPS]}))
"""


@pytest.fixture(scope="module")
def done() -> Any:
    program = [sys.executable, "-c", PROGRAM, str(APPS)]
    done = subprocess.run(program, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0 and "canter:" not in done.stderr, done.stderr
    return json.loads(done.stdout)


@pytest.fixture(scope="module")
def told(done: Any) -> Any:
    return done["told"]


CALLS = {
    "added": "gather the rows and add them at once: book.tags.add(*rows)",
    "added_together": "gather the rows and add them at once: books.add(*rows)",
    "executed": "gather the values and send them at once: cursor.executemany(sql, values)",
    "executed_update": "gather the values and send them at once: cursor.executemany(sql, values)",
    "created": "gather the rows and write them at once: Tag.objects.bulk_create(rows)",
    "constructed": "gather the rows and write them at once: Tag.objects.bulk_create(rows)",
    "related": "gather the rows and write them at once: Stamped.objects.bulk_create(rows)",
    "saved": (
        "change the rows and write them at once: Stamped.objects.bulk_update(rows, fields), with the names of the "
        'fields that change; "changed" is not set by it'
    ),
    "saved_only": 'change the rows and write them at once: Stamped.objects.bulk_update(rows, ["name", "price"])',
    "deleted": "gather the keys and delete once: Tag.objects.filter(pk__in=keys).delete()",
    "updated": 'change the rows and write them at once: Stamped.objects.bulk_update(rows, ["price"]); where all get '
    "the same, Stamped.objects.filter(pk__in=values).update(price=…)",
    # By a manager that leaves nothing out.
    "soft_saved": 'change the rows and write them at once: Soft._base_manager.bulk_update(rows, ["price"])',
    "soft_deleted": "gather the keys and delete once: Soft._base_manager.filter(pk__in=keys).delete()",
    "soft_updated": 'change the rows and write them at once: Soft._base_manager.bulk_update(rows, ["price"]); where all '
    "get the same, Soft._base_manager.filter(pk__in=values).update(price=…)",
    "helped": "gather the rows and write them at once: Tag.objects.bulk_create(rows)",
    "filtered_delete": "gather the values and delete once: Tag.objects.filter(name__in=values).delete()",
}

# Python 3.10 tells of a frame its line alone, not its columns (PEP 657): whether the call's answer is used is not known.
if sys.version_info < (3, 11):
    for unknown in ("updated", "soft_updated", "filtered_delete"):
        del CALLS[unknown]


@pytest.mark.parametrize("name", CALLS)
def test_c2_rows_that_are_written_one_by_one_are_told_with_the_call_that_writes_them_at_once(
    told: Any, name: str
) -> None:
    row = told[name]
    assert [text for _statement, _place, text in row[8]] == [CALLS[name]], row
    ((statement, place, _text),) = row[8]
    (group,) = [more for at, where, *more in row[5] if (at, where) == (statement, place)]
    assert group[0] == group[1] >= 25, group


@pytest.mark.parametrize("name", CALLS)
def test_c2_the_call_at_once_leaves_the_tables_as_the_loop_does(done: Any, name: str) -> None:
    found = done["same"][name]
    assert found and all(is_same and has_changed for _call, is_same, has_changed in found), found


def meant() -> list[str]:
    text = (APPS / "savers.py").read_text(encoding="utf-8").partition("# --- and what is no loop")[2]
    text = text.partition("\nLOOPS = ")[0] + (APPS / "adders.py").read_text(encoding="utf-8")
    return re.findall(r"^def (\w+)", text, re.M)


@pytest.mark.parametrize("name", meant())
def test_c2_writes_that_belong_to_a_row_or_to_others_are_not_told(told: Any, name: str) -> None:
    assert told[name][2] >= 18, told[name]
    assert told[name][8] == [], told[name]
