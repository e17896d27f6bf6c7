"""A pod's own folders: one for each volume, and for each container a root in which its mount paths are links to them.

There are no mounts. A path ``/etc/app`` of a container is ``$TENSORFUSION_ROOT/etc/app`` on this machine. Everything
is written once, before any program of the pod has run: afterwards the folders are the pod's, and nothing of ours is
written into folders that a pod can rearrange.
"""

import os
import shutil
from pathlib import Path, PurePosixPath

from tensorfusion.embedded.processes.environment import Surroundings
from tensorfusion.embedded.processes.fields import field_value, resource_value
from tensorfusion.embedded.processes.places import PodPlace
from tensorfusion.embedded.processes.sources import Sources, entry
from tensorfusion.embedded.processes.waiting import CONFIG_ERROR, Waiting
from tensorfusion.model.meta import Raw

_DEFAULT_MODE = 0o644
_READY = "prepared"

Files = dict[str, tuple[bytes, int]]
"""Path below the volume -> bytes and mode."""


async def prepare(pod: Raw, place: PodPlace, *, uid: int | None, sources: Sources, around: Surroundings) -> None:
    """Make the folders of a pod; nothing happens when they are made already.

    Raises:
        Waiting: a volume is of a kind that is not served, or names something that is not there.
    """
    if (place.state / _READY).exists():
        return
    shutil.rmtree(place.space, ignore_errors=True)
    contents: dict[str, Files | Path] = {}
    for volume in pod["spec"].get("volumes") or ():
        contents[volume["name"]] = await _content(pod, volume, sources, around)
    place.space.mkdir(mode=0o700)
    for name, content in contents.items():
        _write_volume(place.volume(name), content)
    for container in [*(pod["spec"].get("initContainers") or ()), *pod["spec"]["containers"]]:
        _make_root(place, container)
    if uid is not None:
        _give(place.space, uid)
    (place.state / _READY).touch()


def working_folder(place: PodPlace, container: Raw) -> Path:
    """Where a container's program starts."""
    stated = container.get("workingDir")
    root = place.root(container["name"])
    return _below(root, stated, f"container {container['name']}: workingDir") if stated else root / "home"


def remove(place: PodPlace) -> None:
    """Remove everything of a pod that has ended."""
    shutil.rmtree(place.space, ignore_errors=True)
    shutil.rmtree(place.state, ignore_errors=True)


async def _content(pod: Raw, volume: Raw, sources: Sources, around: Surroundings) -> Files | Path:
    where = f'volume "{volume["name"]}"'
    if volume.get("hostPath"):
        path = Path(volume["hostPath"]["path"])
        if not path.exists():
            raise Waiting(CONFIG_ERROR, f"{where}: hostPath {path} does not exist: make it before")
        return path
    if "emptyDir" in volume:
        return {}
    for field in ("configMap", "secret", "downwardAPI"):
        if volume.get(field) is not None:
            return await _files(pod, field, volume[field], sources, around, mode=volume[field].get("defaultMode"))
    if volume.get("projected") is not None:
        projected = volume["projected"]
        found: Files = {}
        for source in projected.get("sources") or ():
            for field, stated in source.items():
                found |= await _files(pod, field, stated, sources, around, mode=projected.get("defaultMode"))
        return found
    kind = next((key for key in volume if key != "name"), "nothing")
    raise Waiting(
        CONFIG_ERROR,
        f"{where}: {kind} is not served by process nodes: use emptyDir, configMap, secret, projected, downwardAPI or "
        "hostPath",
    )


