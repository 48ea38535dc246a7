"""Answers of the app are compressed on their way out: what, with what, and what else changes then.
Decoders are those of the standard library and of PyPI; they know nothing of Canter.

Leaves which answers gain to the tests of ``canter-encode``, and files to ``test_static``.
"""

from __future__ import annotations

import contextlib
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import brotli
import pytest
import zstandard
from harness.memory import resident_kilobytes
from harness.operated import until
from harness.raw import Broken, Client, Response, head
from harness.server import Server
from test_http2 import connect

PAGE = "".join(f"<li>item {n} of {n * 7 % 91}</li>\n" for n in range(400)).encode()
LARGE = b"".join(b"<tr><td>%d</td></tr>\n" % (n * 31337 % 9973) for n in range(80_000))

CODINGS = ("zstd", "br", "gzip")


def decoder(coding: str) -> Callable[[bytes], bytes]:
    """Something that takes what has come and gives what can be read of it."""
    if coding == "gzip":
        return zlib.decompressobj(31).decompress
    if coding == "br":
        process: Callable[[bytes], bytes] = brotli.Decompressor().process
        return process
    return zstandard.ZstdDecompressor().decompressobj().decompress


def decoded(response: Response) -> bytes:
    coding = response["Content-Encoding"]
    if coding == "gzip":
        whole = zlib.decompressobj(31)
        content = whole.decompress(response.body)
        assert whole.eof and not whole.unused_data
        return content
    if coding == "br":
        content = brotli.decompress(response.body)
        assert isinstance(content, bytes)
        return content
    with zstandard.ZstdDecompressor().stream_reader(response.body, read_across_frames=True) as reader:
        return reader.read()


def accept(value: str) -> str:
    return f"Accept-Encoding: {value}"


@pytest.fixture(scope="module")
def server(folder: Path) -> Iterator[Server]:
    flags = ("--http2", "plain", "--compress-type", "chemical/*", "--threads", "8")
    with Server(folder / "server", "compressed", *flags) as server:
        yield server


@pytest.fixture
def client(server: Server) -> Iterator[Client]:
    with server.client() as client:
        yield client


# --- what, and with what


@pytest.mark.parametrize("coding", CODINGS)
def test_a_page_is_sent_in_the_coding_that_is_asked_for(client: Client, coding: str) -> None:
    response = client.get("/", accept(coding))
    assert (response.status, response["Content-Encoding"]) == (200, coding)
    assert response["Content-Type"] == "text/html; charset=utf-8"
    assert response["Vary"] == "Accept-Encoding"
    assert response.framing == "length" and len(response.body) < len(PAGE) / 3
    assert decoded(response) == PAGE
    # The connection goes on.
    assert decoded(client.get("/", accept(coding))) == PAGE


@pytest.mark.parametrize(
    ("value", "coding"),
    [
        ("gzip, deflate, br, zstd", "zstd"),
        ("gzip, deflate, br", "br"),
        ("gzip;q=1, zstd;q=0.9", "gzip"),
        ("*", "zstd"),
        ("zstd;q=0, br;q=0, *", "gzip"),
        ("gzip;q=0", None),
        ("*;q=0", None),
        ("identity, gzip;q=0.5", None),
        ("identity", None),
        ("deflate", None),
        ("", None),
        ("gzip;q=0, *;q=0, identity;q=0", None),
    ],
)
def test_the_most_welcome_coding_is_taken_and_zero_is_never(
    client: Client, value: str, coding: str | None
) -> None:
    response = client.get("/", accept(value))
    assert response.all("Content-Encoding") == ([coding] if coding else [])
    # Whatever this one got, another might get something else.
    assert response["Vary"] == "Accept-Encoding"
    assert (decoded(response) if coding else response.body) == PAGE


def test_without_a_wish_the_page_is_sent_as_it_is(client: Client) -> None:
    response = client.get("/")
    assert response.body == PAGE and "Content-Encoding" not in response
    assert response["Vary"] == "Accept-Encoding"


def test_two_lines_are_one_wish(client: Client) -> None:
    response = client.get("/", accept("gzip;q=0.1"), accept("br"))
    assert response["Content-Encoding"] == "br" and decoded(response) == PAGE


@pytest.mark.parametrize("path", ["/image", "/small", "/done"])
def test_what_gains_nothing_or_is_encoded_already_is_left_alone(client: Client, path: str) -> None:
    response = client.get(path, accept("gzip"))
    assert response.all("Content-Encoding") == (["br"] if path == "/done" else [])
    assert "Vary" not in response and response.body == PAGE[: len(response.body)]


