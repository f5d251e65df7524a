"""What the repository says of itself is true: the tree in docs/architecture.md, links, the site's pages, and the version."""

from __future__ import annotations

import re
import subprocess
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

import bot
import service
from service.settings import Settings

ROOT = Path(__file__).parent.parent
README_LINES = 150
"""A README is read in one sitting; all else belongs in docs/."""


def mapped() -> dict[str, str]:
    """Path → remark, from the architecture page's tree: two spaces a level, a folder ends in a slash, two spaces before the remark."""
    page = (ROOT / "docs/architecture.md").read_text()
    tree = re.search(r"## The tree\n.*?```\n(.*?)```", page, re.DOTALL)
    assert tree, "docs/architecture.md has a tree"
    remarks: dict[str, str] = {}
    folders: list[str] = []
    for line in tree[1].splitlines():
        depth = (len(line) - len(line.lstrip())) // 2
        name, _, remark = line.strip().partition("  ")
        folders = [*folders[:depth], name] if name.endswith("/") else folders[:depth]
        path = "".join(folders) if name.endswith("/") else "".join(folders) + name
        assert path not in remarks, f"docs/architecture.md names {path} twice"
        remarks[path] = remark.strip()
    return remarks


def tracked() -> set[str]:
    listing = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=False)
    if listing.returncode:
        pytest.skip("not a git checkout")
    return set(listing.stdout.splitlines())


def links(page: Path) -> Iterator[str]:
    """What a Markdown page links to or shows, without code; footnotes and reference links are not used here."""
    text = re.sub(r"```.*?```|`[^`\n]*`", "", page.read_text(), flags=re.DOTALL)
    for match in re.finditer(r"\]\(([^)\s]+)(?:\s+\"[^\"]*\")?\)", text):
        yield match[1]


def anchors(page: Path) -> set[str]:
    """Ids of a page's headings, as GitHub and Python-Markdown make them of these."""
    headings = re.findall(r"^#+ (.+)$", page.read_text(), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading).strip().lower().replace(" ", "-") for heading in headings}


def broken(page: Path) -> Iterator[str]:
    """Links of a page that lead nowhere; of a page of the site also those that lead out of docs/, which the site does not have."""
    docs = ROOT / "docs"
    for link in links(page):
        if re.match(r"[a-z]+:", link):
            continue
        path, _, anchor = link.partition("#")
        target = (page.parent / path).resolve() if path else page
        if not target.is_relative_to(ROOT) or not target.exists():
            yield f"{page.relative_to(ROOT)}: {link} is not there"
        elif page.is_relative_to(docs) and not target.is_relative_to(docs):
            yield f"{page.relative_to(ROOT)}: {link} is not in the site"
        elif anchor and anchor not in anchors(target):
            yield f"{page.relative_to(ROOT)}: {link} has no such heading"


def named_in(nav: Any) -> Iterator[str]:
    """The pages of mkdocs.yml's nav, however deep."""
    match nav:
        case str():
            yield nav
        case list():
            for item in nav:
                yield from named_in(item)
        case dict():
            yield from named_in(list(nav.values()))


def test_every_tracked_file_is_in_the_tree_with_a_remark() -> None:
    remarks = mapped()
    whole_folders = [
        path
        for path in remarks
        if path.endswith("/") and not any(p.startswith(path) and p != path for p in remarks)
    ]
    missing = [
        path
        for path in tracked()
        if path not in remarks
        and not path.startswith(tuple(whole_folders))
        and not path.endswith("__init__.py")
    ]
    assert not missing
    assert not [path for path, remark in remarks.items() if not remark and not path.endswith("/")]


def test_every_source_file_is_named_by_itself() -> None:
    """A folder's remark does not stand for the Python files in it."""
    remarks = mapped()
    sources = [
        path
        for path in tracked()
        if re.match(r"(model|service|bot|tests/benchmarks)/.*\.py$", path)
        and not path.endswith("__init__.py")
    ]
    assert sources
    assert not [path for path in sources if path not in remarks]


def test_everything_in_the_tree_is_there() -> None:
    assert not [path for path in mapped() if not (ROOT / path).exists()]


def test_the_readme_is_short() -> None:
    assert len((ROOT / "README.md").read_text().splitlines()) <= README_LINES


def test_every_link_leads_somewhere() -> None:
    pages = [ROOT / path for path in sorted(tracked()) if path.endswith(".md")]
    assert ROOT / "README.md" in pages
    assert not [fault for page in pages for fault in broken(page)]


def test_the_site_names_every_page_once() -> None:
    nav = yaml.safe_load((ROOT / "mkdocs.yml").read_text())["nav"]
    pages = [path.relative_to(ROOT / "docs").as_posix() for path in (ROOT / "docs").rglob("*.md")]
    assert sorted(named_in(nav)) == sorted(pages)


def test_operators_read_of_every_setting() -> None:
    page = (ROOT / "docs/operating.md").read_text()
    [table] = re.findall(r"^## Settings\n(.*?)\n## ", page, re.DOTALL | re.MULTILINE)
    rows = re.findall(r"^\| (`[A-Z].*?) \|", table, re.MULTILINE)
    named = [name.lower() for row in rows for name in re.findall(r"`([A-Z_]+)`", row)]
    assert sorted(named) == sorted(Settings.model_fields)


def test_each_test_that_operators_are_told_of_is_there() -> None:
    pages = "".join(page.read_text() for page in (ROOT / "docs/operations").glob("*.md"))
    named = set(re.findall(r"`(test_[a-z0-9_]+)`", pages))
    tests = "".join(path.read_text() for path in (ROOT / "tests").rglob("test_*.py"))
    assert len(named) > 20
    assert not [name for name in named if f"def {name}(" not in tests]


def test_service_and_bot_say_the_version_that_the_package_has() -> None:
    version = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
    assert service.__version__ == bot.__version__ == version
