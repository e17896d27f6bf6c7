"""Deletion: preconditions, finalizers, grace, propagation, collections. Numbers 140 to 179."""

from typing import Any

from asking import MERGE, Api, config_map, deployment
from behaviours import behaviour

OPTIONS = "API reference: DeleteOptions"
FINALIZERS = "Concepts: Finalizers"
COLLECTION = "Concepts: Garbage collection"
OBSERVED = "observed on 1.34.2"
FINALIZER = "example.com/hold"
GATED = [{"name": "example.com/wait"}]


def held(name: str = "a") -> dict[str, Any]:
    """A ConfigMap that a finalizer holds."""
    obj = config_map(name, x="1")
    obj["metadata"]["finalizers"] = [FINALIZER]
    return obj


def let_go(api: Api, name: str = "a") -> None:
    api("PATCH", api.core("configmaps", name), {"metadata": {"finalizers": None}}, content_type=MERGE)


def owned(name: str, owner: dict[str, Any], **more: Any) -> dict[str, Any]:
    """A ConfigMap with an owner."""
    obj = config_map(name)
    reference = {"apiVersion": "v1", "kind": "ConfigMap", "name": owner["metadata"]["name"]}
    obj["metadata"]["ownerReferences"] = [{**reference, "uid": owner["metadata"]["uid"], **more}]
    return obj


def is_gone(api: Api, name: str) -> bool:
    return api("GET", api.core("configmaps", name)).status == 404


@behaviour(
    140, "A delete with another uid as precondition is 409 and deletes nothing", source=f"{OPTIONS}, preconditions"
)
def test_uid_precondition(api: Api) -> None:
    made = api.create(api.core("configmaps"), config_map("a"))
    uid = "11111111-1111-1111-1111-111111111111"
    answer = api("DELETE", api.core("configmaps", "a"), {"preconditions": {"uid": uid}})
    answer.refused(
        409,
        "Conflict",
        f'Operation cannot be fulfilled on ConfigMap "a": the UID in the precondition ({uid}) does not match the UID in '
        f"record ({made['metadata']['uid']}). The object might have been deleted and then recreated",
        name="a",
    )
    api.get(api.core("configmaps", "a"))
    api.delete(api.core("configmaps", "a"), {"preconditions": {"uid": made["metadata"]["uid"]}})
    assert is_gone(api, "a")


@behaviour(141, "A delete with an old version as precondition is 409", source=f"{OPTIONS}, preconditions")
def test_version_precondition(api: Api) -> None:
    made = api.create(api.core("configmaps"), config_map("a"))
    changed = api.merge(api.core("configmaps", "a"), {"data": {"x": "y"}})
    old, new = made["metadata"]["resourceVersion"], changed["metadata"]["resourceVersion"]
    answer = api("DELETE", api.core("configmaps", "a"), {"preconditions": {"resourceVersion": old}})
    answer.refused(
        409,
        "Conflict",
        f'Operation cannot be fulfilled on ConfigMap "a": the ResourceVersion in the precondition ({old}) does not '
        f"match the ResourceVersion in record ({new}). The object might have been modified",
    )
    api.delete(api.core("configmaps", "a"), {"preconditions": {"resourceVersion": new}})


@behaviour(142, "A delete answers with a Status that names what is gone", source=OBSERVED)
def test_delete_answer(api: Api) -> None:
    made = api.create(api.core("configmaps"), config_map("a"))
    answer = api.delete(api.core("configmaps", "a"))
    assert (answer["kind"], answer["status"]) == ("Status", "Success")
    assert answer["details"] == {"name": "a", "kind": "configmaps", "uid": made["metadata"]["uid"]}
    made = api.create(api.path("apps/v1", "replicasets"), {**deployment("r"), "kind": "ReplicaSet"})
    answer = api.delete(api.path("apps/v1", "replicasets", "r"))
    uid = made["metadata"]["uid"]
    assert answer["details"] == {"name": "r", "group": "apps", "kind": "replicasets", "uid": uid}


