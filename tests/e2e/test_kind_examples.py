"""The examples of the kinds' pages are accepted by the API as they are."""

from pathlib import Path

import pytest
import yaml

from cluster import Cluster
from tensorfusion.model.crd import KINDS

FOLDER = Path(__file__).resolve().parent.parent.parent / "docs" / "kinds"


@pytest.mark.parametrize("file", sorted(FOLDER.glob("*.yaml")), ids=lambda file: file.stem)
def test_an_example_of_the_reference_is_accepted(cluster: Cluster, namespace: str, file: Path) -> None:
    body = yaml.safe_load(file.read_text())
    resource = KINDS[body["kind"]].resource
    assert resource.plural == file.stem
    place = namespace if resource.namespaced else ""
    made = cluster.run(lambda client: client.create(resource, body, namespace=place, dry_run=True))
    assert set(body["spec"]) <= set(made["spec"])