def test_types_that_were_named_are_compressed_too(client: Client) -> None:
    assert decoded(client.get("/own", accept("br"))) == PAGE
    assert decoded(client.get("/json", accept("br"))) == PAGE


@pytest.mark.parametrize(
    "field",
    ["Cache-Control=private, no-transform", "Content-Digest=sha-256=:x:", "Content-MD5=abc"],
)
def test_bytes_that_are_promised_are_kept(client: Client, field: str) -> None:
    response = client.get("/fields?" + field.replace(" ", ""), accept("gzip"))
    assert response.body == PAGE and "Content-Encoding" not in response and "Vary" not in response


def test_who_refuses_content_as_it_is_gets_it_encoded(client: Client) -> None:
    response = client.get("/small", accept("gzip, identity;q=0"))
    assert decoded(response) == PAGE[:200]
    response = client.get("/image", accept("br, *;q=0"))
    assert response["Content-Encoding"] == "br" and decoded(response) == PAGE


@pytest.mark.parametrize("status", ["204", "304"])
def test_an_answer_without_content_stays_without(client: Client, status: str) -> None:
    response = client.get(f"/status?{status}", accept("gzip"))
    assert response.status == int(status)
    assert "Content-Encoding" not in response and response.body == b""


@pytest.mark.parametrize("status", ["404", "500", "403"])
def test_pages_of_any_status_are_compressed(client: Client, status: str) -> None:
    response = client.get(f"/status?{status}", accept("gzip"))
    assert response.status == int(status) and decoded(response) == PAGE


def test_a_part_is_never_encoded(client: Client) -> None:
    response = client.get("/fields?Content-Range=bytes%200-9/20", accept("gzip"))
    assert "Content-Encoding" not in response


def test_answers_to_other_methods_are_compressed(client: Client) -> None:
    response = client.post("/echo", PAGE, accept("gzip"))
    assert decoded(response) == PAGE


def test_what_grows_is_still_what_was_said(client: Client) -> None:
    with_noise = client.get("/noise", accept("gzip"))
    assert len(decoded(with_noise)) == 5000


# --- lengths, HEAD, versions


def test_the_length_is_that_of_what_is_sent(client: Client) -> None:
    response = client.get("/length", accept("gzip"))
    assert response.all("Content-Length") == [str(len(response.body))] and decoded(response) == PAGE
    # A wrong one is still the app's fault.
    assert client.get("/wrong", accept("gzip")).status == 500


def test_head_tells_what_get_would_but_no_length(client: Client) -> None:
    get = client.get("/length", accept("gzip"))
    told = client.get("/length", accept("gzip"), method="HEAD")
    assert told.body == b"" and "Content-Length" not in told
    names = ("Content-Encoding", "Vary", "Content-Type")
    assert [told.all(name) for name in names] == [get.all(name) for name in names]
    # As it is the length is known.
    plain = client.get("/length", method="HEAD")
    assert plain["Content-Length"] == str(len(PAGE)) and "Content-Encoding" not in plain


def test_http_1_0_gets_it_with_a_length_or_to_the_end(server: Server) -> None:
    for path, framing, content in (("/", "length", PAGE), ("/rows?3000", "close", None)):
        with server.client() as client:
            client.send(head("GET", path, accept("gzip"), version="1.0"))
            response = client.response()
            assert response.framing == framing
            assert content is None or decoded(response) == content
            assert decoded(response).startswith(PAGE[:10] if content else b"0;0;a row")


def test_pipelined_requests_each_get_what_they_ask_for(client: Client) -> None:
    wishes = ["gzip", "br", "", "zstd", "identity", "gzip"] * 3
    paths = ["/", "/rows?500", "/large", "/small", "/pieces", "/image"] * 3
    for wish, path in zip(wishes, paths, strict=True):
        client.send(head("GET", path, accept(wish)))
    for wish, path in zip(wishes, paths, strict=True):
        response = client.response()
        encoded = bool(wish) and wish != "identity" and path not in ("/small", "/image")
        assert response.all("Content-Encoding") == ([wish] if encoded else []), path
        body = decoded(response) if encoded else response.body
        whole = {"/": PAGE, "/large": LARGE, "/pieces": LARGE, "/image": PAGE, "/small": PAGE[:200]}
        assert body == whole.get(path, body)


