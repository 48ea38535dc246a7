"""``bench/insight.py``, the command that the published price of insight comes from, measures what it says."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

SCRIPT = Path(__file__).resolve().parent.parent / "bench" / "insight.py"


def measured(*words: str) -> str:
    done = subprocess.run([sys.executable, SCRIPT, *words], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_c7_the_price_of_a_statement_is_measured() -> None:
    told = measured("--rounds", "2", "--requests", "2")
    for name in ("loop", "apart"):
        assert re.search(rf"(?m)^{name} +plain +[0-9.]+  watched +[0-9.]+  more: median", told), told


def test_c7_requests_to_two_servers_are_compared_in_throughput_and_in_processor_time() -> None:
    told = measured("--pages", "--only", "hello", "--rounds", "2", "--requests", "200")
    for what in ("a second", "CPU"):
        pattern = rf"(?m)^raw hello +{what} +off +[0-9.]+  on +[0-9.]+  on/off: median [0-9.]+"
        assert re.search(pattern, told), told
