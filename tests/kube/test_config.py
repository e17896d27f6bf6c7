"""Kubeconfig files: what they mean, and the one line they get when they cannot be used."""

import base64
from pathlib import Path
from typing import Any

import pytest
import yaml

from tensorfusion.errors import ConfigError
from tensorfusion.kube.config import default_connection, in_cluster, load_kubeconfig
from tensorfusion.kube.credentials import TokenSource, tls_context
from tensorfusion.testing.certificates import Authority


def kubeconfig(path: Path, *, cluster: dict[str, Any] | None = None, user: dict[str, Any] | None = None) -> Path:
    document = {
        "clusters": [{"name": "c", "cluster": {"server": "https://api.example:6443/", **(cluster or {})}}],
        "users": [{"name": "u", "user": user or {}}],
        "contexts": [
            {"name": "main", "context": {"cluster": "c", "user": "u", "namespace": "team"}},
            {"name": "other", "context": {"cluster": "c"}},
        ],
        "current-context": "main",
    }
    path.write_text(yaml.safe_dump(document))
    return path


def test_a_token_and_the_namespace_of_the_current_context_are_read(tmp_path: Path) -> None:
    connection = load_kubeconfig(kubeconfig(tmp_path / "config", user={"token": "abc"}))
    assert (connection.server, connection.token, connection.namespace) == ("https://api.example:6443", "abc", "team")


def test_another_context_may_be_named_and_may_have_no_user(tmp_path: Path) -> None:
    connection = load_kubeconfig(kubeconfig(tmp_path / "config", user={"token": "abc"}), "other")
    assert (connection.token, connection.namespace) == (None, "default")


def test_relative_paths_belong_to_the_folder_of_the_file(tmp_path: Path) -> None:
    (tmp_path / "ca.crt").write_bytes(b"trust")
    (tmp_path / "me.crt").write_bytes(b"certificate")
    user = {
        "client-certificate": "me.crt",
        "client-key-data": base64.b64encode(b"key").decode(),
        "tokenFile": "token",
        "token": "goes behind the file",
    }
    connection = load_kubeconfig(
        kubeconfig(tmp_path / "config", cluster={"certificate-authority": "ca.crt"}, user=user)
    )
    assert (connection.ca_data, connection.client_cert, connection.client_key) == (b"trust", b"certificate", b"key")
    assert (connection.token_file, connection.token) == (tmp_path / "token", None)


def test_several_files_are_merged_and_the_first_wins(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = tmp_path / "first"
    first.write_text(yaml.safe_dump({"users": [{"name": "u", "user": {"token": "first"}}]}))
    second = kubeconfig(tmp_path / "second", user={"token": "second"})
    monkeypatch.setenv("KUBECONFIG", f"{first}:{second}:{tmp_path / 'missing'}")
    assert default_connection().token == "first"


def test_outside_a_cluster_the_account_of_a_pod_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("KUBERNETES_SERVICE_HOST", raising=False)
    with pytest.raises(ConfigError, match="not inside a cluster"):
        in_cluster()


@pytest.mark.parametrize(
    ("cluster", "user", "message"),
    [
        ({}, {"exec": {"command": "aws"}}, "'exec' is not supported"),
        ({}, {"auth-provider": {"name": "gcp"}}, "'auth-provider' is not supported"),
        ({}, {"token": "t", "as": "root"}, "'as' is not supported"),
        ({"proxy-url": "http://proxy"}, {}, "'proxy-url' is not supported"),
        ({"server": "api.example"}, {}, "wanted https://HOST:PORT"),
        ({"server": ""}, {}, "wanted https://HOST:PORT"),
        ({}, {"client-certificate-data": "eA=="}, "wanted both client-certificate and client-key"),
        ({"certificate-authority-data": "not base64!"}, {}, "is not base64"),
        ({"certificate-authority": "missing.crt"}, {}, "cannot be read"),
        ({"certificate-authority-data": "eA==", "insecure-skip-tls-verify": True}, {}, "wanted either"),
    ],
)
def test_what_cannot_be_honoured_is_refused_in_one_line(
    tmp_path: Path, cluster: dict[str, Any], user: dict[str, Any], message: str
) -> None:
    path = kubeconfig(tmp_path / "config", cluster=cluster, user=user)
    with pytest.raises(ConfigError) as caught:
        load_kubeconfig(path)
    assert message in str(caught.value)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("text", ["", "[]", "a: [", "\x00", "contexts: 5", "contexts: [5]\ncurrent-context: x"])
def test_a_broken_file_is_refused_in_one_line(tmp_path: Path, text: str) -> None:
    path = tmp_path / "config"
    path.write_text(text)
    with pytest.raises(ConfigError) as caught:
        load_kubeconfig(path)
    assert "\n" not in str(caught.value)


def test_an_unknown_context_names_the_known_ones(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no context named 'nope' in contexts: known are main, other"):
        load_kubeconfig(kubeconfig(tmp_path / "config"), "nope")


def test_a_missing_file_is_refused_by_name(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="nothing-here"):
        load_kubeconfig(tmp_path / "nothing-here")


def test_a_token_file_is_read_again_when_it_is_replaced(tmp_path: Path) -> None:
    token = tmp_path / "token"
    token.write_text("one\n")
    source = TokenSource(load_kubeconfig(kubeconfig(tmp_path / "config", user={"tokenFile": "token"})))
    assert source.header() == "Bearer one"
    fresh = tmp_path / "fresh"
    fresh.write_text("two\n")
    fresh.rename(token)
    assert source.header() == "Bearer two"
    token.unlink()
    assert source.header() == "Bearer two"


def test_a_token_file_that_was_never_there_is_an_error_of_configuration(tmp_path: Path) -> None:
    source = TokenSource(load_kubeconfig(kubeconfig(tmp_path / "config", user={"tokenFile": "token"})))
    with pytest.raises(ConfigError, match="token"):
        source.header()


def test_unusable_certificates_are_an_error_of_configuration(tmp_path: Path) -> None:
    trust = base64.b64encode(b"no certificate").decode()
    broken = load_kubeconfig(kubeconfig(tmp_path / "config", cluster={"certificate-authority-data": trust}))
    with pytest.raises(ConfigError, match="not usable PEM"):
        tls_context(broken)
    good = base64.b64encode(Authority("a").certificate_pem).decode()
    user = {"client-certificate-data": "eA==", "client-key-data": "eA=="}
    broken = load_kubeconfig(kubeconfig(tmp_path / "config", cluster={"certificate-authority-data": good}, user=user))
    with pytest.raises(ConfigError, match="not usable PEM"):
        tls_context(broken)


def test_credentials_do_not_show_when_a_connection_is_printed(tmp_path: Path) -> None:
    assert "abc" not in repr(load_kubeconfig(kubeconfig(tmp_path / "config", user={"token": "abc"})))
