"""Questions to a running cluster: where would it go, what would help. Nothing happens because of them."""

import json
from pathlib import Path

from cluster import Cluster

EXAMPLES = Path(__file__).parents[2] / "examples"


def test_a_manifest_is_simulated_alone_as_a_gang_and_on_nodes_that_do_not_exist(cluster: Cluster) -> None:
    manifest = str(EXAMPLES / "02-inference.yaml")
    alone = cluster.program("simulate", "-f", manifest, "--address", cluster.http).stdout
    assert alone.startswith("fits: ")
    assert "GPUResourcesFit" in alone
    gang = cluster.program("simulate", "-f", manifest, "--gang", "2", "--address", cluster.http).stdout
    assert gang.startswith("fits: all 2")
    big = str(EXAMPLES / "06-too-big.yaml")
    refused = cluster.program("simulate", "-f", big, "--address", cluster.http).stdout
    assert refused.startswith("does not fit: 0/")
    shape = "gpus=L4:4,count=2,name=new"
    added = cluster.program("simulate", "-f", big, "--add-node", shape, "-o", "json", "--address", cluster.http).stdout
    answer = json.loads(added)
    assert answer["hypotheticalNodes"] == ["new-0", "new-1"]
    assert answer["scheduleResult"]["SuggestedHost"] == "new-0"
    wrong = cluster.program("simulate", "-f", big, "--add-node", "gpus=X", "--address", cluster.http, check=False)
    assert "the catalogue does not know 'X': state tflops and vram" in wrong.stderr
