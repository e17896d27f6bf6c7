"""An owner edits the amounts of a running pod: in force a moment later, or refused with the reason."""

import asyncio
import re
from collections.abc import Iterable, Mapping
from typing import Any

import pytest

from checker import amount, oversold
from cluster import Cluster, eventually
from tensorfusion.errors import ApiError
from tensorfusion.kube.client import Client
from tensorfusion.model import keys
from tensorfusion.model.resources import GPU_NODES, GPU_RESOURCE_QUOTAS, GPUS, PODS
from test_road import PREFIX, create, devices, get, gpu_pod, running


def notes(**wishes: str | None) -> dict[str, Any]:
    return {"metadata": {"annotations": {PREFIX + key.replace("_", "-"): value for key, value in wishes.items()}}}


def edit(cluster: Cluster, namespace: str, name: str, **wishes: str | None) -> dict[str, Any]:
    return cluster.run(lambda client: client.patch(PODS, name, notes(**wishes), namespace=namespace))


def answer(pod: dict[str, Any]) -> dict[str, Any]:
    found = [one for one in pod["status"].get("conditions", []) if one["type"] == keys.RESOURCE_UPDATE]
    return found[0] if found else {}


def answered(cluster: Cluster, namespace: str, name: str) -> dict[str, Any]:
    return eventually(
        lambda: get(cluster, namespace, name),
        until=lambda pod: bool(answer(pod)) and keys.RESIZE not in pod["metadata"]["annotations"],
    )


def amounts(pod: dict[str, Any]) -> tuple[str | None, ...]:
    found = pod["metadata"]["annotations"]
    return tuple(found.get(PREFIX + key) for key in ("tflops-request", "tflops-limit", "vram-request", "vram-limit"))


def quota(**total: str) -> dict[str, Any]:
    spec = {"total": {"requests": total}}
    return {"apiVersion": "tensor-fusion.ai/v1", "kind": "GPUResourceQuota", "metadata": {"name": "team"}, "spec": spec}


def used(cluster: Cluster, namespace: str, amount_of: str) -> Any:
    """What the quota's status says is used of it."""
    status = get(cluster, namespace, "team", GPU_RESOURCE_QUOTAS).get("status", {})
    return status.get("used", {}).get("requests", {}).get(amount_of)


def test_an_edit_is_granted_and_everybody_counts_the_new_amounts(cluster: Cluster, namespace: str) -> None:
    create(cluster, namespace, quota(tflops="100"), GPU_RESOURCE_QUOTAS)
    create(cluster, namespace, gpu_pod("live", gpu_model="L4", tflops_request="10", vram_request="2Gi"))
    before = running(cluster, namespace, "live")
    wishes = {"tflops_request": "30", "tflops_limit": "60", "vram_request": "4Gi", "vram_limit": "8Gi"}
    returned = edit(cluster, namespace, "live", **wishes)
    assert amounts(returned) == amounts(before), "what a pod holds is not changed by its owner"
    assert keys.RESIZE in returned["metadata"]["annotations"]
    after = answered(cluster, namespace, "live")
    assert amounts(after) == ("30", "60", "4Gi", "8Gi")
    assert after["metadata"]["annotations"][keys.GPU_IDS] == before["metadata"]["annotations"][keys.GPU_IDS]
    found = answer(after)
    assert (found["status"], found["reason"]) == ("True", "Accepted")
    assert "tflops-request 10 -> 30" in found["message"]
    assert any(one["type"] == "Ready" and one["status"] == "True" for one in after["status"]["conditions"])

    eventually(lambda: used(cluster, namespace, "tflops"), until=lambda value: value == "30")
    (device,) = devices(cluster, after)

    def free() -> Any:
        status = get(cluster, "", device["metadata"]["name"], GPUS)["status"]
        held = [pod for app in status.get("runningApps") or [] for pod in app["pods"]]
        return [pod["limits"] for pod in held if pod["namespace"] == namespace]

    eventually(free, until=lambda limits: limits == [{"tflops": "60", "vram": "8Gi"}])
    told = cluster.program("explain", "pod", "live", "-n", namespace, "--address", cluster.http).stdout
    assert "resourceUpdate: Accepted: tflops-request 10 -> 30" in told


