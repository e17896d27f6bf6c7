"""The control process refuses settings that cannot be meant before it connects to anything."""

from pathlib import Path

import pytest
from click.testing import CliRunner

from tensorfusion.cli.control import command
from tensorfusion.errors import ConfigError


@pytest.mark.parametrize("text", ["", "Dynamic", "loose"])
def test_an_isolation_policy_that_does_not_exist_is_refused_with_those_that_do(tmp_path: Path, text: str) -> None:
    done = CliRunner().invoke(command, ["--data", str(tmp_path)], env={"TF_ISOLATION_MODE_POLICY": text})
    assert isinstance(done.exception, ConfigError)
    wanted = f"environment TF_ISOLATION_MODE_POLICY: wanted one of static, dynamic, found {text!r}"
    assert str(done.exception) == wanted


@pytest.mark.parametrize("text", ["", "3", "often"])
def test_an_interval_of_the_watchdog_that_is_no_duration_is_refused(tmp_path: Path, text: str) -> None:
    name = "NOMINATED_POD_REQUEUE_WATCHDOG_INTERVAL"
    done = CliRunner().invoke(command, ["--data", str(tmp_path)], env={name: text})
    assert isinstance(done.exception, ConfigError)
    assert str(done.exception).startswith(f"environment {name}: {text!r} is not a duration")
