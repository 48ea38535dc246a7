"""A Django site whose views show what its connections are: settings come from the environment, as
``SITE`` has them. Owns views for ``test_db_serve.py``; leaves what is expected to it.
"""

from __future__ import annotations

import json
import os
import sys
from typing import Any
from urllib.parse import unquote, urlsplit

SITE: dict[str, Any] = json.loads(os.environ.get("SITE", "{}"))

if SITE.get("driver") == "psycopg2":
    # Django takes psycopg 3 where it can be imported.
    sys.modules["psycopg"] = None  # type: ignore[assignment]

from asgiref.sync import sync_to_async
from django.conf import settings


def from_url(url: str) -> dict[str, Any]:
    """As projects read ``DATABASE_URL``."""
    parts = urlsplit(url)
    return {
        "ENGINE": "django.db.backends.postgresql",
        "NAME": unquote(parts.path[1:]),
        "USER": unquote(parts.username or ""),
        "PASSWORD": unquote(parts.password or ""),
        "HOST": unquote(parts.hostname or ""),
        "PORT": parts.port or "",
    }


databases = SITE.get("databases") or {"default": from_url(os.environ["DATABASE_URL"])}
if "dj" in SITE:
    # As Heroku's guide has it; what stands in `SITE` are the words that projects give it.
    import dj_database_url

    databases = {"default": dj_database_url.config(**SITE["dj"])}
settings.configure(
    ALLOWED_HOSTS=["*"],
    DATABASES=databases,
    ROOT_URLCONF=__name__,
    SECRET_KEY="of a test",
    USE_TZ=True,
    TIME_ZONE="Europe/Rome",
    **SITE.get("settings", {}),
)

from django.core.wsgi import get_wsgi_application
from django.db import DatabaseError, connections, transaction
from django.db.backends.signals import connection_created
from django.http import HttpRequest, JsonResponse, StreamingHttpResponse
from django.urls import path
from reins import hold

FACTS = {
    "backend": "pg_backend_pid()",
    "database": "current_database()",
    "user": "current_user",
    "zone": "current_setting('TimeZone')",
    "application": "current_setting('application_name')",
    "path": "current_setting('search_path')",
}


def show(request: HttpRequest, alias: str = "default") -> JsonResponse:
    """What the server says of this connection, and where the driver thinks it is."""
    connection = connections[alias]
    with connection.cursor() as cursor:
        if connection.vendor != "postgresql":
            cursor.execute("SELECT 42")
            return JsonResponse({"vendor": connection.vendor, "answer": cursor.fetchone()[0]})
        cursor.execute("SELECT " + ", ".join(FACTS.values()))
        found = dict(zip(FACTS, cursor.fetchone(), strict=True))
    info = connection.connection.info
    driver = type(connection.connection).__module__.partition(".")[0]
    loan = getattr(connection, "canter_loan", None)
    lent = loan is not None and loan.is_lent
    return JsonResponse({**found, "host": info.host, "driver": driver, "lent": lent})


created = 0


def count_connections(**_signal: object) -> None:
    global created
    created += 1


connection_created.connect(count_connections)


def opened(request: HttpRequest) -> JsonResponse:
    """How many connections this worker has opened, this request's included."""
    with connections["default"].cursor() as cursor:
        cursor.execute("SELECT 1")
    return JsonResponse({"opened": created})


async def later(request: HttpRequest) -> JsonResponse:
    """A view that does not block, and statements that do."""
    ask = sync_to_async(opened)
    for _ in range(3):
        await ask(request)
    return JsonResponse({})


def setting(request: HttpRequest) -> JsonResponse:
    """Leaves the session in another state than it was."""
    with connections["default"].cursor() as cursor:
        cursor.execute("SET statement_timeout = '1234ms'")
    return JsonResponse({})


def timeout(request: HttpRequest) -> JsonResponse:
    with connections["default"].cursor() as cursor:
        cursor.execute("SHOW statement_timeout")
        return JsonResponse({"timeout": cursor.fetchone()[0], "opened": created})


def sleep(request: HttpRequest, seconds: str) -> JsonResponse:
    """A slow query."""
    with connections["default"].cursor() as cursor:
        cursor.execute("SELECT pg_sleep(%s)", [float(seconds)])
    return JsonResponse({})


def held(request: HttpRequest) -> JsonResponse:
    """A transaction that goes on until the test lets it."""
    with transaction.atomic(), connections["default"].cursor() as cursor:
        cursor.execute("SELECT 1")
        hold("in a transaction")
    return JsonResponse({})


def trouble(request: HttpRequest) -> JsonResponse:
    """The words of an error."""
    try:
        return show(request)
    except DatabaseError as error:
        return JsonResponse({"error": str(error)})


def begin(request: HttpRequest, how: str) -> JsonResponse:
    """A transaction that nobody ends."""
    connection = connections["default"]
    if how == "atomic":
        transaction.atomic().__enter__()
    with connection.cursor() as cursor:
        if how == "sql":
            cursor.execute("BEGIN")
        if how == "autocommit":
            connection.set_autocommit(False)
        cursor.execute("SELECT 'left open', pg_backend_pid()")
        return JsonResponse({"backend": cursor.fetchone()[1]})


