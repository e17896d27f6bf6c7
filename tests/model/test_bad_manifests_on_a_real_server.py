"""The same wrong manifests on a real kube-apiserver: the same status code, causes at the same fields, and words.

A part of them wherever the binaries are (``make kube-assets``), all of them with ``--real``. Our words are those of
1.34; 1.36 says two things otherwise, see ``_as_newer_servers_say_it``.
"""

import asyncio
import os
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from tensorfusion.errors import ApiError
from tensorfusion.kube.client import Client
from tensorfusion.kube.config import load_kubeconfig
from tensorfusion.model import resources as r
from tensorfusion.model.crd import KINDS, all_crds
from tensorfusion.testing.bad_manifests import BadManifest, bad_manifests, good_manifest
from tensorfusion.testing.control_plane import control_plane, kubernetes_version
from tensorfusion.testing.verdicts import verdict

ASSETS = Path(os.environ.get("KUBEBUILDER_ASSETS", "/nonexistent"))
pytestmark = [
    pytest.mark.skipif(not (ASSETS / "kube-apiserver").exists(), reason="no control plane: run make kube-assets"),
    pytest.mark.xdist_group("control-plane"),
]
_PART = 12
_AT_ONCE = 16
_ESTABLISHED_SECONDS = 90
_NEW_WORDS = (1, 36)
_OLD_TYPE = re.compile(r'^Invalid value: "\w+": (\S+ in body must be of type integer): "\w+"$')
_NEW_TYPE = re.compile(r'^Invalid value: "": (\S+ in body must be of type) int(?:32|64): ""$')
_RULE_OF_A_WHOLE = re.compile(r'^Invalid value: "(?:object|array)": (?!.* in body )')


@pytest.fixture(scope="module")
def kubeconfig(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A fresh API server with our definitions and one right object of every kind."""
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


def _as_newer_servers_say_it(causes: list[tuple[str, str]]) -> list[tuple[str, str]]:
    """Causes in the words of 1.36, whichever of both they are in.

    Of a broken rule 1.34 says which type it is about, 1.36 the value, which it leaves out for objects and lists. Of a
    wrong type where an integer of a format is wanted 1.34 says what was found, 1.36 the format (here "integer").
    """

    def newer(message: str) -> str:
        message = _RULE_OF_A_WHOLE.sub("Invalid value: ", message)
        message = _NEW_TYPE.sub(r'Invalid value: "": \1 integer: ""', message)
        return _OLD_TYPE.sub(r'Invalid value: "": \1: ""', message)

    return sorted((field, newer(message)) for field, message in causes)


async def _differences(kubeconfig: Path, cases: list[BadManifest], *, new_words: bool) -> dict[str, str]:
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
                expected = sorted(ours.causes)
                if new_words:
                    causes, expected = _as_newer_servers_say_it(causes), _as_newer_servers_say_it(expected)
                same = (code, causes) == (ours.code, expected)
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
    new_words = kubernetes_version(ASSETS) >= _NEW_WORDS
    assert asyncio.run(_differences(kubeconfig, cases, new_words=new_words)) == {}
