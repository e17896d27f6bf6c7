"""Whatever is applied or sent as managed fields: an answer that says what is wrong, never an internal error."""

import copy
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

DEPLOYMENT = {
    "apiVersion": "apps/v1",
    "kind": "Deployment",
    "metadata": {
        "name": "o",
        "labels": {"x": "y"},
        "annotations": {"kubectl.kubernetes.io/last-applied-configuration": '{"apiVersion":"apps/v1"}'},
        "finalizers": ["example.com/f"],
        "ownerReferences": [{"apiVersion": "v1", "kind": "A", "name": "b", "uid": "u"}],
    },
    "spec": {
        "replicas": 1,
        "selector": {"matchLabels": {"a": "b"}},
        "template": {
            "metadata": {"labels": {"a": "b"}},
            "spec": {
                "containers": [
                    {
                        "name": "c",
                        "image": "i",
                        "ports": [{"containerPort": 80}],
                        "env": [{"name": "A", "value": "b"}],
                        "resources": {"requests": {"cpu": "1"}},
                    }
                ],
                "tolerations": [{"key": "x", "operator": "Exists"}],
            },
        },
    },
}
ODD = [None, 1, -1, 1.5, True, "x", "", [], {}, [None], [1, "a"], {"a": None}, {"": 1}, [{}], [[]], 2**63, "\x00"]


def places(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    if path:
        yield path
    if isinstance(value, dict):
        for key in value:
            yield from places(value[key], (*path, key))
    elif isinstance(value, list):
        for number, inner in enumerate(value):
            yield from places(inner, (*path, number))


@st.composite
def spoilt(draw: st.DrawFn) -> dict[str, Any]:
    """A Deployment with up to two places overwritten."""
    obj = copy.deepcopy(DEPLOYMENT)
    for path in draw(st.lists(st.sampled_from(list(places(DEPLOYMENT))), max_size=2)):
        target: Any = obj
        try:
            for step in path[:-1]:
                target = target[step]
            target[path[-1]] = copy.deepcopy(draw(st.sampled_from(ODD)))
        except (KeyError, IndexError, TypeError):
            continue
    return obj


@pytest.fixture(scope="module")
def module_api(running: Any) -> Any:
    client = running.client
    namespace = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "bad-configurations"}}
    client.create("/api/v1/namespaces", namespace)
    client.namespace = "bad-configurations"
    yield client
    client.namespace = "default"


many = settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


@many
@given(
    config=spoilt(),
    manager=st.sampled_from(["kubectl", "me"]),
    force=st.booleans(),
    query=st.sampled_from(["", "&dryRun=All"]),
)
def test_no_configuration_is_an_internal_error(module_api, config, manager: str, *, force: bool, query: str) -> None:
    path = f"{module_api.apps('deployments', 'o')}?fieldManager={manager}&force={str(force).lower()}{query}"
    answer = module_api("PATCH", path, config, content_type="application/apply-patch+yaml")
    assert answer.status < 500, answer.body
    if answer.status >= 400:
        assert answer.message


entries = st.fixed_dictionaries(
    {},
    optional={
        "manager": st.sampled_from(["m", *ODD]),
        "operation": st.sampled_from(["Apply", "Update", *ODD]),
        "apiVersion": st.sampled_from(["v1", *ODD]),
        "time": st.sampled_from(["2026-01-01T00:00:00Z", *ODD]),
        "fieldsType": st.sampled_from(["FieldsV1", *ODD]),
        "fieldsV1": st.sampled_from(
            [{"f:data": {"f:a": {}}}, {"k:{}": {}}, {"k:[": {}}, {"v:1": {}}, {"q:": {}}, *ODD]
        ),
        "subresource": st.sampled_from(["status", *ODD]),
    },
)


@many
@given(managed=st.one_of(st.lists(entries, max_size=3), st.sampled_from(ODD)))
def test_no_managed_fields_are_an_internal_error(module_api, managed: Any) -> None:
    config = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "c"}, "data": {"a": "b"}}
    path = module_api.core("configmaps", "c")
    made = module_api(
        "PATCH", f"{path}?fieldManager=me&force=true", config, content_type="application/apply-patch+yaml"
    )
    assert made.status in (200, 201)
    answer = module_api.merge(path, {"metadata": {"managedFields": managed}})
    assert answer.status < 500, answer.body
    again = module_api(
        "PATCH", f"{path}?fieldManager=me&force=true", config, content_type="application/apply-patch+yaml"
    )
    assert again.status == 200, again.body
