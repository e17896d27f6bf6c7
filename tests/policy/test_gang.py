"""Which pods are members of a gang, of how many, and what admission says where that cannot be known."""

from typing import Any

import msgspec
import pytest

from tensorfusion.model import keys
from tensorfusion.model import resources as r
from tensorfusion.model.gang import Gang, gang_of
from tensorfusion.model.meta import Meta
from tensorfusion.model.workload import GangTopology, TensorFusionWorkload

POD_GROUP = "scheduling.x-k8s.io/pod-group"


@pytest.fixture
def member(pod):
    """A pod of Deployment ``train`` that wants to be in a gang."""

    def make(owner: dict[str, Any] | None = None, **parts: Any) -> dict[str, Any]:
        metadata = {"ownerReferences": [owner]} if owner is not None else {}
        return pod(tflops_limit="1", **{"gang_enabled": "true", **parts}, metadata=metadata)

    return make


def stamps(stored: dict[str, Any]) -> tuple[str | None, ...]:
    annotations = stored["metadata"]["annotations"]
    stamped = (keys.GANG_DESIRED_MEMBERS, keys.GANG_REQUIRED_MEMBERS, keys.GANG_GROUP_KEY)
    return tuple(annotations.get(key) for key in stamped)


# --- the size ---


@pytest.mark.parametrize(
    ("resource", "spec", "size"),
    [
        (r.STATEFUL_SETS, {"replicas": 5}, "5"),
        (r.REPLICA_SETS, {"replicas": 4}, "4"),
        (r.REPLICATION_CONTROLLERS, {"replicas": 3}, "3"),
        (r.JOBS, {"parallelism": 6, "completions": 9}, "6"),
        (r.JOBS, {"parallelism": 6, "completions": 2}, "2"),
        (r.JOBS, {"parallelism": 6}, "6"),
    ],
)
def test_a_controllers_pods_are_one_gang_of_its_size(world, member, resource, spec, size: str) -> None:
    owner = world.add_owner(resource, "train", **spec)
    assert stamps(world.admitted(member(owner))) == (size, size, "team/train")


def test_a_replica_set_in_a_rollout_counts_what_its_deployment_wants(world, member) -> None:
    above = {"apiVersion": "apps/v1", "kind": "Deployment", "name": "train", "uid": "u0", "controller": True}
    world.add_owner(r.DEPLOYMENTS, "train", replicas=8)
    owner = world.add_owner(r.REPLICA_SETS, "train-5d", metadata={"ownerReferences": [above]}, replicas=1)
    labels = {"pod-template-hash": "5d"}
    assert stamps(world.admitted(member(owner, labels=labels))) == ("8", "8", "team/train")
    noted = {"annotations": {"deployment.kubernetes.io/desired-replicas": "7"}, "ownerReferences": [above]}
    owner = world.add_owner(r.REPLICA_SETS, "train-5d", metadata=noted, replicas=1)
    assert stamps(world.admitted(member(owner, labels=labels)))[0] == "7"


def test_what_states_the_size_first_counts(world, member) -> None:
    owner = world.add_owner(r.STATEFUL_SETS, "train", replicas=9)
    world.add_workload("train", status={}, replicas=8)
    assert stamps(world.admitted(member(owner)))[0] == "8"
    world.add_profile("sized", replicas=7)
    assert stamps(world.admitted(member(owner, workload_profile="sized")))[0] == "7"
    assert stamps(world.admitted(member(owner, workload_profile="sized", enabled_replicas="6")))[0] == "6"


def test_min_members_say_how_many_start_together_and_zero_means_all(world, member) -> None:
    owner = world.add_owner(r.JOBS, "train", parallelism=8)
    assert stamps(world.admitted(member(owner, gang_min_members="3"))) == ("8", "3", "team/train")
    assert stamps(world.admitted(member(owner, gang_min_members="0"))) == ("8", "8", "team/train")


def test_min_members_are_the_size_where_nobody_says_it(world, member) -> None:
    labels = {keys.WORKLOAD: "ring"}
    assert stamps(world.admitted(member(labels=labels, gang_min_members="4"))) == ("4", "4", "team/ring")


def test_a_controller_that_is_not_known_is_read(world, member) -> None:
    owner = {"apiVersion": "apps/v1", "kind": "StatefulSet", "name": "new", "uid": "u", "controller": True}
    denial = world.decide(member(owner)).denial
    assert (denial.missing.resource, denial.missing.namespace, denial.missing.name) == (r.STATEFUL_SETS, "team", "new")
    assert "cannot determine gang size" in denial.message


