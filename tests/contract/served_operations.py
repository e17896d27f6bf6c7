"""Requests made from the OpenAPI documents that a server serves: right ones, and ones that break the document.

What a document cannot say is added to it before it is used: names of objects that there are, quantities, values of
options, what patches look like. Without that nearly every request would end at the first check.
"""

import copy
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias
from urllib.parse import quote, urlencode

import schemathesis
from hypothesis import strategies as st
from schemathesis import Case, GenerationMode
from schemathesis.core import NotSet

from asking import APPLY, JSON_PATCH, MERGE, STRATEGIC, Answer, Api, config_map, deployment, pod

# Any: JSON.
Json = dict[str, Any]
Place: TypeAlias = tuple[str | int, ...]
_DEEPEST = 8
NAMES = ["a", "b", "x"]
"""Names that seeds and requests have in common."""
_META = "io.k8s.apimachinery.pkg.apis.meta.v1.ObjectMeta"
_QUANTITY = "io.k8s.apimachinery.pkg.api.resource.Quantity"
_TEMPLATE = {"metadata": {"labels": {"a": "b"}}, "spec": {"containers": [{"name": "c", "image": "i:1"}]}}
_SELECTOR = {"matchLabels": {"a": "b"}}
_JOB = {"template": {"spec": {**_TEMPLATE["spec"], "restartPolicy": "Never"}}}
_RULE = {"apiGroups": [""], "resources": ["pods"], "verbs": ["get"]}
_ROLE = {"kind": "ClusterRole", "name": "view", "apiGroup": "rbac.authorization.k8s.io"}
_REQUEST = {"name": "r", "exactly": {"deviceClassName": "c"}}
SEEDS: dict[str, Json] = {
    "configmaps": config_map("a", k="v"),
    "controllerrevisions": {"revision": 1, "data": {"a": 1}},
    "cronjobs": {"spec": {"schedule": "@daily", "suspend": True, "jobTemplate": {"spec": _JOB}}},
    "clusterroles": {"rules": [_RULE]},
    "clusterrolebindings": {"roleRef": _ROLE, "subjects": []},
    "daemonsets": {"spec": {"selector": _SELECTOR, "template": _TEMPLATE}},
    "deployments": deployment("a"),
    "deviceclasses": {"spec": {}},
    "endpoints": {"subsets": [{"addresses": [{"ip": "10.0.0.9"}], "ports": [{"port": 1}]}]},
    "endpointslices": {"addressType": "IPv4", "endpoints": [{"addresses": ["10.0.0.9"]}]},
    "horizontalpodautoscalers": {
        "spec": {"maxReplicas": 2, "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": "a"}}
    },
    "ingresses": {"spec": {"defaultBackend": {"service": {"name": "a", "port": {"number": 80}}}}},
    "ingressclasses": {"spec": {"controller": "example.com/c"}},
    "jobs": {"spec": {**_JOB, "suspend": True}},
    "leases": {"spec": {"holderIdentity": "me"}},
    "limitranges": {"spec": {"limits": [{"type": "Pod", "max": {"cpu": "1"}}]}},
    "namespaces": {},
    "networkpolicies": {"spec": {"podSelector": {}}},
    "nodes": {},
    "persistentvolumes": {
        "spec": {"capacity": {"storage": "1Gi"}, "accessModes": ["ReadWriteOnce"], "hostPath": {"path": "/x"}}
    },
    "persistentvolumeclaims": {
        "spec": {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}}
    },
    "poddisruptionbudgets": {"spec": {"minAvailable": 1, "selector": _SELECTOR}},
    "pods": pod("a", schedulerName="nobody"),
    "podtemplates": {"template": _TEMPLATE},
    "priorityclasses": {"value": 5},
    "replicasets": {"spec": {"replicas": 0, "selector": _SELECTOR, "template": _TEMPLATE}},
    "resourceclaims": {"spec": {"devices": {"requests": [_REQUEST]}}},
    "resourceclaimtemplates": {"spec": {"spec": {"devices": {"requests": [_REQUEST]}}}},
    "resourceslices": {
        "spec": {"driver": "d.example.com", "nodeName": "n", "pool": {"name": "p", "resourceSliceCount": 1}}
    },
    "resourcequotas": {"spec": {"hard": {"example.com/nothing": "1"}}},
    "roles": {"rules": [_RULE]},
    "rolebindings": {"roleRef": _ROLE, "subjects": []},
    "runtimeclasses": {"handler": "h"},
    "secrets": {"data": {"k": "aGk="}},
    "serviceaccounts": {},
    "services": {"spec": {"ports": [{"port": 80}]}},
    "statefulsets": {"spec": {"replicas": 0, "selector": _SELECTOR, "template": _TEMPLATE, "serviceName": "s"}},
    "storageclasses": {"provisioner": "example.com/p"},
    "things": {"spec": {"n": 1, "keyed": [{"name": "k", "value": 1}]}},
}
"""What the object ``a`` of each resource is, before it is changed; kinds that are not here begin without objects."""
_TEXT: Json = {"type": "string", "minLength": 1}
_POINTERS = [
    "/metadata/labels/a",
    "/metadata/annotations",
    "/metadata/name",
    "/spec",
    "/status",
    "/data",
    "/kind",
    "",
    "/a/0/-",
]
_JSON_PATCHES: Json = {
    "type": "array",
    "maxItems": 3,
    "items": {
        "type": "object",
        "required": ["op", "path"],
        "properties": {
            "op": {"enum": ["add", "remove", "replace", "move", "copy", "test", "nope"]},
            "path": {"anyOf": [{"enum": _POINTERS}, {"type": "string"}]},
            "from": {"enum": _POINTERS},
            "value": {},
        },
    },
}
_QUERY: dict[str, Json] = {
    "dryRun": {"enum": ["All", "", "x"]},
    "fieldManager": {"anyOf": [{"enum": ["m", "a" * 129]}, {"type": "string"}]},
    "fieldValidation": {"enum": ["Strict", "Warn", "Ignore", "x"]},
    "force": {"enum": ["true", "false", "x"]},
    "limit": {"anyOf": [{"enum": ["1", "0", "-1", "x"]}, {"type": "integer"}]},
    "labelSelector": {"anyOf": [{"enum": ["a=b", "a in (b,c)", "!a", "a>1", "a=="]}, {"type": "string"}]},
    "fieldSelector": {
        "anyOf": [
            {"enum": ["metadata.name=a", "metadata.name!=a", "spec.nodeName=", "status.phase=x"]},
            {"type": "string"},
        ]
    },
    "resourceVersion": {"anyOf": [{"enum": ["0", "1", "", "x"]}, {"type": "integer"}]},
    "watch": {"enum": ["true", "0", "x"]},
}


