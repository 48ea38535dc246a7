"""Owns the certificates of the tests: an authority, a server of the name ``localhost``, a client
for the role ``by_cert``, and an authority nobody should trust. Made anew for each run.
"""

from __future__ import annotations

import datetime
import ipaddress
from dataclasses import dataclass
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

DAY = datetime.timedelta(days=1)


@dataclass(frozen=True)
class Pair:
    """Files of one certificate and its key."""

    chain: Path
    key: Path


class Certificates:
    """A folder of them."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(exist_ok=True)
        folder.chmod(0o755)
        self.folder = folder
        trusted = Authority("Canter test authority")
        stranger = Authority("Canter test stranger")
        self.authority = trusted.write(folder / "authority.pem")
        self.stranger = stranger.write(folder / "stranger.pem")
        self.server = trusted.issue(folder / "server", "localhost", is_server=True)
        self.client = trusted.issue(folder / "client", "by_cert")
        self.site = trusted.issue(folder / "site", "site")
        self.other_client = stranger.issue(folder / "other", "by_cert")


class Authority:
    """Signs certificates."""

    def __init__(self, name: str) -> None:
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._name = called(name)
        constraints = x509.BasicConstraints(ca=True, path_length=None)
        builder = fresh(self._name, self._name, self._key).add_extension(constraints, True)
        public = self._key.public_key()
        identifier = x509.SubjectKeyIdentifier.from_public_key(public)
        self._identifier = x509.AuthorityKeyIdentifier.from_issuer_public_key(public)
        builder = builder.add_extension(identifier, False).add_extension(signs_only(), True)
        self._certificate = builder.sign(self._key, hashes.SHA256())

    def write(self, path: Path) -> Path:
        path.write_bytes(self._certificate.public_bytes(serialization.Encoding.PEM))
        return path

    def certify(
        self, request: x509.CertificateSigningRequest, name: str, life: datetime.timedelta
    ) -> x509.Certificate:
        """A certificate as asked for, from a day ago on."""
        now = datetime.datetime.now(datetime.timezone.utc)
        builder = (
            x509.CertificateBuilder()
            .subject_name(request.subject)
            .issuer_name(self._name)
            .public_key(request.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - DAY)
            .not_valid_after(now - DAY + life)
            .add_extension(x509.SubjectAlternativeName([x509.DNSName(name)]), False)
            .add_extension(self._identifier, False)
        )
        return builder.sign(self._key, hashes.SHA256())

    def issue(self, path: Path, name: str, *, is_server: bool = False) -> Pair:
        """A certificate for a name; a server's is also for 127.0.0.1."""
        key = ec.generate_private_key(ec.SECP256R1())
        builder = fresh(called(name), self._name, key)
        builder = builder.add_extension(x509.BasicConstraints(False, None), True)
        builder = builder.add_extension(self._identifier, False)
        if is_server:
            loopback = x509.IPAddress(ipaddress.ip_address("127.0.0.1"))
            names = x509.SubjectAlternativeName([x509.DNSName(name), loopback])
            builder = builder.add_extension(names, False)
        certificate = builder.sign(self._key, hashes.SHA256())
        pair = Pair(path.with_suffix(".pem"), path.with_suffix(".key"))
        pair.chain.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
        pair.key.write_bytes(
            key.private_bytes(
                serialization.Encoding.PEM,
                serialization.PrivateFormat.PKCS8,
                serialization.NoEncryption(),
            )
        )
        pair.key.chmod(0o600)
        return pair


def signs_only() -> x509.KeyUsage:
    """What an authority's key is for."""
    others = ("digital_signature", "content_commitment", "key_encipherment", "data_encipherment")
    unset = dict.fromkeys((*others, "key_agreement", "encipher_only", "decipher_only"), False)
    return x509.KeyUsage(key_cert_sign=True, crl_sign=True, **unset)


def called(name: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])


def fresh(
    subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePrivateKey
) -> x509.CertificateBuilder:
    """A certificate for the days around now."""
    now = datetime.datetime.now(datetime.timezone.utc)
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - DAY)
        .not_valid_after(now + 30 * DAY)
    )
