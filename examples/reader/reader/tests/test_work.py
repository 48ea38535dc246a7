"""The pages that wait, stream and compute, and the upstream they wait for."""

from __future__ import annotations

import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from django.conf import settings
from django.test import SimpleTestCase, override_settings

from reader.views.work import count_primes

UPSTREAM = Path(settings.BASE_DIR) / "upstream.py"


@contextmanager
def upstream() -> Iterator[str]:
    """Runs the upstream on a free port and gives its address."""
    command = [sys.executable, str(UPSTREAM), "--port", "0", "--delay", "0"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            yield process.stdout.readline().split()[2]
        finally:
            process.terminate()


@contextmanager
def listener(answer: bytes | None) -> Iterator[str]:
    """A port that gives `answer` to a connection waiting in its queue, or never says a word."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        host, port = server.getsockname()
        script = (
            "import socket,sys\n"
            "server = socket.socket(fileno=int(sys.argv[1]))\n"
            "peer, _ = server.accept()\n"
            "peer.recv(65536)\n"
            "peer.sendall(bytes.fromhex(sys.argv[2]))\n"
        )
        if answer is None:
            yield f"http://{host}:{port}/"
            return
        command = [sys.executable, "-c", script, str(server.fileno()), answer.hex()]
        with subprocess.Popen(command, pass_fds=[server.fileno()]) as process:
            try:
                yield f"http://{host}:{port}/"
            finally:
                process.terminate()


class SlowTest(SimpleTestCase):
    """The page that waits."""

    def status(self, url: str, path: str = "/slow/") -> int:
        with override_settings(READER_UPSTREAM_URL=url, READER_UPSTREAM_TIMEOUT_SECONDS=5):
            return self.client.get(path).status_code

    def test_it_shows_what_the_upstream_says(self) -> None:
        with upstream() as url, override_settings(READER_UPSTREAM_URL=url):
            self.assertContains(self.client.get("/slow/"), "answer number 1")
            self.assertContains(self.client.get("/slow/?delay=0.01"), "took 0.01 s")

    def test_it_says_how_to_start_an_upstream_that_is_not_there(self) -> None:
        with socket.socket() as unused:
            unused.bind(("127.0.0.1", 0))  # bound, not listening: a refused connection
            url = f"http://127.0.0.1:{unused.getsockname()[1]}/"
            with override_settings(READER_UPSTREAM_URL=url):
                answer = self.client.get("/slow/")
        self.assertContains(answer, "python upstream.py", status_code=503)
        self.assertContains(answer, "nothing listens there", status_code=503)

    def test_a_silent_upstream_is_given_up_on(self) -> None:
        with (
            listener(None) as url,
            override_settings(READER_UPSTREAM_URL=url, READER_UPSTREAM_TIMEOUT_SECONDS=0.05),
        ):
            answer = self.client.get("/slow/")
        self.assertContains(answer, "did not answer in time", status_code=504)

    def test_an_upstream_that_talks_nonsense_is_a_bad_gateway(self) -> None:
        for answer in [
            b"",
            b"\x00\xff\r\n\r\n",
            b"HTTP/1.1 200 OK\r\n\r\n[1]",
            b"HTTP/1.1 500 X\r\n\r\n",
        ]:
            with self.subTest(answer), listener(answer) as url:
                self.assertEqual(self.status(url), 502)

    def test_the_upstream_refuses_what_it_does_not_understand(self) -> None:
        with upstream() as url:
            host, port = url.removeprefix("http://").rstrip("/").split(":")
            for request, status in [
                (b"POST / HTTP/1.1\r\n\r\n", b"405"),
                (b"GET /?delay=nan HTTP/1.1\r\n\r\n", b"400"),
                (b"GET /?delay=61 HTTP/1.1\r\n\r\n", b"400"),
                (b"GET / HTTP/1.1\r\n\r\n", b"200"),
            ]:
                with self.subTest(request), socket.create_connection((host, int(port))) as peer:
                    peer.sendall(request)
                    self.assertEqual(peer.makefile("rb").readline().split()[1], status)


class StreamTest(SimpleTestCase):
    """The pages that arrive bit by bit."""

    def test_rows_come_one_by_one_inside_a_whole_page(self) -> None:
        answer = self.client.get("/stream/?rows=3&delay=0")
        chunks = [chunk.decode() for chunk in answer.streaming_content]
        self.assertEqual(len(chunks), 5)
        self.assertEqual(chunks[1], "<li>Row 1 of 3</li>\n")
        self.assertTrue(chunks[0].startswith("<!doctype html>"))
        self.assertTrue(chunks[-1].rstrip().endswith("</html>"))
        self.assertNotIn("Content-Length", answer)

    def test_events_count_and_say_when_they_are_done(self) -> None:
        answer = self.client.get("/events/?count=2&delay=0")
        self.assertEqual(answer["Content-Type"], "text/event-stream")
        self.assertEqual(
            b"".join(answer.streaming_content),
            b"id: 1\ndata: 1 of 2\n\nid: 2\ndata: 2 of 2\n\nevent: done\ndata: that was all\n\n",
        )

    def test_numbers_are_bounded_and_words_are_refused(self) -> None:
        answer = self.client.get("/stream/?rows=100000&delay=0")
        self.assertEqual(len(list(answer.streaming_content)), 202)
        for path in ["/stream/?rows=x", "/events/?delay=nan", "/compute/?n=inf", "/slow/?delay=x"]:
            with self.subTest(path):
                self.assertContains(self.client.get(path), "made no sense", status_code=400)


class ComputeTest(SimpleTestCase):
    """The page that computes."""

    def test_primes_are_counted_right(self) -> None:
        for below, count in [(0, 0), (2, 0), (3, 1), (10, 4), (100, 25), (1000, 168)]:
            self.assertEqual(count_primes(below), count, below)

    def test_the_page_shows_the_count_and_how_long_it_took(self) -> None:
        answer = self.client.get("/compute/?n=1000")
        self.assertContains(answer, "<strong>168</strong>")
        self.assertRegex(answer["Server-Timing"], r"^primes;dur=\d+\.\d$")
