"""Owns a certificate authority on loopback that speaks ACME (RFC 8555) with renewal information
(RFC 9773) over HTTPS. It checks what a real one checks: signatures, nonces, addresses, that the
name answers at its port for plain HTTP, and the request for the certificate.

Leaves what is expected of a server to the tests.
"""

from __future__ import annotations

import base64
import contextlib
import datetime
import hashlib
import http.client
import json
import secrets
import ssl
import threading
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature

from harness.certificates import DAY, Authority

Window = tuple[datetime.datetime, datetime.datetime]


def b64(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def unb64(text: str) -> bytes:
    if "=" in text:
        raise Problem(400, "malformed", "padding in base64url")
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))


def thumbprint(jwk: dict[str, str]) -> str:
    """RFC 7638."""
    needed = {name: jwk[name] for name in ("crv", "kty", "x", "y")}
    return b64(
        hashlib.sha256(json.dumps(needed, separators=(",", ":"), sort_keys=True).encode()).digest()
    )


class Problem(Exception):
    """A refusal, as RFC 7807 words it."""

    def __init__(self, status: int, kind: str, detail: str, *, again: str = "") -> None:
        super().__init__(detail)
        self.status = status
        #: A value of ``Retry-After``.
        self.again = again
        self.body = {
            "type": f"urn:ietf:params:acme:error:{kind}",
            "detail": detail,
            "status": status,
        }


