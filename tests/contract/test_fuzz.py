"""Random stories on the embedded server and on a real one: never an internal error, and the same code, reason and object.

``TENSORFUSION_FUZZ_SECONDS`` is for how long each goes on (75: ten minutes for all).
"""

import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

import life_stories
import stories
from two_servers import Both, Request, both

SECONDS = float(os.environ.get("TENSORFUSION_FUZZ_SECONDS", "75"))
ROUND = settings(
    max_examples=50,
    database=None,
    deadline=None,
    suppress_health_check=list(HealthCheck),
    phases=[Phase.generate, Phase.shrink],
)


KINDS: dict[str, Callable[[], st.SearchStrategy[list[Request]]]] = {
    "patches": stories.patch_stories,
    "applies": stories.apply_stories,
    "creations": stories.creation_stories,
    "lists": stories.list_stories,
    "versions": life_stories.version_stories,
    "subresources": life_stories.subresource_stories,
    "deletions": life_stories.deletion_stories,
    "selections": life_stories.selection_stories,
}


@pytest.fixture(scope="module")
def servers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Both]:
    assets = Path(os.environ.get("KUBEBUILDER_ASSETS", "/nonexistent"))
    if not (assets / "kube-apiserver").exists():
        pytest.skip("no kube-apiserver: run make kube-assets")
    with both(tmp_path_factory.mktemp("both")) as found:
        yield found


@pytest.mark.long
@pytest.mark.timeout(SECONDS * 4 + 240)
@pytest.mark.parametrize("kind", KINDS)
def test_stories_end_alike_on_both(servers: Both, kind: str) -> None:
    strategy = KINDS[kind]()

    @ROUND
    @given(strategy)
    def tell(story: list[Request]) -> None:
        servers.tell(story)

    before, ends = servers.told.copy(), time.monotonic() + SECONDS
    while time.monotonic() < ends:
        tell()
    stories_told, requests = (after - earlier for after, earlier in zip(servers.told, before, strict=True))
    print(f"{kind}: {stories_told} stories, {requests} requests to each server")
