"""The site around the pages: navigation, contents, search, and the check of every internal link."""

import fnmatch
import html
import json
import posixpath
from collections.abc import Mapping, Sequence
from importlib.metadata import version

from pages import Heading, Page

_TOP = 2
_DEEPEST = 3
"""Levels of a field's path that the contents of a page show."""

Sections = Sequence[tuple[str, Sequence[str]]]

_PAGE = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<title>{title}</title>
<link rel="stylesheet" href="{root}site.css">
<script>document.documentElement.dataset.theme = localStorage.getItem("theme") || ""</script>
<script src="{root}search.js" defer></script>
<script src="{root}site.js" defer></script>
</head>
<body data-root="{root}">
<a class="skip" href="#content">Skip to the content</a>
<header>
<button id="menu" aria-label="Navigation" aria-expanded="false">&#9776;</button>
<a class="brand" href="{root}index.html">tensorfusion <span>{version}</span></a>
<input id="search" type="search" placeholder="Search" aria-label="Search" autocomplete="off">
<button id="theme" aria-label="Light or dark">&#9680;</button>
</header>
<ul id="results" hidden></ul>
<div class="layout">
<nav id="nav" aria-label="Pages">{nav}</nav>
<main id="content"><article>{body}</article>{around}</main>
<aside aria-label="On this page">{contents}</aside>
</div>
</body>
</html>
"""


def render_site(
    pages: Sequence[Page], sections: Sections, pictures: Mapping[str, str]
) -> tuple[dict[str, str], list[str]]:
    """Every file of the site by its path, and what is wrong with the links. ``pictures`` are SVG texts by path."""
    order = _order(pages, sections)
    problems = _problems(pages)
    for page in pages:
        missing = [source for source, path in page.pictures() if path not in pictures]
        problems += [f"{page.path}: picture {source}: there is no such file" for source in missing]
    unlisted = {page.path for page in pages} - {page.path for _, members in order for page in members}
    problems += [f"{path}: is in no section of the navigation" for path in sorted(unlisted)]
    flat = [page for _, members in order for page in members]
    around = dict(zip(flat, zip([None, *flat], [*flat[1:], None], strict=False), strict=False))
    rendered = {page.target: _page(page, order, before=before, after=after) for page, (before, after) in around.items()}
    index = [{"t": page.title, "p": page.target, "h": [[h.text, h.anchor] for h in page.headings[1:]]} for page in flat]
    rendered["search.js"] = f"const PAGES = {json.dumps(index, separators=(',', ':'))};\n"
    return {**rendered, **pictures}, problems


def _order(pages: Sequence[Page], sections: Sections) -> list[tuple[str, list[Page]]]:
    by_path = {page.path: page for page in pages}
    placed: set[str] = set()
    order = []
    for title, patterns in sections:
        members: list[Page] = []
        for pattern in patterns:
            depth = pattern.count("/")
            found = [
                path
                for path in sorted(by_path)
                if path not in placed and path.count("/") == depth and fnmatch.fnmatch(path, pattern)
            ]
            found.sort(key=lambda path: (not path.endswith("index.md"), path))
            placed.update(found)
            members += [by_path[path] for path in found]
        order.append((title, members))
    return order


def _problems(pages: Sequence[Page]) -> list[str]:
    by_path = {page.path: page for page in pages}
    problems = []
    for page in pages:
        for href, path, anchor in page.linked():
            target = by_path.get(path)
            if target is None:
                problems.append(f"{page.path}: link to {href}: there is no such page")
            elif anchor and anchor not in target.anchors:
                problems.append(f"{page.path}: link to {href}: {path} has no heading of that name")
    return problems


def _page(page: Page, order: list[tuple[str, list[Page]]], *, before: Page | None, after: Page | None) -> str:
    root = "../" * page.target.count("/")
    return _PAGE.format(
        title=html.escape(f"{page.title} - tensorfusion" if page.path != "index.md" else "tensorfusion"),
        root=root,
        version=version("tensorfusion"),
        nav=_nav(page, order, root),
        body=page.body,
        around=_around(page, before, after),
        contents=_contents(page),
    )


def _nav(page: Page, order: list[tuple[str, list[Page]]], root: str) -> str:
    parts = []
    for title, members in order:
        parts.append(f"<h2>{html.escape(title)}</h2>")
        for group, inside in _groups(members):
            here = any(member is page for member in inside)
            items = "".join(_item(member, page, root) for member in inside)
            if group:
                opened = " open" if here else ""
                parts.append(f"<details{opened}><summary>{html.escape(group)}</summary><ul>{items}</ul></details>")
            else:
                parts.append(f"<ul>{items}</ul>")
    return "".join(parts)


def _groups(members: list[Page]) -> list[tuple[str, list[Page]]]:
    """Pages of long sub-folders fold together under the title of their overview."""
    groups: list[tuple[str, list[Page]]] = []
    for member in members:
        folder = posixpath.dirname(member.path)
        name = {"reference/kinds": "Kinds", "reference/cli": "Commands", "decisions": "Decisions"}.get(folder, "")
        if not groups or groups[-1][0] != name:
            groups.append((name, []))
        groups[-1][1].append(member)
    return groups


def _item(member: Page, page: Page, root: str) -> str:
    current = ' aria-current="page"' if member is page else ""
    return f'<li><a href="{root}{member.target}"{current}>{html.escape(member.title)}</a></li>'


def _contents(page: Page) -> str:
    headings = [heading for heading in page.headings if heading.level in (2, 3) and heading.text.count(".") < _DEEPEST]
    if len(headings) < 2:
        return ""
    items = "".join(f'<li class="l{h.level}"><a href="#{h.anchor}">{html.escape(_short(h))}</a></li>' for h in headings)
    return f"<h2>On this page</h2><ul>{items}</ul>"


def _short(heading: Heading) -> str:
    """A field's path without what stands above it in the list."""
    path, dot, last = heading.text.rpartition(".")
    return last if dot and " " not in path and heading.level > _TOP else heading.text


def _around(page: Page, before: Page | None, after: Page | None) -> str:
    def link(other: Page | None, kind: str, arrow: str) -> str:
        if other is None:
            return "<span></span>"
        there = posixpath.relpath(other.target, posixpath.dirname(page.target) or ".")
        return f'<a class="{kind}" href="{there}"><small>{arrow}</small>{html.escape(other.title)}</a>'

    return f'<nav class="around">{link(before, "before", "Previous")}{link(after, "after", "Next")}</nav>'
