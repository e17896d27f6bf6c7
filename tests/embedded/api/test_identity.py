"""Tokens, rules and certificates on their own, without a server."""

import base64
import json
from datetime import UTC, datetime, timedelta

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding
from hypothesis import given
from hypothesis import strategies as st

from tensorfusion.embedded.access.certificates import Authority, user_of
from tensorfusion.embedded.access.rules import Rule, uncovered
from tensorfusion.embedded.access.tokens import AccountTokens, TokenError, Tokens, read_token_file
from tensorfusion.embedded.access.users import account_of, service_account
from tensorfusion.embedded.negotiation import Form, NotAcceptable, negotiate
from tensorfusion.embedded.store import ObjectKey, Record, Store
from tensorfusion.errors import ConfigError
from tensorfusion.testing.clock import VirtualClock

NOW = datetime(2026, 1, 1, tzinfo=UTC)
AUDIENCE = ("https://kubernetes.default.svc",)


@pytest.fixture
async def store(tmp_path):
    async with Store.open(tmp_path / "store.db") as found:
        key = ObjectKey("serviceaccounts", "ns", "bob")
        await found.put(key, expected=0, make=lambda revision: Record(key, revision, "uid-1", b"{}", {}, {}, ()))
        yield found


async def test_a_token_holds_until_it_expires(store, tmp_path) -> None:
    clock = VirtualClock(NOW)
    tokens = AccountTokens(tmp_path / "sa.key", store, clock=clock)
    token = tokens.sign("ns", "bob", "uid-1", seconds=600, audiences=AUDIENCE, bound={})
    verified = tokens.verify(token)
    assert verified.user.name == "system:serviceaccount:ns:bob"
    assert verified.user.uid == "uid-1"
    await clock.advance(599)
    tokens.verify(token)
    await clock.advance(1)
    with pytest.raises(TokenError, match="expired"):
        tokens.verify(token)


async def test_a_changed_token_is_none(store, tmp_path) -> None:
    tokens = AccountTokens(tmp_path / "sa.key", store, clock=VirtualClock(NOW))
    token = tokens.sign("ns", "bob", "uid-1", seconds=600, audiences=AUDIENCE, bound={})
    header, claims, signature = token.split(".")
    decoded = json.loads(base64.urlsafe_b64decode(claims + "=" * (-len(claims) % 4)))
    forged = {**decoded, "sub": "system:serviceaccount:kube-system:admin", "exp": 9_999_999_999}
    other = base64.urlsafe_b64encode(json.dumps(forged).encode()).rstrip(b"=").decode()
    none = base64.urlsafe_b64encode(b'{"alg":"none"}').rstrip(b"=").decode()
    for bad in (
        f"{header}.{other}.{signature}",
        f"{none}.{claims}.",
        f"{none}.{claims}.{signature}",
        f"{header}.{claims}",
    ):
        with pytest.raises(TokenError, match="invalid bearer token"):
            tokens.verify(bad)
    foreign = AccountTokens(tmp_path / "other.key", store, clock=VirtualClock(NOW))
    with pytest.raises(TokenError):
        foreign.verify(token)


async def test_a_token_is_for_its_audience_and_its_account(store, tmp_path) -> None:
    tokens = AccountTokens(tmp_path / "sa.key", store, clock=VirtualClock(NOW))
    elsewhere = tokens.sign("ns", "bob", "uid-1", seconds=600, audiences=("vault",), bound={})
    with pytest.raises(TokenError, match="invalid for the target audiences"):
        tokens.verify(elsewhere)
    assert tokens.verify(elsewhere, ("vault",)).audiences == ("vault",)
    replaced = tokens.sign("ns", "bob", "uid-0", seconds=600, audiences=AUDIENCE, bound={})
    with pytest.raises(TokenError, match="service account is gone"):
        tokens.verify(replaced)


async def test_the_signing_key_is_kept(store, tmp_path) -> None:
    token = AccountTokens(tmp_path / "sa.key", store, clock=VirtualClock(NOW)).sign(
        "ns", "bob", "uid-1", seconds=600, audiences=AUDIENCE, bound={}
    )
    AccountTokens(tmp_path / "sa.key", store, clock=VirtualClock(NOW)).verify(token)
    (tmp_path / "sa.key").write_text("broken")
    with pytest.raises(ConfigError, match=r"sa\.key"):
        AccountTokens(tmp_path / "sa.key", store, clock=VirtualClock(NOW))


@given(st.text(max_size=60) | st.lists(st.text("abcXYZ019-_", max_size=20), min_size=3, max_size=3).map(".".join))
def test_any_text_as_a_token_is_refused(text: str) -> None:
    import tempfile
    from pathlib import Path

    class NoStore:
        def get(self, key: ObjectKey) -> None:
            return None

    with tempfile.TemporaryDirectory() as folder:
        accounts = AccountTokens(Path(folder) / "sa.key", NoStore(), clock=VirtualClock(NOW))  # type: ignore[arg-type]
        with pytest.raises(TokenError):
            Tokens({}, accounts).verify(text)


