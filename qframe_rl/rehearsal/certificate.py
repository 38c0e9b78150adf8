"""A certificate authority to throw away, and a certificate of it for the hosts that are played."""

from __future__ import annotations

import datetime
import ipaddress
import ssl
import tempfile
from pathlib import Path
from typing import NamedTuple

from qframe_rl.config import UserError

HOSTS = (
    "localhost",
    "*.binance.com",
    "*.binance.vision",
    "*.testnet.binance.vision",
    "*.binancefuture.com",
    "*.bybit.com",
)
_LIFE = datetime.timedelta(days=7)


class Paper(NamedTuple):
    """What TLS needs."""

    ca_pem: bytes
    """The authority's certificate: what clients must trust."""
    certificate_pem: bytes
    key_pem: bytes


def issue() -> Paper:
    """Make an authority and a certificate for `HOSTS` and 127.0.0.1, both valid for a week.

    Raises
    ------
    UserError
        If the package cryptography is missing.
    """
    try:
        from cryptography import x509
        from cryptography.hazmat.primitives import hashes, serialization
        from cryptography.hazmat.primitives.asymmetric import ec
    except ImportError:
        raise UserError("TLS needs the package cryptography; pip install 'qframe-rl[rehearsal]'.") from None
    ca_key, key = ec.generate_private_key(ec.SECP256R1()), ec.generate_private_key(ec.SECP256R1())
    ca_name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "Rehearsal exchange, trust it in tests alone")])
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "rehearsal exchange")])
    names = [x509.DNSName(host) for host in HOSTS] + [x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]
    begin = datetime.datetime.now(datetime.UTC) - datetime.timedelta(hours=1)

    def builder(subject: x509.Name, public: ec.EllipticCurvePublicKey) -> x509.CertificateBuilder:
        made = x509.CertificateBuilder().subject_name(subject).issuer_name(ca_name).public_key(public)
        made = made.serial_number(x509.random_serial_number())
        return made.not_valid_before(begin).not_valid_after(begin + _LIFE)

    authority = builder(ca_name, ca_key.public_key()).add_extension(x509.BasicConstraints(True, 0), critical=True)
    signs = x509.KeyUsage(False, False, False, False, False, True, True, False, False)
    authority = authority.add_extension(signs, critical=True)
    identity = x509.SubjectKeyIdentifier.from_public_key(ca_key.public_key())
    ca = authority.add_extension(identity, critical=False).sign(ca_key, hashes.SHA256())
    leaf = builder(name, key.public_key()).add_extension(x509.SubjectAlternativeName(names), critical=False)
    issuer = x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(identity)
    signed = leaf.add_extension(issuer, critical=False).sign(ca_key, hashes.SHA256())
    pem = serialization.Encoding.PEM
    secret = key.private_bytes(pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    return Paper(ca.public_bytes(pem), signed.public_bytes(pem), secret)


def server_context(paper: Paper) -> ssl.SSLContext:
    """TLS settings of the exchange."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "exchange.pem"
        path.touch(mode=0o600)
        path.write_bytes(paper.key_pem + paper.certificate_pem)
        context.load_cert_chain(path)
    return context


def client_context(paper: Paper) -> ssl.SSLContext:
    """TLS settings of a client that trusts this authority and no other."""
    return ssl.create_default_context(cadata=paper.ca_pem.decode())
