"""Decisions of the admission service: from caches, read through where those are behind, and fenced by epoch."""

from typing import Any

from tensorfusion.errors import ServerError
from tensorfusion.model import keys
from tensorfusion.model import resources as r
from tensorfusion.policy.shards import shard_lease

DEFAULT = {"annotations": {keys.IS_DEFAULT_POOL: "true"}}
GPU_STATUS = {"gpuModel": "NVIDIA L4", "capacity": {"tflops": "99", "vram": "20Gi"}}


def written(answer: Any, key: str) -> str | None:
    for op in answer.patch:
        if op["path"] == "/metadata/annotations" and key in op["value"]:
            return op["value"][key]
        if op["path"] == "/metadata/annotations/" + key.replace("/", "~1"):
            return op["value"]
    return None


async def test_a_pod_is_decided_from_the_caches_alone(site: Any) -> None:
    site.put(r.GPU_POOLS, "main", metadata=DEFAULT)
    await site.settle()
    site.reads()
    answer = await site.create(tflops_limit="10")
    assert answer.allowed
    assert written(answer, keys.GPU_POOL) == "main"
    assert site.reads() == []


async def test_a_pool_that_is_not_in_the_cache_yet_is_read_once(site: Any) -> None:
    site.put(r.GPU_POOLS, "new")
    site.reads()
    answer = await site.create(tflops_limit="10", gpupool="new")
    assert answer.allowed
    assert site.reads() == [("get", "gpupools.tensor-fusion.ai", "new")]


async def test_a_profile_and_its_pool_may_both_be_read(site: Any) -> None:
    site.put(r.GPU_POOLS, "new")
    site.put(r.WORKLOAD_PROFILES, "big", namespace="team", spec={"poolName": "new", "gpuCount": 2})
    answer = await site.create(tflops_limit="10", workload_profile="big")
    assert answer.allowed
    assert written(answer, keys.GPU_COUNT) == "2"


async def test_a_default_pool_that_was_just_made_is_found(site: Any) -> None:
    site.put(r.GPU_POOLS, "main", metadata=DEFAULT)
    answer = await site.create(tflops_limit="10")
    assert answer.allowed
    assert written(answer, keys.GPU_POOL) == "main"


async def test_a_namespace_that_is_not_in_the_cache_yet_is_read_and_its_limits_hold(site: Any) -> None:
    site.put(r.GPU_POOLS, "main", metadata=DEFAULT)
    site.put(r.GPU_POOLS, "small")
    await site.settle()
    site.api.remove(r.NAMESPACES, "team")
    await site.settle()
    site.put(r.NAMESPACES, "team", metadata={"annotations": {keys.ALLOWED_POOLS: "small"}})
    site.reads()
    answer = await site.create(tflops_limit="10", gpupool="main")
    assert (answer.allowed, answer.code) == (False, 403)
    assert "(small), found 'main'" in answer.message
    assert ("get", "namespaces", "team") in site.reads()
    assert written(await site.create(tflops_limit="10"), keys.GPU_POOL) == "small"


async def test_what_does_not_exist_is_refused_after_one_look(site: Any) -> None:
    site.reads()
    answer = await site.create(tflops_limit="10", gpupool="none")
    assert (answer.allowed, answer.code) == (False, 400)
    assert "gpu pool(none) does not exist" in answer.message
    assert len(site.reads()) == 1


async def test_an_unreachable_api_is_said_to_be_that(site: Any) -> None:
    site.api.fail("get", error=ServerError("connection refused"))
    answer = await site.create(tflops_limit="10", gpupool="none")
    assert (answer.allowed, answer.code) == (False, 503)
    assert "could not be read" in answer.message


async def test_the_whole_of_a_live_device_or_of_the_catalogues(site: Any) -> None:
    site.put(r.GPU_POOLS, "main", metadata=DEFAULT)
    site.put(r.GPUS, "gpu-1", status=GPU_STATUS)
    await site.settle()
    live = await site.create(dedicated_gpu="true", gpu_model="L4")
    assert written(live, keys.TFLOPS_REQUEST) == "99"
    known = await site.create(dedicated_gpu="true", gpu_model="T4")
    assert written(known, keys.TFLOPS_REQUEST) == "65"
    site.api.remove(r.GPUS, "gpu-1")
    await site.settle()
    assert written(await site.create(dedicated_gpu="true", gpu_model="L4"), keys.TFLOPS_REQUEST) == "121"


async def test_quota_defaults_of_the_namespace_apply(site: Any) -> None:
    site.put(r.GPU_POOLS, "main", metadata=DEFAULT)
    spec = {"single": {"defaultRequests": {"tflops": "7", "vram": "1Gi"}}}
    site.put(r.GPU_RESOURCE_QUOTAS, "quota", namespace="team", spec=spec)
    await site.settle()
    assert written(await site.create(), keys.TFLOPS_REQUEST) == "7"


