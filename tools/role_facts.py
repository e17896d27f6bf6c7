"""Derive the roles and bindings that every cluster starts with from a real kube-apiserver and write them to one file.

    python tools/role_facts.py --assets DIR [--check]

``DIR`` holds ``kube-apiserver`` and ``etcd`` (see ``make kube-assets``). ``--check`` writes nothing and fails when the
committed file differs.
"""

import argparse
import json
import sys
import tempfile
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent))

from facts.server import Server, running_server

OUTPUT = Path(__file__).resolve().parent.parent / "src/tensorfusion/embedded/facts/roles-1.34.json"
GROUP = "rbac.authorization.k8s.io"
KINDS = {
    "clusterroles": "ClusterRole",
    "clusterrolebindings": "ClusterRoleBinding",
    "roles": "Role",
    "rolebindings": "RoleBinding",
}
MARK = ("kubernetes.io/bootstrapping", "rbac-defaults")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--assets", type=Path, required=True, help="folder with kube-apiserver and etcd")
    parser.add_argument("--check", action="store_true", help="only compare with the committed file")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder, running_server(arguments.assets, Path(folder)) as server:
        objects = [obj for plural, kind in KINDS.items() for obj in observed(server, plural, kind)]
    text = "[\n" + ",\n".join(json.dumps(obj, sort_keys=True, separators=(",", ":")) for obj in objects) + "\n]\n"
    if arguments.check:
        same = OUTPUT.read_text() == text
        print("roles are current" if same else f"{OUTPUT} is not what the server says: run without --check")
        return 0 if same else 1
    OUTPUT.write_text(text)
    print(f"{OUTPUT}: {len(text)} bytes, {len(objects)} objects")
    return 0


def observed(server: Server, plural: str, kind: str) -> list[dict[str, Any]]:
    """The objects of a kind that the server has made, without what it says of them; gathered rules are left out."""
    found = server.get(f"/apis/{GROUP}/v1/{plural}")["items"]
    return [
        bare(obj, kind)
        for obj in sorted(found, key=lambda obj: (obj["metadata"].get("namespace", ""), obj["metadata"]["name"]))
        if (obj["metadata"].get("labels") or {}).get(MARK[0]) == MARK[1]
    ]


def bare(obj: dict[str, Any], kind: str) -> dict[str, Any]:
    kept = ("name", "namespace", "labels", "annotations")
    metadata = {field: obj["metadata"][field] for field in kept if field in obj["metadata"]}
    rest = {field: value for field, value in obj.items() if field not in ("metadata", "kind", "apiVersion")}
    if "aggregationRule" in rest:
        rest.pop("rules", None)
    return {"apiVersion": f"{GROUP}/v1", "kind": kind, "metadata": metadata, **rest}


if __name__ == "__main__":
    sys.exit(main())