@behaviour(143, "A deleted pod is the answer itself", source=OBSERVED)
def test_delete_of_a_pod(api: Api) -> None:
    api.create_pod(schedulingGates=GATED)
    answer = api.delete(api.core("pods", "p"))
    assert (answer["kind"], answer["metadata"]["name"]) == ("Pod", "p")
    assert api("GET", api.core("pods", "p")).status == 404


@behaviour(144, "A delete of what is not there is 404", source="API conventions: HTTP status codes, 404")
def test_delete_of_nothing(api: Api) -> None:
    answer = api("DELETE", api.core("configmaps", "a"))
    answer.refused(404, "NotFound", 'configmaps "a" not found', name="a", kind="configmaps")


@behaviour(145, "An unknown propagation policy is 422", source=f"{OPTIONS}, propagationPolicy")
def test_unknown_policy(api: Api) -> None:
    api.create(api.core("configmaps"), config_map("a"))
    answer = api("DELETE", f"{api.core('configmaps', 'a')}?propagationPolicy=Sideways")
    answer.refused(422, "Invalid", kind="DeleteOptions", group="meta.k8s.io")
    assert answer.causes() == {("propagationPolicy", "FieldValueNotSupported")}
    answer = api("DELETE", api.core("configmaps", "a"), {"propagationPolicy": "Sideways"})
    answer.refused(422, "Invalid", kind="DeleteOptions")


@behaviour(146, "Policy and orphanDependents may not both be stated", source=f"{OPTIONS}, orphanDependents")
def test_policy_and_orphans(api: Api) -> None:
    api.create(api.core("configmaps"), config_map("a"))
    options = {"propagationPolicy": "Background", "orphanDependents": True}
    answer = api("DELETE", api.core("configmaps", "a"), options)
    answer.refused(422, "Invalid", kind="DeleteOptions", group="meta.k8s.io")
    assert answer.causes() == {("propagationPolicy", "FieldValueInvalid")}


@behaviour(147, "A dry run of a delete deletes nothing", source=f"{OPTIONS}, dryRun")
def test_dry_delete(api: Api) -> None:
    api.create(api.core("configmaps"), config_map("a"))
    assert api.delete(f"{api.core('configmaps', 'a')}?dryRun=All")["status"] == "Success"
    assert api.delete(api.core("configmaps", "a"), {"dryRun": ["All"]})["status"] == "Success"
    api.get(api.core("configmaps", "a"))


@behaviour(148, "Delete options that are no options are refused", source=OBSERVED)
def test_malformed_options(api: Api) -> None:
    api.create(api.core("configmaps"), config_map("a"))
    assert api("DELETE", api.core("configmaps", "a"), {"gracePeriodSeconds": "soon"}).status >= 400
    api("DELETE", f"{api.core('configmaps', 'a')}?gracePeriodSeconds=soon").refused(400, "BadRequest")
    answer = api("DELETE", api.core("configmaps", "a"), {"dryRun": ["Some"]})
    answer.refused(422, "Invalid", kind="DeleteOptions")
    api.get(api.core("configmaps", "a"))


@behaviour(149, "Where a delete has a body, its query says nothing", source=OBSERVED)
def test_body_and_query(api: Api) -> None:
    api.create(api.core("configmaps"), config_map("a"))
    api.delete(f"{api.core('configmaps', 'a')}?dryRun=All&propagationPolicy=Sideways", {"kind": "DeleteOptions"})
    assert is_gone(api, "a")


# --- finalizers and grace ---


@behaviour(150, "A finalizer holds a deleted object, which is marked with the time", source=FINALIZERS)
def test_a_finalizer_holds(api: Api) -> None:
    api.create(api.core("configmaps"), held())
    answer = api.delete(api.core("configmaps", "a"))
    assert answer["kind"] == "ConfigMap"
    found = api.get(api.core("configmaps", "a"))["metadata"]
    assert found["deletionTimestamp"]
    assert found["deletionGracePeriodSeconds"] == 0
    assert found["finalizers"] == [FINALIZER]
    let_go(api)
    assert is_gone(api, "a")


