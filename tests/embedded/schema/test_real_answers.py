"""The same objects, the same answers: ours against those recorded from a real API server (``record_answers.py``)."""

import copy
import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from tensorfusion.embedded.kinds import Kinds
from tensorfusion.embedded.schema.schema import FieldValidation
from tensorfusion.errors import ApiError, BadRequest, Invalid

HERE = Path(__file__).parent
SUITE = yaml.load((HERE / "cases.yaml").read_text(), yaml.CSafeLoader)
ANSWERS_FILE = HERE / "answers.json"
SERVER_OWNED = ("uid", "creationTimestamp", "generation", "managedFields", "resourceVersion", "deletionTimestamp")
ALLOCATED = ("clusterIP", "clusterIPs", "ipFamilies", "ipFamilyPolicy")


def put(obj: Any, path: str, value: Any) -> None:
    """Set the value at a dotted path; numbers are list indexes."""
    *steps, last = path.split(".")
    for step in steps:
        obj = obj[int(step)] if isinstance(obj, list) else obj.setdefault(step, {})
    if isinstance(obj, list):
        obj[int(last)] = copy.deepcopy(value)
    else:
        obj[last] = copy.deepcopy(value)


def built(case: dict[str, Any]) -> dict[str, Any]:
    """The object of a case."""
    obj = copy.deepcopy(SUITE["bases"][case["base"]])
    if "schema" in case:
        obj["spec"]["versions"][0]["schema"]["openAPIV3Schema"] = copy.deepcopy(case["schema"])
    for path, value in case.get("set", {}).items():
        target = path.replace("metadata.Labels", "metadata/Labels").replace("spec.Containers", "spec/Containers")
        put(obj, target.replace("/", "."), value)
    return obj


def changed(case: dict[str, Any], obj: dict[str, Any]) -> dict[str, Any]:
    """The new version of an existing object."""
    new = copy.deepcopy(obj)
    for path, value in case["update"].items():
        put(new, path, value)
    return new


def label(case: dict[str, Any]) -> str:
    """The case as one line: its identity among the recorded answers."""
    return json.dumps({key: value for key, value in case.items() if key != "differs"}, sort_keys=True)


def comparable(obj: dict[str, Any]) -> dict[str, Any]:
    """An accepted object without what the server decides by itself."""
    found = {key: value for key, value in obj.items() if key not in ("status", "metadata")}
    found["metadata"] = {
        key: value for key, value in (obj.get("metadata") or {}).items() if key not in SERVER_OWNED and value
    }
    if found["kind"] == "Service":
        found["spec"] = {key: value for key, value in found["spec"].items() if key not in ALLOCATED}
    if found["kind"] == "Namespace":
        del found["metadata"]
        found.pop("spec", None)
    return without_empty(found)


def without_empty(value: Any) -> Any:
    """Go leaves out what is empty; we keep what the client wrote."""
    if isinstance(value, dict):
        pairs = {key: without_empty(item) for key, item in value.items()}
        return {key: item for key, item in pairs.items() if item not in (None, [], {}, "")}
    return [without_empty(item) for item in value] if isinstance(value, list) else value


CASES = SUITE["cases"]
ANSWERS: dict[str, Any] = json.loads(ANSWERS_FILE.read_text()) if ANSWERS_FILE.exists() else {}


@pytest.fixture(scope="module")
def kinds() -> Kinds:
    registry = Kinds.builtin()
    definition = copy.deepcopy(SUITE["definition"])
    registry.find("apiextensions.k8s.io", "v1", "customresourcedefinitions").schema.prepare(definition)
    registry.install_crd(definition)
    return registry


def answer_of(kinds: Kinds, case: dict[str, Any]) -> dict[str, Any]:
    """What our schemas say to a case, in the form of a recorded answer."""
    base = SUITE["bases"][case["base"]]
    kind = kinds.of_kind(base["apiVersion"], base["kind"])
    assert kind is not None
    strict = FieldValidation(case.get("strict", "Warn"))
    obj = built(case)
    try:
        warnings = kind.schema.prepare(obj, strict=strict)
        kind.schema.validate(obj)
        if "update" in case:
            new = changed(case, obj)
            warnings = kind.schema.prepare(new, strict=strict)
            kind.schema.validate(new, obj)
            obj = new
    except ApiError as error:
        causes = sorted({(cause.field, cause.reason, cause.message) for cause in error.causes})
        return {"status": error.status_code, "message": str(error), "causes": [list(cause) for cause in causes]}
    return {"status": 200, "object": comparable(obj), "warnings": sorted(warnings)}


@pytest.mark.parametrize("case", CASES, ids=label)
def test_the_answer_is_that_of_a_real_server(kinds: Kinds, case: dict[str, Any]) -> None:
    real, ours = ANSWERS[label(case)], answer_of(kinds, case)
    assert ours["status"] == real["status"], (ours, real)
    if "differs" in case:
        assert ours != real, "this answer no longer differs: drop the remark"
        return
    if ours["status"] == 400:
        assert ours["message"] == real["message"]
    elif ours["status"] == 422:
        assert ours["causes"] == real["causes"]
    else:
        assert ours == real


@pytest.mark.parametrize("case", [case for case in CASES if "differs" in case], ids=label)
def test_where_the_words_differ_the_field_and_its_problem_are_the_same(kinds: Kinds, case: dict[str, Any]) -> None:
    """Message texts may differ for a stated reason, the machine-readable part only where the case names it."""
    real, ours = ANSWERS[label(case)], answer_of(kinds, case)
    fields = {(field.rpartition(".")[2], reason) for field, reason, _ in ours.get("causes", ())}
    expected = {(field.rpartition(".")[2], reason) for field, reason, _ in real.get("causes", ())}
    assert fields <= expected


def test_every_message_is_one_line_but_for_what_a_compiler_says(kinds: Kinds) -> None:
    for case in CASES:
        for line in answer_of(kinds, case).get("message", "").split("\n")[1:]:
            assert line.startswith(" | "), line


def test_errors_name_the_object_and_carry_its_kind(kinds: Kinds) -> None:
    schema = kinds.find("", "v1", "pods").schema
    pod = {"metadata": {"name": "x", "namespace": "d"}}
    schema.prepare(pod)
    with pytest.raises(Invalid, match=r'^Pod "x" is invalid: spec.containers: Required value$') as caught:
        schema.validate(pod)
    assert (caught.value.kind, caught.value.name) == ("Pod", "x")


@pytest.mark.parametrize("body", [{"kind": 1}, {"apiVersion": []}, {"metadata": 1}, {"spec": 1}, {"spec": [[]]}])
def test_nonsense_is_a_bad_request(kinds: Kinds, body: dict[str, Any]) -> None:
    with pytest.raises(BadRequest):
        kinds.find("", "v1", "pods").schema.prepare(body)