@dataclass(frozen=True)
class Served:
    """One operation of a document: its requests, right ones and wrong ones."""

    label: str
    requests: st.SearchStrategy[Case]
    path: str
    """Where it is, with the namespace that requests may change and ``{name}``."""
    head: Json
    """What says of an object which kind it is."""
    dry: bool
    """Whether its writes are dry runs: what they make would change what all others do."""

    @property
    def collection(self) -> str:
        return self.path.partition("/{name}")[0]

    def seed(self, api: Api) -> None:
        """See that the object ``a`` is there, if it is known what it looks like."""
        base = self._base()
        if base is not None:
            api("POST", self.collection, base)

    def bodies(self, case: Case, picks: Sequence[int]) -> Iterator[Any]:
        """The body of a request, and for each number one that is right but for what is at one place of that body."""
        body = None if isinstance(case.body, NotSet) else case.body
        yield body
        places = list(_places(body)) if isinstance(body, dict) else []
        for pick in picks if places else ():
            bare = {**self.head, "metadata": {"name": "a"}}
            base = bare if case.method == "PATCH" else copy.deepcopy(self._base() or bare)
            if case.method == "POST":
                base["metadata"]["name"] = f"p{pick}"
            yield _grafted(base, body, places[pick % len(places)])

    def _base(self) -> Json | None:
        seed = SEEDS.get(self.collection.rpartition("/")[2])
        return None if seed is None else {**self.head, **seed, "metadata": {"labels": {"a": "b"}, "name": "a"}}

    def send(self, api: Api, case: Case, body: Any, name: str) -> Answer:
        """Send a request about the object of this name, or as it is without one; a watch ends after a second."""
        place = self.path.replace("{name}", name) if name else quote(case.formatted_path, safe="/%")
        more = {"timeoutSeconds": "1"} if case.method == "GET" else {"dryRun": "All"} if self.dry else {}
        query = urlencode({**(case.query or {}), **more}, doseq=True, errors="surrogatepass")
        return api(case.method, f"{place}?{query}", body, content_type=case.media_type or "application/json")