@pytest.mark.parametrize(
    ("wishes", "words"),
    [
        ({"tflops_request": "122"}, ["tflops-request 10 -> 122", "scaling quota exceeded", "left are"]),
        ({"vram_request": "6Gi"}, ["total.max.vram.request", "requested 6Gi, limit 5Gi"]),
        ({"tflops_request": "many"}, ["tflops-request", "many"]),
        ({"tflops_request": "90"}, ["tflops-limit 80", "change both together"]),
        ({"compute_percent_request": "50"}, ["only one of", "compute-percent-request"]),
    ],
)
def test_an_edit_that_cannot_be_granted_is_refused_by_the_api(
    cluster: Cluster, namespace: str, wishes: dict[str, str], words: list[str]
) -> None:
    create(cluster, namespace, quota(vram="5Gi"), GPU_RESOURCE_QUOTAS)
    wide = {"tflops_limit": "500"} if wishes.get("tflops_request") == "122" else {"tflops_limit": "80"}
    create(cluster, namespace, gpu_pod("stays", gpu_model="L4", tflops_request="10", vram_request="1Gi", **wide))
    before = running(cluster, namespace, "stays")
    eventually(lambda: used(cluster, namespace, "vram"), until=lambda value: value == "1Gi")  # both are known
    with pytest.raises(ApiError) as refused:
        edit(cluster, namespace, "stays", **wishes)
    assert 400 <= refused.value.status_code < 500, refused.value
    for word in words:
        assert word in str(refused.value)
    after = get(cluster, namespace, "stays")
    assert (amounts(after), answer(after)) == (amounts(before), {})


def twenty_on_two_devices(cluster: Cluster, namespace: str) -> dict[str, str]:
    """Pods of 5 TFLOPS on the two devices of 121, in a namespace that may use 180: the device of each, by its name."""
    eventually(  # what other tests held
        lambda: get(cluster, "", "l4-0", GPU_NODES).get("status", {}).get("availableTFlops"),
        until=lambda free: free == "242",
    )
    create(cluster, namespace, quota(tflops="180"), GPU_RESOURCE_QUOTAS)
    names = [f"p{number}" for number in range(20)]

    async def start(client: Client) -> None:
        for name in names:
            await client.create(
                PODS, gpu_pod(name, gpu_model="L4", tflops_request="5", vram_request="1Gi"), namespace=namespace
            )

    cluster.run(start)
    return {name: running(cluster, namespace, name)["metadata"]["annotations"][keys.GPU_IDS] for name in names}


def edit_at_once(cluster: Cluster, namespace: str, names: Iterable[str]) -> dict[str, ApiError | dict[str, Any]]:
    """What each of the edits to 20 TFLOPS is answered, by pod."""

    async def edit_all(client: Client) -> list[BaseException | dict[str, Any]]:
        edits = (client.patch(PODS, name, notes(tflops_request="20"), namespace=namespace) for name in names)
        return await asyncio.gather(*edits, return_exceptions=True)

    replies = dict(zip(names, cluster.run(edit_all), strict=True))
    broken = {name: reply for name, reply in replies.items() if not isinstance(reply, dict | ApiError)}
    assert broken == {}
    return {name: reply for name, reply in replies.items() if isinstance(reply, dict | ApiError)}


def all_answered(cluster: Cluster, namespace: str) -> dict[str, dict[str, Any]]:
    """The pods by name, once none of them waits for an answer."""
    found = eventually(
        lambda: cluster.run(lambda client: client.list(PODS, dict, namespace=namespace)).items,
        until=lambda pods: not any(keys.RESIZE in pod["metadata"]["annotations"] for pod in pods),
    )
    return {pod["metadata"]["name"]: pod for pod in found}


