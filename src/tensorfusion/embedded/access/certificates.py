"""The cluster's own certificate authority: serving and client certificates, made once and kept in the data folder.

Also reads who a client certificate stands for: common name is the user, organizations are the groups.
"""

import datetime as dt
import ipaddress
import os
from contextlib import suppress
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from tensorfusion.embedded.access.users import AUTHENTICATED, User
from tensorfusion.errors import ConfigError

_CA_DAYS = 3650
_LEAF_DAYS = 3650
_EARLIER = dt.timedelta(minutes=5)
_NAMES = (
    "localhost",
    "kubernetes",
    "kubernetes.default",
    "kubernetes.default.svc",
    "kubernetes.default.svc.cluster.local",
)


def write_private(path: Path, data: bytes) -> None:
    """Write a file that only its owner can read, whole or not at all.

    Raises:
        ConfigError: it cannot be written.
    """
    partial = path.with_name(path.name + ".new")
    try:
        partial.unlink(missing_ok=True)
        with os.fdopen(os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        partial.replace(path)
    except OSError as error:
        with suppress(OSError):
            partial.unlink()
        raise ConfigError(f"cannot write {path}: {error.strerror}; make it writable and free space") from error


class Authority:
    """A certificate authority in a folder: ``ca.crt`` and ``ca.key``."""

    def __init__(self, folder: Path, certificate: x509.Certificate, key: ec.EllipticCurvePrivateKey) -> None:
        self.folder = folder
        self._certificate = certificate
        self._key = key

    @classmethod
    def open(cls, folder: Path, now: dt.datetime) -> "Authority":
        """Load the authority, making it if the folder has none.

        Raises:
            ConfigError: the files are there and cannot be read as a certificate and its key.
        """
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        certificate_path, key_path = folder / "ca.crt", folder / "ca.key"
        if not certificate_path.exists() or not key_path.exists():
            key = ec.generate_private_key(ec.SECP256R1())
            name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "tensorfusion-ca")])
            certificate = (
                _builder(name, name, now, days=_CA_DAYS)
                .public_key(key.public_key())
                .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
                .add_extension(_usage(signs=True), critical=True)
                .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
                .sign(key, hashes.SHA256())
            )
            write_private(key_path, _private_pem(key))
            write_private(certificate_path, _pem(certificate))
        try:
            certificate = x509.load_pem_x509_certificate(certificate_path.read_bytes())
            loaded = serialization.load_pem_private_key(key_path.read_bytes(), None)
        except ValueError as error:
            raise ConfigError(
                f"{folder}: ca.crt or ca.key is not readable: {error}: delete both to make new ones"
            ) from error
        if not isinstance(loaded, ec.EllipticCurvePrivateKey):
            raise ConfigError(f"{key_path}: wanted an elliptic curve key: delete ca.crt and ca.key to make new ones")
        return cls(folder, certificate, loaded)

    @property
    def path(self) -> Path:
        return self.folder / "ca.crt"

    def pem(self) -> bytes:
        return _pem(self._certificate)

    def serving(self, bind: str, now: dt.datetime) -> tuple[Path, Path]:
        """Certificate and key of the server, for loopback, the in-cluster names and the address it binds to."""
        addresses = {ipaddress.ip_address("127.0.0.1"), ipaddress.ip_address("::1")}
        names = list(_NAMES)
        try:
            addresses.add(ipaddress.ip_address(bind))
        except ValueError:
            names.append(bind)
        alternatives = x509.SubjectAlternativeName(
            [x509.DNSName(name) for name in names] + [x509.IPAddress(address) for address in sorted(addresses, key=str)]
        )
        return self._leaf("apiserver", [x509.NameAttribute(NameOID.COMMON_NAME, "kube-apiserver")], now, alternatives)

    def client(self, file: str, user: str, groups: tuple[str, ...], now: dt.datetime) -> tuple[Path, Path]:
        """Certificate and key of a user."""
        attributes = [x509.NameAttribute(NameOID.ORGANIZATION_NAME, group) for group in groups]
        return self._leaf(file, [*attributes, x509.NameAttribute(NameOID.COMMON_NAME, user)], now, None)

    def _leaf(
        self,
        file: str,
        subject: list[x509.NameAttribute[str]],
        now: dt.datetime,
        alternatives: x509.SubjectAlternativeName | None,
    ) -> tuple[Path, Path]:
        certificate_path, key_path = self.folder / f"{file}.crt", self.folder / f"{file}.key"
        if key_path.exists() and self._still_good(certificate_path, now, alternatives):
            return certificate_path, key_path
        key = ec.generate_private_key(ec.SECP256R1())
        purpose = ExtendedKeyUsageOID.SERVER_AUTH if alternatives is not None else ExtendedKeyUsageOID.CLIENT_AUTH
        builder = (
            _builder(x509.Name(subject), self._certificate.subject, now, days=_LEAF_DAYS)
            .public_key(key.public_key())
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .add_extension(_usage(signs=False), critical=True)
            .add_extension(x509.ExtendedKeyUsage([purpose]), critical=False)
            .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(self._key.public_key()), critical=False)
        )
        if alternatives is not None:
            builder = builder.add_extension(alternatives, critical=False)
        write_private(key_path, _private_pem(key))
        write_private(certificate_path, _pem(builder.sign(self._key, hashes.SHA256())))
        return certificate_path, key_path

    def _still_good(self, path: Path, now: dt.datetime, alternatives: x509.SubjectAlternativeName | None) -> bool:
        """Whether a certificate made earlier is this authority's, lasts, and has the names that are wanted."""
        try:
            found = x509.load_pem_x509_certificate(path.read_bytes())
            found.verify_directly_issued_by(self._certificate)
        except Exception:  # noqa: BLE001  # missing, damaged or foreign: a new one is made
            return False
        if found.not_valid_after_utc < now + dt.timedelta(days=30):
            return False
        if alternatives is None:
            return True
        try:
            has = found.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        except x509.ExtensionNotFound:
            return False
        return set(has) == set(alternatives)


def user_of(certificate: bytes) -> User | None:
    """The user of a client certificate (DER) whose chain the TLS layer has verified; None without a common name."""
    subject = x509.load_der_x509_certificate(certificate).subject
    names = subject.get_attributes_for_oid(NameOID.COMMON_NAME)
    if not names:
        return None
    groups = tuple(str(part.value) for part in subject.get_attributes_for_oid(NameOID.ORGANIZATION_NAME))
    return User(str(names[0].value), (*groups, AUTHENTICATED))


def _builder(subject: x509.Name, issuer: x509.Name, now: dt.datetime, *, days: int) -> x509.CertificateBuilder:
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - _EARLIER)
        .not_valid_after(now + dt.timedelta(days=days))
    )


def _usage(*, signs: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=True,
        content_commitment=False,
        key_encipherment=not signs,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=signs,
        crl_sign=signs,
        encipher_only=False,
        decipher_only=False,
    )


def _private_pem(key: ec.EllipticCurvePrivateKey) -> bytes:
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )


def _pem(certificate: x509.Certificate) -> bytes:
    return certificate.public_bytes(serialization.Encoding.PEM)
