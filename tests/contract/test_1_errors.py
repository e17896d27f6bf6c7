"""Refusals: what a Status says, and for what. Numbers 180 to 199."""

from asking import Api, config_map, pod
from behaviours import behaviour

CONVENTIONS = "API conventions"
OBSERVED = "observed on 1.34.2"


@behaviour(
    180,
    "A Status says its kind, that it is a failure, why, and with which code",
    source=f"{CONVENTIONS}: Response Status Kind",
)
def test_status(api: Api) -> None:
    answer = api("GET", api.core("configmaps", "a"))
    assert answer.body == {
        "kind": "Status",
        "apiVersion": "v1",
        "metadata": {},
        "status": "Failure",
        "message": 'configmaps "a" not found',
        "reason": "NotFound",
        "details": {"name": "a", "kind": "configmaps"},
        "code": 404,
    }
    assert answer.headers["Content-Type"] == "application/json"


@behaviour(
    181,
    "Each wrong field is a cause of its own, with its path and a reason",
    source=f"{CONVENTIONS}: Response Status Kind",
)
def test_causes(api: Api) -> None:
    bad = pod("p", restartPolicy="Sometimes")
    bad["spec"]["containers"] = [{"name": "B_ad", "image": ""}]
    api.create_pod("first", schedulingGates=[{"name": "example.com/wait"}])
    answer = api("POST", api.core("pods"), bad)
    answer.refused(422, "Invalid", kind="Pod", name="p")
    assert answer.causes() == {
        ("spec.containers[0].name", "FieldValueInvalid"),
        ("spec.containers[0].image", "FieldValueRequired"),
        ("spec.restartPolicy", "FieldValueNotSupported"),
    }
    assert answer.body["message"].startswith('Pod "p" is invalid: [')


@behaviour(
    182, "A name that is no DNS subdomain is 422, in words that say what one is", source="Concepts: Object names"
)
def test_bad_name(api: Api) -> None:
    answer = api("POST", api.core("configmaps"), config_map("Not_A_Name"))
    why = (
        'ConfigMap "Not_A_Name" is invalid: metadata.name: Invalid value: "Not_A_Name": a lowercase RFC 1123 subdomain '
        "must consist of lower case alphanumeric characters, '-' or '.', and must start and end with an alphanumeric "
        "character (e.g. 'example.com', regex used for validation is "
        "'[a-z0-9]([-a-z0-9]*[a-z0-9])?(\\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*')"
    )
    answer.refused(422, "Invalid", why, kind="ConfigMap", name="Not_A_Name")
    assert answer.causes() == {("metadata.name", "FieldValueInvalid")}


@behaviour(183, "A name of more than 253 letters is 422", source="Concepts: Object names")
def test_long_name(api: Api) -> None:
    answer = api("POST", api.core("configmaps"), config_map("a" * 254))
    answer.refused(422, "Invalid", kind="ConfigMap")
    assert answer.causes() == {("metadata.name", "FieldValueInvalid")}
    assert answer.body["message"].endswith("must be no more than 253 characters")


@behaviour(184, "Labels and annotations are checked, by key and value", source="Concepts: Labels, syntax")
def test_bad_labels(api: Api) -> None:
    obj = config_map("a", labels={"-bad": "x", "ok": "no spaces here", "too/many/parts": "x"})
    obj["metadata"]["annotations"] = {"a b": "x"}
    answer = api("POST", api.core("configmaps"), obj)
    answer.refused(422, "Invalid")
    assert answer.causes() == {
        ("metadata.labels", "FieldValueInvalid"),
        ("metadata.annotations", "FieldValueInvalid"),
    }


@behaviour(185, "A finalizer without a domain is 422", source="Concepts: Finalizers")
def test_bad_finalizer(api: Api) -> None:
    obj = config_map("a")
    obj["metadata"]["finalizers"] = ["short"]
    answer = api("POST", api.core("configmaps"), obj)
    answer.refused(422, "Invalid")
    assert answer.causes() == {("metadata.finalizers[0]", "FieldValueInvalid")}
    assert "name is neither a standard finalizer name nor is it fully qualified" in answer.body["message"]


@behaviour(186, "A body that is no JSON is 400", source=OBSERVED)
def test_no_json(api: Api) -> None:
    answer = api("POST", api.core("configmaps"), '{"kind":')
    answer.refused(400, "BadRequest")
    answer = api("POST", api.core("configmaps"), "[]")
    answer.refused(400, "BadRequest")


@behaviour(187, "A field of another type is 400, and says which", source=OBSERVED)
def test_wrong_type(api: Api) -> None:
    answer = api("POST", api.core("configmaps"), {"metadata": {"name": "a"}, "data": {"x": 1}})
    why = (
        'ConfigMap in version "v1" cannot be handled as a ConfigMap: json: cannot unmarshal number into Go struct '
        "field ConfigMap.data of type string"
    )
    answer.refused(400, "BadRequest", why)


@behaviour(188, "An empty body is 400", source=OBSERVED)
def test_empty_body(api: Api) -> None:
    answer = api("POST", api.core("configmaps"), "")
    answer.refused(400, "BadRequest")


