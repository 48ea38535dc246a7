"""What the log says of a proxy that Canter does not believe. Leaves whom it believes to ``test_trust``."""

from __future__ import annotations

from pathlib import Path

from harness.server import Server


def test_p15_a_proxy_that_is_not_heard_is_told_of_once_with_the_field(tmp_path: Path) -> None:
    with Server(tmp_path, "web") as server, server.client() as client:
        hint = "--forwarded-allow-ips '127.0.0.1'"
        for _ in range(2):
            client.get("/path", "Remote-User: ada", "X-Remote-User: ada")
        server.wait_log("field=Remote-User")
        assert server.log.count(hint) == 1, server.log
        # What says nothing of logins is another matter, which has a line of its own.
        client.get("/path", "X-Forwarded-For: 192.0.2.7", "True-Client-IP: 192.0.2.7")
        server.wait_log("field=X-Forwarded-For")
        assert server.log.count(hint) == 2, server.log
