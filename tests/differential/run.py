"""Compare Canter's HTTP/1.1 codec with h11, httptools, waitress and gunicorn on the same bytes.

Owns the comparison: the rows of ``corpus/h1`` and seeded mutations of them. A difference is
reported when Canter accepts a request that two of the others refuse, or reads another method,
target or body than two of those that accept it. ``allowed.py`` lists the refusals that were
looked at and do not count. What Canter alone refuses is compared with a list there too, so that
becoming too strict is seen as well. Run it from an environment with ``requirements.txt`` installed::

    python -m venv .venv-differential
    .venv-differential/bin/pip install -r tests/differential/requirements.txt
    .venv-differential/bin/python tests/differential/run.py

Exits with 1 when there is a difference that nobody has looked at, or an entry in the lists that
no input needs any more.
"""

from __future__ import annotations

import argparse
import random
import sys
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import corpus
from allowed import ALLOWED, STRICTER, Refusal
from parsers import PEERS, Reading, Request, read_canter


@dataclass(frozen=True)
class Difference:
    """One request that Canter accepts and others do not, or read differently."""

    kind: str
    name: str
    data: bytes
    index: int
    ours: Request
    #: What each parser made of it: the request, or how its reading ended.
    peers: Mapping[str, Request | str]


#: Pieces that mean something in HTTP, for mutations.
PIECES = (
    b"\r", b"\n", b"\r\n", b"\r\n\r\n", b" ", b"\t", b":", b"\0", b"\x0b", b"\x7f", b"\x80", b"\xff",
    b";", b'"', b"\\", b",", b"=", b"0", b"5", b"f", b"-", b"+", b"%", b"/", b"?", b"#", b"http://",
    b"HTTP/1.0", b"HTTP/1.1", b"chunked", b"Content-Length: 5\r\n", b"Transfer-Encoding: chunked\r\n",
    b"Connection: close\r\n", b"Host: b\r\n", b"_", b"0\r\n\r\n", b"GET ", b"hello",
)  # fmt: skip

#: Larger rows are about limits, which each program sets differently.
LARGEST = 4096


def mutations(seeds: Sequence[bytes], count: int, seed: int) -> Iterator[bytes]:
    """Yield ``count`` changed inputs that follow from ``seed``."""
    chance = random.Random(seed)
    for _ in range(count):
        data = bytearray(chance.choice(seeds))
        for _ in range(chance.choice((1, 1, 1, 2, 3))):
            at = chance.randint(0, len(data))
            end = min(len(data), at + chance.randint(0, 8))
            kind = chance.randint(0, 4)
            if kind == 0:
                data[at:at] = chance.choice(PIECES)
            elif kind == 1:
                data[at:end] = chance.choice(PIECES)
            elif kind == 2:
                del data[at:end]
            elif kind == 3:
                data[at:at] = data[at:end]
            elif at < len(data):
                data[at] ^= 1 << chance.randint(0, 7)
        yield bytes(data)


def differences(name: str, data: bytes, ours: Reading, used: Counter[str]) -> Iterator[Difference]:
    """Walk through the requests that we accept, as long as the others read the same ones."""
    peers = {peer: read(data) for peer, read in PEERS.items()}
    for index, request in enumerate(ours.requests):
        here = {peer: reading.at(index) for peer, reading in peers.items()}
        refused = [
            peer
            for peer, it in here.items()
            if isinstance(it, str)
            and it.startswith("refused")
            and not _allowed(Refusal(peer, it, data, index, request), used)
        ]
        other = [
            peer
            for peer, it in here.items()
            if it == "incomplete" or (isinstance(it, Request) and it != request)
        ]
        if len(refused) >= 2:
            yield Difference("accepted", name, data, index, request, here)
        if len(other) >= 2:
            yield Difference("read differently", name, data, index, request, here)
        # What a parser says about bytes behind a request it read differently means nothing.
        peers = {peer: reading for peer, reading in peers.items() if here[peer] == request}