@behaviour(189, "A resource that is not served is 404, without an object's name", source="API concepts: Resource URIs")
def test_no_such_resource(api: Api) -> None:
    answer = api("GET", api.core("nonsenses"))
    answer.refused(404, "NotFound", "the server could not find the requested resource")
    assert answer.body["details"] == {}


@behaviour(190, "A group that is not served is 404 as plain text", source=OBSERVED)
def test_no_such_group(api: Api) -> None:
    answer = api("GET", "/apis/nonsense.example.com/v1/things")
    assert (answer.status, answer.raw) == (404, b"404 page not found\n")
    assert answer.headers["Content-Type"] == "text/plain; charset=utf-8"


@behaviour(191, "A method that a resource does not have is 405", source="API concepts: Resource URIs")
def test_method(api: Api) -> None:
    message = "the server does not allow this method on the requested resource"
    api("PUT", api.core("configmaps"), config_map("a")).refused(405, "MethodNotAllowed", message)
    api("POST", api.core("configmaps", "a"), config_map("a")).refused(405, "MethodNotAllowed", message)
    api("POST", "/api/v1/configmaps", config_map("a")).refused(405, "MethodNotAllowed", message)


@behaviour(192, "Data of more than a megabyte in a ConfigMap is 422", source="API reference: ConfigMap, data")
def test_too_much_data(api: Api) -> None:
    answer = api("POST", api.core("configmaps"), config_map("a", x="y" * (1 << 20), z="."))
    answer.refused(422, "Invalid", kind="ConfigMap", name="a")
    assert answer.causes() == {("[]", "FieldValueTooLong")}


@behaviour(193, "A request without a known user is 401 Unauthorized", source="API conventions: HTTP status codes, 401")
def test_unauthorized(api: Api) -> None:
    answer = api.as_user("nobody-s-token")("GET", api.core("configmaps"))
    answer.refused(401, "Unauthorized", "Unauthorized")
    assert "details" not in answer.body


@behaviour(
    194,
    "Somebody without the right is 403 Forbidden, in words that say who, what and where",
    source="Authorization: Determine whether a request is allowed or denied",
)
def test_forbidden(api: Api) -> None:
    jane = api.as_user(Impersonate_User="jane")
    answer = jane("GET", api.core("configmaps", "a"))
    why = (
        f'configmaps "a" is forbidden: User "jane" cannot get resource "configmaps" in API group "" in the namespace '
        f'"{api.namespace}"'
    )
    answer.refused(403, "Forbidden", why, name="a", kind="configmaps")
    answer = jane("GET", "/api/v1/nodes")
    why = 'nodes is forbidden: User "jane" cannot list resource "nodes" in API group "" at the cluster scope'
    answer.refused(403, "Forbidden", why, kind="nodes")


@behaviour(
    195, "A path that is no resource is forbidden by its path", source="Authorization: Request verbs, non-resource"
)
def test_forbidden_path(api: Api) -> None:
    answer = api.as_user(Impersonate_User="jane")("GET", "/metrics")
    answer.refused(403, "Forbidden", 'forbidden: User "jane" cannot get path "/metrics"')
    assert answer.body["details"] == {}


@behaviour(
    196,
    "A required field that is missing is 422 with the reason FieldValueRequired",
    source=f"{CONVENTIONS}: Validation",
)
def test_required(api: Api) -> None:
    answer = api("POST", api.path("apps/v1", "deployments"), {"metadata": {"name": "d"}, "spec": {}})
    answer.refused(422, "Invalid", kind="Deployment", name="d", group="apps")
    assert ("spec.selector", "FieldValueRequired") in answer.causes()


@behaviour(197, "A field that cannot be changed is 422, and says so", source=f"{CONVENTIONS}: Validation")
def test_immutable_field(api: Api) -> None:
    api.create(api.core("secrets"), {"metadata": {"name": "s"}, "type": "example.com/one"})
    answer = api("PUT", api.core("secrets", "s"), {"metadata": {"name": "s"}, "type": "example.com/two"})
    answer.refused(
        422,
        "Invalid",
        'Secret "s" is invalid: type: Invalid value: "example.com/two": field is immutable',
    )


@behaviour(198, "A negative number where none may be is 422 with its value", source=f"{CONVENTIONS}: Validation")
def test_negative(api: Api) -> None:
    spec = {"replicas": -1, "selector": {"matchLabels": {"a": "b"}}}
    spec["template"] = {"metadata": {"labels": {"a": "b"}}, "spec": {"containers": [{"name": "c", "image": "i"}]}}
    answer = api("POST", api.path("apps/v1", "deployments"), {"metadata": {"name": "d"}, "spec": spec})
    answer.refused(
        422,
        "Invalid",
        'Deployment.apps "d" is invalid: spec.replicas: Invalid value: -1: must be greater than or equal to 0',
    )


@behaviour(199, "Health endpoints answer ok as plain text", source="API health endpoints")
def test_health(api: Api) -> None:
    for path in ("/livez", "/readyz", "/healthz"):
        answer = api("GET", path)
        assert (answer.status, answer.raw) == (200, b"ok"), path
