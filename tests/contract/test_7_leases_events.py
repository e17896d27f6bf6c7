"""Leases, and events in both of their groups. Numbers 770 to 795."""

from typing import Any

from access import rule, somebody
from asking import MERGE, Answer, Api, query
from behaviours import behaviour

LEASE = "API reference: Lease"
EVENT = "API reference: Event"
OBSERVED = "observed on 1.34.2"
LEASES = ("coordination.k8s.io/v1", "leases")
NEW_EVENTS = ("events.k8s.io/v1", "events")
START = "2026-01-01T00:00:00.000000Z"


def lease(name: str = "l", **spec: Any) -> dict[str, Any]:
    return {"metadata": {"name": name}, "spec": spec}


def core_event(api: Api, name: str = "e", **more: Any) -> dict[str, Any]:
    about = {"kind": "Pod", "name": "p", "namespace": api.namespace}
    event = {"involvedObject": about, "type": "Normal", "reason": "Started", "message": "it started"}
    return {"metadata": {"name": name}, **event, **more}


def new_event(api: Api, name: str = "e", **more: Any) -> dict[str, Any]:
    event = {
        "metadata": {"name": name},
        "regarding": {"kind": "Pod", "name": "p", "namespace": api.namespace},
        "type": "Normal",
        "reason": "Started",
        "note": "it started",
        "action": "Starting",
        "reportingController": "example.com/c",
        "reportingInstance": "c-1",
        "eventTime": START,
        **more,
    }
    return {field: value for field, value in event.items() if value is not None}


# --- leases ---


@behaviour(770, "A lease keeps what its holder writes, times with six digits of a second", source=LEASE)
def test_lease(api: Api) -> None:
    spec = {"holderIdentity": "a", "leaseDurationSeconds": 15, "leaseTransitions": 0, "acquireTime": START}
    made = api.create(api.path(*LEASES), lease(**spec, renewTime="2026-01-01T00:00:00.123456Z"))
    assert made["spec"] == {**spec, "renewTime": "2026-01-01T00:00:00.123456Z"}
    assert "generation" not in made["metadata"]
    assert api.create(api.path(*LEASES), {"metadata": {"name": "empty"}})["spec"] == {}


@behaviour(771, "A lease is replaced on its newest version alone: that is what makes a lock of it", source=LEASE)
def test_lock(api: Api) -> None:
    path = api.path(*LEASES, "l")
    made = api.create(api.path(*LEASES), lease(holderIdentity="a", leaseTransitions=0))
    taken = api.put(path, {**made, "spec": {"holderIdentity": "b", "leaseTransitions": 1}})
    assert taken["spec"] == {"holderIdentity": "b", "leaseTransitions": 1}
    api("PUT", path, {**made, "spec": {"holderIdentity": "c"}}).refused(409, "Conflict", name="l")
    answer = api("PUT", path, lease(holderIdentity="c")).refused(422, "Invalid")
    assert answer.causes() == {("metadata.resourceVersion", "FieldValueInvalid")}
    assert api.get(path)["spec"]["holderIdentity"] == "b"


@behaviour(772, "A lease's duration is positive, and its transitions are not negative", source=LEASE)
def test_malformed_leases(api: Api) -> None:
    for field, value in (("leaseDurationSeconds", 0), ("leaseDurationSeconds", -1), ("leaseTransitions", -1)):
        answer = api("POST", api.path(*LEASES), lease(**{field: value})).refused(422, "Invalid", kind="Lease")
        assert answer.causes() == {(f"spec.{field}", "FieldValueInvalid")}


@behaviour(773, "Times of a lease have six digits of a second, and come back in universal time", source=OBSERVED)
def test_times_of_leases(api: Api) -> None:
    for time in ("2026-01-01T00:00:00Z", "2026-01-01T00:00:00.123456789Z", "soon"):
        api("POST", api.path(*LEASES), lease(renewTime=time)).refused(400, "BadRequest")
    made = api.create(api.path(*LEASES), lease(renewTime="2026-02-01T02:00:00.000001+02:00"))
    assert made["spec"]["renewTime"] == "2026-02-01T00:00:00.000001Z"


@behaviour(774, "Fields of coordinated leader election are dropped while that is off", source="KEP-4355, feature gate")
def test_coordination_is_off(api: Api) -> None:
    made = api.create(api.path(*LEASES), lease(strategy="OldestEmulationVersion", preferredHolder="x"))
    assert made["spec"] == {}
    assert api.merge(api.path(*LEASES, "l"), {"spec": {"preferredHolder": "x"}})["spec"] == {}


@behaviour(775, "A lease can be patched without its version, and is watched like any object", source=LEASE)
def test_renewal_by_patch(api: Api) -> None:
    made = api.create(api.path(*LEASES), lease(holderIdentity="a"))
    with api.watch(api.path(*LEASES), f"resourceVersion={made['metadata']['resourceVersion']}") as stream:
        api.merge(api.path(*LEASES, "l"), {"spec": {"renewTime": START}})
        event = stream.next()
    assert (event["type"], event["object"]["spec"]) == ("MODIFIED", {"holderIdentity": "a", "renewTime": START})


