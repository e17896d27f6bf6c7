"""How shares of one device are kept apart: what hard puts into a pod, and that a device serves one mode at a time."""

from typing import Any

from cluster import Cluster, eventually
from tensorfusion.model import keys
from tensorfusion.model.resources import GPUS
from test_road import create, delete, devices, get, gpu_pod, running, waiting

HALF = {"gpu_model": "L4", "tflops_request": "60.5", "vram_request": "12Gi"}


def active_mode(cluster: Cluster, device: dict[str, Any], mode: str | None) -> None:
    name = device["metadata"]["name"]
    eventually(
        lambda: get(cluster, "", name, GPUS)["status"].get("activeIsolationMode"), until=lambda found: found == mode
    )


def test_a_hard_share_runs_with_a_capped_worker_beside_it(cluster: Cluster, namespace: str) -> None:
    create(cluster, namespace, gpu_pod("hard", isolation="hard", **HALF))
    pod = running(cluster, namespace, "hard")
    notes = pod["metadata"]["annotations"]
    assert (notes[keys.EFFECTIVE_HARD_SM_PERCENT], notes[keys.SIDECAR_WORKER]) == ("50", "true")
    worker = pod["spec"]["containers"][1]
    assert worker["name"] == "tensorfusion-worker"
    written = {entry["name"]: entry.get("value") for entry in worker["env"]}
    assert written["TF_GPU_MEMORY_LIMIT"] == "12288"
    assert "TF_CUDA_SM_PERCENT_LIMIT" in written
    (device,) = devices(cluster, pod)
    active_mode(cluster, device, "hard")
    told = cluster.program("explain", "pod", "hard", "-n", namespace, "--address", cluster.http).stdout
    assert "isolation hard" in told
    assert "hardPercent: 50" in told
    delete(cluster, namespace, "hard")
    active_mode(cluster, device, None)


def test_soft_and_hard_shares_do_not_meet_on_a_device(cluster: Cluster, namespace: str) -> None:
    for name, mode in (("hard", "hard"), ("soft", "soft")):
        create(cluster, namespace, gpu_pod(name, isolation=mode, **HALF))
        running(cluster, namespace, name)
    homes = {name: devices(cluster, get(cluster, namespace, name))[0]["metadata"]["name"] for name in ("hard", "soft")}
    assert homes["hard"] != homes["soft"]
    create(cluster, namespace, gpu_pod("more", isolation="hard", **HALF))
    (home,) = devices(cluster, running(cluster, namespace, "more"))
    assert home["metadata"]["name"] == homes["hard"]
    create(
        cluster, namespace, gpu_pod("late", isolation="hard", gpu_model="L4", tflops_request="1", vram_request="1Gi")
    )
    message = waiting(cluster, namespace, "late")
    assert "1 device: held in another isolation mode" in message
    delete(cluster, namespace, "soft")
    running(cluster, namespace, "late")


def test_devices_that_cannot_do_it_say_so(cluster: Cluster) -> None:
    gpus = cluster.run(lambda client: client.list(GPUS, dict)).items
    able = [gpu["metadata"]["annotations"][keys.VIRTUALIZATION_CAPABILITIES] for gpu in gpus]
    assert all('"SupportsHardIsolation":true' in text for text in able)
