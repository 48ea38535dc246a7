"""Owns what Django does with a database, through the pooler and with default settings: each piece
runs in a process of its own, since Django is configured once in a process.

Leaves Django's own test suite to ``suites/django_suite.py``.
"""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap
from typing import Any

import pytest
from harness.operated import PATIENCE

pytest.importorskip("django")

PRELUDE = """
import json, os, sys, threading
import django
from django.conf import settings
words = json.loads(os.environ["WAY"])
settings.configure(
    DATABASES={"default": {"ENGINE": "django.db.backends.postgresql", "NAME": words["dbname"],
        "HOST": words["host"], "PORT": words["port"], "USER": words["user"],
        "OPTIONS": json.loads(os.environ.get("OPTIONS", "{}")),
        **json.loads(os.environ.get("EXTRA", "{}"))}},
    INSTALLED_APPS=["django.contrib.contenttypes", "django.contrib.auth"],
    USE_TZ=True, TIME_ZONE="Europe/Rome", DEFAULT_AUTO_FIELD="django.db.models.AutoField",
)
django.setup()
from django.contrib.auth.models import Group, User
from django.core.management import call_command
from django.db import connection, connections, transaction, models
from django.db.utils import OperationalError

def sql(text, *values):
    with connection.cursor() as cursor:
        cursor.execute(text, values)
        return cursor.fetchall() if cursor.description else []

def elsewhere(function):
    "Run it on a connection of another thread."
    found = []
    def work():
        try:
            found.append(function())
        finally:
            connections.close_all()
    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    return found[0]
"""


def django(
    way: Any, source: str, options: str = "{}", extra: str = "{}", migrate: bool = True
) -> None:
    """Run a piece of Django; it fails by an exception."""
    import json

    first = 'call_command("migrate", verbosity=0)\n' if migrate else ""
    env = {**os.environ, "WAY": json.dumps(way.words()), "OPTIONS": options, "EXTRA": extra}
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", PRELUDE + first + textwrap.dedent(source)],
        env=env,
        capture_output=True,
        text=True,
        timeout=4 * PATIENCE,
        check=False,
    )
    assert done.returncode == 0, done.stderr + done.stdout


def test_orm_transactions_and_iterator(single: Any) -> None:
    """`.iterator()` in autocommit declares a cursor WITH HOLD; no setting is needed for it."""
    django(
        single,
        """
        Group.objects.bulk_create(Group(name=f"g{n}") for n in range(300))
        assert Group.objects.count() == 300
        rows = Group.objects.order_by("pk").iterator(chunk_size=50)
        names = []
        for group in rows:
            names.append(group.name)
        assert names == [f"g{n}" for n in range(300)], names[:5]
        with transaction.atomic():
            Group.objects.create(name="kept")
            try:
                with transaction.atomic():
                    Group.objects.create(name="lost")
                    Group.objects.create(name="kept")
            except Exception as error:
                assert "unique" in str(error), error
        assert elsewhere(lambda: Group.objects.filter(name__in=["kept", "lost"]).count()) == 1
        done = []
        with transaction.atomic():
            transaction.on_commit(lambda: done.append(Group.objects.count()))
        assert done == [301], done
        """,
    )


def test_iterators_of_several_threads_among_other_queries(start: Any) -> None:
    django(
        start(connections=6),
        """
        Group.objects.bulk_create(Group(name=f"g{n}") for n in range(300))
        def read():
            seen = 0
            for group in Group.objects.iterator(chunk_size=30):
                seen += 1
                assert User.objects.count() == 0
            return seen
        threads = []
        found = []
        for _ in range(3):
            thread = threading.Thread(target=lambda: found.append(elsewhere(read)))
            thread.start()
            threads.append(thread)
        for thread in threads:
            thread.join()
        assert found == [300] * 3, found
        """,
    )


def test_an_iterator_that_is_left_open_ends_with_its_connection(single: Any) -> None:
    django(
        single,
        """
        Group.objects.bulk_create(Group(name=f"g{n}") for n in range(300))
        rows = Group.objects.iterator(chunk_size=10)
        next(rows)
        connection.close()
        assert elsewhere(Group.objects.count) == 300
        """,
    )


