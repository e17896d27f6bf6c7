"""Pods that name an LLMRoute, as the guide shows them: what they are told leads them to it."""

import base64
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import openai
import pytest
import yaml

from cluster import Cluster, eventually
from gateways import Gateway, gateway, make_key, make_route, make_secret, model_server, target
from tensorfusion.errors import AlreadyExists, ApiError
from tensorfusion.kube.client import Client
from tensorfusion.model import keys
from tensorfusion.model.resources import CONFIG_MAPS, PODS, SECRETS

GUIDE = (Path(__file__).resolve().parents[2] / "docs" / "guides" / "gateway-on-kubernetes.md").read_text()
BLOCKS: list[Any] = [yaml.safe_load(block) for block in re.findall(r"```yaml\n(.*?)```", GUIDE, re.DOTALL)]
POD, CONFIG = (next(one for one in BLOCKS if one.get("kind") == kind) for kind in ("Pod", "ConfigMap"))
NAMED = "http://gateway.ai.svc:8787"


@pytest.fixture
def told(cluster: Cluster) -> Iterator[Gateway]:
    """A gateway that pods are told of."""
    with gateway(cluster) as serving:
        body = yaml.safe_load(yaml.safe_dump(CONFIG).replace(NAMED, f"http://127.0.0.1:{serving.port}"))

        async def put(client: Client) -> None:
            try:
                await client.create(CONFIG_MAPS, body, namespace=keys.SYSTEM_NAMESPACE)
            except AlreadyExists:
                name = body["metadata"]["name"]
                await client.patch(CONFIG_MAPS, name, {"data": body["data"]}, namespace=keys.SYSTEM_NAMESPACE)

        cluster.run(put)
        yield serving
        cluster.run(
            lambda client: client.delete(CONFIG_MAPS, body["metadata"]["name"], namespace=keys.SYSTEM_NAMESPACE)
        )


def create(cluster: Cluster, namespace: str, **annotations: str) -> Any:
    metadata = {**POD["metadata"], "namespace": namespace}
    metadata["annotations"] = {**metadata["annotations"], **annotations}
    return cluster.run(lambda client: client.create(PODS, {**POD, "metadata": metadata}, namespace=namespace))


def refusal(cluster: Cluster, namespace: str) -> str:
    with pytest.raises(ApiError) as refused:
        create(cluster, namespace)
    return str(refused.value)


def value_of(cluster: Cluster, namespace: str, env: dict[str, Any]) -> str:
    """As the kubelet resolves it."""
    if "value" in env:
        return str(env["value"])
    wanted = env["valueFrom"]["secretKeyRef"]
    found = cluster.run(lambda client: client.get(SECRETS, dict, wanted["name"], namespace=namespace))
    return base64.b64decode(found["data"][wanted["key"]]).decode()


def test_the_guides_pod_reaches_its_route_by_its_variables_alone(
    cluster: Cluster, namespace: str, told: Gateway
) -> None:
    eventually(lambda: refusal(cluster, namespace), until=lambda seen: f"LLMRoute in namespace {namespace}" in seen)
    with model_server() as model:
        make_route(cluster, namespace, target("first", model.url), selector={"modelPattern": "^nothing-else$"})
        key = make_key(cluster, namespace, routes=["chat"])
        make_secret(cluster, namespace, "chat-ui", **{"api-key": key})
        eventually(lambda: told.routes(key), until=lambda names: names == ["chat"])
        made = create(cluster, namespace)
        env = {one["name"]: value_of(cluster, namespace, one) for one in made["spec"]["containers"][0]["env"]}
        assert env["OPENAI_BASE_URL"] == env["OPENAI_API_BASE"] == f"http://127.0.0.1:{told.port}/routes/chat/v1"
        with openai.OpenAI(base_url=env["OPENAI_BASE_URL"], api_key=env["OPENAI_API_KEY"]) as client:
            answer = client.chat.completions.create(model="any", messages=[{"role": "user", "content": "hi"}])
        assert answer.choices[0].message.content
        assert len(model.seen()) == 1
