"""Compile the placement kernels into the wheel, if a C compiler is there; without one the program works, with numpy.

Hatchling calls it. A wheel with the kernels says so in its tag (any CPython from 3.11 on, this platform); one without
them is pure. An editable installation has them beside their sources. All of them are there or none. ``CC`` names
another compiler than the one that Python was built with.
"""

import os
import shlex
import subprocess
import sysconfig
import tempfile
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

_FOLDER = Path("src/tensorfusion/scheduling")
_KERNELS = ("_rollout", "_rows")
_ENDING = ".abi3.so"
_FLAGS = ("-std=c11", "-O3", "-fPIC", "-fvisibility=hidden", "-Wall")


class CustomBuildHook(BuildHookInterface[Any]):
    """A C file each, no dependency but a compiler."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Compile before the files of the wheel are collected."""
        if self.target_name != "wheel":
            return
        folder = Path(self.root) / _FOLDER
        self._folder = tempfile.TemporaryDirectory(ignore_cleanup_errors=True)
        built = [Path(self._folder.name) / f"{name}{_ENDING}" for name in _KERNELS]
        problem = ""
        for target in built:
            problem = problem or _compile(folder / f"{target.name.removesuffix(_ENDING)}.c", target)
        if version == "editable":
            for target in built:
                problem = _put_beside(folder / target.name, None if problem else target) or problem
        if problem:
            self.app.display_warning(f"no placement kernel, numpy takes its place, several times slower: {problem}")
            return
        if version == "editable":
            return
        for target in built:
            build_data["force_include"][str(target)] = f"tensorfusion/scheduling/{target.name}"
        build_data["pure_python"] = False
        build_data["tag"] = f"cp311-abi3-{sysconfig.get_platform().replace('-', '_').replace('.', '_')}"

    def finalize(self, version: str, build_data: dict[str, Any], artifact_path: str) -> None:
        """What was compiled is in the wheel now."""
        if self.target_name == "wheel":
            self._folder.cleanup()


def _put_beside(beside: Path, built: Path | None) -> str:
    """Replace the kernel beside its source, or remove it; answers what kept it from that, in one line."""
    try:
        beside.unlink(missing_ok=True)  # first: a process that runs has the old one mapped
        if built is not None:
            beside.write_bytes(built.read_bytes())
    except OSError as error:
        return f"{beside}: {error.strerror}"
    return ""


def _compile(source: Path, target: Path) -> str:
    """What kept the compiler from it, in one line; empty if it is done."""
    named = os.environ.get("CC", "").strip()
    problems = []
    for compiler in [named] if named else [sysconfig.get_config_var("CC") or "cc", "cc"]:
        problem = _compile_with(compiler, source, target)
        if not problem:
            return ""
        problems.append(problem)
    return problems[0]


def _compile_with(compiler: str, source: Path, target: Path) -> str:
    try:
        words = shlex.split(compiler)
    except ValueError as error:
        return f"CC is {compiler!r}: {error}"
    linking = (sysconfig.get_config_var("LDSHARED") or "cc -shared").split()
    shared = [flag for flag in linking if flag in ("-shared", "-bundle", "-undefined", "dynamic_lookup")]
    include = f"-I{sysconfig.get_path('include')}"
    try:
        done = subprocess.run(
            [*words, *shared, *_FLAGS, include, str(source), "-o", str(target)],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            check=False,
        )
    except (OSError, ValueError) as error:  # there is none, or its name is none
        return f"CC is {compiler!r}: {error}"
    if not done.returncode:
        return "" if target.is_file() else f"{compiler} made nothing"
    said = done.stderr.strip().splitlines() or [f"{compiler} ended with {done.returncode}"]
    return next((line for line in said if "error" in line), said[0])
