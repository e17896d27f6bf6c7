"""Where a process node keeps what: its state in the cluster's folder, the pods' own folders where they may enter.

The cluster's folder is closed to everybody but its owner. When pods run under users of their own, their folders are
therefore elsewhere: in ``/var/lib/tensorfusion``, or the folder for temporary files where that cannot be written.
"""

import hashlib
import os
import tempfile
from dataclasses import dataclass
from pathlib import Path

_SPACES = Path("/var/lib/tensorfusion")


@dataclass(frozen=True, slots=True)
class PodPlace:
    """The folders of one pod. ``state`` is the node's, ``space`` the pod's own."""

    state: Path
    space: Path

    def container(self, name: str) -> Path:
        """Holds one folder for each attempt, named by its number."""
        return self.state / "containers" / name

    def log(self, name: str, number: int) -> Path:
        return self.state / "logs" / name / f"{number}.log"

    def root(self, name: str) -> Path:
        """What paths inside a container are below of: its ``TENSORFUSION_ROOT``."""
        return self.space / "containers" / name

    def volume(self, name: str) -> Path:
        return self.space / "volumes" / name


@dataclass(frozen=True, slots=True)
class Places:
    """The folders of one process node."""

    data: Path
    spaces: Path

    @classmethod
    def of(cls, data: Path, *, own_users: bool) -> "Places":
        """The places of the cluster in folder ``data``; the folders exist afterwards."""
        node = data / "node"
        (node / "pods").mkdir(mode=0o700, parents=True, exist_ok=True)
        spaces = _outside(data) if own_users else node / "spaces"
        spaces.mkdir(mode=0o711, parents=True, exist_ok=True)
        (node / "spaces.path").write_text(str(spaces))
        return cls(data, spaces)

    @property
    def socket(self) -> Path:
        return self.data / "run" / "node.sock"

    @property
    def images(self) -> Path:
        return self.data / "images.yaml"

    def pod(self, uid: str) -> PodPlace:
        return PodPlace(self.data / "node" / "pods" / uid, self.spaces / uid)

    def known(self) -> list[str]:
        """The uids of the pods that have a folder here."""
        return sorted(path.name for path in (self.data / "node" / "pods").iterdir())


def _outside(data: Path) -> Path:
    name = hashlib.sha256(os.fsencode(data.absolute())).hexdigest()[:12]
    for base in (_SPACES, Path(tempfile.gettempdir()) / "tensorfusion"):
        try:
            base.mkdir(mode=0o711, parents=True, exist_ok=True)
            if base.owner() == "root" and os.access(base, os.W_OK):
                return base / name
        except (OSError, KeyError):
            continue
    return Path(tempfile.mkdtemp(prefix=f"tensorfusion-{name}-"))
