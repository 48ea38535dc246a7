"""Certificates from an authority (ACME), against one on loopback that checks what a real one
checks. Names begin with the id of the list in ``docs/explain/what-a-client-cannot-do.md``.
"""

from __future__ import annotations

import datetime
import os
import re
import socket
import ssl
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from cryptography import x509

from harness.acme import Acme, Problem, identifier
from harness.certificates import DAY
from harness.operated import Canter, run_canter, until
from harness.raw import Client
from harness.server import Server

APP = """
def application(environ, start_response):
    body = environ["wsgi.url_scheme"].encode()
    start_response("200 OK", [("Content-Type", "text/plain"), ("Content-Length", str(len(body)))])
    return [body]
"""

NAME = "site.localhost"

SLOW = 60.0
"""Seconds for what takes many connections over TLS, on a loaded machine."""


@pytest.fixture
def acme(folder: Path) -> Iterator[Acme]:
    with Acme(folder / "authority") as acme:
        yield acme


class Site(Server):
    """A server that gets its certificates from ``acme`` and keeps them in ``kept``."""

    def __init__(self, folder: Path, acme: Acme, kept: Path, *names: str) -> None:
        # The authority has to know where plain HTTP is answered before it is asked.
        # Held until the end, so that nobody else gets the port: it is not listened at here.
        self._held = socket.socket()
        self._held.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self._held.bind(("127.0.0.1", 0))
        acme.port = self._held.getsockname()[1]
        super().__init__(
            folder, APP, *(f"--tls-acme={name}" for name in names or (NAME,)),
            "--tls-acme-email", "admin@example.org", "--tls-acme-directory", f"{acme.url}/directory",
            "--tls-acme-dir", str(kept), "--http-bind", f"127.0.0.1:{acme.port}",
            env={"SSL_CERT_FILE": str(acme.root)},
        )  # fmt: skip

    def __enter__(self) -> Site:
        super().__enter__()
        return self

    def __exit__(self, *error: object) -> None:
        self._held.close()
        super().__exit__(*error)

    def certificate(self, name: str = NAME) -> x509.Certificate:
        """The one a client gets."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        raw = socket.create_connection(self.address, 10)
        with raw, context.wrap_socket(raw, server_hostname=name) as tls:
            der = tls.getpeercert(binary_form=True)
        assert der
        return x509.load_der_x509_certificate(der)

    def has(self, certificate: x509.Certificate, name: str = NAME) -> bool:
        return self.certificate(name).serial_number == certificate.serial_number


def files(kept: Path) -> dict[str, Path]:
    return {path.name: path for path in kept.rglob("*") if path.is_file()}


def test_h10_a_certificate_is_there_soon_after_the_start(folder: Path, acme: Acme) -> None:
    kept = folder / "kept"
    with Site(folder / "first", acme, kept) as site:
        # From the first moment on there is TLS, if only with a certificate of our own.
        assert site.certificate()
        until(lambda: acme.issued and site.has(acme.issued[0]), SLOW)
        assert acme.issued[0].issuer != acme.issued[0].subject
        context = ssl.create_default_context(cafile=str(acme.root))
        context.verify_flags &= ~getattr(ssl, "VERIFY_X509_STRICT", ssl.VerifyFlags(0))
        with Client(site.address) as client:
            client.socket = context.wrap_socket(client.socket, server_hostname=NAME)
            assert client.get("/").body == b"https"
        # The way the authority came is open for it alone, and now shut.
        with Client(("127.0.0.1", acme.port)) as client:
            token = acme.orders[0]["token"]
            answer = client.get(f"/.well-known/acme-challenge/{token}")
            assert answer.status == 308
        [account] = acme.accounts.values()
        assert account["contact"] == ["mailto:admin@example.org"]
    for name, path in files(kept).items():
        assert path.stat().st_mode & 0o777 == 0o600, name
    assert set(files(kept)) == {"account.json", f"{NAME}.pem"}


def test_h10_a_restart_asks_for_nothing_while_there_is_time(folder: Path, acme: Acme) -> None:
    kept = folder / "again"
    with Site(folder / "before", acme, kept) as site:
        until(lambda: acme.issued and site.has(acme.issued[0]), SLOW)
    before = len(acme.asked)
    with Site(folder / "after", acme, kept) as site:
        assert site.has(acme.issued[0])
        until(lambda: len(acme.asked) > before, SLOW)
    assert len(acme.orders) == 1 and len(acme.accounts) == 1


def test_h10_an_account_that_the_authority_has_forgotten_is_replaced(folder: Path, acme: Acme) -> None:
    kept = folder / "forgotten"
    with Site(folder / "known", acme, kept) as site:
        until(lambda: acme.issued and site.has(acme.issued[0]), SLOW)
    acme.accounts.clear()
    files(kept)[f"{NAME}.pem"].unlink()
    with Site(folder / "unknown", acme, kept) as site:
        until(lambda: len(acme.issued) == 2 and site.has(acme.issued[1]), SLOW)
    assert len(acme.accounts) == 1


def test_h10_two_names_have_a_certificate_each(folder: Path, acme: Acme) -> None:
    with Site(folder / "two", acme, folder / "both", NAME, "other.localhost") as site:
        until(lambda: len(acme.issued) == 2, SLOW)
        until(lambda: site.has(acme.issued[0]) and site.has(acme.issued[1], "other.localhost"), SLOW)
    assert len(acme.accounts) == 1


def test_h10_it_is_renewed_when_the_authority_suggests_it(folder: Path, acme: Acme) -> None:
    now = datetime.datetime.now(datetime.timezone.utc)
    later = (now + 50 * DAY, now + 60 * DAY)
    past = (now - 2 * DAY, now - DAY)
    windows = {0: later}
    acme.window = lambda number: windows.get(number, later)
    kept = folder / "suggested"
    with Site(folder / "early", acme, kept) as site:
        until(lambda: acme.issued and site.has(acme.issued[0]), SLOW)
    # In the window that lies ahead nothing happens; then the authority is in a hurry.
    before = len(acme.asked)
    with Site(folder / "waits", acme, kept):
        until(lambda: any("/renewal/" in asked for asked in acme.asked[before:]), SLOW)
    assert len(acme.issued) == 1
    windows[0] = past
    with Site(folder / "late", acme, kept) as site:
        until(lambda: len(acme.issued) == 2 and site.has(acme.issued[1]), SLOW)
    assert acme.orders[-1]["replaces"] == identifier(acme.issued[0])


def test_h10_without_a_suggestion_it_is_renewed_late_in_its_life(folder: Path, acme: Acme) -> None:
    # One day of its life is over: of a day and a quarter that is more than half, of 90 little.
    acme.life = DAY + DAY / 4
    kept = folder / "short"
    with Site(folder / "brief", acme, kept) as site:
        until(lambda: acme.issued and site.has(acme.issued[0]), SLOW)
    acme.life = 90 * DAY
    with Site(folder / "next", acme, kept) as site:
        until(lambda: len(acme.issued) == 2 and site.has(acme.issued[1]), SLOW)


def test_h10_a_refusal_keeps_the_old_one_and_says_when_it_is_tried_again(
    folder: Path, acme: Acme
) -> None:
    acme.life = DAY + DAY / 4
    kept = folder / "refused"
    with Site(folder / "had", acme, kept) as site:
        until(lambda: acme.issued and site.has(acme.issued[0]), SLOW)
    acme.refusal = Problem(429, "rateLimited", "too many certificates for this name")
    with Site(folder / "kept-on", acme, kept) as site:
        line = site.wait_log("no new certificate", seconds=SLOW)
        assert "too many certificates for this name" in site.log, line
        assert re.search(r"next_try_s=60\b", site.log)
        assert site.has(acme.issued[0])
    # Started again at once it asks once more; after the third time it waits.
    asked = len(acme.asked)
    with Site(folder / "again-and", acme, kept) as site:
        site.wait_log("no new certificate", seconds=SLOW)
    assert len(acme.asked) > asked
    files(kept)[f"{NAME}.failures"].write_text("3")
    asked = len(acme.asked)
    with Site(folder / "again", acme, kept) as site:
        site.wait_log("the authority is not asked yet")
        assert site.has(acme.issued[0])
        assert len(acme.asked) == asked
    # Until it has worked once.
    files(kept)[f"{NAME}.failures"].write_text("2")
    acme.refusal, acme.life = None, 90 * DAY
    with Site(folder / "at-last", acme, kept) as site:
        until(lambda: len(acme.issued) == 2 and site.has(acme.issued[1]), SLOW)
        until(lambda: f"{NAME}.failures" not in files(kept), SLOW)


def test_h10_an_authority_that_names_a_time_is_not_asked_before(folder: Path, acme: Acme) -> None:
    kept = folder / "named"
    now = datetime.datetime.now(datetime.timezone.utc)
    # Whatever there is, another one is suggested.
    acme.window = lambda _: (now - 2 * DAY, now - DAY)
    with Site(folder / "served", acme, kept) as site:
        until(lambda: acme.issued and site.has(acme.issued[0]), SLOW)
    acme.refusal = Problem(429, "rateLimited", "not before tomorrow", again="86400")
    asked = len(acme.asked)
    with Site(folder / "told", acme, kept) as site:
        site.wait_log("no new certificate", seconds=SLOW)
        assert re.search(r"next_try_s=86(400|3[89]\d)\b", site.log), site.log
    assert acme.asked[asked:].count("POST /order") == 1
    # Nor after a restart (RFC 8555, section 6.6).
    asked = len(acme.asked)
    with Site(folder / "told-again", acme, kept) as site:
        site.wait_log("the authority is not asked yet")
        assert re.search(r"next_try_s=86[34]\d\d\b", site.log), site.log
        assert site.certificate()
    assert len(acme.asked) == asked


def test_h10_an_authority_that_is_busy_is_asked_once_and_for_no_other_name(folder: Path, acme: Acme) -> None:
    """503 with a time is about the authority, whatever was asked (RFC 9110, section 15.6.4)."""
    kept, names = folder / "busy", (NAME, "other.localhost")
    now = datetime.datetime.now(datetime.timezone.utc)
    acme.window = lambda _: (now - 2 * DAY, now - DAY)
    with Site(folder / "first-two", acme, kept, *names) as site:
        until(lambda: len(acme.issued) == 2 and site.has(acme.issued[1], names[1]), SLOW)
    acme.refusal = Problem(503, "serverInternal", "maintenance", again="3600")
    asked = len(acme.asked)
    with Site(folder / "busy-told", acme, kept, *names) as site:
        site.wait_log("no new certificate", seconds=SLOW)
        # Each name has its file, so that nobody asks after a restart either.
        until(lambda: {f"{name}.failures" for name in names} <= set(files(kept)), SLOW)
    # Not again without the words that it replaces another one, nor for the other name.
    assert acme.asked[asked:].count("POST /order") == 1
    asked = len(acme.asked)
    with Site(folder / "busy-again", acme, kept, *names) as site:
        until(lambda: site.log.count("the authority is not asked yet") == 2, SLOW)
        assert site.has(acme.issued[0]) and site.has(acme.issued[1], names[1])
    assert len(acme.asked) == asked


def test_h10_a_time_that_was_named_for_something_else_is_not_waited_for(folder: Path, acme: Acme) -> None:
    kept = folder / "stale"
    now = datetime.datetime.now(datetime.timezone.utc)
    acme.window = lambda _: (now - 2 * DAY, now - DAY)
    with Site(folder / "stale-had", acme, kept) as site:
        until(lambda: acme.issued and site.has(acme.issued[0]), SLOW)
    # That it replaces another one is refused, for long; without these words the order begins, and the name
    # is not found.
    acme.refusal_of_replacing = Problem(409, "alreadyReplaced", "not this one", again="86400")
    acme.is_lost = True
    with Site(folder / "stale-told", acme, kept) as site:
        site.wait_log("no new certificate", seconds=SLOW)
        assert re.search(r"next_try_s=(60|59)\b", site.log), site.log


def test_h10_what_fails_at_the_words_that_it_replaces_one_is_asked_without_them(
    folder: Path, acme: Acme
) -> None:
    kept = folder / "plain"
    now = datetime.datetime.now(datetime.timezone.utc)
    acme.window = lambda _: (now - 2 * DAY, now - DAY)
    with Site(folder / "plain-had", acme, kept) as site:
        until(lambda: acme.issued and site.has(acme.issued[0]), SLOW)
    # An error of the server that names no time may be about these words: at once.
    acme.refusal_of_replacing = Problem(500, "serverInternal", "it cannot be looked up")
    with Site(folder / "plain-now", acme, kept) as site:
        until(lambda: len(acme.issued) == 2 and site.has(acme.issued[1]), SLOW)
    # One that names a time is believed, but not for ever.
    acme.refusal_of_replacing = Problem(503, "serverInternal", "later", again="3600")
    with Site(folder / "plain-later", acme, kept) as site:
        site.wait_log("no new certificate", seconds=SLOW)
    failures = files(kept)[f"{NAME}.failures"]
    failures.write_text("3")
    os.utime(failures, (0, 0))
    with Site(folder / "plain-at-last", acme, kept) as site:
        until(lambda: len(acme.issued) == 3 and site.has(acme.issued[2]), SLOW)


def test_h10_a_name_that_is_not_ours_gets_nothing_and_tls_goes_on(folder: Path, acme: Acme) -> None:
    acme.is_lost = True
    with Site(folder / "not-ours", acme, folder / "nothing") as site:
        site.wait_log("no new certificate", seconds=SLOW)
        assert "the answer was" in site.log
        assert site.certificate().subject == site.certificate().issuer
    assert not acme.issued


def test_h10_an_authority_that_is_away_does_not_keep_the_site_from_serving(
    folder: Path, acme: Acme
) -> None:
    acme.url = "https://localhost:1"
    with Site(folder / "away", acme, folder / "alone") as site:
        site.wait_log("no new certificate", seconds=SLOW)
        assert site.certificate()


def test_h10_what_it_needs_is_said_at_the_start(tmp_path: Path, folder: Path) -> None:
    (tmp_path / "app.py").write_text(APP)
    for flags, words in (
        (("--tls-acme", "a.org"), "`--tls-acme` needs `--http-bind`"),
        (("--tls-acme", "*.a.org"), "name each site"),
        (("--tls-acme", "a.org", "--certfile", "x.pem"), "not from both"),
        (("--tls-acme", "a.org", "--tls-acme-directory", "http://a.org"), "expected an address"),
    ):
        ran = run_canter(
            "serve", "app", "--python", sys.executable, *flags, cwd=tmp_path
        )
        assert ran.returncode != 0 and words in ran.stderr, ran.stderr
    (tmp_path / "file").write_text("")
    kept = str(tmp_path / "file" / "acme")
    canter = Canter(
        folder, APP, "--tls-acme=a.org", "--http-bind=127.0.0.1:0", "--tls-acme-dir", kept
    )
    assert canter.process.wait(SLOW) != 0
    until(lambda: "for certificates" in canter.log)