def test_workers_of_a_workload_are_a_gang_of_its_replicas(world, member) -> None:
    owner = {"apiVersion": "tensor-fusion.ai/v1", "kind": "TensorFusionWorkload", "name": "w", "controller": True}
    missing = world.decide(member(owner)).denial.missing
    assert (missing.resource, missing.name) == (r.TENSOR_FUSION_WORKLOADS, "w")
    world.add_workload("w", status={}, replicas=4)
    assert stamps(world.admitted(member(owner))) == ("4", "4", "team/w")
    assert isinstance(world.workload("team", "w"), TensorFusionWorkload)


# --- the profile ---


def test_a_profile_makes_its_pods_a_gang_and_the_pod_has_the_last_word(world, member) -> None:
    owner = world.add_owner(r.JOBS, "train", parallelism=8)
    world.add_profile("ring", gangScheduling={"minMembers": 4, "timeout": "10m", "mode": "Strict"})
    made = member(owner, workload_profile="ring")
    del made["metadata"]["annotations"][keys.GANG_ENABLED]
    stored = world.admitted(made)
    assert stamps(stored) == ("8", "4", "team/train")
    assert stored["metadata"]["annotations"][keys.GANG_TIMEOUT] == "10m"
    assert stored["metadata"]["annotations"][keys.GANG_MODE] == "Strict"
    own = world.admitted(member(owner, workload_profile="ring", gang_timeout="1m", gang_min_members="2"))
    assert stamps(own)[1] == "2"
    assert own["metadata"]["annotations"][keys.GANG_TIMEOUT] == "1m"
    assert stamps(world.admitted(member(owner, workload_profile="ring", gang_enabled="false"))) == (None, None, None)


def test_a_profiles_timeout_that_is_none_is_refused(world, member) -> None:
    owner = world.add_owner(r.JOBS, "train", parallelism=8)
    world.add_profile("ring", gangScheduling={"timeout": "soon"})
    message = world.refusal(member(owner, workload_profile="ring"))
    assert "WorkloadProfile team/ring: gangScheduling.timeout: 'soon' is not a duration" in message


def test_min_members_alone_make_no_gang(world, member) -> None:
    owner = world.add_owner(r.JOBS, "train", parallelism=8)
    made = member(owner, gang_min_members="4")
    del made["metadata"]["annotations"][keys.GANG_ENABLED]
    assert stamps(world.admitted(made)) == (None, None, None)


# --- refusals ---


@pytest.mark.parametrize(
    ("wishes", "says"),
    [
        ({"gang_min_members": "9"}, "wanted at most 8 members (parallelism and completions of Job train), found 9"),
        ({"gang_min_members": "1"}, "wanted 0 (all) or a whole number from 2, found '1'"),
        ({"gang_min_members": "many"}, "gang-min-members"),
        ({"gang_timeout": "soon"}, "gang-timeout"),
        ({"gang_mode": "strict"}, "gang-mode: wanted one of Strict, found 'strict'"),
        ({"gang_topology": "near"}, "gang-topology: wanted one of preferred, required, none, found 'near'"),
        ({"enabled_replicas": "1"}, "wanted a gang of at least 2 members, found 1 (annotation"),
    ],
)
def test_a_gang_that_cannot_be_is_refused_in_one_sentence(world, member, wishes, says: str) -> None:
    owner = world.add_owner(r.JOBS, "train", parallelism=8)
    assert says in world.refusal(member(owner, **wishes))


def test_a_size_that_nobody_knows_is_refused(world, member) -> None:
    owner = {"apiVersion": "example.com/v1", "kind": "Ring", "name": "one", "uid": "u", "controller": True}
    message = world.refusal(member(owner))
    assert "a pod of Ring one, which says no number of pods: cannot determine gang size" in message
    assert keys.GANG_MIN_MEMBERS in message


def test_a_pod_that_nobody_can_join_is_refused(world, member) -> None:
    assert f"give all members the same label {keys.WORKLOAD}" in world.refusal(member(gang_min_members="4"))


def test_stamps_of_a_users_own_are_refused_or_written_over(world, member) -> None:
    own = {keys.GANG_REQUIRED_MEMBERS: "50", keys.GANG_GROUP_KEY: "other/train"}
    owner = world.add_owner(r.JOBS, "train", parallelism=8)
    assert stamps(world.admitted(member(owner, annotations=own))) == ("8", "8", "team/train")
    assert "and admission writes it" in world.refusal(member(owner, gang_enabled="false", annotations=own))