# --- events of the core group ---


@behaviour(780, "A core event keeps object, type, reason, message, count, times and source", source=EVENT)
def test_core_event(api: Api) -> None:
    counted = {"count": 3, "firstTimestamp": "2026-01-01T00:00:00Z", "lastTimestamp": "2026-01-01T00:00:01Z"}
    sent = core_event(api, **counted, source={"component": "c", "host": "h"})
    made = api.create(api.core("events"), sent)
    for field, value in sent.items():
        if field != "metadata":
            assert made[field] == value
    assert (made["reportingComponent"], made["reportingInstance"]) == ("", "")


@behaviour(781, "A core event needs little: neither type nor reason, and any type", source=OBSERVED)
def test_lax_core_events(api: Api) -> None:
    for name, more in (
        ("a", {"reason": ""}),
        ("b", {"type": ""}),
        ("c", {"type": "Odd"}),
        ("d", {"message": "x" * 2000}),
    ):
        api.create(api.core("events"), core_event(api, name, **more))


@behaviour(782, "A core event lives in its object's namespace, that of a cluster's object in default", source=OBSERVED)
def test_namespaces_of_core_events(api: Api) -> None:
    about = {"kind": "Pod", "name": "p", "namespace": "another"}
    answer = api("POST", api.core("events"), core_event(api, involvedObject=about)).refused(
        422, "Invalid", kind="Event"
    )
    assert answer.causes() == {("involvedObject.namespace", "FieldValueInvalid")}
    node = {"kind": "Node", "name": "n"}
    api("POST", api.core("events"), core_event(api, involvedObject=node)).refused(422, "Invalid")
    name = api.other_name("event")
    with api.made("/api/v1/namespaces/default/events", core_event(api, name, involvedObject=node)) as made:
        assert made["metadata"]["namespace"] == "default"


@behaviour(783, "A core event that states its time has to say who reports which action", source=OBSERVED)
def test_timed_core_events(api: Api) -> None:
    answer = api("POST", api.core("events"), core_event(api, eventTime=START)).refused(422, "Invalid")
    required = {field for field, reason in answer.causes() if reason == "FieldValueRequired"}
    assert required == {"reportingComponent", "reportingInstance", "action"}
    said = {"reportingComponent": "example.com/c", "reportingInstance": "c-1", "action": "Starting"}
    made = api.create(api.core("events"), core_event(api, eventTime=START, **said))
    assert (made["eventTime"], made["action"]) == (START, "Starting")


@behaviour(784, "Core events are counted up by patches, and may be changed in any way", source=OBSERVED)
def test_changes_of_core_events(api: Api) -> None:
    api.create(api.core("events"), core_event(api, count=1))
    patch = {"count": 2, "message": "again", "involvedObject": {"name": "q"}}
    changed = api.merge(api.core("events", "e"), patch)
    assert (changed["count"], changed["message"], changed["involvedObject"]["name"]) == (2, "again", "q")


@behaviour(
    785, "Core events are selected by object, type, reason and reporter", source="Concepts: Field selectors, events"
)
def test_selecting_core_events(api: Api) -> None:
    api.create(api.core("events"), core_event(api, "a"))
    api.create(api.core("events"), core_event(api, "b", type="Warning", reason="Failed"))
    api.create(api.path(*NEW_EVENTS), new_event(api, "c"))

    def selected(field: str) -> list[str]:
        found = api.get(f"{api.core('events')}?{query(fieldSelector=field)}")["items"]
        return [item["metadata"]["name"] for item in found]

    assert selected("involvedObject.name=p") == ["a", "b", "c"]
    assert selected("involvedObject.kind=Pod,type=Warning") == ["b"]
    assert selected("reason!=Failed") == ["a", "c"]
    assert selected("reportingComponent=example.com/c") == ["c"]
    api("GET", f"{api.core('events')}?{query(fieldSelector='message=x')}").refused(400, "BadRequest")


# --- events of events.k8s.io ---


@behaviour(788, "An event of events.k8s.io keeps what is said of it", source="API reference: events.k8s.io/v1 Event")
def test_new_event(api: Api) -> None:
    sent = new_event(api)
    made = api.create(api.path(*NEW_EVENTS), sent)
    assert {field: made[field] for field in sent if field != "metadata"} == {
        field: value for field, value in sent.items() if field != "metadata"
    }


