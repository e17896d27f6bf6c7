"""The users' own guides, block by block: every row of ``seeds/rows.yaml`` is a test of this module.

Blocks are applied as they are written, or completed by a named patch of ``seeds/patches``; companions that a guide takes
for granted (the pools ``production-pool`` and ``prod-pool``) are made here. Everything that a block made is removed
after its test.
"""

import contextlib
import re
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from cluster import Cluster, embedded_cluster, eventually, kubectl_program, real_cluster
from tensorfusion.errors import NotFound
from tensorfusion.model import keys
from tensorfusion.model.resources import (
    DEPLOYMENTS,
    EVENTS,
    GPU_POOLS,
    GPUS,
    PODS,
    RESOURCE_CLAIM_TEMPLATES,
    SCHEDULING_CONFIG_TEMPLATES,
    TENSOR_FUSION_CLUSTERS,
    Resource,
)
from tensorfusion.policy.dialects.markers import strip_markers

SEEDS = Path(__file__).with_name("seeds")
ROWS = {row["block"]: row for row in yaml.safe_load((SEEDS / "rows.yaml").read_text())["rows"]}
NATIVE = "nvidia.com/gpu"

Check = Callable[["Guide"], None]
CHECKS: dict[str, Check] = {}


def row(*blocks: str) -> Callable[[Check], Check]:
    """The test of these rows."""

    def register(check: Check) -> Check:
        for block in blocks:
            CHECKS[block] = check
        return check

    return register


class Guide:
    """A cluster, one block of a guide, and what was made for it."""

    def __init__(self, cluster: Cluster, block: str, folder: Path) -> None:
        self.cluster = cluster
        self.row = ROWS[block]
        self.block = block
        self.folder = folder
        self._made: list[tuple[Resource, str]] = []

    # --- the block ---

    def text(self, block: str = "") -> str:
        (file,) = (SEEDS / "blocks").glob(f"{block or self.block}.*")
        return file.read_text()

    @property
    def completed(self) -> dict[str, Any]:
        """The block over its patch: what the block says wins."""
        text, _ = strip_markers(self.text())
        block = yaml.safe_load(text)
        patch = yaml.safe_load((SEEDS / "patches" / f"{self.row['patch']}.yaml").read_text())
        if set(block) <= {"annotations", "labels"}:
            block = {"metadata": block}
        elif set(block) == {"metadata"} and "kind" not in block:
            block = {"metadata": block["metadata"]}
        return merged(patch, block)

    def apply(self, text: str, *, check: bool = True) -> subprocess.CompletedProcess[str]:
        file = self.folder / "block.yaml"
        file.write_text(text)
        return self.cluster.program("apply", "-f", str(file), check=check)

    def apply_object(self, obj: dict[str, Any]) -> None:
        self.apply(yaml.safe_dump(obj))

    # --- what becomes of it ---

    def owns(self, resource: Resource, *names: str) -> None:
        """To be removed after the test."""
        self._made += [(resource, name) for name in names]

    def pool(self, name: str) -> None:
        """A companion that the guide takes for granted."""
        self.apply_object(
            {"apiVersion": "tensor-fusion.ai/v1", "kind": "GPUPool", "metadata": {"name": name}, "spec": {}}
        )
        self.owns(GPU_POOLS, name)

    def get(self, resource: Resource, name: str) -> dict[str, Any]:
        namespace = "default" if resource.namespaced else ""
        return self.cluster.run(lambda client: client.get(resource, dict, name, namespace=namespace))

    def runs(self, name: str) -> list[dict[str, Any]]:
        """The devices of a pod once it is Running."""
        self.owns(PODS, name)
        found = eventually(lambda: self.get(PODS, name), until=lambda pod: pod["status"].get("phase") == "Running")
        return [self.get(GPUS, device) for device in found["metadata"]["annotations"][keys.GPU_IDS].split(",")]

    def told_of_dra(self, name: str) -> bool:
        events = self.cluster.run(lambda client: client.list(EVENTS, dict, namespace="default")).items
        return any(one["reason"] == "DRAFallback" and one["involvedObject"]["name"] == name for one in events)

    def kubectl(self, script: str, *, check: bool = True) -> subprocess.CompletedProcess[str]:
        """A shell block with kubectl on the PATH, in the test's folder."""
        program = kubectl_program()
        if program is None:
            pytest.skip("no kubectl: run make kube-assets")
        environment = {"KUBECONFIG": str(self.cluster.kubeconfig), "HOME": str(self.folder)}
        environment["PATH"] = f"{Path(program).parent}:/usr/local/bin:/usr/bin:/bin"
        done = subprocess.run(
            ["bash", "-c", script],
            cwd=self.folder,
            env=environment,
            capture_output=True,
            text=True,
            timeout=90,
            check=False,
        )
        if check:
            assert done.returncode == 0, done.stderr
        return done

    def clean(self) -> None:
        """Remove what the block made, and wait until it has gone and the automatic pool has its nodes again.

        What was deleted stays while its finalizers are worked off, a pool that never ran and its cluster too: the
        next block may use the same names.
        """
        for resource, name in reversed(self._made):
            namespace = "default" if resource.namespaced else ""
            with contextlib.suppress(NotFound):
                self.cluster.run(
                    lambda client, resource=resource, name=name, namespace=namespace: client.delete(
                        resource, name, namespace=namespace
                    )
                )
        for resource, name in self._made:
            eventually(lambda resource=resource, name=name: self._gone(resource, name), patience=60)
        eventually(lambda: self.cluster.run(lambda client: client.list(PODS, dict)).items == [], patience=60)

        def pools() -> dict[str, str]:
            found = self.cluster.run(lambda client: client.list(GPU_POOLS, dict)).items
            return {pool["metadata"]["name"]: pool.get("status", {}).get("phase", "") for pool in found}

        eventually(pools, until=lambda phases: phases == {"default": "Running"}, patience=60)

    def _gone(self, resource: Resource, name: str) -> bool:
        try:
            self.get(resource, name)
        except NotFound:
            return True
        return False