async def test_updates_are_guarded(site: Any) -> None:
    old = {"metadata": {"labels": {keys.COMPONENT: "worker"}, "annotations": {keys.GPU_IDS: "gpu-1"}}}
    new = {"metadata": {"labels": {keys.COMPONENT: "worker"}, "annotations": {keys.GPU_IDS: "gpu-2"}}}
    answer = await site.update(old, new)
    assert (answer.allowed, answer.code) == (False, 403)
    assert (await site.update(old, new, user="agent")).allowed
    assert (await site.update(old, {"metadata": {**old["metadata"], "finalizers": ["a"]}})).allowed
    assert (await site.update({"metadata": None}, {})).allowed


async def test_a_stalled_leader_is_fenced_by_the_lease(site: Any) -> None:
    site.lease(3)
    await site.settle()
    assert (await site.bind("w", ids="gpu-1", epoch="3")).allowed
    site.lease(4)
    await site.settle()
    answer = await site.bind("w", ids="gpu-1", epoch="3")
    assert (answer.allowed, answer.code) == (False, 409)
    assert "no longer the leader" in answer.message
    assert (await site.bind("w", ids="gpu-1", epoch="4")).allowed


async def test_the_successors_first_binding_fences_before_the_lease_is_seen(site: Any) -> None:
    site.lease(3)
    await site.settle()
    assert (await site.bind("w", ids="gpu-1", epoch="4")).allowed
    assert not (await site.bind("w", ids="gpu-1", epoch="3")).allowed


async def test_a_lease_that_was_made_anew_counts_from_its_beginning(site: Any) -> None:
    site.lease(7)
    await site.settle()
    site.api.remove(r.LEASES, keys.LEADER_LEASE, namespace=keys.SYSTEM_NAMESPACE)
    await site.settle()
    assert not (await site.bind("w", ids="gpu-1", epoch="0")).allowed
    site.lease(0)
    await site.settle()
    assert (await site.bind("w", ids="gpu-1", epoch="0")).allowed


async def test_a_successor_that_the_watch_has_not_shown_fences_too(site: Any) -> None:
    site.lease(3)
    await site.settle()
    await site.clock.advance(9.9)
    assert (await site.bind("w", ids="gpu-1", epoch="3")).allowed, "nobody can have taken over yet"
    site.api.lag()
    await site.clock.advance(6)
    site.lease(4)
    answer = await site.bind("w", ids="gpu-1", epoch="3")
    assert (answer.allowed, answer.code) == (False, 409)
    assert (await site.bind("w", ids="gpu-1", epoch="4")).allowed


async def test_nobody_binds_on_a_lease_that_may_have_run_out(site: Any) -> None:
    site.lease(3)
    await site.settle()
    await site.clock.advance(10.1)
    answer = await site.bind("w", ids="gpu-1", epoch="3")
    assert (answer.allowed, answer.code) == (False, 409)
    assert "10 s old" in answer.message
    site.lease(3)
    assert (await site.bind("w", ids="gpu-1", epoch="3")).allowed


async def test_bindings_of_the_scheduler_cost_no_read_while_the_lease_is_in_force(site: Any) -> None:
    site.lease(1)
    await site.settle()
    site.reads()
    await site.bind("w", ids="gpu-1", epoch="1")
    assert site.reads() == []


async def test_others_may_bind_only_pods_that_are_not_ours(site: Any) -> None:
    site.put(r.PODS, "ours", namespace="team", spec={"schedulerName": keys.SCHEDULER_NAME})
    site.put(r.PODS, "plain", namespace="team", spec={"schedulerName": "default-scheduler"})
    assert (await site.bind("ours", user="tenant")).code == 403
    assert not (await site.bind("ours", user="tenant")).allowed
    assert (await site.bind("plain", user="tenant")).allowed
    assert not (await site.bind("plain", user="tenant", ids="gpu-1")).allowed
    assert (await site.bind("gone", user="tenant")).allowed


async def test_a_changed_provider_config_counts_at_once(site) -> None:
    site.put(r.GPU_POOLS, "shared", metadata={"annotations": {keys.IS_DEFAULT_POOL: "true"}}, spec={})
    spec = {"vendor": "Ascend", "images": {"middleware": "one"}}
    site.put(r.PROVIDER_CONFIGS, "ascend", spec=spec)
    await site.settle()

    async def image() -> str:
        answer = await site.create(vendor="Ascend", tflops_limit="10")
        added = next(op["value"] for op in answer.patch if op["path"].startswith("/spec/initContainers"))
        return str((added[0] if isinstance(added, list) else added)["image"])

    assert await image() == "one"
    site.api.change(r.PROVIDER_CONFIGS, "ascend", {"spec": {"images": {"middleware": "two"}}})
    await site.settle()
    assert await image() == "two"


async def test_a_whole_device_of_a_model_that_nobody_has_is_what_its_provider_config_says(site) -> None:
    site.put(r.GPU_POOLS, "shared", metadata={"annotations": {keys.IS_DEFAULT_POOL: "true"}}, spec={})
    model = {"model": "L40", "fullModelName": "NVIDIA L40", "fp16TFlops": "400"}
    site.put(
        r.PROVIDER_CONFIGS,
        "nvidia",
        spec={"vendor": "NVIDIA", "images": {"middleware": ""}, "hardwareMetadata": [model]},
    )
    await site.settle()
    answer = await site.create(dedicated_gpu="true", gpu_model="L40")
    values = [op.get("value") for op in answer.patch]
    assert "400" in values