def test_a_token_file_is_read_as_kube_apiserver_reads_it(tmp_path) -> None:
    path = tmp_path / "tokens.csv"
    path.write_text('a,alice,1,"x,y"\n\nb,bob,2\n')
    users = {user.name: user.groups for user in read_token_file(path).values()}
    assert users == {"alice": ("x", "y", "system:authenticated"), "bob": ("system:authenticated",)}
    assert not {"a", "b"} & set(read_token_file(path))


def test_service_accounts_have_names_and_groups() -> None:
    user = service_account("ns", "bob", "u")
    assert account_of(user.name) == ("ns", "bob")
    assert account_of("alice") is None
    assert "system:serviceaccounts:ns" in user.groups


def rule(verbs: str, groups: str = "", resources: str = "pods", names: str = "") -> Rule:
    return Rule(tuple(verbs.split()), tuple(groups.split(",")), tuple(resources.split()), tuple(names.split()))


@pytest.mark.parametrize(
    ("owned", "wanted", "covered"),
    [
        ([rule("get list")], rule("get"), True),
        ([rule("get")], rule("get list"), False),
        ([rule("get"), rule("list")], rule("get list"), True),
        ([rule("*", "*", "*")], rule("*", "*", "*"), True),
        ([rule("get", "*", "*")], rule("*"), False),
        ([rule("get", names="a b")], rule("get", names="a"), True),
        ([rule("get", names="a")], rule("get"), False),
        ([rule("get", names="a")], rule("get", names="a b"), False),
        ([rule("get", resources="*/status")], rule("get", resources="pods/status"), True),
        ([rule("get", resources="pods")], rule("get", resources="pods/status"), False),
        ([Rule(("get",), urls=("/a/*",))], Rule(("get",), urls=("/a/b",)), True),
        ([Rule(("get",), urls=("/a/*",))], Rule(("get",), urls=("/b",)), False),
    ],
)
def test_which_rules_cover_others(owned, wanted, covered: bool) -> None:
    assert (not uncovered(owned, [wanted])) is covered


def test_certificates_are_kept_while_they_are_good_and_renewed_in_time(tmp_path) -> None:
    authority = Authority.open(tmp_path, NOW)
    path, _ = authority.serving("127.0.0.1", NOW)
    first = path.read_bytes()
    assert Authority.open(tmp_path, NOW).serving("127.0.0.1", NOW)[0].read_bytes() == first
    assert authority.serving("10.1.2.3", NOW)[0].read_bytes() != first
    late = NOW + timedelta(days=3640)
    assert authority.serving("10.1.2.3", late)[0].read_bytes() != first
    names = x509.load_pem_x509_certificate(first).extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert {"localhost", "kubernetes", "kubernetes.default.svc"} <= set(names.get_values_for_type(x509.DNSName))
    assert "127.0.0.1" in [str(address) for address in names.get_values_for_type(x509.IPAddress)]


def test_a_certificate_names_its_user_and_groups(tmp_path) -> None:
    path, _ = Authority.open(tmp_path, NOW).client("eve", "eve", ("g1", "g2"), NOW)
    der = x509.load_pem_x509_certificate(path.read_bytes()).public_bytes(Encoding.DER)
    user = user_of(der)
    assert user is not None
    assert (user.name, user.groups) == ("eve", ("g1", "g2", "system:authenticated"))


def test_a_broken_authority_is_said_and_left(tmp_path) -> None:
    Authority.open(tmp_path, NOW)
    (tmp_path / "ca.crt").write_text("broken")
    with pytest.raises(ConfigError, match=r"ca\.crt or ca\.key is not readable"):
        Authority.open(tmp_path, NOW)
    assert (tmp_path / "ca.crt").read_text() == "broken"


@pytest.mark.parametrize(
    ("accept", "media_type", "form"),
    [
        ("", "application/json", Form.OBJECT),
        ("*/*", "application/json", Form.OBJECT),
        ("application/yaml", "application/yaml", Form.OBJECT),
        ("application/json;as=Table;v=v1;g=meta.k8s.io,application/json", "application/json", Form.TABLE),
        ("application/json;as=Table;v=v1beta1;g=meta.k8s.io,application/json", "application/json", Form.TABLE),
        ("application/json;as=Table;v=v9;g=meta.k8s.io,application/json", "application/json", Form.OBJECT),
        (
            "application/vnd.kubernetes.protobuf;as=PartialObjectMetadata;g=meta.k8s.io;v=v1,application/json",
            "application/json",
            Form.OBJECT,
        ),
        ("text/html, application/json;q=0.1, application/yaml;q=0.9", "application/yaml", Form.OBJECT),
    ],
)
def test_what_is_served_to_whom(accept: str, media_type: str, form: Form) -> None:
    found = negotiate(accept)
    assert (found.media_type, found.form) == (media_type, form)


@given(st.text(max_size=60))
def test_any_accept_header_is_understood_or_refused(accept: str) -> None:
    try:
        negotiate(accept)
    except NotAcceptable as error:
        assert error.status_code == 406
