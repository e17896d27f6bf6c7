"""Services, Secrets and untyped fields: what they take and what not. Numbers 960 to 964."""

from typing import Any

from asking import Api
from behaviours import behaviour

SERVICE = "API reference: Service"
OBSERVED = "observed on 1.34.2"


def service(name: str = "s", **spec: Any) -> dict[str, Any]:
    return {"metadata": {"name": name}, "spec": {"selector": {"a": "b"}, "ports": [{"port": 80}], **spec}}


@behaviour(960, "A service's creator is warned of fields that its type ignores", source=OBSERVED)
def test_ignored_fields(api: Api) -> None:
    obj = service(clusterIP="None", externalIPs=["1.2.3.4"], sessionAffinity="ClientIP", externalName="a.example.com")
    answer = api("POST", f"{api.core('services')}?dryRun=All", obj)
    assert answer.status == 201, answer.body
    assert {text.replace('\\"', '"') for text in answer.warnings} == {
        "spec.externalIPs is ignored for headless services",
        "spec.SessionAffinity is ignored for headless services",
        'spec.externalName is ignored when spec.type is not "ExternalName"',
    }


@behaviour(961, "A service that nobody reaches from outside has no policy for outside traffic", source=SERVICE)
def test_traffic_policy(api: Api) -> None:
    path = f"{api.core('services')}?dryRun=All"
    answer = api("POST", path, service(externalTrafficPolicy="Local")).refused(422, "Invalid", kind="Service")
    assert answer.causes() == {("spec.externalTrafficPolicy", "FieldValueInvalid")}
    assert api("POST", path, service(externalTrafficPolicy="Local", type="NodePort")).status == 201


@behaviour(962, "Outside addresses and families of a service are addresses and families", source=SERVICE)
def test_addresses(api: Api) -> None:
    path = f"{api.core('services')}?dryRun=All"
    answer = api("POST", path, service(externalIPs=["1.2.3.4", "x"])).refused(422, "Invalid", kind="Service")
    assert answer.causes() == {("spec.externalIPs[1]", "FieldValueInvalid")}
    answer = api("POST", path, service(ipFamilyPolicy="Some")).refused(422, "Invalid", kind="Service")
    assert answer.causes() == {("spec.ipFamilyPolicy", "FieldValueNotSupported")}


@behaviour(
    963, "A Secret for basic authentication has a user or a password", source="Secrets: Basic authentication Secret"
)
def test_basic_auth(api: Api) -> None:
    secret = {"metadata": {"name": "s"}, "type": "kubernetes.io/basic-auth", "data": {"x": "eA=="}}
    answer = api("POST", f"{api.core('secrets')}?dryRun=All", secret).refused(422, "Invalid", kind="Secret")
    assert answer.causes() == {("data[username]", "FieldValueRequired"), ("data[password]", "FieldValueRequired")}
    secret["data"] = {"password": "eA=="}
    assert api("POST", f"{api.core('secrets')}?dryRun=All", secret).status == 201


@behaviour(964, "A field that turns from 1 into true has changed, and is checked", source=OBSERVED)
def test_true_is_not_one(api: Api) -> None:
    group = api.other_name("g") + ".example.com"
    fields = {"count": {"type": "integer"}, "any": {"x-kubernetes-preserve-unknown-fields": True}}
    schema = {"openAPIV3Schema": {"type": "object", "properties": {"spec": {"type": "object", "properties": fields}}}}
    definition = {
        "metadata": {"name": f"foos.{group}"},
        "spec": {
            "group": group,
            "scope": "Namespaced",
            "names": {"plural": "foos", "kind": "Foo"},
            "versions": [{"name": "v1", "served": True, "storage": True, "schema": schema}],
        },
    }
    with api.made("/apis/apiextensions.k8s.io/v1/customresourcedefinitions", definition):
        path = api.path(f"{group}/v1", "foos")
        api.eventually(lambda: api("GET", path).status == 200)
        api.create(
            path,
            {"apiVersion": f"{group}/v1", "kind": "Foo", "metadata": {"name": "a"}, "spec": {"count": 1, "any": 1}},
        )
        answer = api("PATCH", f"{path}/a", {"spec": {"count": True}}, content_type="application/merge-patch+json")
        assert answer.refused(422, "Invalid").causes() == {("spec.count", "FieldValueTypeInvalid")}
        assert api.merge(f"{path}/a", {"spec": {"any": True}})["spec"]["any"] is True
        assert api.get(f"{path}/a")["spec"]["any"] is True
