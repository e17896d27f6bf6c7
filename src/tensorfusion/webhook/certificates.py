"""A certificate for the webhook, signed by a CA of our own, kept in a folder and renewed before it ends.

The API server trusts the CA through the webhook configuration, so no other party has to know it. Renewal happens when
a process starts; the lifetime is long enough that processes start more often than that.
"""

import ipaddress
import os
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from tensorfusion.errors import ConfigError

_LIFETIME = timedelta(days=730)
_CA_LIFETIME = timedelta(days=3650)
_RENEW_BEFORE = timedelta(days=180)
_SKEW = timedelta(minutes=5)


@dataclass(frozen=True, slots=True)
class Certificates:
    """Files for the listener, and the CA (PEM) for the API server."""

    certificate: Path
    key: Path
    ca: bytes


def ensure_certificates(folder: Path, hosts: Sequence[str], *, now: datetime) -> Certificates:
    """The serving certificate for ``hosts`` (names and addresses) in a folder; made or renewed where needed.

    Raises:
        ConfigError: the folder cannot be written.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        ca_path, ca_key_path = folder / "ca.crt", folder / "ca.key"
        certificate_path, key_path = folder / "tls.crt", folder / "tls.key"
        ca, ca_key = _load(ca_path, ca_key_path)
        if ca is None or ca_key is None or _ends(ca, now + _LIFETIME):
            ca, ca_key = _make_ca(now)
            _store(ca_path, ca_key_path, ca, ca_key)
            certificate_path.unlink(missing_ok=True)
        current, _ = _load(certificate_path, key_path)
        if current is None or not _serves(current, ca, hosts) or _ends(current, now + _RENEW_BEFORE):
            key = ec.generate_private_key(ec.SECP256R1())
            _store(certificate_path, key_path, _make_serving(key, ca, ca_key, hosts=hosts, now=now), key)
        return Certificates(certificate_path, key_path, ca_path.read_bytes())
    except OSError as error:
        raise ConfigError(f"certificates in {folder} cannot be written: {error.strerror or error}") from error


def _make_ca(now: datetime) -> tuple[x509.Certificate, ec.EllipticCurvePrivateKey]:
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "tensorfusion-webhook-ca")])
    usage = x509.KeyUsage(
        digital_signature=True,
        key_cert_sign=True,
        crl_sign=True,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        encipher_only=False,
        decipher_only=False,
    )
    certificate = (
        _builder(name, name, key, now=now, lifetime=_CA_LIFETIME)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(usage, critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .sign(key, hashes.SHA256())
    )
    return certificate, key


def _make_serving(
    key: ec.EllipticCurvePrivateKey,
    ca: x509.Certificate,
    ca_key: ec.EllipticCurvePrivateKey,
    *,
    hosts: Sequence[str],
    now: datetime,
) -> x509.Certificate:
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "tensorfusion-webhook")])
    return (
        _builder(subject, ca.subject, key, now=now, lifetime=_LIFETIME)
        .add_extension(x509.SubjectAlternativeName([_general_name(host) for host in hosts]), critical=False)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(ca_key.public_key()), critical=False)
        .sign(ca_key, hashes.SHA256())
    )


def _builder(
    subject: x509.Name,
    issuer: x509.Name,
    key: ec.EllipticCurvePrivateKey,
    *,
    now: datetime,
    lifetime: timedelta,
) -> x509.CertificateBuilder:
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - _SKEW)
        .not_valid_after(now + lifetime)
    )


def _general_name(host: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(host))
    except ValueError:
        return x509.DNSName(host)


def _serves(certificate: x509.Certificate, ca: x509.Certificate, hosts: Sequence[str]) -> bool:
    """Whether a certificate is one of this CA and for exactly these hosts."""
    try:
        certificate.verify_directly_issued_by(ca)
        names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except Exception:  # noqa: BLE001  whatever is wrong with it, it does not serve
        return False
    return set(names) == {_general_name(host) for host in hosts}


def _ends(certificate: x509.Certificate, moment: datetime) -> bool:
    return certificate.not_valid_after_utc < moment


def _load(certificate: Path, key: Path) -> tuple[x509.Certificate | None, ec.EllipticCurvePrivateKey | None]:
    """A pair that belongs together, or nothing: a broken pair is made anew."""
    try:
        loaded = x509.load_pem_x509_certificate(certificate.read_bytes())
        private = serialization.load_pem_private_key(key.read_bytes(), password=None)
    except (FileNotFoundError, ValueError, TypeError):
        return None, None
    if not isinstance(private, ec.EllipticCurvePrivateKey) or private.public_key() != loaded.public_key():
        return None, None
    return loaded, private


def _store(
    certificate_path: Path, key_path: Path, certificate: x509.Certificate, key: ec.EllipticCurvePrivateKey
) -> None:
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    _write(key_path, private, mode=0o600)
    _write(certificate_path, certificate.public_bytes(serialization.Encoding.PEM), mode=0o644)


def _write(path: Path, content: bytes, *, mode: int) -> None:
    """Replace a file in one step; it never has a wider mode than asked for."""
    fresh = path.with_suffix(f"{path.suffix}.new")
    fresh.unlink(missing_ok=True)
    descriptor = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
    with os.fdopen(descriptor, "wb") as file:
        file.write(content)
    fresh.replace(path)
