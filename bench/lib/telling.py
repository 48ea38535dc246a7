"""Writes a story's page: what was asked, what came out, on which machine."""

from __future__ import annotations

import datetime
import os
from pathlib import Path

from lib.machine import box, commit
from lib.stage import Told

MARK = "<!-- Written by bench/stories.py. -->"


def write(out: Path, name: str, title: str, told: Told, command: str, load_before: float) -> None:
    """Write `name.md` into the folder."""
    facts = box()
    date = datetime.datetime.now(datetime.timezone.utc).strftime("%Y-%m-%d %H:%M UTC")
    machine = ", ".join(facts[key] for key in ("Processor", "Memory", "System"))
    load = f"load average {load_before:.1f} before and {os.getloadavg()[0]:.1f} after, the story itself among it"
    head = f"# {title}\n\n{MARK}\n\n{date}, commit {commit()}, {machine}; {load}.\n\n    {command}"
    (out / f"{name}.md").write_text("\n\n".join(part.strip("\n") for part in (head, *told.parts)) + "\n")
