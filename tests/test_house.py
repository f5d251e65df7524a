"""What the house says of itself is true: the README's map, and the version."""

from __future__ import annotations

import re
import subprocess
import tomllib
from pathlib import Path

import pytest

import bot
import service

ROOT = Path(__file__).parent.parent


def mapped() -> dict[str, str]:
    """Path → remark, from the README's tree: two spaces a level, a folder ends in a slash, two spaces before the remark."""
    tree = re.search(r"## The map\n.*?```\n(.*?)```", (ROOT / "README.md").read_text(), re.DOTALL)
    assert tree, "the README has a map"
    remarks: dict[str, str] = {}
    folders: list[str] = []
    for line in tree[1].splitlines():
        depth = (len(line) - len(line.lstrip())) // 2
        name, _, remark = line.strip().partition("  ")
        folders = [*folders[:depth], name] if name.endswith("/") else folders[:depth]
        path = "".join(folders) if name.endswith("/") else "".join(folders) + name
        remarks[path] = remark.strip()
    return remarks


def tracked() -> set[str]:
    listing = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=False)
    if listing.returncode:
        pytest.skip("not a git checkout")
    return set(listing.stdout.splitlines())


def test_every_file_of_the_packages_is_on_the_map_with_a_remark() -> None:
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


def test_everything_on_the_map_is_there() -> None:
    assert not [path for path in mapped() if not (ROOT / path).exists()]


def test_service_and_bot_say_the_version_that_the_package_has() -> None:
    version = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
    assert service.__version__ == bot.__version__ == version
