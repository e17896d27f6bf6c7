"""Whatever the compiler is called and does: an installation goes on, with one warning."""

import importlib.util
import sys
import types
from pathlib import Path
from typing import Any, Generic, TypeVar

import pytest

ROOT = Path(__file__).parents[2]
_Config = TypeVar("_Config")


class _Hook(Generic[_Config]):
    """As much of hatchling's class as the hook uses: hatchling is there only while a wheel is built."""

    def __init__(self, root: Path) -> None:
        self.root, self.target_name, self.app = str(root), "wheel", self
        self.warnings: list[str] = []

    def display_warning(self, text: str) -> None:
        self.warnings.append(text)


@pytest.fixture
def hook(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """The build hook of a copy of the source."""
    there = tmp_path / "src/tensorfusion/scheduling"
    there.mkdir(parents=True)
    for source in (ROOT / "src/tensorfusion/scheduling").glob("*.c"):
        (there / source.name).write_bytes(source.read_bytes())
    interface = types.ModuleType("hatchling.builders.hooks.plugin.interface")
    interface.BuildHookInterface = _Hook  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, interface.__name__, interface)
    spec = importlib.util.spec_from_file_location("build_kernel", ROOT / "tools/build_kernel.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.CustomBuildHook(tmp_path)


def build(hook: Any, version: str = "standard") -> dict[str, Any]:
    found: dict[str, Any] = {"force_include": {}}
    hook.initialize(version, found)
    hook.finalize(version, found, "")
    return found


@pytest.mark.parametrize("version", ["standard", "editable"])
@pytest.mark.parametrize(
    "compiler", ['gcc "x', "no-such-compiler-anywhere", "false", "true", "''", "/dev/null", "printf '\\377'"]
)
def test_a_compiler_that_is_none_leaves_a_pure_wheel(
    hook: Any, monkeypatch: pytest.MonkeyPatch, compiler: str, version: str
) -> None:
    monkeypatch.setenv("CC", compiler)
    assert build(hook, version) == {"force_include": {}}
    [warning] = hook.warnings
    assert warning.startswith("no placement kernel, numpy takes its place")
    assert "\n" not in warning


@pytest.mark.parametrize("compiler", ["", "  "])
def test_a_blank_name_is_no_name(hook: Any, monkeypatch: pytest.MonkeyPatch, compiler: str) -> None:
    monkeypatch.setenv("CC", compiler)
    named = build(hook), list(hook.warnings)
    monkeypatch.delenv("CC")
    unnamed = build(hook), hook.warnings[len(named[1]) :]
    assert [bool(part) for part in named[0]["force_include"]] == [bool(part) for part in unnamed[0]["force_include"]]
    assert named[1] == unnamed[1]


def test_a_folder_that_nobody_may_write_to_is_no_obstacle(hook: Any, tmp_path: Path) -> None:
    beside = tmp_path / "src/tensorfusion/scheduling/_rollout.abi3.so"
    beside.mkdir()
    build(hook, "editable")
    [warning] = hook.warnings
    assert "_rollout.abi3.so" in warning
