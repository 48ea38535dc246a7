"""Owns what pytest does for all tests: marks, and the logs of the servers beside a failure.

Leaves starting servers to ``harness``.
"""

from __future__ import annotations

from collections.abc import Generator

import pytest
from harness.server import RUNNING


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport() -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Show what every running server has said when a test fails."""
    report = yield
    if report.failed:
        for server in RUNNING:
            report.sections.append((f"log of {server.folder.name}", server.log))
    return report
