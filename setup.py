"""Owns the native parts of the wheel: the program ``canter`` and the extension
``canter._worker``. Leaves everything else about the package to ``pyproject.toml``.

``CANTER_BUILD_PROFILE`` chooses how they are built: ``release``, or ``dev`` for the tests, which
is quick to build and adds ``_TestFront`` to the extension. An editable install is ``dev``.
"""

import os
import sys

from setuptools import setup
from setuptools_rust import Binding, RustBin, RustExtension

PROFILES = ("release", "dev")

profile = os.environ.get("CANTER_BUILD_PROFILE")
if profile is None:
    is_editable = any(word in sys.argv for word in ("develop", "editable_wheel"))
    profile = "dev" if is_editable or os.environ.get("DEBUG") else "release"
if profile not in PROFILES:
    sys.exit(f"CANTER_BUILD_PROFILE is {profile!r}; it must be one of {', '.join(PROFILES)}")
is_dev = profile == "dev"

setup(
    rust_extensions=[
        RustExtension(
            "canter._worker",
            path="crates/worker/Cargo.toml",
            binding=Binding.PyO3,
            debug=is_dev,
            features=["testing"] if is_dev else [],
        ),
        RustBin("canter", path="crates/canter/Cargo.toml", debug=is_dev),
    ],
)
