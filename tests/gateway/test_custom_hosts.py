"""Addresses that callers may name."""

import pytest

from tensorfusion.errors import ConfigError
from tensorfusion.gateway.custom_hosts import CustomHosts


@pytest.mark.parametrize(
    ("listed", "url", "may"),
    [
        ("models.internal", "http://models.internal/v1", True),
        ("models.internal", "https://MODELS.internal.:8443", True),
        ("models.internal", "http://models.internal.evil.com", False),
        ("models.internal:8000", "http://models.internal:8000/v1", True),
        ("models.internal:8000", "http://models.internal/v1", False),
        ("models.internal:443", "https://models.internal/v1", True),
        ("*.internal", "http://a.b.internal", True),
        ("*.internal", "http://internal", False),
        ("*.internal", "http://evil.com/.internal", False),
        ("*.internal", "http://evil.com\\.internal", False),
        ("*.internal", "http://evil.com%2f.internal", False),
        ("*.internal", "http://good.internal@evil.com", False),
        ("*a*", "http://[fe80::a]/", False),
        ("10.0.0.0/24", "http://10.0.0.7:8000/v1", True),
        ("10.0.0.0/24", "http://10.0.1.7", False),
        ("10.0.0.0/24", "http://10.0.0.evil.com", False),
        ("10.0.0.0/24", "http://[::ffff:10.0.0.7]/", True),
        ("127.0.0.1", "http://2130706433/", False),
        ("127.0.0.1:8000", "http://127.0.0.1:8000", True),
        ("127.0.0.1:8000", "http://127.0.0.1:8001", False),
        ("fd00::/8", "http://[fd00::1]:80", True),
        ("[fd00::1]:8000", "http://[fd00::1]:8000", True),
        ("[fd00::1]:8000", "http://[fd00::1]", False),
        ("*", "http://10.0.0.7:8000/v1", True),
        ("*", "http://models.internal", True),
        ("*:443", "http://models.internal", False),
        ("models.internal", "http://models.internal:x", False),
    ],
)
def test_a_url_is_asked_if_its_host_is_listed(listed: str, url: str, may: bool) -> None:
    assert CustomHosts([listed])(url) is may
    assert CustomHosts(["other.example", listed])(url) is may


def test_none_is_asked_where_none_is_listed() -> None:
    assert not CustomHosts()("http://models.internal")


@pytest.mark.parametrize(
    "listed", ["", "10.0.0.*", "http://models.internal", "a.b:0", "a.b:99999", "a b", "10.0.0.0/99"]
)
def test_what_is_no_host_is_refused(listed: str) -> None:
    with pytest.raises(ConfigError, match="wanted a name such as"):
        CustomHosts([listed])
