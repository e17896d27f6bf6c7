"""Paths that are none, and what an update may not change, in the words of the original. Numbers 1020 to 1039."""

from urllib.parse import quote

from asking import MERGE, Answer, Api, pod
from behaviours import behaviour

OBSERVED = "observed on 1.34.2"


@behaviour(1020, "An object of a namespace has no path without it", source=OBSERVED)
def test_no_namespace(api: Api) -> None:
    for method in ("GET", "PUT", "PATCH", "POST", "DELETE"):
        answer = api(method, "/api/v1/configmaps/a", {} if method in ("PUT", "PATCH", "POST") else None)
        answer.refused(404, "NotFound", "the server could not find the requested resource")
    api("DELETE", "/api/v1/configmaps").refused(405, "MethodNotAllowed")


@behaviour(1021, "Every gate that is put before a pod behind its creation is named at its place", source=OBSERVED)
def test_added_gates(api: Api) -> None:
    path = api.core("pods", "waits")
    api.create(api.core("pods"), pod("waits", schedulingGates=[{"name": "a"}, {"name": "b"}]))
    gates = [{"name": name} for name in ("a", "x", "y")]
    answer = api("PATCH", path, {"spec": {"schedulingGates": gates}}, content_type=MERGE)
    answer.refused(422, "Invalid")
    assert answer.causes() == {(f"spec.schedulingGates[{at}].name", "FieldValueForbidden") for at in (1, 2)}
    assert "only deletion is allowed, but found new scheduling gate 'y'" in answer.body["message"]


@behaviour(1022, "A service keeps its address; it is not asked whether another would do", source=OBSERVED)
def test_kept_address(api: Api) -> None:
    path = api.core("services", "kept")
    body = {"apiVersion": "v1", "kind": "Service", "metadata": {"name": "kept"}, "spec": {"ports": [{"port": 80}]}}
    api.create(api.core("services"), body)
    for address in ("1.1.1.1", "None"):
        api("PATCH", path, {"spec": {"clusterIP": address}}, content_type=MERGE).refused(
            422,
            "Invalid",
            f'Service "kept" is invalid: spec.clusterIPs[0]: Invalid value: ["{address}"]: may not change once set',
        )


@behaviour(1024, "Two commas in a set are one empty value and, until 1.35, want something behind them", source=OBSERVED)
def test_commas_of_sets(api: Api) -> None:
    def found(text: str) -> Answer:
        return api("GET", api.core("configmaps") + "?labelSelector=" + quote(text))

    for text in ("a in ()", "a in (,)", "a in (,,,)", "a in (b,)", "a in (,b)", "a in (b,,c)", "a notin (,,b)"):
        assert found(text).status == 200, text
    if int(api.get("/version")["minor"]) >= 36:  # it takes them all
        return
    for text in ("a in (,,)", "a in (b,,)", "a notin (,,,,)"):
        why = "unable to parse requirement: found ')', expected: ',', or identifier"
        found(text).refused(400, "BadRequest", why)


@behaviour(1023, "The kind of a patch is written in small letters", source=OBSERVED)
def test_content_type_of_patches(api: Api) -> None:
    path = api.core("configmaps", "a")
    api.create(api.core("configmaps"), {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "a"}})
    assert api("PATCH", path, {"data": {"a": "b"}}, content_type=f"{MERGE}; charset=utf-8").status == 200
    api("PATCH", path, {}, content_type=MERGE.upper()).refused(415, "UnsupportedMediaType")