def refusals(
    replies: Mapping[str, ApiError | dict[str, Any]], settled: Mapping[str, dict[str, Any]]
) -> tuple[dict[str, str], dict[str, str]]:
    """The words of those that the API refused, and of those that the scheduler refused later, by pod."""
    at_once = {name: reply for name, reply in replies.items() if isinstance(reply, ApiError)}
    codes = {name: (error.status_code, str(error)) for name, error in at_once.items() if error.status_code != 403}
    assert codes == {}
    later = {name: answer(pod)["message"] for name, pod in settled.items() if answer(pod).get("reason") == "Refused"}
    return {name: str(error) for name, error in at_once.items()}, later


def short_of(words: str, device: str) -> str:
    """Who refused 15 TFLOPS more, ``quota`` or ``device``, with the books of that moment right; else the words."""
    if "total.max.tflops.request: requested 190, limit 180" in words:
        return "quota"
    told = re.search(f"device {device}: scaling quota exceeded: wanted 15 TFLOPS and 0 more, left are ([0-9]+) ", words)
    return "device" if told is not None and int(told[1]) < 15 else words


@pytest.mark.parametrize("one_device_first", [False, True])
def test_twenty_edits_at_once_leave_device_and_quota_exact(
    cluster: Cluster, namespace: str, *, one_device_first: bool
) -> None:
    """Of 100 TFLOPS used and 180 allowed, exactly five pods can take 15 more; each of the two devices would hold four.

    Who refuses the others is a matter of who comes first: where the first five are of one device, it has room for four,
    and the fifth is refused in its name, though the namespace and the other device have room.
    """
    devices_of = twenty_on_two_devices(cluster, namespace)
    first = min(devices_of.values())
    ours = [name for name, device in devices_of.items() if device == first]
    assert len(ours) == 10, devices_of
    replies: dict[str, ApiError | dict[str, Any]] = {}
    if one_device_first:
        replies |= edit_at_once(cluster, namespace, ours)
        all_answered(cluster, namespace)
    replies |= edit_at_once(cluster, namespace, [name for name in devices_of if name not in replies])
    settled = all_answered(cluster, namespace)
    held = {name: amount(pod["metadata"]["annotations"][PREFIX + "tflops-request"]) for name, pod in settled.items()}
    assert sorted(held.values()) == [5] * 15 + [20] * 5, held
    gpus = cluster.run(lambda client: client.list(GPUS, dict)).items
    everything = cluster.run(lambda client: client.list(PODS, dict)).items
    assert oversold(gpus, everything) == []
    booked = cluster.get("/api/allocation")["allocation"]
    mine = {name: booked[pod["metadata"]["uid"]]["Request"]["tflops"] for name, pod in settled.items()}
    assert {name: amount(tflops) for name, tflops in mine.items()} == held

    at_once, later = refusals(replies, settled)
    assert at_once.keys().isdisjoint(later), (at_once, later)
    refused = at_once | later
    assert refused.keys() == {name for name, tflops in held.items() if tflops == 5}, refused
    by = {name: short_of(words, devices_of[name]) for name, words in refused.items()}
    assert {name: words for name, words in by.items() if words not in ("quota", "device")} == {}
    if one_device_first:
        assert {name for name, who in by.items() if who == "device"} == {name for name in ours if held[name] == 5}, by


def test_kubectl_says_that_the_scheduler_was_asked(kubectl: Cluster, namespace: str) -> None:
    create(kubectl, namespace, gpu_pod("told", gpu_model="L4", tflops_request="10", vram_request="1Gi"))
    running(kubectl, namespace, "told")
    change = f"{PREFIX}vram-request=2Gi"
    done = kubectl.kubectl("annotate", "pod", "told", "-n", namespace, "--overwrite", change)
    assert "vram-request 1Gi -> 2Gi: asked of tensor-fusion-scheduler" in done.stderr
    kubectl.kubectl("wait", "pod/told", "-n", namespace, f"--for=condition={keys.RESOURCE_UPDATE}", "--timeout=60s")
    assert amounts(get(kubectl, namespace, "told"))[2] == "2Gi"