class Acme:
    """The authority. ``port`` is where the names answer in plain HTTP."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(exist_ok=True)
        self.port = 0
        #: How long certificates live, from a day ago on.
        self.life = 90 * DAY
        #: The window that is suggested for a certificate, by its number.
        self.window: Callable[[int], Window] | None = None
        #: Looks for the names where they are not.
        self.is_lost = False
        #: Refuses new orders while it is set.
        self.refusal: Problem | None = None
        #: Refuses those that say which certificate they replace.
        self.refusal_of_replacing: Problem | None = None
        self.authority = Authority("Canter test ACME")
        self.issued: list[x509.Certificate] = []
        self.accounts: dict[str, dict[str, Any]] = {}
        self.orders: list[dict[str, Any]] = []
        self.asked: list[str] = []
        self._nonces: set[str] = set()
        self._lock = threading.RLock()
        pair = self.authority.issue(folder / "acme", "localhost", is_server=True)
        self.root = self.authority.write(folder / "acme-root.pem")
        acme = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                acme.handle(self)

            do_HEAD = do_POST = do_GET

            def log_message(self, *_: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(pair.chain, pair.key)
        self._server.socket = context.wrap_socket(self._server.socket, server_side=True)
        self.url = f"https://localhost:{self._server.server_port}"
        self._thread = threading.Thread(target=self._server.serve_forever, daemon=True)

    def __enter__(self) -> Acme:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()

    # --- one request

    def handle(self, request: BaseHTTPRequestHandler) -> None:
        with self._lock, contextlib.suppress(OSError):
            self.asked.append(f"{request.command} {request.path}")
            length = int(request.headers.get("Content-Length") or 0)
            body = request.rfile.read(length)
            headers: dict[str, str] = {}
            try:
                status, answer = self._route(request, body, headers)
            except Problem as problem:
                status, answer = problem.status, problem.body
                headers["Content-Type"] = "application/problem+json"
                if problem.again:
                    headers["Retry-After"] = problem.again
            data = answer if isinstance(answer, bytes) else json.dumps(answer).encode()
            request.send_response(status)
            nonce = secrets.token_urlsafe(12)
            self._nonces.add(nonce)
            headers = {"Replay-Nonce": nonce, "Content-Type": "application/json", **headers}
            for name, value in headers.items():
                request.send_header(name, value)
            request.send_header("Content-Length", str(len(data)))
            request.end_headers()
            if request.command != "HEAD":
                request.wfile.write(data)

    def _route(
        self, request: BaseHTTPRequestHandler, body: bytes, headers: dict[str, str]
    ) -> tuple[int, Any]:
        path = request.path
        if path == "/directory":
            names = {"newNonce": "nonce", "newAccount": "account", "newOrder": "order"}
            urls = {name: f"{self.url}/{part}" for name, part in names.items()}
            if self.window:
                urls["renewalInfo"] = f"{self.url}/renewal"
            return 200, urls
        if path == "/nonce":
            return 200, b""
        if path.startswith("/renewal/"):
            return 200, self._renewal(path.removeprefix("/renewal/"), headers)
        payload, kid = self._verified(path, request, body)
        if path == "/account":
            return self._account(payload, headers)
        assert kid in self.accounts, "an account that signs for others"
        return self._of_account(path, payload, kid, headers)

    def _verified(self, path: str, request: BaseHTTPRequestHandler, body: bytes) -> tuple[Any, str]:
        """The payload of a signed request (RFC 8555, section 6.2)."""
        if request.headers.get("Content-Type") != "application/jose+json":
            raise Problem(415, "malformed", "not application/jose+json")
        jws = json.loads(body)
        header = json.loads(unb64(jws["protected"]))
        if header.get("alg") != "ES256" or header.get("url") != self.url + path:
            raise Problem(401, "unauthorized", "wrong algorithm or address")
        if header.get("nonce") not in self._nonces:
            raise Problem(400, "badNonce", "a nonce nobody gave")
        self._nonces.remove(header["nonce"])
        if ("jwk" in header) == ("kid" in header) or ("jwk" in header) != (path == "/account"):
            raise Problem(400, "malformed", "jwk and kid are in each other's place")
        if "kid" in header and header["kid"] not in self.accounts:
            raise Problem(400, "accountDoesNotExist", "an account nobody has")
        jwk = header.get("jwk") or self.accounts[header["kid"]]["jwk"]
        numbers = ec.EllipticCurvePublicNumbers(
            int.from_bytes(unb64(jwk["x"]), "big"),
            int.from_bytes(unb64(jwk["y"]), "big"),
            ec.SECP256R1(),
        )
        raw = unb64(jws["signature"])
        signature = encode_dss_signature(
            int.from_bytes(raw[:32], "big"), int.from_bytes(raw[32:], "big")
        )
        signed = f"{jws['protected']}.{jws['payload']}".encode()
        try:
            numbers.public_key().verify(signature, signed, ec.ECDSA(hashes.SHA256()))
        except InvalidSignature:
            raise Problem(401, "unauthorized", "the signature is wrong") from None
        payload = unb64(jws["payload"])
        value: Any = json.loads(payload) if payload else {}
        if path == "/account":
            value["jwk"] = jwk
        return value, header.get("kid", "")

    # --- what is asked for

    def _account(self, payload: Any, headers: dict[str, str]) -> tuple[int, Any]:
        if not payload.get("termsOfServiceAgreed"):
            raise Problem(403, "userActionRequired", "the terms are not agreed to")
        kid = f"{self.url}/account/{secrets.token_urlsafe(8)}"
        self.accounts[kid] = payload
        headers["Location"] = kid
        return 201, {"status": "valid", "contact": payload.get("contact", [])}

    def _of_account(
        self, path: str, payload: Any, kid: str, headers: dict[str, str]
    ) -> tuple[int, Any]:
        if path == "/order":
            return self._new_order(payload, kid, headers)
        kind, number = path.strip("/").split("/")[:2]
        order = self.orders[int(number)]
        assert order["kid"] == kid
        if kind == "authz":
            return 200, self._authorization(order)
        if kind == "challenge":
            self._check(order)
            return 200, self._authorization(order)["challenges"][0]
        if kind == "finalize":
            self._sign(order, unb64(payload["csr"]))
        if kind == "certificate":
            return 200, order["pem"]
        return 200, self._shown(order)

    def _new_order(self, payload: Any, kid: str, headers: dict[str, str]) -> tuple[int, Any]:
        if self.refusal:
            raise self.refusal
        if self.refusal_of_replacing and payload.get("replaces"):
            raise self.refusal_of_replacing
        number = len(self.orders)
        [identifier] = payload["identifiers"]
        order = {
            "number": number, "kid": kid, "name": identifier["value"], "status": "pending",
            "authorization": "pending", "token": secrets.token_urlsafe(16), "error": None,
            "replaces": payload.get("replaces"), "pem": b"",
        }  # fmt: skip
        self.orders.append(order)
        headers["Location"] = f"{self.url}/order/{number}"
        return 201, self._shown(order)

    def _shown(self, order: dict[str, Any]) -> dict[str, Any]:
        number = order["number"]
        shown = {
            "status": order["status"],
            "identifiers": [{"type": "dns", "value": order["name"]}],
            "authorizations": [f"{self.url}/authz/{number}"],
            "finalize": f"{self.url}/finalize/{number}",
        }
        if order["replaces"]:
            shown["replaces"] = order["replaces"]
        if order["status"] == "valid":
            shown["certificate"] = f"{self.url}/certificate/{number}"
        return shown

    def _authorization(self, order: dict[str, Any]) -> dict[str, Any]:
        challenge = {
            "type": "http-01", "url": f"{self.url}/challenge/{order['number']}",
            "token": order["token"], "status": order["authorization"],
        }  # fmt: skip
        if order["error"]:
            challenge["error"] = order["error"]
        return {
            "status": order["authorization"],
            "identifier": {"type": "dns", "value": order["name"]},
            "challenges": [challenge],
        }

    def _check(self, order: dict[str, Any]) -> None:
        """Ask the name itself (section 8.3)."""
        expected = f"{order['token']}.{thumbprint(self.accounts[order['kid']]['jwk'])}"
        got = b""
        with contextlib.suppress(OSError, http.client.HTTPException):
            port = 1 if self.is_lost else self.port
            connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
            path = f"/.well-known/acme-challenge/{order['token']}"
            connection.request("GET", path, headers={"Host": order["name"]})
            got = connection.getresponse().read()
            connection.close()
        if got == expected.encode():
            order["authorization"], order["status"] = "valid", "ready"
        else:
            order["authorization"] = order["status"] = "invalid"
            detail = f"the answer was {got[:40]!r}"
            order["error"] = Problem(403, "unauthorized", detail).body

    def _sign(self, order: dict[str, Any], der: bytes) -> None:
        request = x509.load_der_x509_csr(der)
        names = request.extensions.get_extension_for_class(x509.SubjectAlternativeName)
        asked = names.value.get_values_for_type(x509.DNSName)
        if order["status"] != "ready" or asked != [order["name"]] or not request.is_signature_valid:
            raise Problem(403, "badCSR", f"not for {order['name']}")
        certificate = self.authority.certify(request, order["name"], self.life)
        self.issued.append(certificate)
        order["pem"] = certificate.public_bytes(serialization.Encoding.PEM)
        order["status"] = "valid"

    def _renewal(self, name: str, headers: dict[str, str]) -> Any:
        names = [identifier(certificate) for certificate in self.issued]
        if name not in names or not self.window:
            raise Problem(404, "malformed", f"no certificate {name}")
        start, end = self.window(names.index(name))
        headers["Retry-After"] = "21600"
        return {"suggestedWindow": {"start": stamp(start), "end": stamp(end)}}


def identifier(certificate: x509.Certificate) -> str:
    """RFC 9773, section 4.1."""
    extension = certificate.extensions.get_extension_for_class(x509.AuthorityKeyIdentifier)
    key = extension.value.key_identifier
    number = certificate.serial_number
    assert key is not None
    return f"{b64(key)}.{b64(number.to_bytes(number.bit_length() // 8 + 1, 'big'))}"


def stamp(time: datetime.datetime) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%SZ")
