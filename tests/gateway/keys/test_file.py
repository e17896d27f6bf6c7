"""Keys of a YAML file: what is read, what is refused, and in which words."""

import stat
from pathlib import Path
from typing import Any

import pytest
import yaml

from tensorfusion import private_files
from tensorfusion.errors import ConfigError
from tensorfusion.gateway.keys.book import KeyBook
from tensorfusion.gateway.keys.file import parse_keys, read_keys
from tensorfusion.gateway.keys.record import Budget
from tensorfusion.gateway.keys.secret import digest_of
from tensorfusion.model.llm_key import KeyScope

KEY = "tf-" + "k" * 43
HASH = digest_of(KEY.encode()).hex()


def bearer(key: str) -> list[tuple[bytes, bytes]]:
    return [(b"Authorization", f"Bearer {key}".encode())]


def write(path: Path, *keys: dict[str, Any]) -> Path:
    path.write_text(yaml.safe_dump({"keys": list(keys)}))
    return path


def test_a_key_of_a_file_has_all_fields_of_an_object(tmp_path: Path) -> None:
    path = tmp_path / "keys.yaml"
    path.write_text(
        f"""
keys:
  - name: ci
    namespace: team-red
    hash: {HASH}
    prefix: tf-kkkkk
    user: ann
    scopes: [infer, logs]
    models: ["qwen3-*"]
    routes: [chat]
    rateLimit: {{requestsPerMinute: 60}}
    budget: {{daily: "$10.50", monthly: "200"}}
    expiresAt: 2027-01-01T00:00:00Z
    createdAt: 2026-01-01T00:00:00Z
    metadata: {{cost-center: "7"}}
    labels: {{app: ci}}
"""
    )
    (record,) = read_keys(path)
    assert (record.id, record.user, record.prefix) == ("team-red/ci", "ann", "tf-kkkkk")
    assert record.scopes == {KeyScope.INFER, KeyScope.LOGS}
    assert record.budget == Budget(10_500_000, 200_000_000)
    assert str(record.expires_at) == "2027-01-01 00:00:00+00:00"
    assert record.rate_limit is not None
    assert record.rate_limit.requests_per_minute == 60
    assert record.metadata == {"cost-center": "7"}
    assert record.labels == {"app": "ci"}
    assert "team-red/chat" in record.routes


def test_a_key_may_come_from_the_environment_or_a_file(tmp_path: Path, book: KeyBook) -> None:
    (tmp_path / "secret").write_text("sk-made-elsewhere-0123456789\n")
    path = write(
        tmp_path / "keys.yaml",
        {"name": "a", "keyFrom": {"env": "A_KEY"}},
        {"name": "b", "keyFrom": {"file": str(tmp_path / "secret")}},
    )
    book.replace("file", read_keys(path, {"A_KEY": KEY}))
    record = book.find(bearer(KEY))
    assert (record.id, record.prefix) == ("default/a", "tf-kkkkk")
    assert book.find(bearer("sk-made-elsewhere-0123456789")).prefix == ""


@pytest.mark.parametrize(
    ("entry", "said"),
    [
        ({"name": "a"}, "keys[0] (a): wanted hash or keyFrom, found neither"),
        ({"name": "a", "hash": HASH, "keyFrom": {"env": "A"}}, "wanted hash or keyFrom, found both"),
        ({"name": "a", "hash": KEY}, "(a).hash: wanted the SHA-256 of a key, 64 digits of 0-9 and a-f, found 46 char"),
        ({"name": "a", "keyFrom": {"env": "SHORT"}}, "environment variable SHORT: wanted a key of 20 to 256"),
        ({"name": "a", "keyFrom": {"env": "NONE"}}, "found 0 (it is empty or unset)"),
        ({"name": "a", "keyFrom": {}}, "keyFrom: wanted env or file, found neither"),
        ({"name": "a", "keyFrom": {"env": "A", "file": "b"}}, "keyFrom: wanted env or file, found both"),
        ({"name": "a", "keyFrom": {"file": "/no/such"}}, "/no/such cannot be read: No such file"),
        ({"name": "A b", "hash": HASH}, "keys[0].name: wanted lower-case letters"),
        ({"hash": HASH}, "keys[0].name: wanted"),
        ({"name": "a", "hash": HASH, "modells": []}, "unknown field 'modells': did you mean models?"),
        ({"name": "a", "hash": HASH, "scopes": ["all"]}, "keys[0].scopes[0]"),
        ({"name": "a", "hash": HASH, "expiresAt": "soon"}, "(a).expiresAt: wanted a time such as"),
        ({"name": "a", "hash": HASH, "expiresAt": "2027-01-01T00:00:00"}, "wanted a time with its zone"),
        ({"name": "a", "hash": HASH, "budget": {"daily": "lots"}}, '(a).budget.daily: wanted dollars such as "12.50"'),
        ({"name": "a", "hash": HASH, "previous": [{"hash": "x", "until": "2027-01-01T00:00:00Z"}]}, "previous[0].hash"),
    ],
)
def test_an_entry_that_cannot_be_used_is_named_with_what_is_wanted(entry: dict[str, Any], said: str) -> None:
    with pytest.raises(ConfigError) as caught:
        parse_keys([entry], at="f.yaml: keys", environ={"SHORT": "hunter2", "A": KEY})
    assert said in str(caught.value)
    assert "hunter2" not in str(caught.value)
    assert KEY[:9] not in str(caught.value)


def test_a_name_or_a_hash_twice_is_refused() -> None:
    with pytest.raises(ConfigError, match="there is a key default/a already"):
        parse_keys([{"name": "a", "hash": HASH}, {"name": "a", "hash": "0" * 64}], at="keys")
    with pytest.raises(ConfigError, match=r"keys\[1\]: has the hash of key default/a"):
        parse_keys([{"name": "a", "hash": HASH}, {"name": "b", "hash": HASH}], at="keys")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("- a\n", "wanted a list of keys under `keys:`"),
        ("keys: 5\n", "wanted a list of keys under `keys:`"),
        ("keys: []\nroutes: []\n", "wanted a list of keys under `keys:` and nothing else"),
        ("keys: [\n", "is no YAML in line"),
    ],
)
def test_a_file_that_is_no_list_of_keys_is_refused(tmp_path: Path, text: str, said: str) -> None:
    (tmp_path / "keys.yaml").write_text(text)
    with pytest.raises(ConfigError, match=said):
        read_keys(tmp_path / "keys.yaml")
    with pytest.raises(ConfigError, match="cannot be read: No such file"):
        read_keys(tmp_path / "nothing.yaml")


def test_who_hangs_while_it_changes_a_file_is_not_waited_for_without_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(private_files, "PATIENCE", 0.05)
    path = tmp_path / "keys.yaml"
    with (
        private_files.only_writer(path),
        pytest.raises(ConfigError, match=r"keys.yaml: somebody else has been changing it"),
        private_files.only_writer(path),
    ):
        pass
    with private_files.only_writer(path):
        private_files.write_secret(path, "keys: []")
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
