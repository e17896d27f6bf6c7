"""A whole embedded cluster in one file: the store, the keys that its tokens and certificates hang on, and the fleet.

The store alone would not do: a restored cluster has to accept the kubeconfigs and tokens that its users hold. The file
is a gzipped tar with a manifest that says what wrote it; it is as secret as the folder it came from.
"""

import contextlib
import hashlib
import json
import os
import shutil
import tarfile
import tempfile
import zlib
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

from tensorfusion.embedded.store_backup import backup_file, restore_file
from tensorfusion.errors import ConfigError, StoreTooNew

FORMAT = 1
STORE = "store.db"
_MANIFEST = "manifest.json"
_KEYS = "pki"
_FILES = ("tokens.csv", "fleet.yaml")


@dataclass(frozen=True, slots=True)
class Manifest:
    """What a backup says of itself. ``authority`` is a digest of the key that signs tokens."""

    format: int
    version: str
    created: str
    authority: str


def backup_cluster(root: Path, target: Path, *, version: str, created: str) -> Manifest:
    """Write a consistent copy of the cluster in ``root``, which may be running, and then replace ``target`` by it.

    Raises:
        ConfigError, StoreError: there is nothing to back up, or the copy cannot be written.
    """
    if not (root / STORE).exists():
        raise ConfigError(f"no embedded cluster in {root}: name its folder with --data")
    manifest = Manifest(FORMAT, version, created, authority_of(root))
    try:
        with tempfile.TemporaryDirectory(prefix=".backup-", dir=root) as folder:
            copy = Path(folder)
            backup_file(root / STORE, copy / STORE)
            (copy / _MANIFEST).write_text(json.dumps(asdict(manifest), indent=2) + "\n")
            for name in (_KEYS, *_FILES):
                _copy(root / name, copy / name)
            fresh = target.with_name(f".{target.name}.partial")
            with os.fdopen(os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as file:
                with tarfile.open(fileobj=file, mode="w:gz", compresslevel=3) as archive:
                    for name in (_MANIFEST, STORE, _KEYS, *_FILES):
                        if (copy / name).exists():
                            archive.add(copy / name, name)
                file.flush()
                os.fsync(file.fileno())
            fresh.replace(target)
    except OSError as error:
        raise ConfigError(f"cannot write the backup {target}: {error.strerror}: choose a place with space") from error
    return manifest


def read_manifest(source: Path) -> Manifest:
    """What a backup says of itself.

    Raises:
        ConfigError: it is missing, or no backup of a cluster.
        StoreTooNew: a later version wrote it.
    """
    if not source.is_file():
        raise ConfigError(f"no backup at {source}: name the file that `tensorfusion backup` wrote")
    try:
        with tarfile.open(source, mode="r:gz") as archive:
            first = archive.next()
            file = archive.extractfile(first) if first is not None and first.name == _MANIFEST else None
            if file is None:
                raise ConfigError(f"{source}: is no backup of a cluster: its first entry is no {_MANIFEST}")
            found = json.loads(file.read(1 << 16))
            manifest = Manifest(**found)
    except (tarfile.TarError, zlib.error, OSError, ValueError, TypeError, EOFError) as error:
        raise ConfigError(f"{source}: is no backup of a cluster, or is damaged: {error}") from error
    if manifest.format > FORMAT:
        raise StoreTooNew(
            f"{source} has format {manifest.format}, written by version {manifest.version}; this version reads up to "
            f"{FORMAT}: restore it with that version or a later one"
        )
    return manifest


@contextlib.contextmanager
def unpacked(root: Path, source: Path) -> Iterator[Path]:
    """A folder with what is in a backup, found whole, and beside the cluster that it is for. Nothing is changed yet.

    Raises:
        ConfigError, StoreError: the backup cannot be used.
    """
    manifest = read_manifest(source)
    root.mkdir(mode=0o700, parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".restore-", dir=root) as folder:
        copy = Path(folder)
        try:
            with tarfile.open(source, mode="r:gz") as archive:
                archive.extractall(copy, filter="data")
        except (tarfile.TarError, zlib.error, EOFError, OSError) as error:
            raise ConfigError(f"{source}: is damaged, or there is no space to unpack it: {error}") from error
        if not (copy / STORE).is_file() or authority_of(copy) != manifest.authority:
            raise ConfigError(f"{source}: is not whole: the store or its keys are missing")
        yield copy


def restore_cluster(root: Path, copy: Path) -> None:
    """Put an unpacked backup in the place of the cluster in ``root``, none of whose processes may run.

    The replaced store stays as ``store.db.replaced`` and replaced keys as ``pki.replaced``.

    Raises:
        ConfigError, StoreError: the cluster is as it was.
    """
    try:
        restore_file(root / STORE, copy / STORE)
        if authority_of(root) != authority_of(copy):
            _replace_keys(root, copy)
        if (copy / "fleet.yaml").exists():
            (copy / "fleet.yaml").replace(root / "fleet.yaml")
    except OSError as error:
        raise ConfigError(f"cannot restore into {root}: {error}") from error


def authority_of(root: Path) -> str:
    """A digest of the key that signs a cluster's tokens: two folders with the same one trust the same users."""
    try:
        return hashlib.sha256((root / _KEYS / "sa.key").read_bytes()).hexdigest()
    except OSError:
        return ""


def _replace_keys(root: Path, copy: Path) -> None:
    kept = root / f"{_KEYS}.replaced"
    shutil.rmtree(kept, ignore_errors=True)
    if (root / _KEYS).exists():
        (root / _KEYS).rename(kept)
    (copy / _KEYS).rename(root / _KEYS)
    (root / _KEYS).chmod(0o700)
    (copy / "tokens.csv").replace(root / "tokens.csv")


def _copy(source: Path, target: Path) -> None:
    if source.is_dir():
        shutil.copytree(source, target)
    elif source.exists():
        shutil.copy2(source, target)