def iterate(request: HttpRequest) -> JsonResponse:
    """What ``.iterator()`` of a query set does: a cursor that outlives its statement."""
    with connections["default"].chunked_cursor() as cursor:
        cursor.execute("SELECT generate_series(1, 5000)")
        total = 0
        while rows := cursor.fetchmany(100):
            total += sum(row[0] for row in rows)
    return JsonResponse({"total": total})


def stream(request: HttpRequest) -> StreamingHttpResponse:
    """A query for each part of an answer that never ends."""

    def parts() -> Any:
        while True:
            with connections["default"].cursor() as cursor:
                cursor.execute("SELECT 'part of a stream', pg_sleep(0.05)")
            yield b"." * 10000

    return StreamingHttpResponse(parts())


def plain(request: HttpRequest) -> JsonResponse:
    """Other Python code than Django's."""
    import psycopg

    with psycopg.connect(os.environ["CANTER_DATABASE_URL"]) as connection:
        row = connection.execute("SELECT current_database(), current_user").fetchone()
    assert row is not None
    return JsonResponse({"database": row[0], "user": row[1]})


def raw(request: HttpRequest) -> JsonResponse:
    """One statement for each row, past Django, beside one of Django's own."""
    import psycopg

    with connections["default"].cursor() as cursor:
        cursor.execute("SELECT 'of Django'")
    with psycopg.connect(os.environ["CANTER_DATABASE_URL"]) as connection:
        for number in range(6):
            connection.execute("SELECT 'hunter2', %s::int", [number])
    return JsonResponse({})


def titles(request: HttpRequest) -> JsonResponse:
    """A search in a table without an index, once for each of several words."""
    for number in range(6):
        with connections["default"].cursor() as cursor:
            cursor.execute("SELECT id FROM notes WHERE title = %s", [f"hunter2-{number}"])
    return JsonResponse({})


def several(request: HttpRequest) -> JsonResponse:
    """A slow text of several statements, the last of which must not be run for a plan."""
    with connections["default"].cursor() as cursor:
        cursor.execute("SELECT pg_sleep(0.6); DELETE FROM notes WHERE id = 1")
    return JsonResponse({})


def naps(request: HttpRequest, seconds: str) -> JsonResponse:
    """A query, twice, that takes as long as a table says, which says ``seconds`` from then on."""
    with connections["default"].cursor() as cursor:
        for _ in range(2):
            cursor.execute("SELECT pg_sleep(seconds) FROM naps WHERE seconds >= %s", [0])
        cursor.execute("UPDATE naps SET seconds = %s", [float(seconds)])
    return JsonResponse({})


def numbers(request: HttpRequest) -> JsonResponse:
    """A read in a loop that changes something all the same."""
    with connections["default"].cursor() as cursor:
        for number in range(5):
            cursor.execute("SELECT nextval('numbers') + %s", [number])
        return JsonResponse({"number": cursor.fetchone()[0]})


def rename(request: HttpRequest) -> JsonResponse:
    """Takes the table away that ``titles`` asks."""
    with connections["default"].cursor() as cursor:
        cursor.execute("ALTER TABLE notes RENAME TO notes_of_old")
    return JsonResponse({})


def port(request: HttpRequest) -> JsonResponse:
    """Which server reads, and what it has."""
    with connections["default"].cursor() as cursor:
        cursor.execute("SHOW port")
        (number,) = cursor.fetchone()
        cursor.execute("SELECT count(*) FROM notes")
        return JsonResponse({"port": int(number), "notes": cursor.fetchone()[0]})


def write(request: HttpRequest) -> JsonResponse:
    """Write something, then read it."""
    with connections["default"].cursor() as cursor:
        cursor.execute("INSERT INTO notes VALUES (1)")
    return port(request)


def nested(request: HttpRequest) -> JsonResponse:
    """A request within a request, in the middle of a transaction that is committed after it."""
    import django.test

    with transaction.atomic(), connections["default"].cursor() as cursor:
        cursor.execute("INSERT INTO notes VALUES (1)")
        django.test.Client().get("/", headers={"host": "localhost"})
        cursor.execute("INSERT INTO notes VALUES (2)")
    return JsonResponse({})


urlpatterns = [
    path("nested/", nested),
    path("port/", port),
    path("write/", write),
    path("", show),
    path("at/<alias>/", show),
    path("opened/", opened),
    path("later/", later),
    path("setting/", setting),
    path("timeout/", timeout),
    path("sleep/<seconds>/", sleep),
    path("held/", held),
    path("trouble/", trouble),
    path("begin/<how>/", begin),
    path("iterate/", iterate),
    path("stream/", stream),
    path("plain/", plain),
    path("raw/", raw),
    path("titles/", titles),
    path("several/", several),
    path("naps/<seconds>/", naps),
    path("numbers/", numbers),
    path("rename/", rename),
]

application = get_wsgi_application()
