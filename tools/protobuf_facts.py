"""Derive the field numbers of the built-in kinds' protobuf form from Kubernetes' own ``generated.proto`` files.

kubectl sends protobuf where it uses typed clients (``create configmap``, ``auth can-i``). The numbers are facts of the
Go modules that ``make kube-assets`` downloads; nothing is typed in by hand. Usage: python tools/protobuf_facts.py
"""

import json
import re
import subprocess
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
FACTS = ROOT / "src/tensorfusion/embedded/facts"
VERSION = "v0.34.2"
FILES = [
    "api@{v}/admissionregistration/v1/generated.proto",
    "api@{v}/apps/v1/generated.proto",
    "api@{v}/authentication/v1/generated.proto",
    "api@{v}/authorization/v1/generated.proto",
    "api@{v}/autoscaling/v1/generated.proto",
    "api@{v}/coordination/v1/generated.proto",
    "api@{v}/core/v1/generated.proto",
    "api@{v}/rbac/v1/generated.proto",
    "api@{v}/batch/v1/generated.proto",
    "api@{v}/discovery/v1/generated.proto",
    "api@{v}/events/v1/generated.proto",
    "api@{v}/autoscaling/v2/generated.proto",
    "api@{v}/networking/v1/generated.proto",
    "api@{v}/node/v1/generated.proto",
    "api@{v}/policy/v1/generated.proto",
    "api@{v}/resource/v1/generated.proto",
    "api@{v}/scheduling/v1/generated.proto",
    "api@{v}/storage/v1/generated.proto",
    "apiextensions-apiserver@{v}/pkg/apis/apiextensions/v1/generated.proto",
    "apimachinery@{v}/pkg/api/resource/generated.proto",
    "apimachinery@{v}/pkg/apis/meta/v1/generated.proto",
    "apimachinery@{v}/pkg/runtime/generated.proto",
    "apimachinery@{v}/pkg/util/intstr/generated.proto",
]
SCALARS = {"string", "bytes", "bool", "int32", "int64", "uint32", "uint64", "double"}
EXTRA_KINDS = {
    "v1/Binding": "k8s.io.api.core.v1.Binding",
    "policy/v1/Eviction": "k8s.io.api.policy.v1.Eviction",
    "v1/DeleteOptions": "k8s.io.apimachinery.pkg.apis.meta.v1.DeleteOptions",
    "autoscaling/v1/Scale": "k8s.io.api.autoscaling.v1.Scale",
    "authentication.k8s.io/v1/TokenRequest": "k8s.io.api.authentication.v1.TokenRequest",
}
FIELD = re.compile(r"^\s*(optional|repeated)\s+([.\w]+)\s+(\w+)\s*=\s*(\d+);")
STRUCT = re.compile(r"^type (\w+) struct \{")
TAG = re.compile(r'^\t(?:\w+[ \t]+)?(\S+)[ \t]+`json:"([^",]*)([^"]*)"[^`]* protobuf:"\w+,(\d+),')
MAP = re.compile(r"^\s*map<(\w+),\s*([.\w]+)>\s+(\w+)\s*=\s*(\d+);")


def parse(text: str) -> dict[str, dict[str, list[str]]]:
    """Messages of one file: full name -> field number -> [JSON name, label, type]."""
    package = re.search(r"^package ([\w.]+);", text, re.MULTILINE).group(1)
    messages: dict[str, dict[str, list[str]]] = {}
    current: dict[str, list[str]] | None = None

    def full(name: str) -> str:
        return name if name in SCALARS else name.lstrip(".") if "." in name else f"{package}.{name}"

    for line in text.splitlines():
        if line.startswith("message "):
            current = messages.setdefault(f"{package}.{line.split()[1]}", {})
        elif current is not None and (found := FIELD.match(line)):
            label, kind, name, number = found.groups()
            current[number] = [name, label, full(kind)]
        elif current is not None and (found := MAP.match(line)):
            key, kind, name, number = found.groups()
            current[number] = [name, "map", full(kind)] if key == "string" else [name, "map", "?"]
    return messages


def apply_go_tags(messages: dict[str, dict[str, list[str]]], package: str, folder: Path) -> None:
    """Correct what only the Go types say: JSON names, which structs are inlined, and which scalars are pointers.

    A typed client writes unset scalars as zero; only a pointer's zero is meant.
    """
    for path in sorted(folder.glob("*.go")):
        struct = ""
        for line in path.read_text().splitlines():
            if found := STRUCT.match(line):
                struct = found.group(1)
            elif struct and (tag := TAG.match(line)):
                kind, name, options, number = tag.groups()
                entry = messages.get(f"{package}.{struct}", {}).get(number)
                if entry is None:
                    continue
                if ",inline" in options and not name:
                    entry[1] = "inline"
                elif name:
                    entry[0] = name
                if kind.startswith("*") and entry[1] == "optional":
                    entry[1] = "pointer"


def main() -> None:
    cache = Path(subprocess.run(["go", "env", "GOMODCACHE"], capture_output=True, text=True, check=True).stdout.strip())
    messages: dict[str, dict[str, list[str]]] = {}
    for name in FILES:
        path = cache / "k8s.io" / name.format(v=VERSION)
        found = parse(path.read_text())
        apply_go_tags(found, next(iter(found)).rpartition(".")[0], path.parent)
        messages |= found
    facts = json.loads((FACTS / "kubernetes-1.34.json").read_text())
    kinds = dict(EXTRA_KINDS)
    for resource in facts["resources"]:
        api_version = f"{resource['group']}/{resource['version']}" if resource["group"] else resource["version"]
        group = resource["group"].split(".")[0] or "core"
        for message in messages:
            parts = message.split(".")
            if parts[-1] == resource["kind"] and parts[-2] == resource["version"] and parts[-3] == group:
                kinds[f"{api_version}/{resource['kind']}"] = message
    reachable: set[str] = set()
    pending = list(kinds.values())
    while pending:
        message = pending.pop()
        if message in reachable or message not in messages:
            continue
        reachable.add(message)
        pending += [entry[2] for entry in messages[message].values() if entry[2] not in SCALARS]
    document = {"kinds": kinds, "messages": {name: messages[name] for name in sorted(reachable)}}
    text = json.dumps(document, sort_keys=True, separators=(",", ":"))
    (FACTS / "protobuf-1.34.json").write_text(text.replace('},"k8s', '},\n"k8s') + "\n")
    print(f"{len(kinds)} kinds, {len(reachable)} messages")


if __name__ == "__main__":
    main()
