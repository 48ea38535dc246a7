"""The stories: `python3 bench/stories.py`, or `make stories`. Each tells which configuration a page wants, and why.

Four pages of the site in `apps/dj` are given to `canter tune`, users are added to one of them and to the demo site until
they break, and `canter bench` is watched over millions of requests. With `--grid`, what tune found is compared with every
configuration there is. Each report goes into `docs/stories`, with its command. A story in which nothing was measured is
no story: the exit code is then 1.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
from pathlib import Path

from lib import grid, points, process, telling
from lib.environment import ROOT, newest_python, prepare_site
from lib.progress import say
from lib.stage import Stage
from lib.story import STORIES, Story

SECONDS = 60
#: The story that `--requests` is for.
LONG_RUN = "long-run"


def main(arguments: list[str]) -> int:
    """Read the command line, set up, tell each story."""
    options = _parser().parse_args(arguments)
    names = options.only or [story.name for story in STORIES]
    if unknown := set(names) - {story.name for story in STORIES}:
        known = ", ".join(story.name for story in STORIES)
        say(f"no story `{unknown.pop()}`; there are {known}")
        return 2
    options.out.mkdir(parents=True, exist_ok=True)
    failed = []
    try:
        environment = prepare_site(options.python or newest_python(), options.canter)
        with Stage(environment, options.out.absolute(), options.seconds) as stage:
            stage.requests = options.requests
            for story in STORIES:
                if story.name in names and not _tell(story, stage, options):
                    failed.append(story.name)
    except KeyboardInterrupt:
        return 130
    except RuntimeError as error:
        say(str(error))
        return 1
    finally:
        process.stop_all()
    if failed:
        say(f"NOT TOLD: {', '.join(failed)}")
    return 1 if failed else 0


def _tell(story: Story, stage: Stage, options: argparse.Namespace) -> bool:
    """Tell one, and write its page; False when there is nothing to write."""
    say(f"{story.name}: {story.title}")
    load_before = os.getloadavg()[0]
    try:
        told = story.tell(stage)
        if story.has_points and told.found is not None:
            told.parts.append(points.compare(stage, told))
        if options.grid and story.has_grid and told.found is not None:
            told.parts.append(grid.compare(stage, told))
    except (RuntimeError, OSError, ValueError, LookupError, subprocess.SubprocessError) as error:
        # One story's trouble is not the next one's.
        say(f"  {type(error).__name__}: {error}")
        return False
    other = options.requests if story.name == LONG_RUN else None
    title = f"{other:,} requests" if other else story.title
    telling.write(stage.out, story.name, title, told, _command(story, options), load_before)
    return True


def _command(story: Story, options: argparse.Namespace) -> str:
    """What tells this story again, on any machine."""
    words = ["python3 bench/stories.py", "--only", story.name]
    words += ["--grid"] if options.grid and story.has_grid else []
    words += ["--requests", str(options.requests)] if options.requests and story.name == LONG_RUN else []
    words += ["--seconds", str(options.seconds)] if options.seconds != SECONDS else []
    return " ".join(words)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="bench/stories.py", description=__doc__)
    add = parser.add_argument
    add("--only", type=lambda text: text.split(","), help="story,...")
    add("--seconds", type=int, default=SECONDS, help=f"the time of each search ({SECONDS})")
    add("--requests", type=int, help="of the long run; fifty million take six minutes or more")
    add("--grid", action="store_true", help="compare with every configuration, a few minutes a page")
    add("--python", help="the Python that everything runs on (the newest found from 3.13)")
    add("--canter", help="a canter program beside a python with the site's packages; else one is built")
    add("--out", type=Path, default=ROOT / "docs" / "stories", help="the folder of the reports")
    return parser


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
