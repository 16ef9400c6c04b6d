"""Certificates made by the tests: an authority, and what it has signed."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import trustme
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)


@dataclass(frozen=True)
class Certificate:
    """A key, and the chain of certificates that belongs to it; ``both`` has the key first, as Kafka reads it."""

    certfile: Path
    keyfile: Path
    both: Path


class Authority:
    """A certificate authority of its own; ``cafile`` is what its clients trust."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._authority = trustme.CA()
        directory.mkdir(parents=True)
        self.cafile = directory / "ca.pem"
        self._authority.cert_pem.write_to_path(str(self.cafile))

    def issue(self, identity: str, common_name: str | None = None) -> Certificate:
        """Return a certificate for a host name, an address, or (with ``common_name``) a client."""
        issued = self._authority.issue_cert(identity, common_name=common_name)
        name = common_name or identity
        certificate = Certificate(*(self._directory / f"{name}.{end}" for end in ("crt", "key", "pem")))
        # Kafka reads keys as PKCS #8 only.
        key = load_pem_private_key(issued.private_key_pem.bytes(), password=None)
        certificate.keyfile.write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
        certificate.certfile.write_bytes(b"".join(blob.bytes() for blob in issued.cert_chain_pems))
        certificate.both.write_bytes(certificate.keyfile.read_bytes() + certificate.certfile.read_bytes())
        return certificate
