"""The page for developers: its examples run as printed, and what it says is what this server does."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path

import httpx
import pytest
from PIL import Image

from service.errors import KINDS

ROOT = Path(__file__).parents[2]
RUN = {
    "bash": ["bash", "-euo", "pipefail", "-c"],
    "python": [sys.executable, "-c"],
    "javascript": ["node", "--input-type=module", "-e"],
}


class Page(HTMLParser):
    """The ids of a page, where its links lead, and its examples by their language."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.ids: list[str] = []
        self.links: list[str] = []
        self.examples: dict[str, str] = {}
        self._language = ""
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        known = {name: value or "" for name, value in attrs}
        self.ids += [known["id"]] if "id" in known else []
        self.links += [known["href"]] if tag == "a" else []
        self._language = known.get("data-language", "") if tag == "pre" else ""

    def handle_endtag(self, tag: str) -> None:
        self._language = ""

    def handle_data(self, data: str) -> None:
        if self._language:
            self.examples[self._language] = self.examples.get(self._language, "") + data


def words(html: str) -> str:
    return re.sub(r"\s+", " ", re.sub(r"<[^>]+>", " ", html))


@pytest.mark.parametrize("language", RUN)
def test_each_example_runs_as_printed(service, gray_photo, tmp_path: Path, until, language: str) -> None:
    if language == "javascript" and shutil.which("node") is None:
        reason = "there is no node here: apt-get install nodejs"
        if os.environ.get("CI") == "true":
            pytest.fail(reason)
        pytest.skip(reason)

    def erased() -> int:
        return sum("job_erased" in line for line in [*service.lines])

    before = erased()
    (tmp_path / "old.jpg").write_bytes(gray_photo())
    example = Page(httpx.get(f"{service.url}/docs").text).examples[language]
    done = subprocess.run(
        [*RUN[language], example],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    with Image.open(tmp_path / "new.jpg") as new:
        assert (new.size, new.mode) == ((320, 240), "RGB")
    until(lambda: erased() == before + 1, 10, "it is erased again")


def test_the_example_in_the_shell_writes_no_picture_where_the_photo_is_refused(
    service, tmp_path: Path
) -> None:
    (tmp_path / "old.jpg").write_bytes(b"no photograph")
    example = Page(httpx.get(f"{service.url}/docs").text).examples["bash"]
    # As pasted: what follows a command runs whether or not it failed.
    done = subprocess.run(["bash", "-c", example], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert "photo_" in done.stdout
    assert "error: 4" in done.stderr
    assert done.returncode != 0
    assert {path.name for path in tmp_path.iterdir()} == {"old.jpg"}


def test_the_examples_have_a_key_where_the_server_demands_one(tight) -> None:
    examples = Page(tight(anonymous=False).get("/docs").text).examples
    assert set(examples) == set(RUN)
    assert all("AUTOCHROME_KEY" in example for example in examples.values())
    compile(examples["python"], "quickstart", "exec")
    assert subprocess.run(["bash", "-n", "-c", examples["bash"]], check=False).returncode == 0


def test_the_page_has_every_problem_operation_and_object_and_no_link_that_leads_nowhere(api) -> None:
    page = Page(api.get("/docs").text)
    contract = api.get("/openapi.json").json()
    operations = [one["operationId"] for path in contract["paths"].values() for one in path.values()]
    assert len(page.ids) == len({*page.ids})
    assert {*operations, *(f"problem-{code}" for code in KINDS)} <= {*page.ids}
    assert {f"object-{name}" for name in contract["components"]["schemas"] if name != "Options"} <= {
        *page.ids
    }
    inner = {link.removeprefix("#") for link in page.links if link.startswith("#")}
    assert len(inner) > 50
    assert inner <= {*page.ids}


def test_it_says_what_this_server_allows(tight) -> None:
    said = words(
        tight(
            max_bytes=7 * 2**20,
            max_pixels=3_000_000,
            batch_files=17,
            keep_for=3600,
            quota_megapixels_per_minute=44,
            url_hosts="photos.example",
        )
        .get("/docs")
        .text
    )
    assert "At most 7 MiB and 3 megapixels" in said
    assert "At most 17 photographs" in said
    assert "For 60 minutes, or as long as keep_for says: at most 7 days." in said
    assert said.count("44 megapixels a minute.") == 2
    assert "Photographs by their address Yes, from hosts that are listed." in said
    assert "Webhooks No." in said
    assert "takes photographs without a key" in said
    closed = words(tight(anonymous=False).get("/docs").text)
    assert "from holders of an API key alone" in closed
    assert "Without a key" not in closed


def test_addresses_are_those_of_outside(tight) -> None:
    html = tight(public_url="https://photos.example/color", root_path="/color").get("/color/docs").text
    examples = Page(html).examples
    assert all("https://photos.example/color" in example for example in examples.values())
    assert 'action="./v1/colorizations"' in html


def test_it_is_in_german_for_who_reads_that(api) -> None:
    html = api.get("/docs?lang=de").text
    assert "Jedes dieser Beispiele" in html
    assert "Das Foto ist leer" in html
    assert KINDS["photo_empty"].title not in words(html.partition('id="strings"')[0])
    assert '<p lang="en">' in html, "what the contract says is said to be English"
