"""Redis servers and sentinels that speak TLS only, with a CA made for the test."""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path

import redis
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from scripts.local.redis_server import LocalRedis
from scripts.local.sentinel_group import LocalSentinel


@dataclass(frozen=True)
class Certificates:
    """Files: a CA, and certificate and key of a server on 127.0.0.1."""

    ca: Path
    certificate: Path
    key: Path

    @property
    def options(self) -> list[str]:
        """Configuration lines of a server."""
        return [
            f'tls-cert-file "{self.certificate}"',
            f'tls-key-file "{self.key}"',
            f'tls-ca-cert-file "{self.ca}"',
            "tls-auth-clients no",
            "tls-replication yes",
        ]


def make_certificates(folder: Path) -> Certificates:
    """Make a CA and a certificate for 127.0.0.1, valid for a day."""
    files = Certificates(folder / "ca.pem", folder / "server.pem", folder / "server.key")
    ca_key, key = (ec.generate_private_key(ec.SECP256R1()) for _ in range(2))
    ca_name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "Test CA")])
    is_ca = x509.BasicConstraints(ca=True, path_length=None)
    ca = _builder(ca_name, ca_name, ca_key).add_extension(is_ca, critical=True)
    server_name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "redis")])
    address = x509.SubjectAlternativeName([x509.IPAddress(ip_address("127.0.0.1"))])
    server = _builder(server_name, ca_name, key).add_extension(address, critical=False)
    for path, builder in ((files.ca, ca), (files.certificate, server)):
        signed = builder.sign(ca_key, hashes.SHA256())
        path.write_bytes(signed.public_bytes(serialization.Encoding.PEM))
    files.key.touch(mode=0o600)
    files.key.write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
    )
    return files


def _builder(
    subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePrivateKey
) -> x509.CertificateBuilder:
    now = datetime.now(UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(hours=1))
        .not_valid_after(now + timedelta(days=1))
    )


@dataclass
class TlsRedis(LocalRedis):
    """A server whose only port speaks TLS."""

    ca: Path = Path()

    @classmethod
    def with_certificates(cls, folder: Path, files: Certificates) -> "TlsRedis":
        """Prepare a server on a free port."""
        server = cls.create(folder)
        assert isinstance(server, cls)
        server.ca = files.ca
        server.options = ("port 0", f"tls-port {server.port}", *files.options)
        return server

    @property
    def url(self) -> str:
        """URL with password, and with what redis-py needs to know."""
        return f"rediss://:{self.password}@127.0.0.1:{self.port}/0?ssl_ca_certs={self.ca}"


@dataclass
class TlsSentinel(LocalSentinel):
    """A sentinel whose only port speaks TLS, and that watches a server which does."""

    files: Certificates | None = None

    def client(self) -> redis.Redis:
        """Return a client of this sentinel."""
        assert self.files is not None
        return redis.Redis(
            host="127.0.0.1", port=self.port, ssl=True, ssl_ca_certs=str(self.files.ca)
        )

    def _lines(self) -> list[str]:
        assert self.files is not None
        return [*super()._lines(), "port 0", f"tls-port {self.port}", *self.files.options]
