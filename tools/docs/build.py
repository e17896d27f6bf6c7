"""Build the documentation as a static site: ``python tools/docs/build.py [--output site]``.

Pages are the Markdown files of ``docs/``, the changelog and the examples, pictures the SVG files beside them; reference
pages of the kinds and of the commands are made from the CRDs and from the program itself, so that they cannot lag
behind. Needs no network, and neither does the result: one style sheet, one small script, system fonts. A link that
leads nowhere fails the build, and so does a picture that is not there.
"""

import argparse
import shutil
import sys
import time
from pathlib import Path

import commands
import examples
import kinds
from pages import Page, read_pages
from theme import render_site

ROOT = Path(__file__).resolve().parent.parent.parent
ASSETS = Path(__file__).resolve().parent / "assets"

SECTIONS = (
    ("Start", ("index.md", "tutorial.md")),
    ("How to", ("guides/*.md", "examples.md")),
    ("Reference", ("reference/*.md", "reference/kinds/*.md", "reference/cli/*.md")),
    ("Explanation", ("architecture.md", "glossary.md", "decisions/*.md", "changelog.md")),
)


def collect() -> list[Page]:
    """Every page, written and generated."""
    pages = read_pages(ROOT / "docs")
    pages.append(Page("changelog.md", (ROOT / "CHANGELOG.md").read_text()))
    pages += examples.pages(ROOT / "examples")
    pages += kinds.pages(ROOT / "docs" / "kinds")
    pages += commands.pages()
    return pages


def _pictures(folder: Path) -> list[str]:
    return [file.relative_to(folder).as_posix() for file in sorted(folder.rglob("*.svg"))]


def main() -> int:
    parser = argparse.ArgumentParser(description="Build the documentation as a static site.")
    parser.add_argument("--output", type=Path, default=ROOT / "site", help="folder to write")
    output: Path = parser.parse_args().output
    started = time.perf_counter()
    pages = collect()
    pictures = {path: (ROOT / "docs" / path).read_text() for path in _pictures(ROOT / "docs")}
    rendered, problems = render_site(pages, SECTIONS, pictures)
    if problems:
        for problem in problems:
            print(f"docs: {problem}", file=sys.stderr)
        print(f"docs: {len(problems)} broken links, nothing written", file=sys.stderr)
        return 1
    shutil.rmtree(output, ignore_errors=True)
    for path, text in rendered.items():
        target = output / path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(text)
    for asset in sorted(ASSETS.iterdir()):
        shutil.copy(asset, output / asset.name)
    print(f"{len(rendered)} pages in {output} ({time.perf_counter() - started:.1f} s)")
    return 0


if __name__ == "__main__":
    sys.exit(main())
