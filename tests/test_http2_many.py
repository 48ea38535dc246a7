"""Many uploads over one HTTP/2 connection, as from a page that sends a folder of files: none waits
for another for ever.

Leaves everything else about HTTP/2 to ``test_http2``.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import h2.settings
import pytest
from harness.server import Server
from test_http2 import Peer, Reply, connect

APP = """
def application(environ, start_response):
    body = environ["wsgi.input"].read()
    start_response("200 OK", [("Content-Length", "5")])
    return [b"%05d" % (len(body) // 1024)]
"""

MANY = 32
SIZE = 96 * 1024


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    folder: Path = tmp_path_factory.mktemp("uploads")
    with Server(folder, APP, "--http2", "plain") as server:
        yield server


def begin(peer: Peer) -> int:
    """The head of an upload."""
    stream = peer.connection.get_next_available_stream_id()
    names = ("method", "POST"), ("scheme", "http"), ("authority", "example.org"), ("path", "/")
    fields = [(f":{name}", value) for name, value in names]
    peer.connection.send_headers(stream, [*fields, ("content-length", str(SIZE))])
    peer.replies[stream] = Reply()
    peer.flush()
    return stream


def send_some(peer: Peer, left: dict[int, int]) -> None:
    """What the windows allow, of the newest streams first: as a client may that thinks the last one
    asked for the most urgent."""
    connection = peer.connection
    for stream in sorted(left, reverse=True):
        while left[stream]:
            window = connection.local_flow_control_window(stream)
            count = min(left[stream], window, connection.max_outbound_frame_size)
            if not count:
                break
            left[stream] -= count
            connection.send_data(stream, bytes(count), end_stream=not left[stream])
    peer.flush()


def test_h5_uploads_that_come_in_the_wrong_order_all_arrive(server: Server) -> None:
    peer = connect(server)
    with peer.socket:
        left = {begin(peer): SIZE for _ in range(MANY)}
        while any(left.values()):
            send_some(peer, left)
            peer.step()
            assert not peer.closed
        for stream in left:
            reply = peer.reply(stream)
            assert (reply.status, reply.body) == (200, b"00096")


def test_h5_one_upload_may_use_all_the_room_of_its_connection(server: Server) -> None:
    peer = connect(server)
    with peer.socket:
        assert peer.reply(peer.ask()).status == 200
        window = h2.settings.SettingCodes.INITIAL_WINDOW_SIZE
        assert peer.connection.remote_settings[window] == 256 * 1024
        assert peer.connection.outbound_flow_control_window >= 256 * 1024
