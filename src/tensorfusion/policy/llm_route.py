"""What the annotation ``tensor-fusion.ai/llm-route`` puts into a pod: the address of its route, and a key.

Three variables in each container that says nothing of them itself: ``OPENAI_BASE_URL``, its older name
``OPENAI_API_BASE``, and ``OPENAI_API_KEY`` from a Secret of the pod's namespace. The address names the route, so that
requests take it whatever model they ask for. A container that has an address of its own gets nothing: a key of ours has
no business there. The Secret is not looked at: what it holds is between its namespace and the kubelet.

Refused, rather than warned of, where the route does not exist: the pod would start and find nobody. What makes pods
tries again by itself.

Pure. Source: the platform's contract, 3.5; the names of the annotation and key of the Secret are ours.
"""

import re
from collections.abc import Mapping
from typing import Final, NamedTuple

from tensorfusion.errors import InvalidRequest
from tensorfusion.model import keys
from tensorfusion.model.resources import LLM_ROUTES
from tensorfusion.policy.patches import Json, Op, Patch
from tensorfusion.policy.shape import check_metadata, check_spec
from tensorfusion.policy.verdict import Missing, Snapshot, Unknown

BASE_URL: Final = "OPENAI_BASE_URL"
OLDER_BASE_URL: Final = "OPENAI_API_BASE"
API_KEY: Final = "OPENAI_API_KEY"
DEFAULT_SECRET: Final = "llm-key"  # noqa: S105 - a name
SECRET_KEY: Final = "api-key"  # noqa: S105 - a name
_ADDRESSES: Final = (BASE_URL, OLDER_BASE_URL)
_NAME: Final = re.compile(r"[a-z0-9]([-a-z0-9.]{0,251}[a-z0-9])?")


class Routed(NamedTuple):
    """The pod with what its route puts into it, and the operations that make it so."""

    pod: Mapping[str, Json]
    ops: tuple[Op, ...] = ()
    warnings: tuple[str, ...] = ()


def routed(pod: Mapping[str, Json], *, namespace: str, snapshot: Snapshot, gateway: str | None) -> Routed:
    """The pod as its annotation wants it. ``gateway`` is the gateway's URL, empty where the cluster has none that it
    knows of; None: nobody asks for this.

    Raises:
        InvalidRequest: the annotation cannot be followed.
    """
    metadata = pod.get("metadata")
    annotations = metadata.get("annotations") if isinstance(metadata, dict) else None
    if gateway is None or not isinstance(annotations, dict) or keys.LLM_ROUTE not in annotations:
        return Routed(pod)
    check_metadata(pod)
    check_spec(pod)
    name = _name(annotations, keys.LLM_ROUTE, f"the name of an LLMRoute in namespace {namespace}")
    secret = DEFAULT_SECRET
    if keys.LLM_KEY_SECRET in annotations:
        secret = _name(annotations, keys.LLM_KEY_SECRET, f"the name of a Secret in namespace {namespace}")
    if not gateway:
        raise InvalidRequest(
            f"annotation {keys.LLM_ROUTE}: this cluster names no gateway: set llmGateway.url in the ConfigMap "
            f"{keys.SYSTEM_NAMESPACE}/tensor-fusion-sys-config, or run `tensorfusion up` with --gateway-port"
        )
    if not snapshot.has_route(namespace, name):
        raise Unknown(
            f"annotation {keys.LLM_ROUTE}: wanted the name of an LLMRoute in namespace {namespace}, found {name!r}, "
            "which does not exist there",
            Missing(LLM_ROUTES, namespace, name),
        )
    url = f"{gateway.rstrip('/')}/routes/{name}/v1"
    reference = {"secretKeyRef": {"name": secret, "key": SECRET_KEY}}
    wanted: list[Op] = [
        *({"name": one, "value": url} for one in _ADDRESSES),
        {"name": API_KEY, "valueFrom": reference},
    ]
    return _injected(pod, wanted, url)


def _injected(pod: Mapping[str, Json], wanted: list[Op], url: str) -> Routed:
    patch, warnings, containers = Patch(), [], []
    for position, container in enumerate(pod["spec"]["containers"]):
        env = container.get("env") or []
        known = {one.get("name"): one for one in env}
        own = next((one for one in _ADDRESSES if one in known and known[one].get("value") != url), "")
        missing = [] if own else [one for one in wanted if one["name"] not in known]
        where = f"annotation {keys.LLM_ROUTE}: container {container.get('name', '')}"
        if own:
            warnings.append(f"{where} sets {own} itself and is left as it is")
        elif missing and container.get("envFrom"):
            names = ", ".join(one["name"] for one in missing)
            warnings.append(f"{where} takes variables from elsewhere (envFrom): {names} go before those")
        patch.merge_named(f"/spec/containers/{position}/env", env, values=missing)
        containers.append({**container, "env": [*env, *missing]} if missing else container)
    spec = {**pod["spec"], "containers": containers}
    return Routed({**pod, "spec": spec}, tuple(patch.ops), tuple(warnings))


def _name(annotations: Mapping[str, str], key: str, wanted: str) -> str:
    found = annotations[key]
    if not _NAME.fullmatch(found):
        raise InvalidRequest(f"annotation {key}: wanted {wanted}, found {found!r}")
    return found
