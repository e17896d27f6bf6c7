"""``tensorfusion convert``: rewrite manifests of loose dialects into the schema, without a cluster."""

import json
import sys
from typing import Any

import click

from tensorfusion.cli.manifests import read_manifests, tell


@click.command("convert")
@click.option("--filename", "-f", "paths", multiple=True, required=True, help="File, folder, or - for standard input.")
@click.option("--output", "-o", type=click.Choice(["yaml", "json"]), default="yaml", show_default=True, help="Form.")
def command(paths: tuple[str, ...], output: str) -> None:
    """Print the objects of the files in the schema of tensor-fusion.ai/v1.

    What was rewritten goes to standard error, one line each. What cannot be said in the schema is an error with the
    field, what is wanted and what was found; then nothing is printed, and the exit status is 1.

    \b
    tensorfusion convert -f loose.yaml
    tensorfusion convert -f manifests/ -o json
    """
    manifests = [manifest for path in paths for manifest in read_manifests(path)]
    for manifest in manifests:
        tell(manifest)
    if any(manifest.problems for manifest in manifests):
        sys.exit(1)
    click.echo(_written([manifest.document for manifest in manifests], output), nl=False)


def _written(documents: list[Any], output: str) -> str:  # Any: whatever the files hold
    if output == "json":
        whole = documents[0] if len(documents) == 1 else {"apiVersion": "v1", "kind": "List", "items": documents}
        return json.dumps(whole, indent=2, default=str) + "\n"
    import yaml

    return yaml.safe_dump_all(documents, sort_keys=False, allow_unicode=True)
