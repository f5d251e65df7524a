"""The lecture's page: every number is there, every picture has words, and what was not run is not missed."""

from __future__ import annotations

import json
import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any, get_args

import pytest

from model.commands import options
from model.experiments import page

DOCS = Path(__file__).parents[2] / "docs" / "lecture"
VOID = {"meta", "img", "br"}


class Checked(HTMLParser):
    """Tags close in the order they were opened; pictures are kept."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.pictures: list[dict[str, str | None]] = []
        self.said: list[str] = []
        self.feed(text.partition("<body>")[2].partition("</body>")[0])
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag == "img":
            self.pictures.append(dict(attrs))
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.said.append(data)

    @property
    def words(self) -> str:
        """All text, however it was broken into lines."""
        return " ".join(" ".join(self.said).split())


def subject(method: str, **more: Any) -> dict[str, Any]:
    return {
        "net": "alexnet",
        "method": method,
        "layers": ["conv1", "conv2"],
        "probes": {"conv1": [0.5, 0.5], "conv2": [0.611, 0.613]},
        "neighbors": {"accuracy": 0.4567, "low": 0.441, "high": 0.472, "count": 20},
        "efficiency": {"labels": [20, 90], "accuracy": [[0.2, 0.3], [0.22, 0.32]]},
        "transfer": {"voc2007": 0.3217, "caltech101": 0.1119},
        "pictures": {"neighbors": "pictures/a<b.jpg"},
        "utility": None,
        "verdict": None,
    } | more


FOUND = {
    "made": {
        "commit": "abc1234",
        "date": "2026-11-23",
        "machine": "2 cores",
        "torch": "2",
        "command": "make <lecture>",
    },
    "data": {"name": "Imagenette", "photos": 9001, "judged": 3002, "classes": ["a", "b"], "side": 96},
    "subjects": [
        subject("random"),
        subject(
            "simclr",
            steps=580,
            batch=192,
            photos=111_360,
            cpu_s=600,
            seed=7,
            loss=[[1, 5.0], [2, 3.33]],
            utility=[{"labels": 20, "text": "≥ 4.21"}, {"labels": 90, "text": "0.77"}],
            verdict={"outcome": "b", "why": "above scratch up to 20 labels"},
        ),
        subject("random-gray"),
    ],
    "projection": {"alexnet": {"gray": {"h": 0.993, "g": 0.974, "chance": 0.801}}},
    "pairwise": {
        "steps": ["crop", "blur"],
        "accuracy": [[0.331, 0.26], [0.27, 0.026]],
        "caption": "tiny & quick",
    },
    "plan": {"tuning": {"steps": 211, "batch": 31}, "transferred": 107},
}


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> str:
    return page.write(FOUND, tmp_path_factory.mktemp("page")).read_text()


def test_the_numbers_are_there(written: str) -> None:
    said = Checked(written).words
    for number in (
        "9,001",
        "3,002",
        "abc1234",
        "580 × 192",
        "111,360",
        "10 min",
        "3.33",
        "50.0 ± 0.0",
        "61.2 ± 0.1",
        "45.7%",
    ):
        assert number in said
    for number in (
        "44.1…47.2",
        "31.0 ± 1.0",
        "≥ 4.21",
        "0.77",
        "(b) above scratch up to 20",
        "32.2%",
        "11.2%",
        "99.3%",
        "97.4%",
        "80.1%",
    ):
        assert number in said
    assert "AlexNet: SimCLR 46%; untrained 46%, of lightness alone 46%." in said
    assert "fine-tuning takes 211 steps of 31 photos for each number of labels, and 107 for" in said


def test_every_picture_has_words_and_strange_names_do_no_harm(written: str) -> None:
    pictures = Checked(written).pictures
    assert [picture["src"] for picture in pictures] == ["pictures/a<b.jpg"] * 3
    assert all(picture["alt"] for picture in pictures)
    assert "make &lt;lecture&gt;" in written
    assert "tiny &amp; quick" in written


def test_the_page_loads_nothing_from_elsewhere(written: str) -> None:
    assert "<script" not in written
    assert 'src="http' not in written


def test_the_pairs_stand_beside_the_untrained_net(tmp_path: Path) -> None:
    # A symmetric matrix and its rows' means: three pairs, of which one is above the untrained net.
    pairs = {
        "steps": ["crop", "blur"],
        "accuracy": [[0.331, 0.26, 0.3], [0.26, 0.026, 0.1]],
        "caption": "tiny",
    }
    text = page.write({"pairwise": pairs | {"untrained": 0.2684}}, tmp_path).read_text()
    assert "The same net untrained: 26.8%, the last row; 1 of 3 pairs are above it." in Checked(text).words
    assert text.count("<!-- untrained -->") == 1, "a row of the figure"
    assert text.count("<!-- 27 -->") == 3, "under every column"
    without = page.write({"pairwise": pairs}, tmp_path).read_text()
    assert "The same net untrained" not in Checked(without).words
    assert "<!-- untrained -->" not in without


def test_the_page_says_of_which_run_the_projections_table_is(tmp_path: Path) -> None:
    kinds = ("gray", "rotate", "noise", "sobel")
    seen = {kind: {"h": 0.9, "g": 0.5, "chance": 0.5, "in_views": True} for kind in kinds}
    found = {
        "projection": {"alexnet": seen},
        "projection_runs": {"alexnet": {"steps": 290, "batch": 192, "photos": 55_680}},
    }
    said = Checked(page.write(found, tmp_path).read_text()).words
    assert (
        "rotation, noise and edges were among the views: SimCLR was trained once more, for this table alone"
        in said
    )
    assert "AlexNet, 290 steps of 192 photos, 55,680 photos seen" in said
    seen["noise"]["in_views"] = False
    said = Checked(page.write(found, tmp_path).read_text()).words
    assert "trained once more" not in said
    assert "What was not among the views, the loss had no reason to discard" in said


def test_a_results_page_of_before_does_not_claim_views_that_its_run_had_not(tmp_path: Path) -> None:
    old = {kind: {"h": 0.9, "g": 0.5, "chance": 0.5} for kind in ("gray", "rotate")}
    said = Checked(page.write({"projection": {"alexnet": old}}, tmp_path).read_text()).words
    assert "the loss had no reason to discard" in said
    assert "trained once more" not in said


def test_the_probes_protocol_and_its_pools_are_on_the_page(tmp_path: Path) -> None:
    one = subject("random", probes={"conv1": [0.5], "pool1": [0.4], "conv2": [0.3]})
    plan = {"protocol": "zhang2016", "tuning": {"steps": 1, "batch": 1}, "transferred": 1}
    said = Checked(page.write({"subjects": [one], "plan": plan}, tmp_path).read_text()).words
    assert "Probed by the protocol zhang2016: random crops of 227" in said
    assert "pool1" in said
    assert tuple(page.PROTOCOLS) == get_args(options.Protocol)


def test_a_saturated_utility_is_said(tmp_path: Path) -> None:
    utility = [{"labels": 20, "text": "0.10"}, {"labels": 90, "text": "saturated"}]
    verdict = {"outcome": "saturated", "why": "both are level, and alike, from 20 labels on"}
    subjects = [subject("random"), subject("simclr", utility=utility, verdict=verdict)]
    said = Checked(page.write({"subjects": subjects}, tmp_path).read_text()).words
    assert "(saturated) both are level" in said
    assert "both nets are level" in said


SECTIONS = {
    "photographs to train on": "made",
    "In short, how often": "subjects",
    "The budget": "subjects",
    "Linear probes of each layer": "subjects",
    "Whose neighbors are alike?": "subjects",
    "How many labels does it spare?": "subjects",
    "Does it carry over?": "subjects",
    "Beside what others published": "subjects",
    "To look at": "subjects",
    "Afterwards, fine-tuning takes": "plan",
    "What the projection discards": "projection",
    "Which augmentations belong together?": "pairwise",
}
"""How each section begins, and the part of what was found that it shows."""


@pytest.mark.parametrize("part", ["made", "subjects", "plan", "projection", "pairwise"])
def test_what_was_not_run_is_left_out(part: str, tmp_path: Path) -> None:
    found = {key: value for key, value in FOUND.items() if key != part}
    said = Checked(page.write(found, tmp_path).read_text()).words
    assert [words for words in SECTIONS if words in said] == [
        words for words, of in SECTIONS.items() if of != part
    ]


ROWS = {"probes": 1, "neighbors": 1, "efficiency": 2, "transfer": 1, "pictures": 0}
"""How many rows of tables show each evaluation of a backbone; of the efficiency, accuracy and utility."""


@pytest.mark.parametrize("part", ROWS)
def test_a_backbone_without_some_evaluation_is_shown_with_the_rest(part: str, tmp_path: Path) -> None:
    subjects = [
        FOUND["subjects"][0],
        {key: value for key, value in FOUND["subjects"][1].items() if key != part},
    ]
    text = page.write({"subjects": subjects}, tmp_path).read_text()
    assert text.count("<th scope=row>SimCLR</th>") == sum(ROWS.values()) - ROWS[part]
    assert ("SimCLR, AlexNet: each photo" in Checked(text).words) == (part != "pictures")


@pytest.fixture(scope="module")
def committed() -> dict[str, Any]:
    found: dict[str, Any] = json.loads((DOCS / "lecture.json").read_text())
    return found


def without_charts(page: str) -> str:
    return re.sub(r"<svg xmlns:xlink.*?</svg>", "<svg></svg>", page, flags=re.DOTALL)


def test_the_committed_page_is_what_the_committed_numbers_give(
    committed: dict[str, Any], tmp_path: Path
) -> None:
    """All but the charts, whose digits may hang on the machine: of these as many."""
    ours, theirs = (path.read_text() for path in (page.write(committed, tmp_path), DOCS / "index.html"))
    assert without_charts(ours) == without_charts(theirs)
    assert ours.count("<svg xmlns:xlink") == theirs.count("<svg xmlns:xlink") == 5
    Checked(ours)


def test_the_committed_pages_pictures_are_there(committed: dict[str, Any], tmp_path: Path) -> None:
    pictures = Checked(page.write(committed, tmp_path).read_text()).pictures
    assert len(pictures) == 22
    assert all((DOCS / str(picture["src"])).exists() for picture in pictures)


def test_the_same_numbers_are_the_same_file(committed: dict[str, Any], tmp_path: Path) -> None:
    one, other = (page.write(committed, tmp_path / name).read_bytes() for name in "ab")
    assert one == other


def test_the_committed_numbers_in_one_table(committed: dict[str, Any]) -> None:
    heads, _, *rows = page.overview(committed["subjects"]).splitlines()
    assert "trained by" in heads
    assert len(rows) == 10
    assert rows[1].startswith("| AlexNet | SimCLR | 111,360 | 59.9 (58.3…61.4) | 68.4 (conv3) | 29.0 ± 2.4 |")