@behaviour(
    789, "An event of events.k8s.io has to say all that is asked of it", source="API reference: events.k8s.io/v1 Event"
)
def test_strict_new_events(api: Api) -> None:
    def refused(**more: Any) -> set[tuple[str, str]]:
        answer = api("POST", api.path(*NEW_EVENTS), new_event(api, **more)).refused(422, "Invalid", kind="Event")
        return {(field, reason.removeprefix("FieldValue")) for field, reason in answer.causes()}

    for field in ("action", "reason", "reportingInstance", "eventTime"):
        assert (field, "Required") in refused(**{field: None})
    assert ("reportingController", "Required") in refused(reportingController=None)
    assert ("reportingController", "Invalid") in refused(reportingController="a b")
    assert {field for field, _ in refused(type="Odd")} == {"type"}
    assert {field for field, _ in refused(note="x" * 2000)} == {"message"}
    assert {field for field, _ in refused(action="x" * 200)} == {"action"}
    assert {field for field, _ in refused(deprecatedCount=1)} == {"count"}
    single = {"count": 1, "lastObservedTime": START}
    assert {field for field, _ in refused(series=single)} == {"series.count"}


@behaviour(790, "An event of one group is an event of the other, its fields by that one's names", source="KEP-383")
def test_both_groups(api: Api) -> None:
    counted = {"count": 3, "firstTimestamp": "2026-01-01T00:00:00Z", "lastTimestamp": "2026-01-01T00:00:01Z"}
    api.create(api.core("events"), core_event(api, "old", **counted, source={"component": "c"}))
    new = api.get(api.path(*NEW_EVENTS, "old"))
    assert (new["apiVersion"], new["note"], new["regarding"]["name"]) == ("events.k8s.io/v1", "it started", "p")
    assert (new["deprecatedCount"], new["deprecatedSource"]) == (3, {"component": "c"})
    assert new["deprecatedLastTimestamp"] == counted["lastTimestamp"]
    api.create(api.path(*NEW_EVENTS), new_event(api, "new"))
    old = api.get(api.core("events", "new"))
    assert (old["apiVersion"], old["message"], old["reportingComponent"]) == ("v1", "it started", "example.com/c")
    api.delete(api.path(*NEW_EVENTS, "old"))
    api("GET", api.core("events", "old")).refused(404, "NotFound", 'events "old" not found')
    api("GET", api.path(*NEW_EVENTS, "old")).refused(404, "NotFound", 'events.events.k8s.io "old" not found')


@behaviour(791, "Through events.k8s.io only the series of an event can be changed", source=OBSERVED)
def test_changes_of_new_events(api: Api) -> None:
    path = api.path(*NEW_EVENTS, "e")
    api.create(api.path(*NEW_EVENTS), new_event(api))
    answer = api("PATCH", path, {"note": "changed"}, content_type=MERGE).refused(422, "Invalid")
    assert answer.causes() == {("message", "FieldValueInvalid")}
    series = {"count": 2, "lastObservedTime": "2026-01-01T00:00:01.000000Z"}
    assert api.merge(path, {"series": series})["series"] == series
    assert api.merge(api.core("events", "e"), {"message": "changed"})["message"] == "changed"


@behaviour(792, "Events of events.k8s.io are selected by the names of their own fields", source=OBSERVED)
def test_selecting_new_events(api: Api) -> None:
    api.create(api.path(*NEW_EVENTS), new_event(api, "a"))
    api.create(api.core("events"), core_event(api, "b", type="Warning"))

    def selected(field: str) -> Answer:
        return api("GET", f"{api.path(*NEW_EVENTS)}?{query(fieldSelector=field)}")

    def names(field: str) -> list[str]:
        return [item["metadata"]["name"] for item in selected(field).body["items"]]

    assert names("regarding.name=p") == ["a", "b"]
    assert names("reportingController=example.com/c") == ["a"]
    assert names("type=Warning") == ["b"]
    for foreign in ("involvedObject.name=p", "note=x"):
        selected(foreign).refused(400, "BadRequest")


@behaviour(793, "A collection of events is deleted through either group", source=OBSERVED)
def test_deleting_events(api: Api) -> None:
    api.create(api.core("events"), core_event(api, "a"))
    api.create(api.core("events"), core_event(api, "b", type="Warning"))
    assert api.delete(f"{api.path(*NEW_EVENTS)}?fieldSelector=type%3DNormal")["kind"] == "EventList"
    assert [item["metadata"]["name"] for item in api.get(api.core("events"))["items"]] == ["b"]


@behaviour(794, "The two groups are two rights", source=OBSERVED)
def test_rights_to_events(api: Api) -> None:
    who = somebody(api, rule("list", "events"))
    assert who("GET", api.core("events")).status == 200
    answer = who("GET", api.path(*NEW_EVENTS)).refused(403, "Forbidden", kind="events", group="events.k8s.io")
    assert answer.body["message"].startswith("events.events.k8s.io is forbidden: ")


@behaviour(795, "A watch of either group tells of events in that group's form", source="KEP-383")
def test_watching_events(api: Api) -> None:
    version = api.get(api.core("events"))["metadata"]["resourceVersion"]
    api.create(api.core("events"), core_event(api))
    for path, field in ((api.core("events"), "message"), (api.path(*NEW_EVENTS), "note")):
        with api.watch(path, f"resourceVersion={version}") as stream:
            event = stream.next()
        assert (event["type"], event["object"][field]) == ("ADDED", "it started")
