"""The same wrong manifests on a real kube-apiserver: the same status code, causes at the same fields, and words.

A part of them wherever the binaries are (``make kube-assets``), all of them with ``--real``.
"""

import asyncio
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from tensorfusion.errors import ApiError
from tensorfusion.kube.client import Client
from tensorfusion.kube.config import load_kubeconfig
from tensorfusion.model import resources as r
from tensorfusion.model.crd import KINDS, all_crds
from tensorfusion.testing.bad_manifests import BadManifest, bad_manifests, good_manifest
from tensorfusion.testing.verdicts import verdict

ASSETS = Path(os.environ.get("KUBEBUILDER_ASSETS", "/nonexistent"))
pytestmark = [
    pytest.mark.skipif(not (ASSETS / "kube-apiserver").exists(), reason="no control plane: run make kube-assets"),
    pytest.mark.xdist_group("control-plane"),
]
_PART = 12
_AT_ONCE = 16
_ESTABLISHED_SECONDS = 90


@pytest.fixture(scope="module")
def kubeconfig(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A fresh API server with our definitions and one right object of every kind."""
    from tensorfusion.testing.control_plane import control_plane

    with control_plane(ASSETS, tmp_path_factory.mktemp("plane")) as plane:
        asyncio.run(_install(plane.kubeconfig))
        yield plane.kubeconfig


async def _install(kubeconfig: Path) -> None:
    async with Client(load_kubeconfig(kubeconfig)) as client:
        for definition in all_crds():
            await client.create(r.CUSTOM_RESOURCE_DEFINITIONS, definition)
        namespace = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "team"}}
        await client.create(r.NAMESPACES, namespace)
        async with asyncio.timeout(_ESTABLISHED_SECONDS):
            for kind in KINDS:
                await _create(client, kind)


async def _create(client: Client, kind: str) -> None:
    resource = KINDS[kind].resource
    while True:
        try:
            await client.create(resource, good_manifest(kind), namespace="team" if resource.namespaced else "")
        except ApiError as error:
            if error.status_code != 404:  # the definition is not established yet
                raise
            await asyncio.sleep(0.1)
        else:
            return


async def _answer(client: Client, bad: BadManifest) -> tuple[int, list[tuple[str, str]]]:
    resource = KINDS[bad.kind].resource
    namespace = "team" if resource.namespaced else ""
    try:
        if bad.part == "status":
            patch = {"status": bad.document.get("status")}
            await client.patch(resource, "x", patch, namespace=namespace, subresource="status", strict=True)
        else:
            body = {**bad.document, "metadata": {"name": "another"}}
            await client.create(resource, body, namespace=namespace, dry_run=True, strict=True)
    except ApiError as error:
        return error.status_code, sorted((cause.field, cause.message) for cause in error.causes)
    return 0, []


async def _differences(kubeconfig: Path, cases: list[BadManifest]) -> dict[str, str]:
    room = asyncio.Semaphore(_AT_ONCE)
    different: dict[str, str] = {}
    async with Client(load_kubeconfig(kubeconfig)) as client:

        async def compare(bad: BadManifest) -> None:
            async with room:
                code, causes = await _answer(client, bad)
            if bad.unknown and bad.part == "status":  # a patch says it as a cause of its own
                said = any(f'unknown field "{bad.path}"' in message for _, message in causes)
                same = code == 422 and [field for field, _ in causes] == ["patch"] and said
            else:
                ours = verdict(bad.document, part=bad.part)
                same = (code, causes) == (ours.code, sorted(ours.causes))
            if not same:
                different[f"{bad.kind} {bad.path} {bad.what}"] = f"real: {code} {causes}"

        async with asyncio.TaskGroup() as group:
            for bad in cases:
                group.create_task(compare(bad))
    return different


def test_the_embedded_api_and_a_real_one_refuse_alike(kubeconfig: Path, request: pytest.FixtureRequest) -> None:
    cases = [bad for kind in KINDS for bad in bad_manifests(kind)]
    if not request.config.getoption("--real"):
        cases = cases[::_PART]
    assert asyncio.run(_differences(kubeconfig, cases)) == {}
