"""What a server takes is no more than its process has descriptors for."""

import resource
import subprocess
import sys

import pytest

from tensorfusion.wire.limits import Limits, fitting

TELL = """
import resource
from tensorfusion.wire.limits import Limits, fitting
print(fitting(Limits(most_connections=1000)).most_connections, resource.getrlimit(resource.RLIMIT_NOFILE)[0])
"""


@pytest.mark.parametrize(
    ("soft", "hard", "connections", "descriptors"),
    [(256, 512, 192, 512), (256, 4096, 1000, 2128), (3000, 4096, 1000, 3000), (64, 64, 1, 64)],
)
def test_connections_are_as_many_as_descriptors_allow(soft: int, hard: int, connections: int, descriptors: int) -> None:
    found = subprocess.run(
        [
            sys.executable,
            "-c",
            f"import resource; resource.setrlimit(resource.RLIMIT_NOFILE, ({soft}, {hard}))\n{TELL}",
        ],
        capture_output=True,
        check=True,
        text=True,
    )
    assert found.stdout.split() == [str(connections), str(descriptors)]


def test_where_there_are_enough_nothing_changes() -> None:
    limits, before = Limits(most_connections=3), resource.getrlimit(resource.RLIMIT_NOFILE)
    assert fitting(limits) is limits
    assert resource.getrlimit(resource.RLIMIT_NOFILE) == before