def refused_alone(data: bytes, ours: Reading) -> str | None:
    """Our reason, when we refuse a request that all the others accept and read alike."""
    if not ours.end.startswith("refused"):
        return None
    index = len(ours.requests)
    theirs = {read(data).at(index) for read in PEERS.values()}
    alike = len(theirs) == 1 and isinstance(theirs.pop(), Request)
    return ours.end.removeprefix("refused: ") if alike else None


def _allowed(refusal: Refusal, used: Counter[str]) -> bool:
    entry = next((entry for entry in ALLOWED if entry.covers(refusal)), None)
    if entry is not None:
        used[entry.name] += 1
    return entry is not None


def report(difference: Difference) -> str:
    """Show a difference to a person."""
    lines = [f"{difference.kind}: {difference.name}, request {difference.index + 1}"]
    lines.append(f"  input     {_short(difference.data)}")
    lines.append(f"  canter    {_shown(difference.ours)}")
    lines += [f"  {peer:<9} {_shown(it)}" for peer, it in difference.peers.items()]
    return "\n".join(lines)


def _shown(reading: Request | str) -> str:
    if isinstance(reading, str):
        return reading
    return f"{_short(reading.method)} {_short(reading.target)} body {_short(reading.body)}"


def _short(data: bytes) -> str:
    text = repr(data)[1:]
    return text if len(text) < 300 else f"{text[:200]} ... {text[-80:]} ({len(data)} bytes)"


def main() -> int:
    """Run the comparison and return the exit status."""
    parser = argparse.ArgumentParser(description="Compare Canter's HTTP/1.1 codec with others.")
    parser.add_argument("--mutations", type=int, default=200_000, help="how many changed inputs")
    parser.add_argument("--seed", type=int, default=1, help="where the changes start from")
    parser.add_argument("--show", type=int, default=20, help="how many differences to print")
    options = parser.parse_args()

    started = time.monotonic()
    rows = [row for row in corpus.rows() if len(row.raw) <= LARGEST]
    inputs = [(row.id, row.raw) for row in rows]
    small = [row for row in rows if len(row.raw) <= 600]
    # One wrong byte in a good request finds more than another one in a bad request.
    good = [row for row in small if all(answer.status in (100, 200) for answer in row.answers)]
    seeds = [row.raw for row in small + good * 4]
    inputs += [
        (f"mutation {number} of seed {options.seed}", data)
        for number, data in enumerate(mutations(seeds, options.mutations, options.seed))
    ]
    readings = read_canter(data for _, data in inputs)
    used: Counter[str] = Counter()
    new: list[Difference] = []
    alone: Counter[str] = Counter()
    example: dict[str, bytes] = {}
    for (name, data), ours in zip(inputs, readings, strict=True):
        new.extend(differences(name, data, ours, used))
        if (reason := refused_alone(data, ours)) is not None:
            alone[reason] += 1
            if reason not in STRICTER:
                example[reason] = data

    for difference in new[: options.show]:
        print(report(difference), end="\n\n")
    for reason, data in example.items():
        print(f"refused by Canter alone as {reason}: {_short(data)}", end="\n\n")
    for entry in ALLOWED:
        print(f"allowed {used[entry.name]:>6} times: {entry.name}")
    accepted = sum(len(reading.requests) for reading in readings)
    print(
        f"{len(inputs)} inputs, {accepted} requests accepted by Canter,"
        f" {len(new) + len(example)} differences not looked at, {time.monotonic() - started:.0f} s"
    )
    unused = [entry.name for entry in ALLOWED if not used[entry.name]]
    unused += [reason for reason in STRICTER if not alone[reason]]
    if unused:
        print(f"entries that no input needs: {', '.join(unused)}")
    return 1 if new or example or unused else 0


if __name__ == "__main__":
    sys.exit(main())
