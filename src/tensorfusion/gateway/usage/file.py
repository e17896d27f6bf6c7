"""The file of records that the setting ``log`` writes, read again."""

from collections.abc import Iterator
from pathlib import Path

import msgspec

from tensorfusion.errors import ConfigError
from tensorfusion.gateway.evidence import Record

_LONGEST_LINE = 1 << 20
_decoder = msgspec.json.Decoder(Record)


def read_records(path: Path) -> Iterator[Record]:
    """All of them, as they stand there.

    Raises:
        ConfigError: the file cannot be read, or a line is no record. A last line that has no end yet is left out.
    """
    try:
        with path.open("rb") as file:
            for number, line in enumerate(iter(lambda: file.readline(_LONGEST_LINE), b""), start=1):
                if not line.endswith(b"\n"):
                    if len(line) < _LONGEST_LINE:
                        return
                    raise ConfigError(f"{path}: line {number}: wanted a record, found more than {_LONGEST_LINE} bytes")
                if line.strip():
                    yield _record(path, number, line)
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read: {error.strerror}") from error


def _record(path: Path, number: int, line: bytes) -> Record:
    try:
        return _decoder.decode(line)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise ConfigError(f"{path}: line {number}: is no record of a request: {error}") from error