@pytest.mark.parametrize("coding", CODINGS)
def test_http_2_streams_are_compressed_as_well(server: Server, coding: str) -> None:
    peer = connect(server)
    with peer.socket:
        asked = [peer.ask(path, accept_encoding=coding) for path in ("/", "/pieces", "/large")]
        for stream, content in zip(asked, (PAGE, LARGE, LARGE), strict=True):
            reply = peer.reply(stream)
            assert reply.ended and reply.headers["content-encoding"] == coding
            fields = list(reply.headers.items())
            assert decoded(Response(200, "", fields, reply.body)) == content


# --- streams


@pytest.mark.parametrize("coding", CODINGS)
def test_each_event_can_be_read_at_once(server: Server, client: Client, coding: str) -> None:
    client.send(head("GET", f"/events?{coding}", accept(coding)))
    response = client.head()
    assert response["Content-Encoding"] == coding and "Content-Length" not in response
    decode, seen, number = decoder(coding), b"", 0
    for piece in client.body(response):
        seen += decode(piece)
        if seen.endswith(b"data: event %d of %s\n\n" % (number, coding.encode())):
            # It is here while the app waits for this.
            (server.folder / f"{coding}-{number}").touch()
            number += 1
    assert number == 3 and seen.count(b"\n\n") == 3
    assert decoded(response) == seen


@pytest.mark.parametrize("coding", CODINGS)
@pytest.mark.parametrize("path", ["/pieces", "/large", "/rows?30000"])
def test_long_bodies_come_whole_however_the_app_gives_them(
    client: Client, coding: str, path: str
) -> None:
    response = client.get(path, accept(coding))
    assert response.framing == "chunked"
    content = decoded(response)
    if path == "/rows?30000":
        assert content.count(b"\n") == 30000 and len(response.body) < len(content) / 2
    else:
        assert content == LARGE and len(response.body) < len(LARGE) / 2


@pytest.mark.parametrize("coding", CODINGS)
def test_an_app_that_raises_in_the_middle_leaves_no_end(server: Server, coding: str) -> None:
    with server.client() as client:
        client.send(head("GET", "/breaks", accept(coding)))
        response = client.head()
        decode, seen = decoder(coding), b""
        with pytest.raises((Broken, ConnectionResetError)):
            for piece in client.body(response):
                seen += decode(piece)
        # What was given before can be read.
        assert seen == PAGE + b"<li>the last that is seen</li>"


@pytest.mark.parametrize(("said", "given", "whole"), [(3000, 3, True), (3000, 2, False), (3000, 4, False)])
def test_a_promised_length_is_held_against_the_content(
    server: Server, said: int, given: int, whole: bool
) -> None:
    with server.client() as client:
        client.send(head("GET", f"/promise?{said},{given}", accept("gzip")))
        response = client.head()
        assert "Content-Length" not in response and response["Content-Encoding"] == "gzip"
        with contextlib.nullcontext() if whole else pytest.raises((Broken, ConnectionResetError)):
            for _piece in client.body(response):
                pass
        decode = zlib.decompressobj(31)
        content = decode.decompress(response.body)
        assert decode.eof == whole and content == b"x" * 1000 * min(given, 3)


def test_a_client_that_leaves_ends_the_app(server: Server) -> None:
    with server.client() as client:
        client.send(head("GET", "/endless", accept("gzip")))
        response = client.head()
        for _piece in client.body(response):
            if len(response.body) > 100_000:
                break
        client.reset()
    until((server.folder / "left").exists, 20)


def test_a_slow_client_makes_the_app_wait_and_costs_no_memory(folder: Path) -> None:
    flags = ("--rate-grace", "60s")
    with Server(folder / "slow", "compressed", *flags) as server, server.client() as client:
        client.send(head("GET", "/endless", accept("gzip")))
        response = client.head()
        front = server.children()["front"][0]

        # Others are served meanwhile, again and again.
        for _round in range(50):
            with server.client() as other:
                assert decoded(other.get("/", accept("zstd"))) == PAGE
        assert resident_kilobytes(front) < 100_000
        for _piece in client.body(response):
            if len(response.body) > 300_000:
                break


def test_others_are_served_while_long_bodies_are_encoded(server: Server) -> None:
    with contextlib.ExitStack() as stack:
        clients = [stack.enter_context(server.client()) for _ in range(4)]
        for busy in clients:
            busy.send(head("GET", "/large", accept("br")))
        with server.client() as client:
            assert decoded(client.get("/", accept("gzip"))) == PAGE
        for busy in clients:
            assert decoded(busy.response()) == LARGE