async def test_the_size_of_a_gang_is_read_from_the_pods_controller_and_its_deployment(site: Any) -> None:
    site.put(r.GPU_POOLS, "pool", metadata={"annotations": {keys.IS_DEFAULT_POOL: "true"}}, spec={})
    above = {"apiVersion": "apps/v1", "kind": "Deployment", "name": "web", "uid": "u0", "controller": True}
    site.put(r.DEPLOYMENTS, "web", namespace="team", spec={"replicas": 6})
    site.put(r.REPLICA_SETS, "web-5d", namespace="team", metadata={"ownerReferences": [above]}, spec={"replicas": 1})
    await site.settle()
    owner = {"apiVersion": "apps/v1", "kind": "ReplicaSet", "name": "web-5d", "uid": "u1", "controller": True}
    labels = {keys.ENABLED: "true", "pod-template-hash": "5d"}
    body = {
        "metadata": {
            "name": "web-5d-a",
            "labels": labels,
            "annotations": {keys.TFLOPS_LIMIT: "1", keys.GANG_ENABLED: "true"},
            "ownerReferences": [owner],
        },
        "spec": {"containers": [{"name": "main", "image": "app"}]},
    }
    site.reads()
    answer = await site.webhook.mutate_pod(site.request("CREATE", object=body))
    assert answer.allowed, answer.message
    written = {op["path"].rsplit("/", 1)[-1].replace("~1", "/"): op.get("value") for op in answer.patch}
    assert written[keys.GANG_DESIRED_MEMBERS] == "6"
    assert written[keys.GANG_GROUP_KEY] == "team/web"
    assert site.reads() == [("get", "replicasets.apps", "web-5d"), ("get", "deployments.apps", "web")]


async def test_a_pools_owner_that_was_replaced_is_fenced_by_the_pools_lease(site: Any) -> None:
    site.lease(1)
    site.lease(3, shard_lease("a"))
    site.lease(7, shard_lease("b"))
    await site.settle()
    assert (await site.bind("w", ids="gpu-1", epoch="1", term="3/a")).allowed
    await site.clock.advance(9)
    site.lease(1)
    site.lease(4, shard_lease("a"))
    await site.clock.advance(2)
    answer = await site.bind("w", ids="gpu-1", epoch="1", term="3/a")
    assert (answer.allowed, answer.code) == (False, 409)
    assert "wanted epoch 4 or later of pool a, found 3" in answer.message
    assert "no longer the leader" in answer.message
    assert (await site.bind("w", ids="gpu-1", epoch="1", term="4/a")).allowed
    assert not (await site.bind("w", ids="gpu-1", epoch="0", term="4/a")).allowed, "the leader's Lease counts, too"
    answer = await site.bind("w", ids="gpu-1", epoch="1", term="7/b")
    assert not answer.allowed and "11 s old" in answer.message


async def test_a_pools_lease_is_read_only_when_it_is_not_certain(site: Any) -> None:
    site.lease(1)
    site.lease(3, shard_lease("a"))
    await site.settle()
    site.reads()
    for _ in range(5):
        assert (await site.bind("w", ids="gpu-1", epoch="1", term="3/a")).allowed
    assert [read[2] for read in site.reads()] == [shard_lease("a")]


async def test_a_term_that_cannot_be_read_is_refused(site: Any) -> None:
    site.lease(1)
    await site.settle()
    for term in ("a", "x/a", "-1/a", ""):
        answer = await site.bind("w", ids="gpu-1", epoch="1", term=term)
        assert not answer.allowed and "wanted EPOCH/POOL" in answer.message


async def test_a_route_is_looked_for_when_a_pod_names_it_and_nowhere_else_than_in_its_namespace(site: Any) -> None:
    site.put(r.LLM_ROUTES, "chat", namespace="other")
    site.reads()
    refused = await site.create(labels={"a": "b"}, llm_route="chat")
    assert (refused.allowed, refused.code) == (False, 400)
    assert "wanted the name of an LLMRoute in namespace team, found 'chat'" in refused.message
    assert site.reads() == [("get", "llmroutes.tensor-fusion.ai", "chat")]
    site.put(r.LLM_ROUTES, "chat", namespace="team")
    answer = await site.create(labels={"a": "b"}, llm_route="chat")
    assert answer.allowed
    assert answer.patch[0]["value"][0] == {"name": "OPENAI_BASE_URL", "value": "http://gateway:8787/routes/chat/v1"}
    site.api.fail("get", r.LLM_ROUTES, error=ServerError("down", code=500))
    answer = await site.create(labels={"a": "b"}, llm_route="chat")
    assert (answer.allowed, answer.code) == (False, 503)
    assert answer.message.startswith("LLMRoute chat could not be read, try again")
