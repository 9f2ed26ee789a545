"""Redis servers of tests that need more than `tests.servers.redis_server`: a replica, a sentinel, TLS."""

from __future__ import annotations

import contextlib
import datetime
import ipaddress
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from subprocess import Popen

import redis
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from recsys_project.stack.redis import RedisNotFoundError, find_binary
from tests.servers import free_port, run_process, skip_or_fail, wait_until

PRIMARY = "recsys-primary"
"""The name of the primary at its sentinel."""


@dataclass(frozen=True)
class Certificates:
    """The files of an authority, and of a certificate for 127.0.0.1 that it signed."""

    authority: Path
    certificate: Path
    key: Path

    @property
    def server_options(self) -> list[str]:
        """Return the options of a Redis server that only takes TLS, and asks its clients for a certificate."""
        files = {"cert": self.certificate, "key": self.key, "ca-cert": self.authority}
        return [word for name, file in files.items() for word in (f"--tls-{name}-file", str(file))]

    @property
    def client_options(self) -> dict[str, str]:
        """Return the options of redis-py."""
        return {
            "ssl_ca_certs": str(self.authority),
            "ssl_certfile": str(self.certificate),
            "ssl_keyfile": str(self.key),
        }


def make_certificates(folder: Path) -> Certificates:
    """Write an authority, and a certificate for servers and clients on this machine."""
    now = datetime.datetime.now(datetime.UTC)
    authority_key, key = ec.generate_private_key(ec.SECP256R1()), ec.generate_private_key(ec.SECP256R1())
    authority_name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "authority of a test")])

    def sign(name: x509.Name, public_key: ec.EllipticCurvePublicKey, is_authority: bool) -> x509.Certificate:
        builder = (
            x509.CertificateBuilder()
            .subject_name(name)
            .issuer_name(authority_name)
            .public_key(public_key)
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - datetime.timedelta(days=1))
            .not_valid_after(now + datetime.timedelta(days=1))
            .add_extension(x509.BasicConstraints(ca=is_authority, path_length=None), critical=True)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(public_key), critical=False)
            .add_extension(
                x509.AuthorityKeyIdentifier.from_issuer_public_key(authority_key.public_key()), critical=False
            )
            .add_extension(
                x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]), critical=False
            )
        )
        return builder.sign(authority_key, hashes.SHA256())

    certificates = Certificates(folder / "ca.pem", folder / "server.pem", folder / "server.key")
    authority = sign(authority_name, authority_key.public_key(), True)
    server = sign(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "server")]), key.public_key(), False)
    certificates.authority.write_bytes(authority.public_bytes(serialization.Encoding.PEM))
    certificates.certificate.write_bytes(server.public_bytes(serialization.Encoding.PEM))
    certificates.key.write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    return certificates


def is_up(port: int, **options: str | bool) -> bool:
    """Return whether a server responds on the port."""
    try:
        with redis.Redis("127.0.0.1", port, **options) as client:  # type: ignore[arg-type]
            return bool(client.ping())
    except redis.ConnectionError:
        return False


@contextlib.contextmanager
def server(
    folder: Path, *words: str, password: str = "", certificates: Certificates | None = None
) -> Iterator[tuple[Popen[bytes], int]]:
    """Run a Redis server, or a sentinel with the configuration in *words*; yield its process and port."""
    try:
        binary = find_binary()
    except RedisNotFoundError as error:
        skip_or_fail(str(error))
    folder.mkdir(exist_ok=True)
    port = free_port()
    command: Sequence[str] = [str(binary), *words, "--bind", "127.0.0.1", "--dir", str(folder)]
    options: dict[str, str | bool] = {}
    if certificates:
        command = [*command, "--port", "0", "--tls-port", str(port), *certificates.server_options]
        options = {"ssl": True, **certificates.client_options}
    else:
        command = [*command, "--port", str(port)]
    if password:
        command = [*command, "--requirepass", password]
        options["password"] = password
    with run_process(command, folder) as (process, log):
        wait_until(lambda: is_up(port, **options), process, log)
        yield process, port


@contextlib.contextmanager
def sentinel(
    folder: Path,
    primary_port: int,
    *,
    password: str = "",
    primary_password: str = "",
    certificates: Certificates | None = None,
) -> Iterator[int]:
    """Run a sentinel that watches the primary on *primary_port*; yield its port."""
    folder.mkdir(exist_ok=True)
    configuration = folder / "sentinel.conf"
    lines = [
        f"sentinel monitor {PRIMARY} 127.0.0.1 {primary_port} 1",
        f"sentinel down-after-milliseconds {PRIMARY} 1000",
        f"sentinel failover-timeout {PRIMARY} 5000",
    ]
    lines += [f"sentinel auth-pass {PRIMARY} {primary_password}"] if primary_password else []
    lines += ["tls-replication yes"] if certificates else []
    configuration.write_text("\n".join(lines) + "\n")
    with server(folder, str(configuration), "--sentinel", password=password, certificates=certificates) as (_, port):
        yield port