# --- files that the app hands over


@pytest.mark.parametrize("coding", CODINGS)
def test_a_file_of_the_app_is_encoded(client: Client, coding: str) -> None:
    response = client.get("/file", accept(coding))
    assert response["Content-Encoding"] == coding and decoded(response) == LARGE
    plain = client.get("/file")
    assert plain.body == LARGE and plain["Vary"] == "Accept-Encoding"


def test_a_part_of_a_file_is_one_of_the_file_as_it_is(client: Client) -> None:
    whole = client.get("/file?abc", accept("gzip"))
    assert whole["ETag"] == 'W/"abc~gzip"' and decoded(whole) == LARGE
    part = client.get("/file?abc", accept("gzip"), "Range: bytes=5-24")
    assert (part.status, part.body, part["ETag"]) == (206, LARGE[5:25], '"abc"')
    assert "Content-Encoding" not in part and part["Vary"] == "Accept-Encoding"
    # Bytes of the encoded form are not continued with bytes of the file.
    mixed = client.get("/file?abc", accept("gzip"), "Range: bytes=5-24", f"If-Range: {whole['ETag']}")
    assert mixed.status == 200 and decoded(mixed) == LARGE
    again = client.get("/file?abc", accept("gzip"), f"If-None-Match: {whole['ETag']}")
    assert (again.status, again["ETag"], again["Vary"]) == (304, whole["ETag"], "Accept-Encoding")


# --- validators


def test_each_form_has_its_own_tag_and_each_comes_back_to_the_app(client: Client) -> None:
    plain = client.get("/etag?public")
    tags = {plain["ETag"]}
    for coding in CODINGS:
        response = client.get("/etag?public", accept(coding))
        tags.add(response["ETag"])
        assert response["ETag"] == plain["ETag"][:-1] + f'~{coding}"'
        again = client.get("/etag?public", accept(coding), f"If-None-Match: {response['ETag']}")
        assert (again.status, again["ETag"]) == (304, response["ETag"])
        assert again["Vary"] == "Accept-Encoding" and "Content-Encoding" not in again
        # Whoever wants another form has not got it by having this one.
        other = client.get("/etag?public", f"If-None-Match: {response['ETag']}")
        assert (other.status, other.body) == (200, PAGE)
    assert len(tags) == 4
    assert client.get("/etag", f"If-None-Match: {plain['ETag']}").status == 304


def test_what_is_padded_has_a_weak_tag_that_comes_back_too(client: Client) -> None:
    response = client.get("/etag", accept("gzip"))
    assert response["ETag"].startswith('W/"') and response["ETag"].endswith('~gzip"')
    fields = (accept("gzip"), f'If-None-Match: "other", {response["ETag"]}')
    again = client.get("/etag", *fields)
    assert (again.status, again["ETag"]) == (304, response["ETag"])


@pytest.mark.parametrize("cache", ["public", ""])
def test_a_change_may_name_any_form(client: Client, cache: str) -> None:
    for coding in CODINGS:
        tag = client.get(f"/etag?{cache}", accept(coding))["ETag"]
        client.send(head("PUT", "/etag", f"If-Match: {tag}", "Content-Length: 0"))
        assert client.response().status == 200
    client.send(head("PUT", "/etag", 'If-Match: "other~gzip"', "Content-Length: 0"))
    assert client.response().status == 412


def test_vary_of_the_app_is_kept(client: Client) -> None:
    response = client.get("/fields?Vary=Cookie&Vary=Origin", accept("gzip"))
    assert response["Vary"] == "Cookie, Origin, Accept-Encoding"
    response = client.get("/fields?Vary=accept-encoding,Cookie", accept("gzip"))
    assert response["Vary"] == "accept-encoding,Cookie"
    assert client.get("/fields?Vary=*", accept("gzip"))["Vary"] == "*"


# --- what the app sees


def seen(client: Client, *lines: str) -> dict[str, Any]:
    return dict(eval(client.get("/seen", *lines).body))


def test_the_app_is_not_told_of_codings(client: Client) -> None:
    assert seen(client, accept("gzip, br"))["HTTP_ACCEPT_ENCODING"] is None


