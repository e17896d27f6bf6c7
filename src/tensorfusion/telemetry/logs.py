"""Logs as events with fields, one line each, on standard error: ``time level component event key=value``.

A thin face on the standard library. ``TF_LOG_LEVEL`` (trace, debug, info, warn, error) sets how much is said. Values
are quoted where they hold spaces; a newline in a value can never start a line of its own. Fields that are named like
secrets are never written out, whoever logs them.
"""

import logging
import sys
from collections import deque
from collections.abc import Mapping
from datetime import UTC, datetime

from tensorfusion.errors import ConfigError

TRACE = 5
VARIABLE = "TF_LOG_LEVEL"
_REMEMBERED = 50

_LEVELS = {
    "trace": TRACE,
    "debug": logging.DEBUG,
    "info": logging.INFO,
    "warn": logging.WARNING,
    "warning": logging.WARNING,
    "error": logging.ERROR,
}
_NAMES = {TRACE: "trace", logging.DEBUG: "debug", logging.INFO: "info", logging.WARNING: "warn"}
_SECRET = ("token", "password", "secret", "authorization", "private_key")
_NOISY = ("asyncio", "uvicorn.access", "uvicorn.error")


def setup(level: str, component: str) -> None:
    """Send this process's logs to standard error.

    Raises:
        ConfigError: the level is none of the known ones.
    """
    if level.lower() not in _LEVELS:
        raise ConfigError(f"{VARIABLE}: wanted one of trace, debug, info, warn, error, found {level[:40]!r}")
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(_Lines(component))
    root = logging.getLogger()
    root.handlers[:] = [handler, _RECENT]
    root.setLevel(_LEVELS[level.lower()])
    for noisy in _NOISY:
        logging.getLogger(noisy).setLevel(logging.WARNING)


def recent_errors() -> list[dict[str, str]]:
    """The last warnings and errors of this process, the newest last. Secrets are hidden as in the log."""
    return list(_RECENT.kept)


class _Recent(logging.Handler):
    """Keeps a few lines for ``/debug/state``; tracebacks stay in the log."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.kept: deque[dict[str, str]] = deque(maxlen=_REMEMBERED)

    def emit(self, record: logging.LogRecord) -> None:
        time = datetime.fromtimestamp(record.created, UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
        level = _NAMES.get(record.levelno, "error")
        self.kept.append({"time": time, "level": level, "module": record.name, "message": record.getMessage()[:500]})


_RECENT = _Recent()


class EventLogger:
    """Logs events with fields: ``log.info("device is back", gpu=name)``."""

    def __init__(self, name: str) -> None:
        self._logger = logging.getLogger(name)

    def trace(self, event: str, **fields: object) -> None:
        self._emit(TRACE, event, fields)

    def debug(self, event: str, **fields: object) -> None:
        self._emit(logging.DEBUG, event, fields)

    def info(self, event: str, **fields: object) -> None:
        self._emit(logging.INFO, event, fields)

    def warning(self, event: str, **fields: object) -> None:
        self._emit(logging.WARNING, event, fields)

    def error(self, event: str, **fields: object) -> None:
        self._emit(logging.ERROR, event, fields)

    def exception(self, event: str, **fields: object) -> None:
        """An unexpected error, with its traceback: only at the edge of a loop or a request."""
        self._logger.log(logging.ERROR, _line(event, fields), exc_info=True)

    def _emit(self, level: int, event: str, fields: Mapping[str, object]) -> None:
        if self._logger.isEnabledFor(level):
            self._logger.log(level, _line(event, fields))


def get_logger(name: str) -> EventLogger:
    """The logger of a module."""
    return EventLogger(name)


class _Lines(logging.Formatter):
    """UTC with milliseconds; the component is the process's."""

    def __init__(self, component: str) -> None:
        super().__init__(f"%(asctime)s %(level)s {component} %(message)s")

    def format(self, record: logging.LogRecord) -> str:
        record.level = _NAMES.get(record.levelno, "error")
        return super().format(record)

    def formatTime(self, record: logging.LogRecord, datefmt: str | None = None) -> str:  # noqa: N802 - the library's name
        return datetime.fromtimestamp(record.created, UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def _line(event: str, fields: Mapping[str, object]) -> str:
    return " ".join([event, *(f"{key}={_text(key, value)}" for key, value in fields.items())])


def _text(key: str, value: object) -> str:
    if any(word in key.lower() for word in _SECRET):
        return "[hidden]"
    text = str(value)
    if text and not any(character.isspace() or character in '"\\' for character in text) and text.isprintable():
        return text
    escaped = text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n").replace("\r", "\\r")
    return '"' + "".join(c if c.isprintable() else f"\\u{ord(c):04x}" for c in escaped) + '"'
