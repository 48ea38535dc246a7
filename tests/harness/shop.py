"""Owns a copy of the demo site with a shop of a size that a test chooses, and what Canter says of it.

Leaves serving to ``server``.
"""

from __future__ import annotations

import http.client
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

from harness.server import Server

READER = Path(__file__).resolve().parents[2] / "examples" / "reader"

FILL = """
from decimal import Decimal
from django.utils import timezone
from reader.models import Customer, Order, OrderLine, Product
customers, orders, lines = {sizes}
products = [Product.objects.create(sku=str(n), name=f"P{{n}}", price=1) for n in range(lines)]
people = [Customer.objects.create(name=f"C{{n:03}}", email=f"{{n}}@example.org") for n in range(customers)]
made = [Order.objects.create(customer=people[n % customers], placed=timezone.now()) for n in range(orders)]
for n in range(lines):
    OrderLine.objects.create(order=made[n % orders], product=products[n], price=Decimal(1))
"""


def copy(folder: Path, sizes: tuple[int, int, int]) -> Path:
    """A copy of the site with so many customers, orders and lines."""
    site = folder / "reader"
    shutil.copytree(READER, site, ignore=shutil.ignore_patterns("var", "__pycache__"))
    for words in (["migrate", "-v", "0"], ["shell", "-v", "0", "-c", FILL.format(sizes=sizes)]):
        manage(site, *words)
    return site


def manage(site: Path, *words: str) -> None:
    """Run a command of ``manage.py``."""
    env = {key: value for key, value in os.environ.items() if key != "DATABASE_URL"}
    program = [sys.executable, "manage.py", *words]
    done = subprocess.run(program, cwd=site, env=env, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


def get(server: Server, path: str, **headers: str) -> tuple[int, dict[str, str], str]:
    """Status, fields and text of an answer."""
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=60)
    fields = {name.replace("_", "-"): value for name, value in headers.items()}
    connection.request("GET", path, headers=fields)
    answer = connection.getresponse()
    text = answer.read().decode()
    connection.close()
    return answer.status, {key.lower(): value for key, value in answer.getheaders()}, text


def socket_of(server: Server) -> str:
    """The private socket of the server, by the number of its process."""
    pid = server.process.pid
    listening = Path("/proc/net/unix").read_text(encoding="utf-8")
    found = re.search(rf"\S+/canter[^/\s]*/{pid}\.sock", listening)
    assert found is not None, listening
    return found[0]


def data(server: Server, what: str = "data") -> Any:
    """What Canter knows."""
    status, _fields, text = get(server, f"/-/canter/{what}.json")
    assert status == 200, text
    return json.loads(text)


def route(server: Server, label: str) -> Any:
    """What Canter knows of one route."""
    found = [row for row in data(server)["routes"] if row["label"] == label]
    assert len(found) == 1, data(server)["routes"]
    return found[0]
