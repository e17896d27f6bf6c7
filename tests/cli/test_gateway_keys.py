"""``tensorfusion gateway keys --file``: the whole life of a key without a cluster, as programs and people see it."""

import json
import stat
from pathlib import Path

import pytest
import yaml
from click.testing import CliRunner, Result

from tensorfusion.cli.gateway_keys import keys
from tensorfusion.errors import ConfigError
from tensorfusion.gateway.keys.book import KeyBook
from tensorfusion.gateway.keys.errors import InvalidKey
from tensorfusion.gateway.keys.file import read_keys
from tensorfusion.testing.clock import VirtualClock


def run(*arguments: str) -> Result:
    return CliRunner().invoke(keys, arguments, catch_exceptions=False)


def who(path: Path, key: str) -> str:
    book = KeyBook(VirtualClock())
    book.replace("file", read_keys(path))
    return book.find([(b"Authorization", f"Bearer {key}".encode())]).id


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "keys.yaml"


def test_a_key_is_printed_once_and_only_its_hash_is_kept(path: Path) -> None:
    done = run("create", "ci", "--file", str(path), "--model", "qwen3-*", "--rpm", "60", "--expires", "90d")
    key = done.stdout.strip()
    assert len(key) == 46
    assert key[:9] not in done.stderr
    assert "key default/ci made: keep it now" in done.stderr
    assert key[:9] not in path.read_text()
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert who(path, key) == "default/ci"
    (kept,) = yaml.safe_load(path.read_text())["keys"]
    assert (kept["prefix"], kept["models"], kept["rateLimit"]) == (key[:8], ["qwen3-*"], {"requestsPerMinute": 60})


def test_a_program_gets_the_key_with_its_record(path: Path) -> None:
    told = json.loads(run("create", "ci", "-f", str(path), "-n", "red", "--label", "app=ci", "-o", "json").stdout)
    assert who(path, told["key"]) == "red/ci"
    assert told["labels"] == {"app": "ci"}
    assert "key" not in json.loads(run("show", "ci", "-f", str(path), "-n", "red", "-o", "json").stdout)


def test_an_administrator_of_a_namespace_is_none_of_the_gateway(path: Path) -> None:
    for name, options in (("boss", ["--no-operator"]), ("ops", [])):
        run("create", name, "-f", str(path), "-n", "red", "--scope", "admin", *options)
    assert {key.name: key.operator for key in read_keys(path)} == {"boss": False, "ops": True}


def test_a_rotated_key_and_the_one_before_are_good_together_until_the_overlap_is_ended(path: Path) -> None:
    old = run("create", "ci", "-f", str(path), "--rpm", "7").stdout.strip()
    done = run("rotate", "ci", "-f", str(path), "--overlap", "1h")
    new = done.stdout.strip()
    assert "the one before is good until 20" in done.stderr
    assert who(path, old) == who(path, new) == "default/ci"
    assert "active, 1 before it" in run("list", "-f", str(path)).stdout
    assert "only its present text is good" in run("revoke", "ci", "-f", str(path), "--previous").stdout
    assert who(path, new) == "default/ci"
    with pytest.raises(InvalidKey):
        who(path, old)
    assert read_keys(path)[0].rate_limit is not None


def test_a_rotation_without_overlap_ends_the_old_key_at_once(path: Path) -> None:
    old = run("create", "ci", "-f", str(path)).stdout.strip()
    new = run("rotate", "ci", "-f", str(path), "--overlap", "0").stdout.strip()
    assert who(path, new) == "default/ci"
    with pytest.raises(InvalidKey):
        who(path, old)


def test_a_revoked_key_stays_in_the_list_and_a_deleted_one_does_not(path: Path) -> None:
    key = run("create", "ci", "-f", str(path)).stdout.strip()
    assert "key default/ci disabled" in run("revoke", "ci", "-f", str(path)).stdout
    with pytest.raises(InvalidKey, match="disabled"):
        who(path, key)
    assert "disabled" in run("list", "-f", str(path)).stdout
    assert "key ci deleted" in run("revoke", "ci", "-f", str(path), "--delete").stdout
    assert "no keys: make one" in run("list", "-f", str(path)).stderr


def test_the_list_says_what_keys_are_good_for(path: Path) -> None:
    run("create", "b", "-f", str(path), "-n", "red", "--tpm", "1000", "--concurrent", "4", "--scope", "admin")
    run("create", "a", "-f", str(path), "-n", "red")
    lines = run("list", "-f", str(path), "-A").stdout.splitlines()
    assert lines[0].split()[:4] == ["NAMESPACE", "NAME", "PREFIX", "USER"]
    assert lines[1].split()[1] == "a"
    assert "1000 tok/min, 4 at once" in lines[2]
    assert run("list", "-f", str(path), "-n", "blue").stdout == ""


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["create", "ci", "--expires", "yesterday"], "--expires: wanted a time such as"),
        (["create", "ci", "--expires", "2020-01-01T00:00:00Z"], "--expires: wanted a moment in the future"),
        (["create", "ci", "--daily", "lots"], "--daily: wanted dollars"),
        (["create", "ci", "--label", "x"], "--label: wanted KEY=VALUE, found 'x'"),
        (["create", "C I"], "keys[0].name: wanted lower-case letters"),
        (["rotate", "nobody"], "key default/nobody: there is none"),
        (["revoke", "nobody"], "key default/nobody: there is none"),
        (["show", "nobody"], "key default/nobody: there is none"),
        (["revoke", "ci", "--delete", "--previous"], "--previous, --delete: wanted one of them, found both"),
    ],
)
def test_what_cannot_be_done_is_said_in_one_line_and_changes_nothing(
    path: Path, arguments: list[str], said: str
) -> None:
    path.write_text("keys: []\n")
    with pytest.raises(ConfigError) as caught:
        run(*arguments, "--file", str(path))
    assert said in str(caught.value)
    assert path.read_text() == "keys: []\n"


def test_a_second_key_of_a_name_is_refused(path: Path) -> None:
    run("create", "ci", "-f", str(path))
    with pytest.raises(ConfigError, match="key default/ci: there is one already: choose another name"):
        run("create", "ci", "-f", str(path))


def test_a_key_whose_text_lies_elsewhere_is_not_rotated_here(path: Path) -> None:
    path.write_text("keys:\n- name: old\n  keyFrom: {env: SOMETHING}\n")
    with pytest.raises(ConfigError, match="its text lies in keyFrom"):
        run("rotate", "old", "-f", str(path))
    assert "active" in run("list", "-f", str(path)).stdout


def test_four_keys_are_good_beside_the_present_one_at_most(path: Path) -> None:
    run("create", "ci", "-f", str(path))
    for _ in range(4):
        run("rotate", "ci", "-f", str(path))
    with pytest.raises(ConfigError, match="4 earlier keys are good beside it"):
        run("rotate", "ci", "-f", str(path))