@behaviour(151, "The write that takes the last finalizer away answers with the object", source=FINALIZERS)
def test_the_last_finalizer(api: Api) -> None:
    api.create(api.core("configmaps"), held())
    api.delete(api.core("configmaps", "a"))
    last = api.merge(api.core("configmaps", "a"), {"metadata": {"finalizers": None}})
    assert last["metadata"]["name"] == "a"
    assert "finalizers" not in last["metadata"]
    assert is_gone(api, "a")


@behaviour(152, "No finalizer can be added to an object that is being deleted", source=FINALIZERS)
def test_no_new_finalizers(api: Api) -> None:
    api.create(api.core("configmaps"), held())
    api.delete(api.core("configmaps", "a"))
    patch = {"metadata": {"finalizers": [FINALIZER, "example.com/late"]}}
    answer = api("PATCH", api.core("configmaps", "a"), patch, content_type=MERGE)
    answer.refused(
        422,
        "Invalid",
        'ConfigMap "a" is invalid: metadata.finalizers: Forbidden: no new finalizers can be added if the object is '
        'being deleted, found new finalizers []string{"example.com/late"}',
    )
    let_go(api)


@behaviour(153, "An object that is being deleted can still be changed", source=FINALIZERS)
def test_change_while_deleted(api: Api) -> None:
    api.create(api.core("configmaps"), held())
    api.delete(api.core("configmaps", "a"))
    assert api.merge(api.core("configmaps", "a"), {"data": {"x": "2"}})["data"] == {"x": "2"}
    again = api.delete(api.core("configmaps", "a"))
    assert again["metadata"]["deletionTimestamp"]
    let_go(api)


@behaviour(
    154,
    "The deletion mark can be neither set nor taken away by a write",
    source="API reference: ObjectMeta, deletionTimestamp",
)
def test_mark_is_the_server_s(api: Api) -> None:
    api.create(api.core("configmaps"), held())
    path = api.core("configmaps", "a")
    patch = {"metadata": {"deletionTimestamp": "2001-01-01T00:00:00Z"}}
    answer = api("PATCH", path, patch, content_type=MERGE)
    answer.refused(422, "Invalid", kind="ConfigMap", name="a")
    assert answer.causes() == {("metadata.deletionTimestamp", "FieldValueInvalid")}
    api.delete(path)
    changed = api.merge(path, {"metadata": {"deletionTimestamp": None}, "data": {"x": "3"}})
    assert changed["metadata"]["deletionTimestamp"]
    let_go(api)


@behaviour(155, "Foreground deletion waits for dependents that block it", source=f"{COLLECTION}, foreground")
def test_foreground(api: Api) -> None:
    owner = api.create(api.core("configmaps"), config_map("owner"))
    child = owned("child", owner, blockOwnerDeletion=True)
    child["metadata"]["finalizers"] = [FINALIZER]
    api.create(api.core("configmaps"), child)
    api.delete(api.core("configmaps", "owner"), {"propagationPolicy": "Foreground"})
    found = api.get(api.core("configmaps", "owner"))["metadata"]
    assert "foregroundDeletion" in found["finalizers"]
    path = api.core("configmaps", "child")
    api.eventually(lambda: api.get(path)["metadata"].get("deletionTimestamp"))
    api.get(api.core("configmaps", "owner"))
    let_go(api, "child")
    api.eventually(lambda: is_gone(api, "owner"))


@behaviour(
    156, "Orphaning deletion leaves dependents, without their owner", source=f"{COLLECTION}, orphaned dependents"
)
def test_orphan(api: Api) -> None:
    owner = api.create(api.core("configmaps"), config_map("owner"))
    api.create(api.core("configmaps"), owned("child", owner))
    api.delete(api.core("configmaps", "owner"), {"propagationPolicy": "Orphan"})
    api.eventually(lambda: is_gone(api, "owner"))
    assert "ownerReferences" not in api.get(api.core("configmaps", "child"))["metadata"]


@behaviour(
    157, "Background deletion removes the owner at once and dependents afterwards", source=f"{COLLECTION}, background"
)
def test_background(api: Api) -> None:
    owner = api.create(api.core("configmaps"), config_map("owner"))
    api.create(api.core("configmaps"), owned("child", owner))
    api.delete(f"{api.core('configmaps', 'owner')}?propagationPolicy=Background")
    assert is_gone(api, "owner")
    api.eventually(lambda: is_gone(api, "child"))


