"""``python -m canter``: owns becoming the program ``canter`` of this Python's installation.

Leaves everything else to that program.
"""

from __future__ import annotations

import os
import sys
import sysconfig
from pathlib import Path


def main() -> int:
    """Run the program in place of this process; answers only when there is none."""
    for folder in _folders():
        program = folder / "canter"
        if os.access(program, os.X_OK) and program.is_file():
            # What `-m` was given to must also run the app, wherever the program would look.
            os.environ.setdefault("CANTER_PYTHON", sys.executable)
            os.execv(program, [str(program), *sys.argv[1:]])
    print(
        f"canter: the program `canter` is not beside {sys.executable}\n"
        f"  hint: install it again: {sys.executable} -m pip install --force-reinstall canter",
        file=sys.stderr,
    )
    return 7


def _folders() -> list[Path]:
    """Where installers put programs: beside the interpreter, the user's own, beside a target."""
    schemes = [sysconfig.get_path("scripts")]
    if sys.version_info >= (3, 10):
        schemes.append(sysconfig.get_path("scripts", sysconfig.get_preferred_scheme("user")))
    package = Path(__file__).resolve().parent.parent
    return [*(Path(scheme) for scheme in schemes if scheme), package / "bin"]


if __name__ == "__main__":
    sys.exit(main())
