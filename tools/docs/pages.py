"""Pages: Markdown in, HTML with headings and links known out."""

import html
import posixpath
import re
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

from markdown_it import MarkdownIt
from markdown_it.token import Token
from pygments import highlight
from pygments.formatters import HtmlFormatter
from pygments.lexers import get_lexer_by_name
from pygments.util import ClassNotFound

_EXTERNAL = re.compile(r"[a-z][a-z0-9+.-]*:|//")


def _code(text: str, language: str, _: str) -> str:
    try:
        lexer = get_lexer_by_name(language or "text")
    except ClassNotFound:
        return html.escape(text)
    return highlight(text, lexer, HtmlFormatter(nowrap=True))


def slug(text: str) -> str:
    """The anchor of a heading, as GitHub makes it."""
    return re.sub(r"[^\w\- ]", "", text.strip().lower()).replace(" ", "-")


@dataclass(frozen=True)
class Heading:
    level: int
    text: str
    anchor: str


@dataclass(eq=False)
class Page:
    """One page. ``path`` is relative to the root of the site and ends in .md."""

    path: str
    text: str
    headings: list[Heading] = field(default_factory=list)
    links: list[str] = field(default_factory=list)
    images: list[str] = field(default_factory=list)

    @property
    def target(self) -> str:
        """Where the HTML goes."""
        return self.path.removesuffix(".md") + ".html"

    @property
    def title(self) -> str:
        self.body  # noqa: B018  # parses
        return self.headings[0].text if self.headings else self.path

    @property
    def anchors(self) -> set[str]:
        self.body  # noqa: B018  # parses
        return {heading.anchor for heading in self.headings}

    @property
    def words(self) -> str:
        """What the search looks at."""
        return " ".join(heading.text for heading in self.headings)

    @cached_property
    def body(self) -> str:
        """The HTML of the content. Links to Markdown files lead to the pages made from them."""
        parser = MarkdownIt("commonmark", {"highlight": _code, "html": True}).enable(["table", "strikethrough"])
        tokens = parser.parse(self.text)
        self._headings(tokens)
        for token in tokens:
            for child in token.children or ():
                if child.type == "link_open":
                    child.attrs["href"] = self._link(str(child.attrs["href"]))
                elif child.type == "image" and not _EXTERNAL.match(source := str(child.attrs["src"])):
                    self.images.append(source)
        rendered: str = parser.renderer.render(tokens, parser.options, {})
        return rendered.replace("<table>", '<div class="table"><table>').replace("</table>", "</table></div>")

    def _headings(self, tokens: list[Token]) -> None:
        seen: dict[str, int] = {}
        for position, token in enumerate(tokens):
            if token.type != "heading_open":
                continue
            inline = tokens[position + 1]
            text = "".join(child.content for child in inline.children or () if child.type in ("text", "code_inline"))
            anchor = slug(text)
            seen[anchor] = seen.get(anchor, -1) + 1
            if seen[anchor]:
                anchor = f"{anchor}-{seen[anchor]}"
            token.attrs["id"] = anchor
            self.headings.append(Heading(int(token.tag[1]), text, anchor))

    def _link(self, href: str) -> str:
        if _EXTERNAL.match(href):
            return href
        self.links.append(href)
        path, mark, anchor = href.partition("#")
        if path.endswith("/"):
            path = f"{path}index.html"
        elif path.endswith(".md"):
            path = path.removesuffix(".md") + ".html"
        return f"{path}{mark}{anchor}"

    def linked(self) -> list[tuple[str, str, str]]:
        """Every internal link: as written, the path of the page it leads to, its anchor."""
        self.body  # noqa: B018  # parses
        found = []
        for href in self.links:
            path, _, anchor = href.partition("#")
            if path.endswith("/"):
                path += "index.md"
            where = posixpath.normpath(posixpath.join(posixpath.dirname(self.path), path)) if path else self.path
            found.append((href, where, anchor))
        return found

    def pictures(self) -> list[tuple[str, str]]:
        """Every picture of our own: as written, and its path from the root of the site."""
        self.body  # noqa: B018  # parses
        here = posixpath.dirname(self.path)
        return [(source, posixpath.normpath(posixpath.join(here, source))) for source in self.images]


def read_pages(folder: Path) -> list[Page]:
    """The Markdown files of a folder, and an overview of each folder that has none of its own."""
    pages = [Page(file.relative_to(folder).as_posix(), file.read_text()) for file in sorted(folder.rglob("*.md"))]
    known = {page.path for page in pages}
    for name, title in (("guides", "How to"), ("decisions", "Decisions"), ("reference", "Reference")):
        if f"{name}/index.md" not in known:
            inside = [page for page in pages if posixpath.dirname(page.path) == name]
            lines = "\n".join(f"- [{page.title}]({posixpath.basename(page.path)})" for page in inside)
            pages.append(Page(f"{name}/index.md", f"# {title}\n\n{lines}\n"))
    return pages
