"""The comparison of Canter with its peers: `python3 bench/run.py`, or `make bench`.

Needs a CPython from 3.10 on with venv, and cargo; sets up everything else in `bench/.work`.
"""

from __future__ import annotations

import argparse
import shlex
import sys
from collections.abc import Callable
from pathlib import Path

from lib import process
from lib.cases import CASES
from lib.environment import BENCH, newest_python, prepare
from lib.peers import PEERS
from lib.progress import say
from lib.rounds import Choice, run


def main(arguments: list[str]) -> int:
    """Read the command line, set up, measure."""
    options = _parser().parse_args(arguments)
    if options.list:
        for case in CASES:
            print(f"{case.name:22} {case.title}\n{'':22} {' '.join(case.peers)}")
        return 0
    quick = options.quick
    choice = Choice(
        cases=tuple(case for case in CASES if not options.only or case.name in options.only),
        peers=frozenset(options.peer or PEERS),
        rounds=options.rounds or (1 if quick else 5),
        seconds=options.seconds or (2.0 if quick else 5.0),
        warm_up=options.warm_up or (1.0 if quick else 2.0),
        quick=quick,
        keep=options.keep,
        check=options.check,
        out=options.out,
        command=shlex.join(["python3", "bench/run.py", *arguments]),
    )
    try:
        environment = prepare(
            options.python or newest_python(), options.canter, build=not options.no_build
        )
        run(choice, environment)
    except KeyboardInterrupt:
        return 130
    except RuntimeError as error:
        say(str(error))
        return 1
    finally:
        process.stop_all()
    return 0


def _names(known: list[str], what: str) -> Callable[[str], list[str]]:
    def read(text: str) -> list[str]:
        names = [name for name in text.split(",") if name]
        for name in names:
            if name not in known:
                raise argparse.ArgumentTypeError(
                    f"no {what} `{name}`; there are {', '.join(known)}"
                )
        return names

    return read


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="bench/run.py", description=__doc__)
    add = parser.add_argument
    add("--list", action="store_true", help="show the cases and their servers")
    add("--only", type=_names([case.name for case in CASES], "case"), help="case,...")
    add("--peer", type=_names(list(PEERS), "server"), help="server,...")
    add("--rounds", type=int, help="times each measurement is made (5)")
    add("--seconds", type=float, help="counted seconds of a measurement (5; mixed has its own)")
    add("--warm-up", type=float, help="seconds before they count (2)")
    add("--quick", action="store_true", help="one short round, to see that everything works")
    add("--keep", action="store_true", help="keep the report's other cases from earlier runs")
    add(
        "--check",
        action="store_true",
        help="every round, not the first alone, again with wrk and canter bench, to check the generator",
    )
    add("--python", help="the Python that everything runs on (the newest found from 3.13)")
    add("--canter", help="a canter program to use instead of building this checkout")
    add("--no-build", action="store_true", help="use the Canter installed by the last run")
    add("--out", type=Path, default=BENCH / "results" / "latest.md", help="the report")
    return parser


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
