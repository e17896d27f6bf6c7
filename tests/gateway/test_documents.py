"""Documents of a file: parted as a parser parts them, and parsed once for as long as they stay the same."""

from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from tensorfusion.gateway.configuring import Configuration, WrongConfiguration, read_configuration
from tensorfusion.gateway.documents import parts_of

BEGINS = ("---", "--- # c", "--- {a: 1}", "--- |", "--- >", "---\t", "--- a: 1", "---\r", "z: \u2028---")
OTHERS = ("---x", " ---", "  ---", "...", "%TAG ! x:", "a: |", "b: 'x", "y'", "a: 1", "- 1", "# c", "", "text", "\t")
ANCHORS = ("d: &x 1", "e: *x")
LINES = st.sampled_from([*BEGINS, *OTHERS, *ANCHORS])


def loaded(texts: Any) -> Any:
    try:
        return [one for text in texts for one in yaml.load_all(text, Loader=yaml.SafeLoader) if one is not None]
    except yaml.YAMLError:
        return None


@given(st.lists(LINES, max_size=8).map("\n".join))
def test_the_parts_of_a_file_say_what_the_file_says(text: str) -> None:
    assert "".join(parts_of(text)) == text
    assert loaded(parts_of(text)) == loaded([text])


ROUTE = """\
apiVersion: tensor-fusion.ai/v1
kind: LLMRoute
metadata: {name: NAME}
spec: {targets: [{name: a, provider: custom, model: m, endpoint: "http://127.0.0.1:1"}]}
"""


def test_what_stayed_the_same_is_the_same_object_and_the_rest_is_read_anew(tmp_path: Path) -> None:
    path = tmp_path / "routes.yaml"

    def read(*documents: str, before: Configuration | None = None) -> Configuration:
        path.write_text("---\n".join(documents))
        return read_configuration(path, before=before)

    one, two = ROUTE.replace("NAME", "one"), ROUTE.replace("NAME", "two")
    first = read(one, two)
    second = read("{}\n", two, one.replace("model: m", "model: n"), before=first)
    assert {route.metadata.name: route.spec.targets[0].model for route in second.routes} == {"one": "n", "two": "m"}
    assert second.routes[0] is first.routes[1]
    with pytest.raises(WrongConfiguration, match=r"\(document 3\): there is an LLMRoute default/two already"):
        read(one, two, two, before=second)
    with pytest.raises(WrongConfiguration, match="line 7, column"):
        read(one, "{\n", before=second)