@behaviour(158, "A dependent goes when its last owner is gone, not before", source=f"{COLLECTION}, owners")
def test_two_owners(api: Api) -> None:
    one = api.create(api.core("configmaps"), config_map("one"))
    two = api.create(api.core("configmaps"), config_map("two"))
    child = owned("child", one)
    child["metadata"]["ownerReferences"] += owned("x", two)["metadata"]["ownerReferences"]
    api.create(api.core("configmaps"), child)
    api.delete(api.core("configmaps", "one"))

    def owners() -> list[str]:
        found = api.get(api.core("configmaps", "child"))["metadata"]["ownerReferences"]
        return [reference["name"] for reference in found]

    api.eventually(lambda: owners() == ["two"])
    api.delete(api.core("configmaps", "two"))
    api.eventually(lambda: is_gone(api, "child"))


@behaviour(159, "An object whose owner never was is collected", source=f"{COLLECTION}, owners")
def test_absent_owner(api: Api) -> None:
    ghost = {"metadata": {"name": "ghost", "uid": "22222222-2222-2222-2222-222222222222"}}
    api.create(api.core("configmaps"), owned("child", ghost))
    api.eventually(lambda: is_gone(api, "child"))


@behaviour(
    160,
    "A pod on a node gets its grace period, and its time of end lies ahead",
    source="Concepts: Pod lifecycle, termination",
)
def test_grace(api: Api) -> None:
    api.create_pod(nodeName="n-1", terminationGracePeriodSeconds=20)
    answer = api.delete(api.core("pods", "p"))
    assert answer["metadata"]["deletionGracePeriodSeconds"] == 20
    assert answer["metadata"]["deletionTimestamp"] > answer["metadata"]["creationTimestamp"]
    api.get(api.core("pods", "p"))
    shorter = api.delete(f"{api.core('pods', 'p')}?gracePeriodSeconds=5")
    assert shorter["metadata"]["deletionGracePeriodSeconds"] == 5
    longer = api.delete(f"{api.core('pods', 'p')}?gracePeriodSeconds=60")
    assert longer["metadata"]["deletionGracePeriodSeconds"] == 5
    api.delete(f"{api.core('pods', 'p')}?gracePeriodSeconds=0")
    assert api("GET", api.core("pods", "p")).status == 404


@behaviour(161, "A pod without a node is deleted at once", source="Concepts: Pod lifecycle, termination")
def test_grace_without_a_node(api: Api) -> None:
    api.create_pod(schedulingGates=GATED, terminationGracePeriodSeconds=20)
    api.delete(api.core("pods", "p"))
    assert api("GET", api.core("pods", "p")).status == 404


@behaviour(162, "A grace period means nothing for other kinds", source=OBSERVED)
def test_grace_of_a_config_map(api: Api) -> None:
    api.create(api.core("configmaps"), config_map("a"))
    api.delete(f"{api.core('configmaps', 'a')}?gracePeriodSeconds=60")
    assert is_gone(api, "a")


@behaviour(163, "An object that is deleted with a grace period has a raised generation", source=OBSERVED)
def test_generation_of_a_deleted_object(api: Api) -> None:
    made = deployment("d", paused=True)
    made["metadata"]["finalizers"] = [FINALIZER]
    path = api.path("apps/v1", "deployments", "d")
    api.create(api.path("apps/v1", "deployments"), made)
    assert api.delete(path)["metadata"]["generation"] == 2
    assert api.delete(path)["metadata"]["generation"] == 2
    api.merge(path, {"metadata": {"finalizers": None}})


@behaviour(
    164, "A deleted name can be used again, by an object of another uid", source="API reference: ObjectMeta, uid"
)
def test_name_again(api: Api) -> None:
    first = api.create(api.core("configmaps"), config_map("a"))
    api.delete(api.core("configmaps", "a"))
    second = api.create(api.core("configmaps"), config_map("a"))
    assert first["metadata"]["uid"] != second["metadata"]["uid"]