async def _files(
    pod: Raw, field: str, stated: Raw, sources: Sources, around: Surroundings, *, mode: int | None
) -> Files:
    mode = _DEFAULT_MODE if mode is None else mode
    if field == "downwardAPI":
        return {
            item["path"]: (_downward(pod, item, around), item.get("mode") or mode) for item in stated.get("items") or ()
        }
    if field not in ("configMap", "secret"):
        raise Waiting(CONFIG_ERROR, f"volume source {field} is not served by process nodes: leave it out")
    optional = bool(stated.get("optional"))
    if field == "configMap":
        word, name = "configmap", stated["name"]
        found = await sources.config_map(name, optional=optional)
    else:
        word, name = "secret", stated.get("secretName") or stated["name"]
        found = await sources.secret(name, optional=optional)
    if not stated.get("items"):
        return {key: (value, mode) for key, value in (found or {}).items()}
    files: Files = {}
    for item in stated["items"]:
        held = entry(found, word, name, item["key"], optional=optional)
        if held is not None:
            files[item["path"]] = (held, item.get("mode") or mode)
    return files


def _downward(pod: Raw, item: Raw, around: Surroundings) -> bytes:
    if item.get("fieldRef"):
        return field_value(pod, item["fieldRef"]["fieldPath"], node=around.node).encode()
    reference = item["resourceFieldRef"]
    return resource_value(pod, reference, container="", allocatable=around.allocatable).encode()


def _write_volume(folder: Path, content: Files | Path) -> None:
    folder.parent.mkdir(mode=0o755, exist_ok=True)
    if isinstance(content, Path):
        folder.symlink_to(content)
        return
    folder.mkdir(mode=0o755)
    for path, (value, mode) in content.items():
        target = _below(folder, path, "volume item")
        target.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
        target.touch(mode=0o600)
        target.write_bytes(value)
        target.chmod(mode & 0o777)


def _make_root(place: PodPlace, container: Raw) -> None:
    root = place.root(container["name"])
    for folder in (root / "home", root / "tmp", root / "dev"):
        folder.mkdir(mode=0o755, parents=True)
    for mount in sorted(
        container.get("volumeMounts") or (), key=lambda mount: len(PurePosixPath(mount["mountPath"]).parts)
    ):
        where = f"container {container['name']}: mountPath {mount['mountPath']}"
        link = _below(root, mount["mountPath"], where)
        target = _below(place.volume(mount["name"]), mount.get("subPath") or "", f"{where}: subPath")
        if not target.exists():
            _make_folder(place, target, where)
        _make_folder(place, link.parent, where)
        _check_ours(place, link.parent, where)
        if link.is_dir() and not link.is_symlink() and not any(link.iterdir()):
            link.rmdir()
        if link.exists() or link.is_symlink():
            if link.is_symlink() and link.readlink() == target:
                continue
            raise Waiting(CONFIG_ERROR, f"{where}: something else is there already")
        link.symlink_to(target)
    _make_folder(place, working_folder(place, container), f"container {container['name']}: workingDir")


def _make_folder(place: PodPlace, path: Path, where: str) -> None:
    """Make a folder, but only one of the pod's own."""
    if not path.is_dir():
        _check_ours(place, path, where)
        path.mkdir(mode=0o755, parents=True, exist_ok=True)


def _check_ours(place: PodPlace, path: Path, where: str) -> None:
    """Nothing is written where a hostPath leads to: this may be root, and those are this machine's folders."""
    if not path.resolve().is_relative_to(place.space.resolve()):
        raise Waiting(CONFIG_ERROR, f"{where}: is inside a hostPath, where nothing is made: make it before")


def _below(root: Path, path: str, where: str) -> Path:
    """A path of a container on this machine; it may not lead out of its root."""
    parts = PurePosixPath(path.lstrip("/")).parts
    if ".." in parts:
        raise Waiting(CONFIG_ERROR, f"{where} {path!r}: wanted a path without '..'")
    return root.joinpath(*parts)


def _give(folder: Path, uid: int) -> None:
    """Make a user the owner of a tree; links are not followed."""
    for parent, folders, files in os.walk(folder):
        for name in (*folders, *files):
            os.chown(Path(parent) / name, uid, uid, follow_symlinks=False)
    os.chown(folder, uid, uid)