def test_time_zone_and_encoding_per_connection(single: Any) -> None:
    django(
        single,
        """
        assert sql("SHOW timezone") == [("UTC",)]
        other = connections.create_connection("default")
        other.settings_dict = {**other.settings_dict, "TIME_ZONE": "Asia/Tokyo"}
        with other.cursor() as cursor:
            cursor.execute("SHOW timezone")
            assert cursor.fetchall() == [("Asia/Tokyo",)]
        assert sql("SHOW timezone") == [("UTC",)]
        with other.cursor() as cursor:
            cursor.execute("SELECT current_setting('timezone')")
            assert cursor.fetchall() == [("Asia/Tokyo",)]
        other.close()
        """,
    )


def test_assume_role(single: Any) -> None:
    single.postgres.admin.execute("GRANT guest TO site")
    django(
        single,
        """
        assert sql("SELECT current_user, session_user") == [("guest", "site")]
        assert elsewhere(lambda: sql("SELECT current_user")) == [("guest",)]
        """,
        options='{"assume_role": "guest"}',
        migrate=False,
    )


@pytest.mark.parametrize(
    "options",
    [
        '{"server_side_binding": true}',
        '{"isolation_level": 4}',
        '{"options": "-c search_path=public -c statement_timeout=5000"}',
        '{"client_encoding": "LATIN1"}',
        '{"application_name": "shop"}',
        '{"prepare_threshold": 1}',
        '{"sslmode": "prefer", "keepalives": 1, "target_session_attrs": "read-write"}',
    ],
)
def test_options(single: Any, options: str) -> None:
    django(
        single,
        """
        Group.objects.bulk_create(Group(name=f"é{n}") for n in range(30))
        for _ in range(10):
            assert Group.objects.get(name="é7").name == "é7"
            assert elsewhere(lambda: Group.objects.filter(name__startswith="é").count()) == 30
        assert len(list(Group.objects.iterator(chunk_size=7))) == 30
        wanted = settings.DATABASES["default"]["OPTIONS"]
        if "application_name" in wanted:
            assert sql("SHOW application_name") == [("shop",)]
        if "isolation_level" in wanted:
            with transaction.atomic():
                assert sql("SHOW transaction_isolation") == [("serializable",)]
        if "options" in wanted:
            assert sql("SHOW statement_timeout") == [("5s",)]
        """,
        options=options,
    )


def test_a_schema_for_each_request_as_django_tenants_does_it(pooler: Any) -> None:
    django(
        pooler,
        """
        for tenant in ("a", "b"):
            sql(f"CREATE SCHEMA {tenant}")
            sql(f"CREATE TABLE {tenant}.t AS SELECT '{tenant}' AS v")
        def request(tenant):
            sql(f"SET search_path = {tenant}, public")
            seen = {sql("SELECT v FROM t")[0][0] for _ in range(5)}
            with transaction.atomic():
                seen |= {sql("SELECT v FROM t")[0][0] for _ in range(5)}
            return seen
        found = {}
        def many(n):
            for _ in range(10):
                tenant = "ab"[n % 2]
                found.setdefault(tenant, set()).update(elsewhere(lambda: request(tenant)))
        threads = [threading.Thread(target=many, args=[n]) for n in range(6)]
        for thread in threads: thread.start()
        for thread in threads: thread.join()
        assert found == {"a": {"a"}, "b": {"b"}}, found
        assert elsewhere(lambda: sql("SHOW search_path")) == [('"$user", public',)]
        """,
    )


def test_locks_temporary_tables_and_notifications_in_raw_sql(pooler: Any) -> None:
    django(
        pooler,
        """
        sql("SELECT pg_advisory_lock(%s)", 7)
        assert elsewhere(lambda: sql("SELECT pg_try_advisory_lock(%s)", 7)) == [(False,)]
        sql("SELECT pg_advisory_unlock(%s)", 7)
        assert elsewhere(lambda: sql("SELECT pg_try_advisory_lock(%s)", 7)) == [(True,)]
        sql("CREATE TEMP TABLE mine (n int)")
        sql("INSERT INTO mine VALUES (%s)", 5)
        assert elsewhere(Group.objects.count) == 0
        assert sql("SELECT n FROM mine") == [(5,)]
        sql("DROP TABLE mine")
        sql("LISTEN news")
        elsewhere(lambda: sql("NOTIFY news, 'x'"))
        found = list(connection.connection.notifies(timeout=10, stop_after=1))
        assert [note.payload for note in found] == ["x"]
        sql("UNLISTEN news")
        """,
    )


