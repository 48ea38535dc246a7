"""Which server ``canter doctor`` speaks of."""

from __future__ import annotations

from pathlib import Path

from harness.operated import Canter, run_canter

APP = """
def application(environ, start_response):
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [b"hello"]
"""


def test_doctor_says_which_server_it_speaks_of_where_that_is_not_one_of_this_folder(
    tmp_path: Path,
) -> None:
    home, other = tmp_path / "home", tmp_path / "other"
    home.mkdir()
    other.mkdir()
    env = {"XDG_RUNTIME_DIR": str(tmp_path)}
    with Canter(home, APP, "-w", "1", env=env) as canter:
        canter.wait_ready()
        said = f"No server was started in this folder: what follows is about process {canter.pid} in {home}.\n"
        for flags in ((), ("--format", "json"), ("--cache", "/")):
            assert run_canter("doctor", *flags, cwd=other, env=env).stderr == said
            assert run_canter("doctor", *flags, cwd=home, env=env).stderr == ""
        named = run_canter("doctor", str(canter.pid), cwd=other, env=env)
        assert named.stderr == "" and named.stdout
