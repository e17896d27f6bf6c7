"""Random stories on the embedded server and on a real one: never an internal error, and the same code, reason and object.

``TENSORFUSION_FUZZ_SECONDS`` is for how long each goes on (150: ten minutes for the four).
"""

import os
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

import stories
from two_servers import Both, Request, both

SECONDS = float(os.environ.get("TENSORFUSION_FUZZ_SECONDS", "150"))
ROUND = settings(
    max_examples=200,
    database=None,
    deadline=None,
    suppress_health_check=list(HealthCheck),
    phases=[Phase.generate, Phase.shrink],
)


@pytest.fixture(scope="module")
def servers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Both]:
    assets = Path(os.environ.get("KUBEBUILDER_ASSETS", "/nonexistent"))
    if not (assets / "kube-apiserver").exists():
        pytest.skip("no kube-apiserver: run make kube-assets")
    with both(tmp_path_factory.mktemp("both")) as found:
        yield found


@pytest.mark.long
@pytest.mark.parametrize("kind", ["patch_stories", "apply_stories", "creation_stories", "list_stories"])
def test_stories_end_alike_on_both(servers: Both, kind: str) -> None:
    strategy: st.SearchStrategy[list[Request]] = getattr(stories, kind)()

    @ROUND
    @given(strategy)
    def tell(story: list[Request]) -> None:
        servers.tell(story)

    ends = time.monotonic() + SECONDS
    while time.monotonic() < ends:
        tell()
