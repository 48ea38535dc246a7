"""What is read from the environment: the database address and the secret key."""

from __future__ import annotations

import tempfile
from pathlib import Path

from django.test import SimpleTestCase

from reader_site import database, secret


class DatabaseUrlTest(SimpleTestCase):
    """DATABASE_URL."""

    def test_every_part_finds_its_place(self) -> None:
        found = database.from_url("postgres://a%40b:p%2Fw@db.example:5433/shop?sslmode=require")
        expected = {
            "ENGINE": "django.db.backends.postgresql",
            "NAME": "shop",
            "USER": "a@b",
            "PASSWORD": "p/w",
            "HOST": "db.example",
            "PORT": "5433",
            "CONN_MAX_AGE": 0,
            "CONN_HEALTH_CHECKS": False,
            "OPTIONS": {"sslmode": "require"},
        }
        self.assertEqual(found, expected)

    def test_a_socket_folder_is_a_host(self) -> None:
        found = database.from_url("postgresql:///shop?host=/run/postgresql")
        self.assertEqual((found["HOST"], found["PORT"]), ("/run/postgresql", ""))

    def test_a_pool_and_an_age_are_for_django_and_not_for_the_driver(self) -> None:
        pool = database.from_url("postgres://db/shop?pool=1")["OPTIONS"]
        self.assertEqual(pool, {"pool": {"min_size": 1, "max_size": 1, "timeout": 30}})
        aged = database.from_url("postgres://db/shop?conn_max_age=60")
        self.assertEqual((aged["CONN_MAX_AGE"], aged["CONN_HEALTH_CHECKS"]), (60, True))
        self.assertEqual(aged["OPTIONS"], {})

    def test_sqlite_takes_a_path(self) -> None:
        self.assertEqual(database.from_url("sqlite:////srv/a.db")["NAME"], "/srv/a.db")

    def test_another_scheme_is_refused_by_name(self) -> None:
        with self.assertRaisesMessage(ValueError, "'mysql'"):
            database.from_url("mysql://db/shop")


class SecretKeyTest(SimpleTestCase):
    """The key file."""

    def test_a_key_is_made_once_and_is_private(self) -> None:
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "key"
            key = secret.key_in(path)
            self.assertGreaterEqual(len(key), 50)
            self.assertEqual(secret.key_in(path), key)
            self.assertEqual(path.stat().st_mode & 0o777, 0o600)
            self.assertEqual([path], list(Path(folder).iterdir()))
