"""The doctor on a cluster: quiet when all is well, and each trouble in one line with what to do."""

import json
from pathlib import Path
from typing import Any

import pytest

from cluster import Cluster, await_rights, eventually
from tensorfusion.kube.config import load_kubeconfig
from tensorfusion.model.resources import CUSTOM_RESOURCE_DEFINITIONS, GPUS, PODS

CRD = "workloadprofiles.tensor-fusion.ai"


def diagnose(cluster: Cluster, *words: str) -> tuple[int, list[dict[str, Any]]]:
    done = cluster.program("doctor", "-o", "json", *words, check=False)
    assert done.stderr == ""
    return done.returncode, json.loads(done.stdout)


def of(findings: list[dict[str, Any]], subject: str) -> list[tuple[str, str]]:
    return [(found["level"], found["found"]) for found in findings if found["subject"] == subject]


def test_a_cluster_in_order(cluster: Cluster) -> None:
    status, findings = diagnose(cluster)
    assert status == 0
    for subject in ("api", "version", "crds", "webhook", "webhook certificate", "scheduler leader", "operator leader"):
        assert [level for level, _ in of(findings, subject)] == ["ok"], of(findings, subject)
    if not cluster.real:
        assert [level for level, _ in of(findings, "processes")] == ["ok"]
    text = cluster.program("doctor").stdout.splitlines()
    assert text[0].startswith("ok") or text[0].startswith("warn")
    assert all(line.count("\n") == 0 for line in text)


def test_a_crd_of_another_version_is_named(cluster: Cluster) -> None:
    columns = cluster.run(lambda client: client.get(CUSTOM_RESOURCE_DEFINITIONS, dict, CRD))
    versions = columns["spec"]["versions"]
    changed = [{**versions[0], "additionalPrinterColumns": []}, *versions[1:]]
    cluster.run(lambda client: client.patch(CUSTOM_RESOURCE_DEFINITIONS, CRD, {"spec": {"versions": changed}}))
    try:
        status, findings = diagnose(cluster)
    finally:
        cluster.run(lambda client: client.patch(CUSTOM_RESOURCE_DEFINITIONS, CRD, {"spec": {"versions": versions}}))
    assert status == 0
    assert of(findings, "crds") == [("warn", f"of another version than this program: {CRD}")]


def test_nodes_and_devices_that_are_out_are_named_with_the_cure(cluster: Cluster) -> None:
    cluster.program("fleet", "break", "cpu-0")
    cluster.program("fleet", "break", "l4-0", "--devices", "0", "--faulty")
    try:

        def seen() -> list[tuple[str, str]]:
            findings = diagnose(cluster)[1]
            return of(findings, "nodes") + of(findings, "devices")

        found = eventually(seen, until=lambda rows: [level for level, _ in rows] == ["warn", "warn"])
        assert found[0][1] == "1 of 4 not ready: cpu-0"
        assert found[1][1].startswith("1 of 14 take no work: ")
    finally:
        cluster.program("fleet", "heal", "cpu-0")
        cluster.program("fleet", "heal", "l4-0")
    eventually(lambda: [level for level, _ in seen()], until=lambda levels: levels == ["ok", "ok"])


def test_what_a_tenant_may_not_see_is_said_and_not_a_failure(cluster: Cluster, namespace: str, tmp_path: Path) -> None:
    file = tmp_path / "eve.kubeconfig"
    cluster.program("user", "add", "eve", "-n", namespace, "-o", str(file))
    await_rights(load_kubeconfig(file), (PODS, namespace), (GPUS, ""))
    status, findings = diagnose(cluster, "--kubeconfig", str(file))
    assert status == 0
    assert [level for level, _ in of(findings, "api")] == ["ok"]
    assert of(findings, "nodes") == [("info", "you may not look at it")]
    assert [level for level, _ in of(findings, "devices")] == ["ok"]


@pytest.mark.parametrize("server", ["https://127.0.0.1:1"])
def test_a_cluster_that_does_not_answer_is_one_failure(cluster: Cluster, tmp_path: Path, server: str) -> None:
    import yaml

    config = yaml.safe_load(cluster.kubeconfig.read_text())
    config["clusters"][0]["cluster"]["server"] = server
    file = tmp_path / "kubeconfig"
    file.write_text(yaml.safe_dump(config))
    status, findings = diagnose(cluster, "--kubeconfig", str(file))
    assert status == 1
    assert [found["level"] for found in findings] == ["fail"]
    assert "tensorfusion up" in findings[0]["advice"]
