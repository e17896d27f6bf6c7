"""Log lines: one line each, readable by machines, without secrets."""

import logging
import re
from collections.abc import Iterator

import pytest

from tensorfusion.errors import ConfigError
from tensorfusion.telemetry.logs import get_logger, recent_errors, setup
from tensorfusion.telemetry.metrics import counter, metrics_response


@pytest.fixture
def restored_logging() -> Iterator[None]:
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield
    root.handlers[:] = handlers
    root.setLevel(level)


@pytest.mark.usefixtures("restored_logging")
def test_a_line_has_time_level_component_event_and_fields(capsys: pytest.CaptureFixture[str]) -> None:
    setup("info", "control")
    get_logger("x").info("device is back", gpu="gpu-1", rate="50%")
    line = capsys.readouterr().err
    assert re.fullmatch(
        r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z info control device is back gpu=gpu-1 rate=50%\n", line
    )


@pytest.mark.usefixtures("restored_logging")
def test_a_value_can_neither_start_a_line_nor_forge_a_field(capsys: pytest.CaptureFixture[str]) -> None:
    setup("info", "control")
    get_logger("x").warning("refused", name='a b="c"\n2026 error fake', colour="\x1b[31m")
    line = capsys.readouterr().err
    assert line.count("\n") == 1
    assert 'name="a b=\\"c\\"\\n2026 error fake"' in line
    assert "\x1b" not in line


@pytest.mark.usefixtures("restored_logging")
def test_fields_named_like_secrets_are_hidden(capsys: pytest.CaptureFixture[str]) -> None:
    setup("trace", "control")
    get_logger("x").trace("joined", bearer_token="abc123", Password="hunter2")
    line = capsys.readouterr().err
    assert "abc123" not in line and "hunter2" not in line
    assert "bearer_token=[hidden]" in line


@pytest.mark.usefixtures("restored_logging")
@pytest.mark.parametrize(
    ("level", "said"),
    [
        ("trace", ["trace", "debug", "info", "warn", "error"]),
        ("debug", ["debug", "info", "warn", "error"]),
        ("info", ["info", "warn", "error"]),
        ("WARN", ["warn", "error"]),
        ("error", ["error"]),
    ],
)
def test_the_level_sets_how_much_is_said(level: str, said: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    setup(level, "c")
    log = get_logger("x")
    for method in (log.trace, log.debug, log.info, log.warning, log.error):
        method("event")
    assert [line.split()[1] for line in capsys.readouterr().err.splitlines()] == said


def test_an_unknown_level_names_the_known_ones() -> None:
    with pytest.raises(ConfigError, match="wanted one of trace, debug, info, warn, error, found 'loud'"):
        setup("loud", "control")


def test_metrics_are_served_as_prometheus_text() -> None:
    counter("tensorfusion_test_total", "A test.", ("result",)).labels("ok").inc()
    text, kind = metrics_response()
    assert b'tensorfusion_test_total{result="ok"} 1.0' in text
    assert kind.startswith("text/plain")


def test_the_last_warnings_are_remembered_without_secrets_and_nothing_below_them() -> None:
    setup("error", "c")
    log = get_logger("x")
    log.info("quiet")
    log.error("it broke", token="abc", key="a/b")
    newest = recent_errors()[-1]
    assert newest["message"] == "it broke token=[hidden] key=a/b"
    assert newest["level"] == "error"
    for number in range(200):
        log.error("again", number=number)
    assert len(recent_errors()) <= 50
    assert recent_errors()[-1]["message"] == "again number=199"
