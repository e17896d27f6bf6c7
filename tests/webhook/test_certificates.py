"""Certificates are made once, renewed in time, and never left half written."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509

from tensorfusion.errors import ConfigError
from tensorfusion.webhook.certificates import Certificates, ensure_certificates

NOW = datetime(2026, 1, 1, tzinfo=UTC)
HOSTS = ["127.0.0.1", "localhost"]


def serving(made: Certificates) -> x509.Certificate:
    return x509.load_pem_x509_certificate(made.certificate.read_bytes())


def test_a_second_start_keeps_what_is_there(tmp_path: Path) -> None:
    first = ensure_certificates(tmp_path / "pki", HOSTS, now=NOW)
    before = first.certificate.read_bytes()
    again = ensure_certificates(tmp_path / "pki", HOSTS, now=NOW + timedelta(days=300))
    assert (again.certificate.read_bytes(), again.ca) == (before, first.ca)


def test_keys_are_readable_by_their_owner_only(tmp_path: Path) -> None:
    made = ensure_certificates(tmp_path, HOSTS, now=NOW)
    assert made.key.stat().st_mode & 0o777 == 0o600
    assert (tmp_path / "ca.key").stat().st_mode & 0o777 == 0o600


def test_the_certificate_is_renewed_before_it_ends_and_the_ca_stays(tmp_path: Path) -> None:
    first = ensure_certificates(tmp_path, HOSTS, now=NOW)
    ends = serving(first).not_valid_after_utc
    later = ensure_certificates(tmp_path, HOSTS, now=ends - timedelta(days=100))
    assert serving(later).not_valid_after_utc > ends
    assert later.ca == first.ca
    serving(later).verify_directly_issued_by(x509.load_pem_x509_certificate(later.ca))


def test_a_ca_near_its_end_is_replaced_with_everything_it_signed(tmp_path: Path) -> None:
    first = ensure_certificates(tmp_path, HOSTS, now=NOW)
    later = ensure_certificates(tmp_path, HOSTS, now=NOW + timedelta(days=3600))
    assert later.ca != first.ca
    serving(later).verify_directly_issued_by(x509.load_pem_x509_certificate(later.ca))


def test_other_hosts_need_another_certificate(tmp_path: Path) -> None:
    ensure_certificates(tmp_path, HOSTS, now=NOW)
    made = ensure_certificates(tmp_path, ["hook.system.svc"], now=NOW)
    names = serving(made).extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert names.get_values_for_type(x509.DNSName) == ["hook.system.svc"]


@pytest.mark.parametrize("file", ["tls.crt", "tls.key", "ca.crt", "ca.key"])
@pytest.mark.parametrize("content", [b"", b"nonsense", None])
def test_a_broken_file_is_made_anew(tmp_path: Path, file: str, content: bytes | None) -> None:
    ensure_certificates(tmp_path, HOSTS, now=NOW)
    if content is None:
        (tmp_path / file).unlink()
    else:
        (tmp_path / file).write_bytes(content)
    made = ensure_certificates(tmp_path, HOSTS, now=NOW)
    serving(made).verify_directly_issued_by(x509.load_pem_x509_certificate(made.ca))


def test_a_folder_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(ConfigError, match="certificates in"):
        ensure_certificates(tmp_path / "file" / "pki", HOSTS, now=NOW)
