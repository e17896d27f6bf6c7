"""What an image means on this machine: there are no images here, so a name stands for programs that are installed.

| image | means |
|---|---|
| ``scratch``, ``local``, ``local/...`` | this machine's programs; the container says which, by command or args |
| ``busybox`` | the same; without command and args it runs ``sh`` |
| ``python`` | the same; without command and args it runs ``python3`` |

Tags and digests are ignored, and so are ``docker.io/`` and ``library/``. ``images.yaml`` in the cluster's folder adds
to this table and overrides it. Everything else is an image that cannot be had.
"""

import fnmatch
import os
import stat
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from tensorfusion.embedded.processes.waiting import IMAGE_ERROR, Waiting

_KEYS = frozenset({"program", "args", "venv", "path", "env"})


@dataclass(frozen=True, slots=True)
class Meaning:
    """``entrypoint`` begins the command of a container that gives none, ``args`` are its arguments then, unless it
    gives its own; ``path`` is searched before this machine's.
    """

    entrypoint: tuple[str, ...] = ()
    args: tuple[str, ...] = ()
    path: tuple[str, ...] = ()
    env: tuple[tuple[str, str], ...] = ()


_BUILT_IN = {
    "scratch": Meaning(),
    "local": Meaning(),
    "local/*": Meaning(),
    "busybox": Meaning(args=("sh",)),
    "python": Meaning(args=("python3",)),
}


class Images:
    """The table of one node. The file is read again when it has changed."""

    def __init__(self, file: Path) -> None:
        self._file = file
        self._read: tuple[int, int] | None = None
        self._own: dict[str, Meaning] = {}

    def meaning(self, image: str) -> Meaning:
        """Raises:
        Waiting: the image has no meaning here, or the file is wrong; the message says what to do.
        """
        names = (image, bare_name(image))
        for table in (self._table(), _BUILT_IN):
            for pattern, meaning in table.items():
                if any(fnmatch.fnmatchcase(name, pattern) for name in names):
                    return meaning
        raise Waiting(
            IMAGE_ERROR,
            f'image "{image}" has no meaning on this machine, where pods run as processes and images are not pulled: '
            f"use local/NAME, busybox or python with a command that is installed here, or say in {self._file} which "
            f"program or venv it stands for",
        )

    def _table(self) -> dict[str, Meaning]:
        try:
            found = self._file.stat()
        except FileNotFoundError:
            self._read, self._own = None, {}
            return self._own
        version = (found.st_mtime_ns, found.st_size)
        if version != self._read:
            self._own = _parse(self._file)
            self._read = version
        return self._own


def bare_name(image: str) -> str:
    """An image without registry of the ordinary kind, tag and digest."""
    name = image.partition("@")[0]
    head, slash, tail = name.rpartition("/")
    name = f"{head}{slash}{tail.partition(':')[0]}"
    for prefix in ("docker.io/", "library/"):
        name = name.removeprefix(prefix)
    return name


def find_program(name: str, path: str, *, cwd: str, uid: int | None) -> str | None:
    """The file that a command names and that user could run: a path, or a name on ``path``; None if there is none."""
    if "/" in name:
        found = name if name.startswith("/") else f"{cwd}/{name}"
        return found if _can_run(found, uid) else None
    for folder in path.split(":"):
        if folder and _can_run(f"{folder}/{name}", uid):
            return f"{folder}/{name}"
    return None


def _can_run(file: str, uid: int | None) -> bool:
    try:
        real = Path(file).resolve(strict=True)
    except (OSError, RuntimeError, ValueError):
        return False
    if not real.is_file() or not os.access(real, os.X_OK):
        return False
    if uid is None:
        return True
    return all(_open_to(part, uid) for part in (real, *real.parents, *Path(file).absolute().parents))


def _open_to(path: Path, uid: int) -> bool:
    try:
        found = path.stat()
    except OSError:
        return False
    return bool(found.st_mode & (stat.S_IXUSR if found.st_uid == uid else stat.S_IXOTH))


def _parse(file: Path) -> dict[str, Meaning]:
    try:
        document: Any = yaml.safe_load(file.read_text())
    except (OSError, UnicodeDecodeError, yaml.YAMLError, RecursionError) as error:
        raise Waiting(IMAGE_ERROR, f"{file}: cannot be read: {' '.join(str(error).split())}") from error
    entries = document.get("images") if isinstance(document, dict) and set(document) == {"images"} else None
    if not isinstance(entries, dict):
        raise Waiting(IMAGE_ERROR, f"{file}: wanted one key `images` with an object: image -> program or venv")
    return {str(pattern): _entry(f"{file}: images[{str(pattern)!r}]", entry) for pattern, entry in entries.items()}


def _entry(where: str, entry: Any) -> Meaning:  # Any: YAML, checked here
    if not isinstance(entry, dict) or not entry or not set(entry) <= _KEYS:
        raise Waiting(
            IMAGE_ERROR, f"{where}: wanted an object with some of {', '.join(sorted(_KEYS))}, found {entry!r}"
        )
    env = entry.get("env") or {}
    if not isinstance(env, dict) or not all(isinstance(value, str) for value in env.values()):
        raise Waiting(IMAGE_ERROR, f"{where}.env: wanted names and texts, found another type: quote numbers")
    path, args = entry.get("path") or [], entry.get("args") or []
    for field, value in (("path", path), ("args", args)):
        if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
            raise Waiting(IMAGE_ERROR, f"{where}.{field}: wanted a list of texts, found {value!r}")
    venv, program = entry.get("venv"), entry.get("program")
    for field, value in (("venv", venv), ("program", program)):
        if value is not None and not (isinstance(value, str) and value):
            raise Waiting(IMAGE_ERROR, f"{where}.{field}: wanted a path, found {value!r}")
    if venv:
        path = [f"{venv}/bin", *path]
        env = {"VIRTUAL_ENV": venv, **env}
    if venv and not program and not args:
        args = ["python3"]
    entrypoint = (program,) if program else ()
    return Meaning(entrypoint, tuple(args), tuple(path), tuple((str(name), value) for name, value in env.items()))
