"""Configurations and virtual keys of Portkey's that are kept: a file of the gateway's, beside its file of keys.

The file holds credentials: its owner alone can read it, it is written whole or not at all, by one program at a time.
All workers follow it, as they follow the other files of the configuration.

Source: Portkey's API, "Configs" and "Virtual keys"; the platform's contract, 3.1 and 3.9.
"""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final, TypeVar

import msgspec

from tensorfusion.errors import ConfigError, TensorFusionError
from tensorfusion.private_files import only_writer, write_secret

Json = Any  # Any: JSON of any shape
Found = TypeVar("Found")

MOST: Final = 200
"""Configurations, and virtual keys, of a namespace."""
MOST_BYTES: Final = 8 << 20
"""Of the whole file: a gateway must be able to read it."""
MOST_BYTES_OF_ONE: Final = 1 << 20
"""Of what is a namespace's: none may fill the file for the others."""
VIRTUAL_IN: Final = "virtual-key"
"""The key by which a virtual key that is kept is referred to, in a Secret of its name that is none."""


class KeptConfig(msgspec.Struct, frozen=True, rename="camel"):
    """A configuration as it was sent."""

    name: str
    config: dict[str, Json]
    created_at: str
    updated_at: str


class KeptVirtualKey(msgspec.Struct, frozen=True, rename="camel", omit_defaults=True):
    """A credential, and the one provider and address that it is sent to."""

    provider: str
    key: str
    created_at: str
    host: str = ""
    """Empty: the provider's own."""
    note: str = ""

    def __repr__(self) -> str:
        return f"KeptVirtualKey({self.provider}, hidden)"


class Kept(msgspec.Struct, frozen=True, rename="camel"):
    """Everything that is kept, by namespace and id."""

    configs: dict[str, dict[str, KeptConfig]] = {}
    virtual_keys: dict[str, dict[str, KeptVirtualKey]] = {}


class StoreFull(TensorFusionError):
    """There is no room for more."""


def read_kept(text: str, at: str) -> Kept:
    """What a file says.

    Raises:
        ConfigError: it says nothing of the kind. The message holds nothing of it.
    """
    try:
        return msgspec.json.decode(text, type=Kept)
    except (msgspec.DecodeError, UnicodeError, RecursionError) as error:
        raise ConfigError(f"{at}: is no file of configurations and virtual keys: {type(error).__name__}") from None


def path_beside(key_file: Path) -> Path:
    """Where they are kept unless settings say otherwise. No YAML: a folder would read that as its configuration."""
    return key_file.with_suffix(".portkey.json")


class PortkeyFile:
    """The file, to be changed. Calls wait for the disk: in a thread, where others wait for this one."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def read(self) -> Kept:
        """Raises ConfigError: it cannot be read."""
        try:
            return read_kept(self._path.read_text(), str(self._path)) if self._path.exists() else Kept()
        except (OSError, UnicodeDecodeError) as error:
            raise ConfigError(f"{self._path}: cannot be read: {error}") from error

    def change(self, namespace: str, change: Callable[[Kept], tuple[Kept, Found]]) -> Found:
        """Make another thing of what is kept; what ``change`` raises leaves it as it is.

        Raises:
            ConfigError: the file cannot be read or written.
            StoreFull: the namespace, or the file, has as much as there can be.
        """
        with only_writer(self._path):
            kept, found = change(self.read())
            _require_room(kept, namespace)
            data = msgspec.json.format(msgspec.json.encode(kept), indent=1)
            if len(data) > MOST_BYTES:
                raise StoreFull("this gateway keeps as much as it can: ask whoever runs it")
            write_secret(self._path, data.decode())
            return found


def with_entry(
    kept: Mapping[str, dict[str, Found]], namespace: str, name: str, entry: Found
) -> dict[str, dict[str, Found]]:
    """With one more, or another one of that name."""
    return {**kept, namespace: {**kept.get(namespace, {}), name: entry}}


def without_entry(kept: Mapping[str, dict[str, Found]], namespace: str, name: str) -> dict[str, dict[str, Found]]:
    """Without one."""
    left = {known: entry for known, entry in kept.get(namespace, {}).items() if known != name}
    others = {known: entries for known, entries in kept.items() if known != namespace}
    return {**others, namespace: left} if left else others


def _require_room(kept: Kept, namespace: str) -> None:
    configs, virtual_keys = kept.configs.get(namespace, {}), kept.virtual_keys.get(namespace, {})
    for what, entries in (("configurations", configs), ("virtual keys", virtual_keys)):
        if len(entries) > MOST:
            raise StoreFull(f"namespace {namespace} has {MOST} {what}, the most there can be: delete some")
    if len(msgspec.json.encode((configs, virtual_keys))) > MOST_BYTES_OF_ONE:
        raise StoreFull(f"namespace {namespace} keeps {MOST_BYTES_OF_ONE} bytes, the most there can be: delete some")