def test_select_for_update_waits_and_skips(pooler: Any) -> None:
    django(
        pooler,
        """
        group = Group.objects.create(name="g")
        with transaction.atomic():
            Group.objects.select_for_update().get(pk=group.pk)
            def skipped():
                with transaction.atomic():
                    return list(Group.objects.select_for_update(skip_locked=True))
            assert elsewhere(skipped) == []
            def refused():
                try:
                    with transaction.atomic():
                        Group.objects.select_for_update(nowait=True).get(pk=group.pk)
                except OperationalError as error:
                    return error.__cause__.sqlstate
            assert elsewhere(refused) == "55P03"
        """,
    )


@pytest.mark.parametrize("extra", ['{"CONN_MAX_AGE": 60}', '{"CONN_MAX_AGE": 0}',
                                   '{"CONN_MAX_AGE": null, "CONN_HEALTH_CHECKS": true}'])
def test_many_threads_with_connections_of_their_own(single: Any, extra: str) -> None:
    django(
        single,
        """
        from django.core.signals import request_finished, request_started
        def one():
            for _ in range(5):
                request_started.send(sender=None, environ={})
                with transaction.atomic():
                    Group.objects.count()
                Group.objects.count()
                request_finished.send(sender=None)
        threads = [threading.Thread(target=one) for _ in range(30)]
        for thread in threads: thread.start()
        for thread in threads: thread.join()
        """,
        extra=extra,
    )
    if hasattr(single, "pid"):
        assert len(single.backends()) <= 1


def test_create_a_database_from_a_template_that_was_in_use(single: Any) -> None:
    """What `manage.py test --parallel` does: the template may have no connections."""
    name = f"{single.dbname}_copy"
    django(
        single,
        f"""
        Group.objects.create(name="copied")
        connection.close()
        with connection._nodb_cursor() as cursor:
            cursor.execute("CREATE DATABASE {name} TEMPLATE {single.dbname}")
        settings.DATABASES["default"]["NAME"] = "{name}"
        other = connections.create_connection("default")
        other.settings_dict = {{**other.settings_dict, "NAME": "{name}"}}
        with other.cursor() as cursor:
            cursor.execute("SELECT name FROM auth_group")
            assert cursor.fetchall() == [("copied",)]
        other.close()
        with connection._nodb_cursor() as cursor:
            cursor.execute("DROP DATABASE {name}")
        """,
    )


def test_the_test_runner_makes_and_destroys_its_database(single: Any) -> None:
    django(
        single,
        """
        from django.test.utils import get_runner
        from django.test import TestCase, TransactionTestCase
        import unittest
        class Inside(TestCase):
            def test_it(self):
                Group.objects.create(name="x")
                self.assertEqual(Group.objects.count(), 1)
        class Across(TransactionTestCase):
            def test_it(self):
                Group.objects.create(name="x")
                self.assertEqual(Group.objects.count(), 1)
        settings.TEST_RUNNER = "django.test.runner.DiscoverRunner"
        runner = get_runner(settings)(verbosity=0, interactive=False)
        runner.setup_test_environment()
        old = runner.setup_databases()
        loader = unittest.defaultTestLoader
        suite = unittest.TestSuite(map(loader.loadTestsFromTestCase, [Inside, Across, Inside]))
        result = unittest.TextTestRunner(verbosity=0).run(suite)
        runner.teardown_databases(old)
        assert result.wasSuccessful()
        """,
    )


def test_dumpdata_loaddata_and_flush(single: Any, tmp_path: Any) -> None:
    django(
        single,
        f"""
        Group.objects.bulk_create(Group(name=f"g{{n}}") for n in range(30))
        call_command("dumpdata", "auth.group", output="{tmp_path}/dump.json", verbosity=0)
        call_command("flush", interactive=False, verbosity=0)
        assert Group.objects.count() == 0
        call_command("loaddata", "{tmp_path}/dump.json", verbosity=0)
        assert Group.objects.count() == 30
        call_command("inspectdb", stdout=open("/dev/null", "w"))
        """,
    )
