"""Pages in a folder below memory: there again after a restart, bounded, and no file in it is believed."""

from __future__ import annotations

from pathlib import Path

import pytest
from harness.operated import until
from harness.pages import is_hit, status
from harness.raw import Response
from harness.server import Server

TOKEN = "a-token-for-the-tests"
RULE = "/a/* ttl=10m"


def serve(folder: Path, *flags: str) -> Server:
    words = ("--cache-dir", str(folder / "pages"), "--cache-rule", RULE, "--cache-token", TOKEN)
    return Server(folder / "site", "pages", *words, *flags)


def get(server: Server, path: str) -> Response:
    with server.client() as client:
        return client.get(path)


def files(folder: Path) -> list[Path]:
    """The files of whole entries."""
    found = (folder / "pages").glob("??/*")
    return [path for path in found if path.is_file() and path.suffix != ".part"]


def test_a_page_is_there_again_after_a_restart(tmp_path: Path) -> None:
    with serve(tmp_path) as server:
        first = get(server, "/a/kept")
        until(lambda: files(tmp_path), 20)
    with serve(tmp_path) as server:
        again = until(lambda: is_hit(r := get(server, "/a/kept")) and r, 20)
        assert again.body == first.body
        assert status(again).endswith("detail=disk"), status(again)
        memory = get(server, "/a/kept")
        assert is_hit(memory) and "detail" not in status(memory)


@pytest.mark.parametrize("damage", ["cut", "changed", "empty", "other"])
def test_a_damaged_file_is_passed_over_and_removed(tmp_path: Path, damage: str) -> None:
    with serve(tmp_path) as server:
        get(server, "/a/one")
        until(lambda: files(tmp_path), 20)
        get(server, "/a/two")
        until(lambda: len(files(tmp_path)) == 2, 20)
    for file in files(tmp_path):
        whole = file.read_bytes()
        file.write_bytes(
            {
                "cut": whole[: len(whole) // 2],
                "changed": whole[:-1] + bytes([whole[-1] ^ 1]),
                "empty": b"",
                "other": b"HTTP/1.1 200 OK\r\n\r\nevil",
            }[damage]
        )
    with serve(tmp_path) as server:
        for path in ("/a/one", "/a/two"):
            response = get(server, path)
            assert response.status == 200 and not is_hit(response)
            assert "evil" not in response.text


def test_a8_an_unsafe_request_reaches_the_folder(tmp_path: Path) -> None:
    path = "/free?h=Cache-Control:max-age%3D600"
    with serve(tmp_path) as server:
        get(server, path)
        until(lambda: files(tmp_path), 20)
    with serve(tmp_path) as server:
        with server.client() as client:
            client.post(path, b"x")
        assert not is_hit(get(server, path))


def test_a_purge_reaches_the_folder(tmp_path: Path) -> None:
    with serve(tmp_path) as server:
        get(server, "/a/gone")
        until(lambda: files(tmp_path), 20)
        with server.client() as client:
            client.post("/-/purge?url=/a/gone", b"", f"Authorization: Bearer {TOKEN}")
        until(lambda: not files(tmp_path), 20)


def test_the_folder_is_bounded(tmp_path: Path) -> None:
    with serve(tmp_path, "--cache-dir-size", "2MB") as server:
        with server.client() as client:
            for number in range(600):
                assert client.get(f"/a/{number}").status == 200
        until(lambda: files(tmp_path), 20)
        # Each file takes a block of 4 KiB and its place in the folder.
        until(lambda: len(files(tmp_path)) <= 460, 20)


def test_a_folder_that_cannot_be_used_costs_hits_and_nothing_else(tmp_path: Path) -> None:
    (tmp_path / "pages").write_text("no folder")
    with serve(tmp_path) as server:
        server.wait_log("the folder for pages is not used")
        assert get(server, "/a/x").status == 200
        assert is_hit(get(server, "/a/x"))
