"""``canter bench``: counts what servers send, by kind, and always writes its report.

Leaves what is asked for, and over what, to ``test_bench_ways``.
"""

from __future__ import annotations

import json
import math
import os
import signal
import socket
import subprocess
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from harness.benched import OK, Handler, always, bench, report, requests, serving
from harness.memory import status_kilobytes
from harness.operated import PROGRAM
from harness.server import Server


def test_a3_hits_bytes_and_connections_are_counted() -> None:
    with serving(always(OK)) as url:
        told = report(url, "--users", "4", "-n", "200")
    assert told["hits"] == 200
    assert told["statuses"]["2xx"] == 200
    assert told["errors"] == 0
    assert told["bytes_in"] == 200 * len(OK)
    assert told["connections"] == 4
    assert told["latency"]["count"] == 200


def test_a3_a_new_connection_for_each_request() -> None:
    with serving(always(OK, close=True)) as url:
        told = report(url, "--users", "2", "-n", "40", "--no-keep-alive")
    assert (told["hits"], told["connections"], told["errors"]) == (40, 40, 0)


def test_a_connection_closed_after_an_answer_is_no_error() -> None:
    with serving(always(OK, close=True)) as url:
        told = report(url, "--users", "2", "-n", "40")
    assert (told["hits"], told["errors"]) == (40, 0)


ENDLESS = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + b"1000\r\n" + b"x" * 4096 + b"\r\n"


def endless(connection: socket.socket) -> None:
    connection.recv(1000)
    connection.sendall(ENDLESS)
    while True:
        connection.sendall(b"1000\r\n" + b"x" * 4096 + b"\r\n")


def silent(connection: socket.socket) -> None:
    while connection.recv(1000):
        pass


