"""The settings of a gateway whose routes are objects: where to listen and count, and nothing that objects say."""

from pathlib import Path
from typing import Final

import msgspec
import yaml

from tensorfusion.errors import ConfigError
from tensorfusion.gateway.settings import Settings, check_settings
from tensorfusion.model.strict import convert

_OBJECTS: Final = {
    "keys": "make LLMKeys",
    "key_file": "make LLMKeys",
    "secrets": "make Secrets, and let targets name them",
    "pools": "make Services with the label tensor-fusion.ai/gpupool",
}


def settings_of(path: Path | None, *, listen: str = "", workers: int = 0) -> Settings:
    """The settings in a file, the defaults without one. ``listen`` and ``workers`` go before what it says.

    Raises:
        ConfigError: it cannot be read, or says what is for objects to say.
    """
    found = Settings() if path is None else _read(path)
    if listen:
        found = msgspec.structs.replace(found, listen=listen)
    if workers:
        found = msgspec.structs.replace(found, workers=workers)
    check_settings(found, str(path or "gateway"))
    return found


def _beside(path: Path, found: Settings) -> Settings:
    """Files that settings name are looked for beside them, as those that a file of routes names."""
    metrics = found.metrics
    if metrics is None or not metrics.file:
        return found
    file = str(path.absolute().parent / metrics.file)
    return msgspec.structs.replace(found, metrics=msgspec.structs.replace(metrics, file=file))


def _read(path: Path) -> Settings:
    try:
        document = yaml.safe_load(path.read_text()) or {}
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"--settings: {path}: cannot be read: {error}") from error
    except (yaml.YAMLError, RecursionError, ValueError) as error:
        raise ConfigError(f"--settings: {path}: is no YAML: {' '.join(str(error).split())}") from error
    if not isinstance(document, dict):
        raise ConfigError(f"--settings: {path}: wanted settings, found {type(document).__name__}")
    if "kind" in document:
        raise ConfigError(
            f"--settings: {path}: wanted settings without a kind, found {document['kind']!r}: serve a file of routes "
            f"with --config {path}"
        )
    found = convert(document, Settings, str(path))
    if found.portkey.file:
        raise ConfigError(
            f"--settings: {path}: portkey.file: configurations and virtual keys are kept with --config only, yet"
        )
    for name, instead in _OBJECTS.items():
        if getattr(found, name):
            raise ConfigError(f"--settings: {path}: {name}: is for objects to say without --config: {instead}")
    return _beside(path, found)
