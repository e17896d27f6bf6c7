"""Derive the schema facts of the built-in kinds from a real kube-apiserver and write them to one file.

What OpenAPI says (fields, types, list types, merge keys) is taken from it; what it does not say (defaults that live in
Go code, which fields are really required, which enums are really checked, name rules, columns, selectable fields) is
asked of the server itself with dry-run requests built from ``facts/samples.yaml``; which zeros are left out, of the Go
types (``facts/zeros.py``). Nothing is typed in by hand, and
two runs write the same bytes. Description texts are left out.

    python tools/schema_facts.py --assets DIR [--output FILE] [--check]

``DIR`` holds ``kube-apiserver`` and ``etcd`` (see ``make kube-assets``). ``--check`` writes nothing and fails when the
committed file differs.
"""

import argparse
import json
import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))

from facts.defaults import observe_defaults
from facts.deletion import observe_deletion
from facts.kinds import describe_kinds
from facts.resets import observe_resets
from facts.rules import observe_rules
from facts.samples import SERVED, samples
from facts.schemas import reachable_definitions
from facts.server import running_server
from facts.zeros import describe_zeros

OUTPUT = Path(__file__).resolve().parent.parent / "src/tensorfusion/embedded/facts/kubernetes-1.34.json"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--assets", type=Path, required=True, help="folder with kube-apiserver and etcd")
    parser.add_argument("--output", type=Path, default=OUTPUT)
    parser.add_argument("--check", action="store_true", help="only compare with the committed file")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder, running_server(arguments.assets, Path(folder)) as server:
        resources = describe_kinds(server, SERVED)
        definitions = reachable_definitions(server, resources)
        objects = samples(server, resources)
        observe_defaults(server, resources, definitions, objects)
        observe_rules(server, resources, definitions, objects)
        observe_resets(server, resources, definitions, objects)
        observe_deletion(server, resources, objects)
        version = server.get("/version")
        describe_zeros(version["gitVersion"], definitions)
        facts = {"version": version, "resources": resources, "definitions": definitions}
    text = render(facts)
    if arguments.check:
        same = arguments.output.read_text() == text
        print("facts are current" if same else f"{arguments.output} is not what the server says: run without --check")
        return 0 if same else 1
    arguments.output.write_text(text)
    print(f"{arguments.output}: {len(text)} bytes, {len(resources)} resources, {len(definitions)} definitions")
    return 0


def render(facts: dict) -> str:
    """Sorted JSON with one line per resource and per definition, so that a new Kubernetes version reads as a diff."""

    def line(value: object) -> str:
        return json.dumps(value, sort_keys=True, separators=(",", ":"))

    version = {key: facts["version"][key] for key in ("major", "minor", "gitVersion")}
    resources = ",\n".join(line(resource) for resource in facts["resources"])
    definitions = ",\n".join(f"{line(name)}:{line(schema)}" for name, schema in sorted(facts["definitions"].items()))
    return f'{{"version":{line(version)},\n"resources":[\n{resources}\n],\n"definitions":{{\n{definitions}\n}}}}\n'


if __name__ == "__main__":
    sys.exit(main())
