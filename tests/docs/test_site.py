"""The documentation site: everything is in it, every link leads somewhere, and a broken one fails the build."""

import json
import re
import subprocess
import sys
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path

import pytest

from tensorfusion.cli.main import _COMMANDS, _HIDDEN
from tensorfusion.model.crd import all_crds

ROOT = Path(__file__).resolve().parent.parent.parent
TOOLS = ROOT / "tools" / "docs"

pytestmark = pytest.mark.xdist_group("site")
"""On one worker: each that had a test of these would build the site for itself."""


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    output: Path = tmp_path_factory.mktemp("site") / "site"
    done = subprocess.run(
        [sys.executable, str(TOOLS / "build.py"), "--output", str(output)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return output


@pytest.fixture
def tools(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.syspath_prepend(str(TOOLS))
    yield
    for name in ("pages", "theme", "kinds", "commands", "examples"):
        sys.modules.pop(name, None)


class Links(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.links: list[str] = []
        self.ids: set[str] = set()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        found = dict(attrs)
        if found.get("id"):
            self.ids.add(str(found["id"]))
        for key in ("href", "src"):
            if found.get(key):
                self.links.append(str(found[key]))


def test_every_link_of_every_page_leads_to_a_file_and_a_place_in_it(site: Path) -> None:
    parsed = {}
    for file in site.rglob("*.html"):
        parsed[file.resolve()] = links = Links()
        links.feed(file.read_text())
    broken = []
    for file, page in parsed.items():
        for link in page.links:
            if re.match(r"[a-z]+:", link):
                continue
            path, _, anchor = link.partition("#")
            target = (file.parent / path).resolve() if path else file
            if not target.exists() or (anchor and anchor not in parsed[target].ids):
                broken.append(f"{file.relative_to(site)}: {link}")
    assert broken == []


def test_there_is_a_page_for_each_kind_with_its_fields_defaults_and_an_example(site: Path) -> None:
    for crd in all_crds():
        names = crd["spec"]["names"]
        text = (site / "reference" / "kinds" / f"{names['plural']}.html").read_text()
        for field in (
            crd["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"].get("spec", {}).get("properties", {})
        ):
            assert f"<code>{field}</code>" in text, f"{names['kind']}: {field}"
        if names["kind"] not in ("GPU", "GPUNode"):  # made by the system
            assert 'id="example"' in text, names["kind"]
    quota = (site / "reference" / "kinds" / "gpuresourcequotas.html").read_text()
    assert "<code>95</code>" in quota  # the default of alertThresholdPercent
    template = (site / "reference" / "kinds" / "schedulingconfigtemplates.html").read_text()
    assert "One of <code>CompactFirst</code>, <code>LowLoadFirst</code>" in template


def test_there_is_a_page_for_each_command_with_its_options(site: Path) -> None:
    for name in _COMMANDS.keys() - _HIDDEN:
        assert (site / "reference" / "cli" / f"{name}.html").exists(), name
    fleet = (site / "reference" / "cli" / "fleet.html").read_text()
    assert "<code>--devices</code>" in fleet
    assert "\b" not in fleet


def test_nothing_is_fetched_from_elsewhere_and_the_search_knows_every_page(site: Path) -> None:
    for file in (*site.rglob("*.html"), site / "site.css", site / "site.js"):
        assert not re.search(r'(src|href)="https?://[^"]*\.(css|js|woff2?)', file.read_text()), file
        assert "@import" not in file.read_text()
    index = json.loads((site / "search.js").read_text().removeprefix("const PAGES = ").rstrip().rstrip(";"))
    assert {entry["p"] for entry in index} == {str(file.relative_to(site)) for file in site.rglob("*.html")}


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("[gone](nowhere.md)", "a.md: link to nowhere.md: there is no such page"),
        ("[gone](b.md#nothing)", "a.md: link to b.md#nothing: b.md has no heading of that name"),
        ("[gone](#here)", "a.md: link to #here: a.md has no heading of that name"),
        ("[out](../../README.md)", "a.md: link to ../../README.md: there is no such page"),
        ("[fine](b.md#there-it-is) [out](https://example.com/x.md)", None),
        ("![gone](b.svg)", "a.md: picture b.svg: there is no such file"),
        ("![fine](a.svg) ![out](https://example.com/x.svg)", None),
    ],
)
@pytest.mark.usefixtures("tools")
def test_a_link_that_leads_nowhere_is_a_problem(text: str, problem: str | None) -> None:
    from pages import Page
    from theme import render_site

    pages = [Page("a.md", f"# A\n\n{text}\n"), Page("b.md", "# B\n\n## There it is\n")]
    rendered, problems = render_site(pages, [("All", ("*.md",))], {"a.svg": "<svg/>"})
    assert rendered["a.svg"] == "<svg/>"
    assert problems == ([problem] if problem else [])


@pytest.mark.usefixtures("tools")
def test_a_page_in_no_section_is_a_problem() -> None:
    from pages import Page
    from theme import render_site

    _, problems = render_site([Page("a.md", "# A\n")], [("None", ("b.md",))], {})
    assert problems == ["a.md: is in no section of the navigation"]
