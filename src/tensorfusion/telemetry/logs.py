"""Logs as events with fields, one line each, on standard error: ``time level component event key=value``.

A thin face on the standard library. ``TF_LOG_LEVEL`` (trace, debug, info, warn, error) sets how much is said. Values
are quoted where they hold spaces; a newline in a value can never start a line of its own.
"""

import logging
import sys
from typing import Any

from tensorfusion.errors import ConfigError

_LEVELS = {
    "trace": logging.DEBUG,
    "debug": logging.DEBUG,
    "info": logging.INFO,
    "warn": logging.WARNING,
    "warning": logging.WARNING,
    "error": logging.ERROR,
}


class _Lines(logging.Formatter):
    def __init__(self, component: str) -> None:
        super().__init__(f"%(asctime)s %(levelname)s {component} %(message)s", "%Y-%m-%dT%H:%M:%S%z")

    def format(self, record: logging.LogRecord) -> str:
        return super().format(record)


def setup(level: str, component: str) -> None:
    """Send this process's logs to standard error.

    Raises:
        ConfigError: the level is none of the known ones.
    """
    if level.lower() not in _LEVELS:
        raise ConfigError(f"TF_LOG_LEVEL: wanted one of {', '.join(_LEVELS)}, found {level!r}")
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(_Lines(component))
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(_LEVELS[level.lower()])
    for noisy in ("asyncio", "aiohttp.access", "uvicorn.access", "uvicorn.error"):
        logging.getLogger(noisy).setLevel(logging.WARNING)


class EventLogger:
    """Logs events with fields: ``log.info("device is back", gpu=name)``."""

    def __init__(self, name: str) -> None:
        self._logger = logging.getLogger(name)

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

    def _emit(self, level: int, event: str, fields: dict[str, Any]) -> None:  # Any: whatever is logged
        if self._logger.isEnabledFor(level):
            self._logger.log(level, _line(event, fields))


def get_logger(name: str) -> EventLogger:
    """The logger of a module."""
    return EventLogger(name)


def _line(event: str, fields: dict[str, Any]) -> str:
    return " ".join([event.replace("%", "%%"), *(f"{key}={_text(value)}" for key, value in fields.items())])


def _text(value: object) -> str:
    text = str(value).replace("%", "%%")
    if text and not any(character.isspace() or character == '"' for character in text):
        return text
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n").replace("\r", "\\r") + '"'
