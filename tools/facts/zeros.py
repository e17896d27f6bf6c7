"""Which zeros a typed server leaves out: fields whose Go type is no pointer and whose JSON tag says ``omitempty``.

OpenAPI does not tell them from pointers, whose zeros are kept. So the Go types are asked, of the modules that ``make
kube-assets`` downloads. Only plain values: empty lists and maps are left out wherever they are optional.
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
_STRUCT = re.compile(r"^type (\w+) struct \{$(.*?)^\}$", re.MULTILINE | re.DOTALL)
_FIELD = re.compile(r'^\t(?:\w+[ \t]+)?(\S+)[ \t]+`json:"([^",]*)([^"]*)"', re.MULTILINE)


def describe_zeros(git_version: str, definitions: Json) -> None:
    """Add ``zeros`` to each definition that has such fields."""
    types = _Types(git_version)
    for name, schema in definitions.items():
        prefix = next((one for one in _MODULES if name.startswith(one)), None)
        if prefix is None or "properties" not in schema:
            continue
        *package, struct = name.removeprefix(prefix).split(".")
        omitted = set(types.omitted(types.folder(_MODULES[prefix], *package), struct))
        plain = (field for field, inner in schema["properties"].items() if inner.get("type") in _SCALARS)
        found = sorted(omitted.intersection(plain))
        if found:
            schema["zeros"] = found


class _Types:
    """The Go structures of one version."""

    def __init__(self, git_version: str) -> None:
        told = subprocess.run(["go", "env", "GOMODCACHE"], capture_output=True, text=True, check=True)
        self._modules = Path(told.stdout.strip(), "k8s.io")
        self._version = re.sub(r"^v1\.", "v0.", git_version)

    def folder(self, module: str, *package: str) -> Path:
        return self._modules / f"{module}@{self._version}" / Path(*package)

    def omitted(self, folder: Path, struct: str) -> Iterator[str]:
        """Fields of a structure, and of those that it embeds, that are no pointers and left out when they are zero."""
        for kind, name, options in _FIELD.findall(_structs(folder)[struct]):
            if not name and ",inline" in options:
                package, _, inner = kind.rpartition(".")
                meta = self.folder("apimachinery", "pkg", "apis", "meta", "v1")
                yield from self.omitted(meta if package == "metav1" else folder, inner)
            elif ",omitempty" in options and not kind.startswith("*"):
                yield name


@cache
def _structs(folder: Path) -> dict[str, str]:
    return {name: body for path in sorted(folder.glob("*.go")) for name, body in _STRUCT.findall(path.read_text())}