def _places(value: Any, depth: int = 0) -> Iterator[Place]:
    """The places of a value, the first item of lists among them."""
    if depth > _DEEPEST:
        return
    inner = value.items() if isinstance(value, dict) else enumerate(value[:1]) if isinstance(value, list) else ()
    for step, found in inner:
        yield (step,)
        yield from ((step, *rest) for rest in _places(found, depth + 1))


def _grafted(base: Any, other: Any, place: Place) -> Any:
    """``base`` with what ``other`` has at a place."""
    if not place or type(base) is not type(other) or not isinstance(base, dict | list):
        return other
    step = place[0]
    if isinstance(base, list):
        return [_grafted(base[0] if base else None, other[0], place[1:]), *base[1:]]
    return {**base, step: _grafted(base.get(step), other[step], place[1:])}


def served_operations(document: Json, namespace: str, *, dry: bool = False) -> Iterator[Served]:
    """All operations of an OpenAPI v3 document. ``dry``: writes are always dry runs."""
    known = _with_knowledge(copy.deepcopy(document), namespace)
    schema = schemathesis.openapi.from_dict(known)
    for found in schema.get_all_operations():
        operation = found.ok()
        wanted = st.one_of(operation.as_strategy(), operation.as_strategy())
        if operation.method != "get":
            wanted = st.one_of(wanted, operation.as_strategy(GenerationMode.NEGATIVE))
        path = operation.path.replace("{namespace}", namespace)
        named = operation.definition.raw["x-kubernetes-group-version-kind"]
        version = "/".join(part for part in (named["group"], named["version"]) if part)
        yield Served(operation.label, wanted, path, {"apiVersion": version, "kind": named["kind"]}, dry)


def _with_knowledge(document: Json, namespace: str) -> Json:
    schemas = document["components"]["schemas"]
    for schema in schemas.values():
        _narrow(schema)
    if _META in schemas:
        metadata = schemas[_META]
        metadata["required"] = ["name"]
        metadata["properties"]["name"] = {"anyOf": [{"enum": ["a"]}, {"enum": NAMES}, _TEXT]}
        metadata["properties"]["namespace"] = {"enum": [namespace, namespace, namespace, "", "other"]}
        for name in ("resourceVersion", "uid", "generateName", "deletionTimestamp", "managedFields"):
            metadata["properties"].pop(name, None)
    if _QUANTITY in schemas:
        schemas[_QUANTITY] = {"anyOf": [{"enum": ["1", "100m", "1Gi", "-1", "1e3", "0.1"]}, {"type": "string"}]}
    for item in document["paths"].values():
        for method, operation in item.items():
            if method != "parameters":
                _widen(method, operation, item)
    return document


def _narrow(schema: Any) -> None:
    """No fields that a schema does not name, and no numbers beyond what they are: wrong requests have these."""
    if isinstance(schema, list):
        for inner in schema:
            _narrow(inner)
    if not isinstance(schema, dict):
        return
    if "properties" in schema and isinstance(schema["properties"], dict):
        schema.setdefault("additionalProperties", False)
    if schema.get("type") == "integer":
        schema.setdefault("minimum", -(1 << 31))
        schema.setdefault("maximum", (1 << 31) - 1)
    for inner in list(schema.values()):
        _narrow(inner)


def _widen(method: str, operation: Json, item: Json) -> None:
    """Give an operation's parameters and bodies what the document does not say of them."""
    for parameter in operation.get("parameters", ()):
        parameter["schema"] = _QUERY.get(parameter["name"], parameter["schema"])
    if "requestBody" not in operation:
        return
    content = operation["requestBody"]["content"]
    if method == "patch":
        whole = item.get("put", {}).get("requestBody", {}).get("content", {}).get("application/json", {}).get("schema")
        for media in (MERGE, STRATEGIC, APPLY):
            content[media] = {"schema": whole or {"type": "object"}}
        content[JSON_PATCH] = {"schema": _JSON_PATCHES}
    elif "*/*" in content:
        operation["requestBody"]["content"] = {"application/json": content["*/*"]}
