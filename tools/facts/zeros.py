"""Which zeros a typed server leaves out, and which it shows: what Go writes of a field that nobody has set.

Left out (``zeros``) are plain fields whose Go type is no pointer and whose JSON tag says ``omitempty``. Where it does
not, something is ``shown``: of pointers, lists and maps a null, of plain fields their zero. OpenAPI tells neither from
what is kept as it is written. So the Go types are asked, of the modules that ``make kube-assets`` downloads.
"""

import re
import subprocess
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

Json = dict[str, Any]
_MODULES = {
    "io.k8s.api.": "api",
    "io.k8s.apimachinery.": "apimachinery",
    "io.k8s.apiextensions-apiserver.": "apiextensions-apiserver",
}
_SCALARS = ("string", "integer", "number", "boolean")
_BLANKS = {"string": "", "integer": 0, "number": 0, "boolean": False}
_PLAIN = ("string", "bool", "int32", "int64", "float64")
_NILS = ("*", "[]", "map[")
_STRUCT = re.compile(r"^type (\w+) struct \{$(.*?)^\}$", re.MULTILINE | re.DOTALL)
_FIELD = re.compile(r'^\t(?:\w+[ \t]+)?(\S+)[ \t]+`json:"([^",]*)([^"]*)"', re.MULTILINE)


def describe_zeros(git_version: str, definitions: Json) -> None:
    """Add ``zeros`` and ``shown`` to each definition that has such fields.

    What has a default of its own, or is refused where it is missing, is not among the shown: nobody ever sees it. Nor
    are plain fields that OpenAPI requires, and times.
    """
    types = _Types(git_version)
    for name, schema in definitions.items():
        prefix = next((one for one in _MODULES if name.startswith(one)), None)
        if prefix is None or "properties" not in schema:
            continue
        *package, struct = name.removeprefix(prefix).split(".")
        fields = list(types.fields(types.folder(_MODULES[prefix], *package), struct))
        properties, checks, required = schema["properties"], schema.get("checks", {}), schema.get("required", ())
        zeros = sorted(
            name
            for name, kind, omitted in fields
            if omitted and kind[0] != "*" and properties.get(name, {}).get("type") in _SCALARS
        )
        shown = {
            name: _BLANKS[properties[name]["type"]] if kind in _PLAIN else None
            for name, kind, omitted in fields
            if not omitted and name in properties and "required" not in checks.get(name, {})
            if (not properties[name].get("default") and name not in required and kind in _PLAIN)
            or ("default" not in properties[name] and kind.startswith(_NILS))
        }
        schema |= {key: found for key, found in (("shown", shown), ("zeros", zeros)) if found}


class _Types:
    """The Go structures of one version."""

    def __init__(self, git_version: str) -> None:
        told = subprocess.run(["go", "env", "GOMODCACHE"], capture_output=True, text=True, check=True)
        self._modules = Path(told.stdout.strip(), "k8s.io")
        self._version = re.sub(r"^v1\.", "v0.", git_version)

    def folder(self, module: str, *package: str) -> Path:
        return self._modules / f"{module}@{self._version}" / Path(*package)

    def fields(self, folder: Path, struct: str) -> Iterator[tuple[str, str, bool]]:
        """Fields of a structure, and of those that it embeds: JSON name, Go type, and whether nothing is left out."""
        for kind, name, options in _FIELD.findall(_structs(folder)[struct]):
            if not name and ",inline" in options:
                package, _, inner = kind.rpartition(".")
                meta = self.folder("apimachinery", "pkg", "apis", "meta", "v1")
                yield from self.fields(meta if package == "metav1" else folder, inner)
            else:
                yield name, kind, ",omit" in options


@cache
def _structs(folder: Path) -> dict[str, str]:
    return {name: body for path in sorted(folder.glob("*.go")) for name, body in _STRUCT.findall(path.read_text())}
