"""Where a cluster records what happens, as ``tensorfusion up`` keeps it for later starts of a folder."""

import json
from dataclasses import dataclass
from pathlib import Path

from tensorfusion.cli.folder import Folder
from tensorfusion.errors import ConfigError, InvalidQuantity
from tensorfusion.units import format_bytes, to_bytes

LEAST_LIMIT = 1 << 20
"""Bytes: the smallest bound that a recording can keep."""


@dataclass(frozen=True, slots=True)
class RecordWish:
    """A folder, how many bytes in it at most, and whether things are called by their names."""

    folder: Path
    limit: int
    names: bool = False

    @classmethod
    def kept(cls, folder: Folder) -> "RecordWish | None":
        """What the cluster of this folder was told last; None: to record nothing.

        Raises:
            ConfigError: the file that says so cannot be understood.
        """
        try:
            found = json.loads(folder.record_file.read_text())
            return cls(Path(found["folder"]), int(found["limit"]), names=bool(found["names"]))
        except FileNotFoundError:
            return None
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise ConfigError(
                f"{folder.record_file}: cannot be understood: say again `up --record DIR`, or `up --record off`"
            ) from error

    def keep(self, folder: Folder) -> None:
        """Remember it for this start and later ones."""
        wish = {"folder": str(self.folder), "limit": self.limit, "names": self.names}
        folder.record_file.write_text(json.dumps(wish) + "\n")


def parse_limit(text: str) -> int:
    """The bytes of ``--record-limit``.

    Raises:
        ConfigError: it is no amount, or too small.
    """
    try:
        limit = to_bytes(text)
    except InvalidQuantity as error:
        raise ConfigError(f"--record-limit: {error}") from error
    if limit < LEAST_LIMIT:
        raise ConfigError(f"--record-limit: wanted {format_bytes(LEAST_LIMIT)} or more, found {text}")
    return limit