def test_conditions_reach_the_app_in_its_own_words(client: Client) -> None:
    lines = ('If-None-Match: "a~gzip", W/"b~gzip", "c~br", "d"', 'If-Range: "a~gzip"')
    found = seen(client, accept("gzip"), *lines)
    assert found["HTTP_IF_NONE_MATCH"] == '"a","b","c~br","d"'
    # Ranges are of the content as it is.
    assert found["HTTP_IF_RANGE"] == '"a~gzip"'
    assert seen(client, *lines)["HTTP_IF_NONE_MATCH"] == '"a~gzip", W/"b~gzip", "c~br", "d"'
    assert seen(client, 'If-Match: "a~zstd"')["HTTP_IF_MATCH"] == '"a"'


# --- lengths that tell nothing


@pytest.mark.parametrize("coding", CODINGS)
def test_the_length_of_a_private_page_is_uncertain(client: Client, coding: str) -> None:
    lengths = {len(client.get("/", accept(coding)).body) for _ in range(40)}
    assert len(lengths) > 10 and max(lengths) - min(lengths) <= 110
    public = {
        len(client.get("/fields?Cache-Control=public", accept(coding)).body) for _ in range(20)
    }
    assert len(public) == 1 and public.pop() <= min(lengths)


@pytest.mark.parametrize("coding", CODINGS)
def test_the_length_of_a_private_stream_is_uncertain_too(client: Client, coding: str) -> None:
    lengths = {len(client.get("/rows?2000", accept(coding)).body) for _ in range(20)}
    assert len(lengths) > 5


# --- options


def test_off_leaves_everything_to_the_app(folder: Path) -> None:
    with Server(folder / "off", "compressed", "--no-compress") as server, server.client() as client:
        response = client.get("/", accept("gzip"))
        assert response.body == PAGE and "Vary" not in response
        assert seen(client, accept("gzip"))["HTTP_ACCEPT_ENCODING"] == "gzip"
        tag = 'If-None-Match: "a~gzip"'
        assert seen(client, accept("gzip"), tag)["HTTP_IF_NONE_MATCH"] == '"a~gzip"'


def test_after_the_app_it_is_told_and_what_it_left_is_done(folder: Path) -> None:
    flags = ("--compress", "after-app", "--compress-min-size", "100", "--compress-level", "9")
    with Server(folder / "after", "compressed", *flags) as server, server.client() as client:
        assert seen(client, accept("gzip"))["HTTP_ACCEPT_ENCODING"] == "gzip"
        assert client.get("/done", accept("gzip"))["Content-Encoding"] == "br"
        assert decoded(client.get("/small", accept("gzip"))) == PAGE[:200]
        for coding in CODINGS:
            assert decoded(client.get("/large", accept(coding))) == LARGE


@pytest.mark.parametrize("level", ["1", "9"])
def test_every_level_works_for_short_and_long(folder: Path, level: str) -> None:
    with (
        Server(folder / f"level{level}", "compressed", "--compress-level", level) as server,
        server.client() as client,
    ):
        for coding in CODINGS:
            for path, content in (("/", PAGE), ("/pieces", LARGE)):
                assert decoded(client.get(path, accept(coding))) == content


# --- Django


DJANGO = """
from django.conf import settings
from django.core.wsgi import get_wsgi_application
from django.http import HttpResponse, StreamingHttpResponse
from django.urls import path
import django

settings.configure(DEBUG=False, SECRET_KEY="x", ALLOWED_HOSTS=["*"], ROOT_URLCONF=__name__,
    MIDDLEWARE=["django.middleware.gzip.GZipMiddleware",
                "django.middleware.http.ConditionalGetMiddleware"])
django.setup()
TEXT = "<p>a paragraph</p>" * 500
urlpatterns = [
    path("", lambda request: HttpResponse(TEXT)),
    path("stream", lambda request: StreamingHttpResponse(TEXT[i:i+100] for i in range(0, 9000, 100))),
]
application = get_wsgi_application()
"""


@pytest.mark.parametrize("word", ["on", "after-app"])
def test_djangos_own_middleware_and_canter_do_not_do_it_twice(folder: Path, word: str) -> None:
    pytest.importorskip("django")
    text = ("<p>a paragraph</p>" * 500).encode()
    flags = ("--compress", word)
    with Server(folder / f"django-{word}", DJANGO, *flags) as server, server.client() as client:
        response = client.get("/", accept("gzip, br, zstd"))
        assert response["Content-Encoding"] == ("zstd" if word == "on" else "gzip")
        assert decoded(response) == text and response["Vary"].lower() == "accept-encoding"
        tag = response["ETag"]
        again = client.get("/", accept("gzip, br, zstd"), f"If-None-Match: {tag}")
        assert again.status == 304
        stream = client.get("/stream", accept("gzip, br, zstd"))
        assert decoded(stream) == text