@behaviour(
    165,
    "A job's pods stay when its delete names no policy, with a warning",
    source="API reference: Job, batch/v1 deletion",
)
def test_delete_of_a_job(api: Api) -> None:
    template = {"spec": {"restartPolicy": "Never", "containers": [{"name": "c", "image": "i:1"}]}}
    spec = {"suspend": True, "template": template}
    jobs = api.path("batch/v1", "jobs")
    api.create(jobs, {"metadata": {"name": "j"}, "spec": spec})
    answer = api("DELETE", f"{jobs}/j")
    assert answer.status == 200, answer.body
    why = (
        "child pods are preserved by default when jobs are deleted; set propagationPolicy=Background to remove them or "
        "set propagationPolicy=Orphan to suppress this warning"
    )
    assert answer.warnings == [why]
    assert answer.body["metadata"]["finalizers"] == ["orphan"]


# --- collections ---


@behaviour(170, "A delete of a collection takes what its selectors select", source="API concepts: deletecollection")
def test_delete_collection(api: Api) -> None:
    for name, color in (("a", "red"), ("b", "blue"), ("c", "red")):
        api.create(api.core("configmaps"), config_map(name, labels={"color": color}))
    answer = api.delete(f"{api.core('configmaps')}?labelSelector=color%3Dred")
    assert (answer["kind"], [item["metadata"]["name"] for item in answer["items"]]) == ("ConfigMapList", ["a", "c"])
    assert is_gone(api, "a")
    api.get(api.core("configmaps", "b"))


@behaviour(171, "A collection is deleted by field selectors too", source="API concepts: deletecollection")
def test_delete_collection_by_field(api: Api) -> None:
    for name in ("a", "b"):
        api.create(api.core("configmaps"), config_map(name))
    api.delete(f"{api.core('configmaps')}?fieldSelector=metadata.name%3Da")
    assert is_gone(api, "a")
    api.get(api.core("configmaps", "b"))


@behaviour(172, "A collection's objects with finalizers are marked and stay", source="API concepts: deletecollection")
def test_delete_collection_with_finalizers(api: Api) -> None:
    api.create(api.core("configmaps"), held("a"))
    api.create(api.core("configmaps"), config_map("b", labels={"x": "y"}))
    api.delete(f"{api.core('configmaps')}?fieldSelector=metadata.name%21%3Dkube-root-ca.crt")
    assert is_gone(api, "b")
    assert api.get(api.core("configmaps", "a"))["metadata"]["deletionTimestamp"]
    let_go(api)


@behaviour(173, "A dry run of a collection's delete deletes nothing", source=f"{OPTIONS}, dryRun")
def test_dry_delete_collection(api: Api) -> None:
    api.create(api.core("configmaps"), config_map("a", labels={"x": "y"}))
    api.delete(f"{api.core('configmaps')}?labelSelector=x&dryRun=All")
    api.get(api.core("configmaps", "a"))


@behaviour(174, "A collection of all namespaces cannot be deleted at once", source="API concepts: Resource URIs")
def test_delete_collection_everywhere(api: Api) -> None:
    answer = api("DELETE", "/api/v1/configmaps?labelSelector=nobody-has-this")
    answer.refused(405, "MethodNotAllowed", "the server does not allow this method on the requested resource")


@behaviour(175, "A collection's delete passes its propagation policy on to each object", source=OBSERVED)
def test_delete_collection_policy(api: Api) -> None:
    owner = api.create(api.core("configmaps"), config_map("owner", labels={"x": "y"}))
    api.create(api.core("configmaps"), owned("child", owner))
    api.delete(f"{api.core('configmaps')}?labelSelector=x", {"propagationPolicy": "Orphan"})
    api.eventually(lambda: is_gone(api, "owner"))
    assert "ownerReferences" not in api.get(api.core("configmaps", "child"))["metadata"]


@behaviour(176, "A delete of an empty selection answers with an empty list", source=OBSERVED)
def test_delete_of_an_empty_selection(api: Api) -> None:
    answer = api.delete(f"{api.core('configmaps')}?labelSelector=nobody-has-this")
    assert (answer["kind"], answer["items"]) == ("ConfigMapList", [])
