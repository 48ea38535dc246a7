"""Owns how much memory a process has, in the ways in which Linux counts it, in kilobytes.

Leaves how much is too much to the tests.
"""

from __future__ import annotations

import re
from pathlib import Path


def status_kilobytes(pid: int, field: str) -> int:
    """A field of proc_pid_status(5), such as ``VmRSS``, ``VmHWM`` or ``RssAnon``."""
    text = Path(f"/proc/{pid}/status").read_text()
    found = re.search(rf"^{field}:\s+(\d+) kB", text, re.MULTILINE)
    assert found is not None, text
    return int(found[1])


def rollup_kilobytes(pid: int, *fields: str) -> int:
    """The sum of fields of ``smaps_rollup`` in proc_pid_smaps(5)."""
    text = Path(f"/proc/{pid}/smaps_rollup").read_text()
    names = "|".join(fields)
    return sum(map(int, re.findall(rf"^(?:{names}): *(\d+) kB", text, re.MULTILINE)))


def resident_kilobytes(pid: int) -> int:
    """What it has in memory, shared or not."""
    return status_kilobytes(pid, "VmRSS")


def private_kilobytes(pid: int) -> int:
    """What is its own, for it has written to it."""
    return rollup_kilobytes(pid, "Private_Dirty")


def own_kilobytes(pids: list[int]) -> int:
    """What several have together and nobody else: without the files that they map, as other servers may, too."""
    return sum(rollup_kilobytes(pid, "Pss_Anon") for pid in pids)


def proportional_kilobytes(pids: list[int]) -> int:
    """What several have together; pages that they share count once."""
    return sum(rollup_kilobytes(pid, "Pss") for pid in pids)
