"""What a check came to: one line that says what was found and, where something is wrong, what to do."""

from dataclasses import dataclass
from enum import StrEnum


class Level(StrEnum):
    """How bad a finding is; only ``FAIL`` makes the doctor's exit status 1."""

    OK = "ok"
    INFO = "info"
    WARN = "warn"
    FAIL = "fail"


@dataclass(frozen=True, slots=True)
class Finding:
    """One line of the doctor's. ``advice`` is what to do about it; empty where nothing is wrong."""

    level: Level
    subject: str
    found: str
    advice: str = ""

    def __str__(self) -> str:
        line = f"{self.level.value:<5} {self.subject}: {self.found}"
        return f"{line}: {self.advice}" if self.advice else line


def ok(subject: str, found: str) -> Finding:
    """Nothing to do."""
    return Finding(Level.OK, subject, found)


def info(subject: str, found: str, advice: str = "") -> Finding:
    """Nothing is wrong, but it may be of use."""
    return Finding(Level.INFO, subject, found, advice)


def warn(subject: str, found: str, advice: str) -> Finding:
    """It works, though not as well as it could."""
    return Finding(Level.WARN, subject, found, advice)


def fail(subject: str, found: str, advice: str) -> Finding:
    """Something does not work."""
    return Finding(Level.FAIL, subject, found, advice)
