"""The routes that the guide shows are accepted by the API as they are; what cannot work is refused there already."""

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from cluster import Cluster
from tensorfusion.errors import Invalid
from tensorfusion.model.crd import KINDS

GUIDE = (Path(__file__).resolve().parents[2] / "docs" / "guides" / "llm-routes.md").read_text()
ROUTES: list[Any] = [
    document for block in re.findall(r"```yaml\n(.*?)```", GUIDE, re.DOTALL) for document in yaml.safe_load_all(block)
]
RESOURCE = KINDS["LLMRoute"].resource


def create(cluster: Cluster, namespace: str, body: Any) -> Any:
    here = {**body, "metadata": {**body["metadata"], "namespace": namespace}}
    return cluster.run(lambda client: client.create(RESOURCE, here, namespace=namespace, dry_run=True))


@pytest.mark.parametrize("route", ROUTES, ids=lambda route: route["metadata"]["name"])
def test_a_route_of_the_guide_is_accepted(cluster: Cluster, namespace: str, route: Any) -> None:
    made = create(cluster, namespace, route)
    for field, value in route["spec"].items():
        if not isinstance(value, dict | list):
            assert made["spec"][field] == value


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"rollout": {"target": "nobody"}}, "rollout needs strategy weighted and the name of one of the targets"),
        ({"strategy": "priority"}, "rollout needs strategy weighted and the name of one of the targets"),
        ({"aliases": ["chat@v2"]}, "should match"),
    ],
)
def test_a_rollout_that_cannot_work_is_refused(
    cluster: Cluster, namespace: str, change: dict[str, Any], message: str
) -> None:
    route = next(route for route in ROUTES if "rollout" in route["spec"])
    with pytest.raises(Invalid, match=message):
        create(cluster, namespace, {**route, "spec": {**route["spec"], **change}})