def test_admitting_a_member_again_changes_nothing(world, member) -> None:
    owner = world.add_owner(r.JOBS, "train", parallelism=8)
    stored = world.admitted(member(owner, gang_min_members="3", gang_timeout="5m"))
    assert world.decide(stored).ops == ()


# --- labels of other gang schedulers ---


@pytest.mark.parametrize(
    ("labels", "annotations", "expected"),
    [
        ({POD_GROUP: "ring"}, {}, ("8", "8", "team/ring")),
        (
            {
                "pod-group.scheduling.sigs.k8s.io/name": "ring",
                "pod-group.scheduling.sigs.k8s.io/min-available": "3",
            },
            {},
            ("8", "3", "team/ring"),
        ),
        ({}, {"scheduling.k8s.io/group-name": "ring"}, ("8", "8", "team/ring")),
        (
            {},
            {"scheduling.volcano.sh/group-name": "ring", "scheduling.volcano.sh/group-min-member": "9"},
            ("9", "9", "team/ring"),
        ),
        ({}, {"pod-group-name": "ring"}, ("8", "8", "team/ring")),
        ({}, {"pod-group-name": "ring", "kai.scheduler/batch-min-member": "2"}, ("8", "2", "team/ring")),
        ({}, {"pod-group-name": "ring", "kai.scheduler/batch-min-member": "1"}, (None, None, None)),
        ({"pod-group.scheduling.sigs.k8s.io/min-available": "3"}, {}, (None, None, None)),
    ],
)
def test_a_group_of_another_scheduler_is_a_gang(world, member, labels, annotations, expected) -> None:
    owner = world.add_owner(r.JOBS, "train", parallelism=8)
    made = member(owner, labels=labels, annotations=annotations)
    del made["metadata"]["annotations"][keys.GANG_ENABLED]
    assert stamps(world.admitted(made)) == expected


def test_a_group_of_unknown_size_is_placed_singly_with_a_warning_unless_a_gang_is_asked_for(world, member) -> None:
    made = member(labels={POD_GROUP: "ring"})
    assert "cannot determine gang size" in world.refusal(made)
    del made["metadata"]["annotations"][keys.GANG_ENABLED]
    verdict = world.decide(made)
    assert verdict.admitted
    assert f"label {POD_GROUP}: the size of group ring is not known" in verdict.warnings[0]
    assert stamps(world.admitted(made)) == (None, None, None)
    made["metadata"]["annotations"][keys.GANG_ENABLED] = "false"
    assert world.decide(made).warnings == ()


def test_a_groups_size_that_is_no_number_is_refused(world, member) -> None:
    labels = {POD_GROUP: "ring", "pod-group.scheduling.sigs.k8s.io/min-available": "all"}
    assert "min-available: wanted a whole number up to 100000, found 'all'" in world.refusal(member(labels=labels))


# --- what the scheduler reads ---


def test_the_scheduler_reads_back_what_admission_wrote(world, member) -> None:
    owner = world.add_owner(r.JOBS, "train", parallelism=8)
    wishes = {"gang_min_members": "3", "gang_timeout": "90s", "gang_mode": "Strict", "gang_topology": "required"}
    stored = world.admitted(member(owner, **wishes, gang_topology_key="example.com/rack"))
    assert gang_of(meta_of(stored)) == Gang(
        "team/train",
        required=3,
        desired=8,
        strict=True,
        timeout=90.0,
        topology=GangTopology.REQUIRED,
        topology_key="example.com/rack",
    )


def test_a_key_counts_in_the_pods_own_namespace_and_falls_back_to_the_workload(world, member) -> None:
    def key(**annotations: str) -> str | None:
        metadata = {"labels": {keys.WORKLOAD: "w"}, "annotations": {keys.GANG_REQUIRED_MEMBERS: "2", **annotations}}
        found = gang_of(meta_of({"metadata": metadata}))
        return None if found is None else found.key

    assert key() == "team/w"
    assert key(**{keys.GANG_GROUP_KEY: "team/part"}) == "team/part"
    assert key(**{keys.GANG_GROUP_KEY: "other/part"}) == "team/other/part"
    assert key(**{keys.GANG_REQUIRED_MEMBERS: "1"}) is None


def meta_of(stored: dict[str, Any]) -> Any:
    return msgspec.convert({"name": "p", "namespace": "team", **stored["metadata"]}, Meta)