def merged(base: Any, over: Any) -> Any:
    if isinstance(base, dict) and isinstance(over, dict):
        return base | {key: merged(base.get(key), value) for key, value in over.items()}
    return over


def pool_of(device: dict[str, Any]) -> str:
    return str(device["metadata"]["labels"][keys.GPU_POOL])


@pytest.fixture(scope="module")
def fresh(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """A cluster without pools of the user's own: the guides bring theirs."""
    make = real_cluster if request.config.getoption("--real") else embedded_cluster
    with make(tmp_path_factory.mktemp("seeds")) as running:
        yield running


@pytest.mark.parametrize("block", sorted(ROWS))
def test_a_block_of_the_guides(fresh: Cluster, tmp_path: Path, block: str) -> None:
    guide = Guide(fresh, block, tmp_path)
    try:
        CHECKS[block](guide)
    finally:
        guide.clean()


def test_every_block_has_a_row_and_a_test() -> None:
    blocks = {file.stem for file in (SEEDS / "blocks").iterdir()}
    assert blocks == set(ROWS) == set(CHECKS)
    patches = {file.stem for file in (SEEDS / "patches").iterdir()}
    assert patches == {row["patch"] for row in ROWS.values() if row["outcome"] == "completed"}


# --- the DRA guide ---


@row("001-01")
def simplest_pod(guide: Guide) -> None:
    guide.apply(guide.text())
    (device,) = guide.runs("my-gpu-workload")
    assert pool_of(device) == "default"
    eventually(lambda: guide.told_of_dra("my-gpu-workload"))


@row("001-02", "002-09")
def not_an_object(guide: Guide) -> None:
    if guide.block == "001-02":
        assert all(line.startswith(("#", "--feature-gates=")) for line in guide.text().splitlines() if line)
        return
    done = guide.apply(guide.text(), check=False)
    assert done.returncode == 1
    assert "wanted apiVersion, kind and metadata" in done.stderr


@row("001-03")
def template(guide: Guide) -> None:
    guide.apply(guide.text())
    guide.owns(SCHEDULING_CONFIG_TEMPLATES, "default-scheduling-config")
    spec = guide.get(SCHEDULING_CONFIG_TEMPLATES, "default-scheduling-config")["spec"]
    assert spec["dra"] == {"enable": True, "resourceClaimTemplateName": "tensor-fusion-gpu-template"}
    assert spec["placement"]["mode"] == "CompactFirst"


@row("001-04")
def template_by_kubectl(guide: Guide) -> None:
    (guide.folder / "scheduling-config.yaml").write_text(guide.text("001-03"))
    assert "created" in guide.kubectl(guide.text()).stdout
    guide.owns(SCHEDULING_CONFIG_TEMPLATES, "default-scheduling-config")


@row("001-05", "001-36", "001-38")
def version_not_served(guide: Guide) -> None:
    done = guide.apply(guide.text(), check=False)
    assert done.returncode == 1
    assert "resource.k8s.io/v1beta2" in done.stderr
    assert "Traceback" not in done.stderr


@row("001-06")
def version_not_served_by_kubectl(guide: Guide) -> None:
    (guide.folder / "resourceclaim-template.yaml").write_text(guide.text("001-05"))
    done = guide.kubectl(guide.text(), check=False)
    assert done.returncode != 0
    assert 'no matches for kind "ResourceClaimTemplate" in version "resource.k8s.io/v1beta2"' in done.stderr


@row("001-07")
def pool(guide: Guide) -> None:
    guide.apply(guide.text())
    guide.owns(GPU_POOLS, "my-gpu-pool")
    eventually(lambda: guide.get(GPU_POOLS, "my-gpu-pool").get("status", {}).get("totalGPUs"), until=lambda n: n == 14)


@row("001-08")
def two_a100(guide: Guide) -> None:
    guide.owns(SCHEDULING_CONFIG_TEMPLATES, "default-scheduling-config")
    guide.owns(GPU_POOLS, "my-gpu-pool")
    for block in ("001-03", "001-07"):
        guide.apply(guide.text(block))
    guide.apply(guide.text())
    devices = guide.runs("my-workload")
    assert len(devices) == 2
    assert all("A100" in device["status"]["gpuModel"] for device in devices)
    assert {pool_of(device) for device in devices} == {"my-gpu-pool"}


@row("001-09")
def verify(guide: Guide) -> None:
    name = yaml.safe_load((SEEDS / "patches" / "claim-name.yaml").read_text())["<claim-name>"]
    for block in ("001-03", "001-07", "001-08"):
        guide.apply(guide.text(block))
    guide.owns(SCHEDULING_CONFIG_TEMPLATES, "default-scheduling-config")
    guide.owns(GPU_POOLS, "my-gpu-pool")
    guide.runs("my-workload")
    eventually(lambda: guide.told_of_dra("my-workload"))
    commands = [line for line in guide.text().splitlines() if line.startswith("kubectl")]
    answers = [guide.kubectl(command.replace("<claim-name>", name), check=False) for command in commands]
    assert [answer.returncode for answer in answers] == [0, 0, 1, 0, 0]
    assert "Running" in answers[0].stdout
    assert "not found" in answers[2].stderr
    assert "DRAFallback" in answers[4].stdout


@row("001-10")
def dra_switch(guide: Guide) -> None:
    lines = [line for line in guide.text().splitlines() if "dra-enabled" in line]
    assert len(lines) == 2
    for line, told in zip(lines, (True, False), strict=True):
        base = yaml.safe_load((SEEDS / "patches" / f"{guide.row['patch']}.yaml").read_text())
        name = f"dra-{str(told).lower()}"
        guide.apply_object(merged(base, {"metadata": {"name": name, "annotations": yaml.safe_load(line.strip())}}))
        guide.runs(name)
        if told:
            eventually(lambda name=name: guide.told_of_dra(name))
        else:
            assert not guide.told_of_dra(name)


@row("001-12", "001-13", "001-19")
def amounts(guide: Guide) -> None:
    pod = guide.completed
    guide.apply_object(pod)
    guide.runs("fragment")
    kept = guide.get(PODS, "fragment")["metadata"]["annotations"]
    assert {key: kept[key] for key in pod["metadata"]["annotations"]} == pod["metadata"]["annotations"]


@row("001-14")
def named_pool(guide: Guide) -> None:
    guide.pool("production-pool")
    guide.apply_object(guide.completed)
    (device,) = guide.runs("fragment")
    assert pool_of(device) == "production-pool"


@row("001-15")
def four_devices(guide: Guide) -> None:
    guide.apply_object(guide.completed)
    devices = guide.runs("fragment")
    assert len({device["metadata"]["name"] for device in devices}) == 4
    assert len({device["status"]["nodeSelector"]["kubernetes.io/hostname"] for device in devices}) == 1


@row("001-16")
def family_name(guide: Guide) -> None:
    guide.apply_object(guide.completed)
    (device,) = guide.runs("fragment")
    assert "A100" in device["status"]["gpuModel"]


@row("001-17")
def quality_of_service(guide: Guide) -> None:
    guide.apply_object(guide.completed)
    guide.runs("fragment")
    assert guide.get(PODS, "fragment")["spec"]["priorityClassName"] == keys.PRIORITY_CLASS_HIGH


@row("001-18")
def expression_is_kept(guide: Guide) -> None:
    pod = guide.completed
    guide.apply_object(pod)
    guide.runs("fragment")
    found = guide.get(PODS, "fragment")["metadata"]["annotations"]
    assert found[keys.DRA_CEL_EXPRESSION] == pod["metadata"]["annotations"][keys.DRA_CEL_EXPRESSION]


@row("001-28")
def everything_together(guide: Guide) -> None:
    guide.pool("prod-pool")
    guide.apply_object(guide.completed)
    (device,) = guide.runs("fragment")
    assert pool_of(device) == "prod-pool"
    assert "A100" in device["status"]["gpuModel"]


@row("001-37")
def label_of_claim_templates(guide: Guide) -> None:
    guide.apply_object(guide.completed)
    guide.owns(RESOURCE_CLAIM_TEMPLATES, "fragment")
    labels = guide.get(RESOURCE_CLAIM_TEMPLATES, "fragment")["metadata"]["labels"]
    assert labels == {"tensor-fusion.ai/resource-claim-template": "true"}


@row("001-39")
def complete_example(guide: Guide) -> None:
    done = guide.apply(guide.text(), check=False)
    guide.owns(SCHEDULING_CONFIG_TEMPLATES, "default-config")
    guide.owns(GPU_POOLS, "default-pool")
    assert done.returncode == 1
    assert "resource.k8s.io/v1beta2" in done.stderr
    (device,) = guide.runs("my-workload")
    assert pool_of(device) == "default-pool"


@row("001-40")
def multi_gpu_example(guide: Guide) -> None:
    guide.pool("production-pool")
    guide.apply(guide.text())
    devices = guide.runs("multi-gpu-workload")
    assert len({device["metadata"]["name"] for device in devices}) == 4
    assert len({device["status"]["nodeSelector"]["kubernetes.io/hostname"] for device in devices}) == 1


# --- the deployment guide ---


@row("002-01", "002-02", "002-03", "002-04", "002-05", "002-07")
def helm_values(guide: Guide) -> None:
    text, _ = strip_markers(guide.text())
    assert isinstance(yaml.safe_load(text), dict)
    done = guide.apply(guide.text(), check=False)
    assert done.returncode == 1
    assert "kind" in done.stderr
    assert "Traceback" not in done.stderr


def replicas(guide: Guide, wanted: int) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """The pods of the Deployment: those with a share, and the native ones."""

    def pods() -> list[dict[str, Any]]:
        found = guide.cluster.run(lambda client: client.list(PODS, dict, namespace="default", labels="app=web"))
        return found.items

    found = eventually(pods, until=lambda items: len(items) == wanted)
    shares = [pod for pod in found if pod["metadata"]["labels"].get(keys.COMPONENT) == "worker"]
    return shares, [pod for pod in found if pod not in shares]


def native_limit(pod: dict[str, Any]) -> str:
    return str(pod["spec"]["containers"][0].get("resources", {}).get("limits", {}).get(NATIVE, ""))


@row("002-06")
def canary(guide: Guide) -> None:
    guide.apply_object(guide.completed)
    guide.owns(DEPLOYMENTS, "web")
    shares, native = replicas(guide, 10)
    assert (len(shares), len(native)) == (3, 7)
    assert {native_limit(pod) for pod in shares} == {""}
    assert {native_limit(pod) for pod in native} == {"1"}


@row("002-08")
def rollback(guide: Guide) -> None:
    guide.apply_object(guide.completed)
    guide.owns(DEPLOYMENTS, "web")
    shares, native = replicas(guide, 1)
    assert shares == []
    assert native_limit(native[0]) == "1"


@row("002-10")
def simulate(guide: Guide) -> None:
    (address,) = yaml.safe_load((SEEDS / "patches" / "http-address.yaml").read_text())
    text = guide.text()
    curls = text[text.index("curl") :].replace(address, guide.cluster.http)
    assert guide.cluster.http in curls
    done = subprocess.run(["bash", "-ec", curls], capture_output=True, text=True, timeout=30, check=False)
    assert done.returncode == 0, done.stderr
    first, second = re.split(r"(?<=\})(?=\{)", done.stdout.replace("\n", ""), maxsplit=1)
    answer = yaml.safe_load(first)
    assert answer["error"] is None
    assert answer["scheduleResult"]["FeasibleNodes"] > 0
    assert re.match(r"(a100|h100|l4)-0", answer["scheduleResult"]["SuggestedHost"])
    assert "gpuStore" in yaml.safe_load(second)
    assert guide.cluster.run(lambda client: client.list(PODS, dict)).items == []


@row("002-11", "002-12", "002-13", "002-15", "002-16")
def cluster_of_pools(guide: Guide) -> None:
    cluster = guide.completed
    guide.apply_object(cluster)
    guide.owns(TENSOR_FUSION_CLUSTERS, "guide")
    wanted = cluster["spec"]["gpuPools"][0]["specTemplate"]
    found = eventually(
        lambda: {
            pool["metadata"]["name"]: pool
            for pool in guide.cluster.run(lambda client: client.list(GPU_POOLS, dict)).items
        },
        until=lambda pools: "guide-shared" in pools,
    )["guide-shared"]
    assert holds(found["spec"], wanted)
    assert found["metadata"]["annotations"][keys.IS_DEFAULT_POOL] == "true"


def holds(found: Any, wanted: Any) -> bool:
    if isinstance(wanted, dict):
        return isinstance(found, dict) and all(holds(found.get(key), value) for key, value in wanted.items())
    return found == wanted


@row("002-14")
def labels_at_the_wrong_place(guide: Guide) -> None:
    text = guide.text().replace("# ...", "metadata: {name: burst}", 1)
    done = guide.apply(text, check=False)
    assert done.returncode == 1
    assert "spec.template.labels" in done.stderr
    assert "metadata" in done.stderr