@pytest.mark.parametrize(
    ("handler", "kind"),
    [
        (always(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhalf", close=True), "ended in the middle"),
        (always(b"HTTP/1.1 200 OK\r\nContent-", close=True), "ended in the middle"),
        (always(b"", close=True), "ended in the middle"),
        (always(b"220 mail.example ESMTP\r\n", close=True), "invalid HTTP"),
        (always(b"HTTP/1.1 200 OK\r\nContent-Length: x\r\n\r\n", close=True), "invalid HTTP"),
        (always(OK + b"more"), "invalid HTTP"),
        (always(b"HTTP/1.1 200 OK\r\nX: " + b"x" * 70_000 + b"\r\n\r\n"), "head too long"),
        (endless, "body too long"),
        (silent, "time-out"),
    ],
    ids=[
        "half a body", "half a head", "nothing", "mail", "no length", "surplus", "huge head",
        "endless", "silent",
    ],
)
def test_bad_answers_are_counted_by_kind(handler: Handler, kind: str, tmp_path: Path) -> None:
    page = tmp_path / "report.html"
    limit = "1s" if kind == "time-out" else "20s"
    words = ["--users", "2", "-n", "4", "--timeout", limit, "--max-body", "100KB"]
    with serving(handler) as url:
        told = report(url, *words, "--html", str(page))
    assert told["failures"] == {kind: 4}
    assert (told["hits"], told["errors"]) == (0, 4)
    assert told["first_error"]["what"] == kind
    assert kind in page.read_text()


def test_a5_the_report_quotes_what_the_server_says_of_itself() -> None:
    """What it counts is counted from its start: only what came to it in the run is the run's."""
    asked = [0]

    def snapshot() -> bytes:
        asked[0] += 1
        findings = [
            {"route": route, "file": "views.py", "line": line, "title": "many statements", "lost_ms": 5}
            for route, line in [("GET /old", 1), ("GET /new", 2)]
        ]
        routes = [{"label": "GET /old", "requests": 900}, {"label": "GET /new", "requests": asked[0]}]
        return json.dumps({
            "now": {"queued": 17, "running": 8}, "sentence": "rate-limiting step: whatever it ever was",
            "phases": ["app", "sql"], "total": {"phases_ms": [90_000, 10 * asked[0]]},
            "routes": routes, "findings": findings,
        }).encode()

    def handle(connection: socket.socket) -> None:
        for line, _, _ in requests(connection):
            body = snapshot() if line.startswith("GET /-/canter/data.json ") else b"ok"
            connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(body) + body)

    with serving(handle) as url:
        told = report(url, "--users", "2", "-d", "1s", "--inside", f"{url}-/canter/data.json")
        without = report(url, "--users", "2", "-n", "9", "--inside", f"{url}nothing")
    sentence = (
        "at most 17 requests waited for a worker while 8 were with one; rate-limiting step: SQL, 100 % of the "
        "time; most is lost in GET /new, views.py:2: many statements."
    )
    assert sentence in " ".join(told["prose"])
    assert "The server says" not in " ".join(without["prose"])


def test_nobody_listens() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        done = bench(f"http://127.0.0.1:{taken.getsockname()[1]}/", "-n", "3", "--users", "1")
    assert done.returncode == 9
    assert "connection refused" in done.stdout
    assert "Nobody listens there" in done.stdout


def test_tls_to_a_server_without_it() -> None:
    with serving(always(OK)) as url:
        told = report(url.replace("http:", "https:"), "-n", "2", "--users", "1", "--timeout", "5s")
    assert set(told["failures"]) <= {"TLS failed", "time-out"}
    assert told["errors"] == 2
    if told["failures"].get("TLS failed", 0) > 1:
        assert "wants `http://`" in " ".join(told["prose"])


def test_statuses_of_errors_are_told_apart() -> None:
    answer = b"HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\n\r\n"
    with serving(always(answer)) as url:
        told = report(url, "-n", "10", "--users", "1")
    assert (told["hits"], told["errors"], told["statuses"]["5xx"]) == (10, 10, 10)
    assert told["first_error"]["what"] == "status 503"


def quantile(values: list[float], share: float) -> float:
    """The value that a share of all does not exceed."""
    return sorted(values)[max(0, math.ceil(share * len(values)) - 1)]


def test_a2_a_stall_of_one_second_is_felt_by_all_who_came_in_it() -> None:
    """100 arrivals a second, one of which finds the server stalled for a second: those that come
    meanwhile wait as well, though each was sent at once in the eyes of a naive clock. The server writes
    down when each came and went, so what each felt is known apart from the tool."""
    came: list[float] = []
    went: list[float] = []

    def handle(connection: socket.socket) -> None:
        for _ in requests(connection):
            came.append(time.monotonic())
            if len(came) == 100:
                time.sleep(1)
            went.append(time.monotonic())
            connection.sendall(OK)

    with serving(handle) as url:
        # One connection: what a tool that waits for answers would see.
        told = report(url, "--rate", "100/s", "-d", "4s", "--connections", "1")
    felt, naive = told["latency"], told["latency_server_only"]
    assert told["hits"] + told["generator"]["unsent"] == 400
    # Arrival `at` was due `at` times 10 ms after the first, which was due no later than any came for its place.
    begin = min(time_ - at / 100 for at, time_ in enumerate(came))
    known = [(time_ - begin - at / 100) * 1000 for at, time_ in enumerate(went)]
    for share, name in [(0.5, "p50_ms"), (0.9, "p90_ms"), (0.95, "p95_ms"), (0.99, "p99_ms"), (1, "max_ms")]:
        exact = quantile(known, share)
        # An answer is never there before it was sent; how much later depends on how busy this machine is.
        assert felt[name] >= exact * (1 - told["precision"]) - 0.001, (name, exact, felt)
        assert felt[name] <= exact * (1 + told["precision"]) + 3000, (name, exact, felt)
    # Arrivals at 0, 10, …, 990 ms of the stall wait 1000, 990, …, 10 ms: a quarter of all.
    assert 1000 <= felt["max_ms"] and felt["p90_ms"] > 400
    assert naive["p90_ms"] < felt["p90_ms"] / 2
    assert any("would have told" in sentence for sentence in told["prose"])
    # Who waited for the connection waited for the server: that is no lateness of the generator.
    assert told["generator"]["lateness_p99_ms"] < 900


def test_a1_users_become_more_and_time_outs_say_at_how_many() -> None:
    busy = threading.Semaphore(3)

    def handle(connection: socket.socket) -> None:
        for _ in requests(connection):
            with busy:
                time.sleep(0.1)
            connection.sendall(OK)

    with serving(handle) as url:
        told = report(url, "--ramp", "1-40:4s", "--timeout", "400ms")
    first = told["first_timeout"]
    # Three at a time and 100 ms each: twelve users wait 400 ms, fewer where the machine is loaded.
    assert 1 <= first["users"] <= 40
    assert told["timeouts"] > 0
    assert f"time-out came at {first['users']} users" in " ".join(told["prose"])
    assert told["rows"][0]["users"] < max(row["users"] for row in told["rows"])


def test_a6_conditions_decide_the_exit_code_and_junit(tmp_path: Path) -> None:
    slow = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"

    def handle(connection: socket.socket) -> None:
        for _ in requests(connection):
            time.sleep(0.2)
            connection.sendall(slow)

    xml, sarif = tmp_path / "junit.xml", tmp_path / "bench.sarif"
    with serving(handle) as url:
        words = [url, "--users", "2", "-d", "1s", "--quiet", "--junit", str(xml), "--sarif", str(sarif)]
        bad = bench(*words, "--fail-if", "p95>100ms", "--fail-if", "errors>1%")
        assert bad.returncode == 8
        assert "FAILED  p95>100ms" in bad.stdout and "held    errors>1%" in bad.stdout
        # On a machine that is busy with other things the generator may say that it is no judge: a case more.
        limited = "No verdict" in bad.stdout
        assert f'failures="{1 + limited}"' in xml.read_text()
        results = json.loads(sarif.read_text())["runs"][0]["results"]
        assert results[0]["ruleId"] == "not p95>100ms" and len(results) == 1 + limited
        good = bench(*words, "--fail-if", "p95>20s")
        assert good.returncode == 0 or "No verdict" in good.stdout
        short = bench(*words[:3], "-d", "60s", "--abort-on-fail", "--after", "500ms", "--fail-if", "max>100ms")
    assert short.returncode == 8
    assert "did not go to its end: `max>100ms` was true" in " ".join(short.stdout.split())


def test_on_a_terminal_a_line_tells_how_far_it_is_and_ctrl_c_ends_it() -> None:
    main, terminal = os.openpty()
    with serving(always(OK)) as url:
        words = [PROGRAM, "bench", url, "--users", "3", "-d", "600s"]
        running = subprocess.Popen(words, stdout=subprocess.PIPE, stderr=terminal, text=True)
        os.close(terminal)
        seen = b""
        while b" of 600 s  3 users  " not in seen:
            seen += os.read(main, 4096)
        running.send_signal(signal.SIGINT)
        text, _ = running.communicate(timeout=60)
    os.close(main)
    # It renews itself: back to the begin, and away with what is left of the one before.
    assert b"\r[" in seen and b"\x1b[K" in seen and b"p95 " in seen and b"errors 0" in seen
    assert running.returncode == 0 and "ended by hand" in text


def test_ctrl_c_ends_with_the_report_so_far(tmp_path: Path) -> None:
    answered = threading.Event()

    def handle(connection: socket.socket) -> None:
        for count, _ in enumerate(requests(connection)):
            connection.sendall(OK)
            if count == 5:
                answered.set()

    out = tmp_path / "r.json"
    with serving(handle) as url:
        words = [PROGRAM, "bench", url, "--users", "1", "-d", "600s", "--quiet", "--json", str(out)]
        process = subprocess.Popen(words, stdout=subprocess.PIPE, text=True)
        assert answered.wait(60)
        process.send_signal(signal.SIGINT)
        text, _ = process.communicate(timeout=60)
    assert process.returncode == 0
    assert "ended by hand" in text
    assert json.loads(out.read_text())["ended_early"] == "ended by hand"


def test_a4_answers_after_the_end_are_in_no_rate(tmp_path: Path) -> None:
    """Five arrivals a second for two seconds at a server that makes two answers a second: all ten are
    waited for, and not more than four of them came in time."""
    one_at_a_time = threading.Lock()

    def handle(connection: socket.socket) -> None:
        for _ in requests(connection):
            with one_at_a_time:
                time.sleep(0.5)
            connection.sendall(OK)

    out, page = tmp_path / "r.json", tmp_path / "r.html"
    with serving(handle) as url:
        words = ["--rate", "5/s", "-d", "2s", "--json", str(out), "--html", str(page)]
        done = bench(url, *words, "--fail-if", "rate<4/s")
    told = json.loads(out.read_text())
    assert told["hits"] + told["generator"]["unsent"] == 10
    assert told["late"] >= 5 and told["latency"]["count"] == told["hits"]
    in_time = told["hits"] - told["late"]
    assert in_time <= 4
    assert told["rate"] == pytest.approx(in_time / told["time_s"])
    assert done.returncode == 8 and "FAILED  rate<4/s" in done.stdout
    sentences = " ".join(told["prose"])
    assert f"{in_time} requests were answered in 2.00 s" in sentences
    assert f"{told['late']} more answers came after the end" in sentences
    assert sum(row["late"] for row in told["rows"]) == told["late"]
    assert f"<b>{in_time / 2:.1f}</b><span>answers a second" in page.read_text()


def test_a6_a_run_that_the_generator_limited_is_green_nowhere(tmp_path: Path) -> None:
    """Forty users and file descriptors for twenty."""
    xml, sarif = tmp_path / "junit.xml", tmp_path / "bench.sarif"
    with serving(always(OK)) as url:
        words = [PROGRAM, "bench", url, "--users", "40", "-d", "500ms", "--fail-if", "max>100s", "--quiet"]
        words += ["--junit", str(xml), "--sarif", str(sarif)]
        limited = ["sh", "-c", 'ulimit -n 20; exec "$@"', "sh", *words]
        done = subprocess.run(limited, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 8, done.stdout + done.stderr
    assert "held    max>100s" in done.stdout and "No verdict on the server" in done.stdout
    assert 'failures="1"' in xml.read_text()
    (result,) = json.loads(sarif.read_text())["runs"][0]["results"]
    assert result["ruleId"] == "the generator is not the limit"
    assert "no port or file descriptor" in result["message"]["text"]


def test_a6_a_run_in_which_nothing_ended_is_no_success() -> None:
    waiting = threading.Event()

    def hang(connection: socket.socket) -> None:
        for _ in requests(connection):
            waiting.set()

    with serving(hang) as url:
        words = [PROGRAM, "bench", url, "--users", "1", "-d", "600s", "--quiet"]
        process = subprocess.Popen(words, stdout=subprocess.PIPE, text=True)
        assert waiting.wait(60)
        process.send_signal(signal.SIGINT)
        text, _ = process.communicate(timeout=60)
    assert process.returncode == 9
    assert "Not one request was answered: 1 still waited when the run ended." in " ".join(text.split())
    with serving(always(OK)) as url:
        done = bench(url, "--users", "1", "-n", "1", "--slow", "100%", "--quiet")
    assert done.returncode == 8
    assert "Nothing was measured: there were only slow clients" in " ".join(done.stdout.split())


def test_a7_two_sites_are_compared_in_turn_and_other_scenarios_refused(tmp_path: Path) -> None:
    def slow(connection: socket.socket) -> None:
        for _ in requests(connection):
            time.sleep(0.05)
            connection.sendall(OK)

    words = ["--users", "2", "-d", "400ms", "--rounds", "4", "--quiet"]
    with serving(slow) as one, serving(always(OK)) as two:
        better = bench(one, "--compare", two, *words)
        assert "B is: better" in better.stdout, better.stdout + better.stderr
        worse = bench(two, "--compare", one, *words)
        assert "B is: worse" in worse.stdout
        other = bench(one, "--compare", f"{two}other", *words)
    assert (better.returncode, worse.returncode, other.returncode) == (0, 8, 2)
    assert "different things" in other.stderr


def test_a7_reports_of_two_runs_are_compared(tmp_path: Path) -> None:
    def after(seconds: float) -> Callable[[socket.socket], None]:
        def answer(connection: socket.socket) -> None:
            for _ in requests(connection):
                time.sleep(seconds)
                connection.sendall(OK)

        return answer

    files = [str(tmp_path / name) for name in ("quick.json", "slow.json", "other.json")]
    with serving(after(0.02)) as one, serving(after(0.2)) as two:
        for url, file in zip((one, two, f"{one}other"), files, strict=True):
            done = bench(url, "--users", "2", "-d", "2s", "--quiet", "--inside", "off", "--json", file)
            assert done.returncode == 0, done
            # On a machine that is loaded the generator may have been the limit: a case of its own.
            say_of_the_generator(file, None)
    worse = bench(files[0], "--compare", files[1])
    assert worse.returncode == 8 and "B is: worse" in worse.stdout, worse
    better = bench(files[1], "--compare", files[0])
    assert better.returncode == 0 and "B is: better" in better.stdout, better
    other = bench(files[0], "--compare", files[2])
    assert other.returncode == 2 and "different" in other.stderr, other
    say_of_the_generator(files[1], "it was late")
    for pair in (files[0], files[1]), (files[1], files[0]):
        none = bench(pair[0], "--compare", pair[1])
        assert none.returncode == 2 and "generator was the limit" in none.stderr, none


def say_of_the_generator(file: str, why: str | None) -> None:
    """Write into a report why the generator was the limit, or that it was not."""
    report = json.loads(Path(file).read_text())
    report["generator"]["limited"] = why
    Path(file).write_text(json.dumps(report))


def test_a9_other_hosts_are_not_loaded_without_consent() -> None:
    done = bench("http://192.0.2.1/", "-n", "1")
    assert done.returncode == 2
    assert "not this machine" in done.stderr and "--i-own-this-host" in done.stderr


@pytest.mark.parametrize(
    ("url", "code", "why"),
    # A label of more than 63 bytes is no name (RFC 1035, 2.3.4): no resolver is asked.
    [(f"http://{'a' * 64}/", 9, "cannot look up"), ("http://192.0.2.1/", 2, "is not this machine")],
)
def test_a11_a_report_is_written_also_where_nothing_could_be_asked(
    tmp_path: Path, url: str, code: int, why: str
) -> None:
    forms = ("json", "csv", "junit", "sarif", "html")
    words = [word for form in forms for word in (f"--{form}", str(tmp_path / form))]
    done = bench(url, "-n", "1", *words)
    assert done.returncode == code and why in done.stderr
    told = {form: (tmp_path / form).read_text(encoding="utf-8") for form in forms}
    assert json.loads(told["json"])["hits"] == 0 and why in json.loads(told["json"])["fault"]["what"]
    assert why in json.loads(told["sarif"])["runs"][0]["results"][0]["message"]["text"]
    assert why in told["junit"] and why in told["html"] and told["csv"].startswith("at_s,")


@pytest.mark.parametrize(
    ("words", "hint"),
    [
        (["ftp://127.0.0.1/"], "neither `http` nor `https`"),
        (["127.0.0.1:1", "--uesrs", "3"], "did you mean `--users`?"),
        (["127.0.0.1:1", "-c", "50"], "`--users COUNT` is how many ask at once"),
        (["127.0.0.1:1", "-q", "50"], "`-q` shows no progress"),
        (["127.0.0.1:1", "--fail-if", "speed>3"], "expected a condition"),
        (["127.0.0.1:1", "--ramp", "250"], ""),
        (["127.0.0.1:1", "--html", "/nonexistent/x.html"], "cannot write"),
    ],
)
def test_a_wrong_command_line_starts_nothing(words: list[str], hint: str) -> None:
    done = bench(*words, "-n", "1", "--timeout", "1s")
    assert hint in done.stderr
    assert done.returncode in ((2, 5) if hint else (9,))


@pytest.mark.parametrize("urls", [1, 5000])
def test_a3_memory_stays_below_16_mb(urls: int, tmp_path: Path) -> None:
    """Read while it runs and has counted hundreds and more; what counts is of fixed size, also with as many
    URLs as a list may have, each of which is counted apart. What is of the program's own file depends on
    how it was built, so of many URLs only what they take themselves is looked at."""
    listed = tmp_path / "urls.txt"
    listed.write_text("".join(f"/books/{at}/reviews/\n" for at in range(urls)))
    process: list[int] = []
    started, measured, first = threading.Event(), threading.Event(), threading.Lock()
    peaks: list[int] = []

    def handle(connection: socket.socket) -> None:
        for count, _ in enumerate(requests(connection)):
            connection.sendall(OK)
            # The others may come to it when the program is at its end.
            if count == 100 and first.acquire(blocking=False):
                started.wait(60)
                peaks.append(status_kilobytes(process[0], "VmHWM" if urls == 1 else "RssAnon"))
                measured.set()

    with serving(handle) as url:
        words = [PROGRAM, "bench", url, "--users", "50", "-d", "600s", "--quiet", "--url-list", str(listed)]
        running = subprocess.Popen(words, stdout=subprocess.DEVNULL)
        process.append(running.pid)
        started.set()
        assert measured.wait(240)
        running.send_signal(signal.SIGINT)
        running.wait(60)
    assert max(peaks) <= (16_000 if urls == 1 else 7_000), peaks


@pytest.mark.slow
def test_a3_memory_does_not_grow_with_requests(tmp_path: Path) -> None:
    """The most memory of a run of 300,000 requests against that of one of 3,000."""
    (tmp_path / "small.txt").write_text("small")
    app = "def application(environ, start_response): raise LookupError"
    peaks, seconds = [], 0.0
    with Server(tmp_path / "server", app + "\n", f"--static-map=/static/={tmp_path}") as server:
        for count in (3_000, 300_000):
            words = [f"{server.url}/static/small.txt", "--users", "50", "-n", str(count), "--quiet"]
            peak, began = 0, time.monotonic()
            running = subprocess.Popen([PROGRAM, "bench", *words], stdout=subprocess.PIPE, text=True)
            while running.poll() is None:
                status = Path(f"/proc/{running.pid}/status").read_text()
                found = status.partition("VmHWM:")[2].split()
                peak = max(peak, int(found[0])) if found and "canter" in status else peak
                time.sleep(0.01)
            assert f"{count:,} requests were answered" in running.communicate()[0]
            peaks.append(peak)
            seconds = time.monotonic() - began
    # Seven bytes kept of each would be seen, and little more on a machine that takes longer: each second
    # of a run has a row of 4 KB.
    assert peaks[1] - peaks[0] < 2_000 + 5 * seconds and peaks[1] <= 16_000, peaks


def own_address() -> str | None:
    """An address of this machine that is not loopback; no packet is sent for it."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect(("192.0.2.1", 9))
        except OSError:
            return None
        address: str = probe.getsockname()[0]
        return None if address.startswith("127.") else address


def test_a9_a_host_that_knows_the_token_is_loaded() -> None:
    address = own_address()
    if address is None:
        pytest.skip("this machine has no other address than loopback")
    token = "0123456789abcdef"

    def handle(connection: socket.socket) -> None:
        for line, _, _ in requests(connection):
            agreed = line.startswith(f"GET /.well-known/canter-bench/{token} ")
            connection.sendall(b"HTTP/1.1 204 No Content\r\n\r\n" if agreed else OK)

    with serving(handle, host=address) as url:
        agreed = report(url, "-n", "5", "--users", "1", "--token", token)
        assert agreed["hits"] == 5
        variable = bench(url, "-n", "5", "--users", "1", "-q", env={"CANTER_BENCH_TOKEN": token})
        assert variable.returncode == 0
        # Answers every path, but with a page: that is no agreement.
        wrong = bench(url, "-n", "5", "--users", "1", "--token", "another-token-0000")
        assert wrong.returncode == 2 and "does not know this token" in wrong.stderr
