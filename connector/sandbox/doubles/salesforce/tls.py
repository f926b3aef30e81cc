"""A certificate of the double's own, for clients that speak nothing but TLS."""

import ipaddress
import ssl
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import NamedTuple

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

_LIFETIME = timedelta(days=30)


class Certificate(NamedTuple):
    """A self-signed certificate for this machine, and its key, as PEM. The certificate is its own root."""

    chain: bytes
    key: bytes

    @classmethod
    def make(cls) -> "Certificate":
        key = ec.generate_private_key(ec.SECP256R1())
        name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "connector sandbox")])
        addresses = [ipaddress.ip_address(text) for text in ("127.0.0.1", "::1")]
        names = [x509.DNSName("localhost"), *map(x509.IPAddress, addresses)]
        now = datetime.now(UTC)
        certificate = (
            x509.CertificateBuilder()
            .subject_name(name)
            .issuer_name(name)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - timedelta(hours=1))
            .not_valid_after(now + _LIFETIME)
            .add_extension(x509.SubjectAlternativeName(names), critical=False)
            .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
            .sign(key, hashes.SHA256())
        )
        form, none = serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        pem = serialization.Encoding.PEM
        return cls(certificate.public_bytes(pem), key.private_bytes(pem, form, none))

    def context(self, folder: Path) -> ssl.SSLContext:
        """The server's side. Python reads certificates only from files: they are written into `folder`."""
        both = folder / "both.pem"
        both.touch(mode=0o600)
        both.write_bytes(self.key + self.chain)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(both)
        return context
