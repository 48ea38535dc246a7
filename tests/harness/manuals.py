"""Owns the manuals on ``docs/reference/commands.md``: each block below a heading is what ``canter help`` prints.

Leaves the prose around them to people. ``python tests/harness/manuals.py`` writes the page anew with the
installed program; the tests ask whether it is as it should be.
"""

from __future__ import annotations

import re
import subprocess
import sys
import sysconfig
from pathlib import Path

PAGE = Path(__file__).resolve().parents[2] / "docs" / "reference" / "commands.md"
#: A heading that names a command, and the block below it.
PLACE = re.compile(r"^## canter (?P<name>\w+)\n\n```\n.*?^```$", re.MULTILINE | re.DOTALL)


def renewed(page: str, program: Path) -> str:
    """The page with every manual as the program prints it."""

    def block(place: re.Match[str]) -> str:
        name = place["name"]
        ended = subprocess.run(
            [program, "help", name], capture_output=True, text=True, timeout=60, check=True
        )
        return f"## canter {name}\n\n```\n{ended.stdout.rstrip()}\n```"

    return PLACE.sub(block, page)


def commands(page: str) -> list[str]:
    """The commands that have a place on the page."""
    return [place["name"] for place in PLACE.finditer(page)]


def main() -> int:
    """Write the page anew; answers the exit code."""
    program = Path(sysconfig.get_path("scripts")) / "canter"
    PAGE.write_text(renewed(PAGE.read_text(encoding="utf-8"), program), encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
