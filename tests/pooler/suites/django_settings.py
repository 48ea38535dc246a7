"""Owns the settings of Django's own test suite: PostgreSQL where ``CANTER_SUITE_WAY`` says, and a
runner that writes down the outcome of every test.

Leaves choosing the way to ``django_suite`` and comparing to ``outcomes``.
"""

from __future__ import annotations

import json
import os
import unittest
from typing import Any

import outcomes
from django.test.runner import DiscoverRunner

WAY = json.loads(os.environ["CANTER_SUITE_WAY"])

DATABASES = {
    alias: {
        "ENGINE": "django.db.backends.postgresql",
        "NAME": name,
        "HOST": WAY["host"],
        "PORT": WAY["port"],
        "USER": WAY["user"],
        "TEST": {"NAME": f"test_{name}"},
    }
    for alias, name in (("default", "suite"), ("other", "suite_other"))
}
SECRET_KEY = "a test"
PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]
DEFAULT_AUTO_FIELD = "django.db.models.AutoField"
USE_TZ = False
TEST_RUNNER = "django_settings.WritingRunner"


class WritingResult(unittest.TextTestResult):
    """Writes a line for each outcome, at once, so that a crash leaves what was known."""

    def _write(self, test: unittest.TestCase, outcome: str, why: str = "") -> None:
        outcomes.write(test.id(), outcome, why)

    def addSuccess(self, test: unittest.TestCase) -> None:
        super().addSuccess(test)
        self._write(test, "passed")

    def addError(self, test: unittest.TestCase, err: Any) -> None:
        super().addError(test, err)
        self._write(test, "error", self._exc_info_to_string(err, test))

    def addFailure(self, test: unittest.TestCase, err: Any) -> None:
        super().addFailure(test, err)
        self._write(test, "failed", self._exc_info_to_string(err, test))

    def addSkip(self, test: unittest.TestCase, reason: str) -> None:
        super().addSkip(test, reason)
        self._write(test, "skipped", reason)

    def addExpectedFailure(self, test: unittest.TestCase, err: Any) -> None:
        super().addExpectedFailure(test, err)
        self._write(test, "expected failure")

    def addUnexpectedSuccess(self, test: unittest.TestCase) -> None:
        super().addUnexpectedSuccess(test)
        self._write(test, "unexpected success")

    def addSubTest(self, test: unittest.TestCase, subtest: Any, err: Any) -> None:
        super().addSubTest(test, subtest, err)
        if err is not None:
            self._write(test, "failed", self._exc_info_to_string(err, test))


class WritingRunner(DiscoverRunner):
    """Django's own runner with that result."""

    def get_resultclass(self) -> type[unittest.TextTestResult]:
        return WritingResult
