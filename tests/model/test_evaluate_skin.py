"""Skin: which photographs are of which group, and how far colors are off in the middle of a face."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from skimage import color as skcolor
from skimage import data

from model.__main__ import main
from model.evaluate import color, skin
from model.evaluate.color import Picture

SKIN = (205, 150, 125)
REDDER = (215, 140, 135)


def flat(rgb: tuple[int, int, int], around: tuple[int, int, int] | None = None) -> np.ndarray:
    """A face of one color; its middle third in it, and the rest in another."""
    pixels = np.full((256, 256, 3), around or rgb, np.uint8)
    pixels[88:168, 88:168] = rgb
    return pixels


def ab(rgb: tuple[int, int, int]) -> np.ndarray:
    return skcolor.rgb2lab(np.array([[rgb]], np.uint8))[0, 0, 1:]


@pytest.mark.parametrize(
    ("name", "group"),
    [
        ("26_1_0_20170116172456789.jpg", "White"),
        ("1_0_1_20170109194120301.jpg.chip.jpg", "Black"),
        ("100_0_2_20170112.jpg", "Asian"),
        ("35_1_3_20170117.jpg", "Indian"),
        ("35_1_4_20170117.jpg", "Others"),
        ("61_1_20170109142408075.jpg", None),
        ("39_1_7_20170109142408075.jpg", None),
        ("astronaut.png", None),
    ],
)
def test_utkfaces_names_say_the_group(name: str, group: str | None) -> None:
    assert skin.utkface(Path("faces") / name) == group


def test_labels_go_by_the_name_or_by_folder_and_name(tmp_path: Path) -> None:
    tsv = tmp_path / "labels.tsv"
    tsv.write_text("a.webp\tdark\n0f/b.webp\tlight\n\n1e/b.webp\tdark\n")
    group_of = skin.labeled(tsv)
    photos = [Path(name) for name in ("x/0f/b.webp", "x/1e/b.webp", "x/2d/b.webp", "x/7/a.webp")]
    assert [group_of(photo) for photo in photos] == ["light", "dark", None, "dark"]
    assert skin.grouped(photos, group_of) == {"dark": [photos[1], photos[3]], "light": [photos[0]]}


@pytest.mark.parametrize(
    ("text", "reason"),
    [("a.jpg dark", "line 1"), ("a.jpg\tx\nb.jpg\t", "line 2"), ("a.jpg\tx\na.jpg\ty", "in two groups")],
)
def test_lines_that_are_no_labels_are_named(text: str, reason: str, tmp_path: Path) -> None:
    (tmp_path / "labels.tsv").write_text(text)
    with pytest.raises(ValueError, match=reason):
        skin.labeled(tmp_path / "labels.tsv")


def test_errors_are_the_distance_and_the_angle_in_the_middle_of_the_face() -> None:
    distance, angle = skin.errors(Picture(flat(SKIN, (0, 90, 200))), Picture(flat(REDDER, (90, 200, 0))))
    true, ours = ab(SKIN), ab(REDDER)
    assert distance == pytest.approx(np.hypot(*(ours - true)), abs=0.05)
    turned = np.degrees(np.arctan2(true[1], true[0]) - np.arctan2(ours[1], ours[0]))
    assert angle == pytest.approx(abs(turned), abs=0.1)
    assert angle > 10


def test_hues_on_either_side_of_half_a_turn_are_near() -> None:
    """Greens with b* just above and just below 0."""
    above, below = (40, 150, 122), (40, 150, 135)
    assert ab(above)[1] > 0 > ab(below)[1]
    _, angle = skin.errors(Picture(flat(above)), Picture(flat(below)))
    assert 0 < angle < 30


def test_gray_is_off_by_the_chroma_and_has_no_hue() -> None:
    truth = flat(SKIN)
    distance, angle = skin.errors(Picture(truth), Picture(color.gray(truth)))
    assert distance == pytest.approx(np.hypot(*ab(SKIN)), abs=0.2)
    assert np.isnan(angle)


def measured(*faces: tuple[int, int, int]) -> dict[str, skin.Faces]:
    """These as what a net predicts for faces of skin."""
    truth = flat(SKIN)
    return skin.measure(
        (truth, {"gray": color.gray(truth), "net": flat(predicted), "truth": truth}) for predicted in faces
    )


def test_groups_have_means_and_the_worst_stands_over_the_best() -> None:
    half = tuple((np.array(SKIN) + REDDER) // 2)
    found = skin.summarize({"one": measured(REDDER, REDDER), "two": measured(half, half, half)})
    one, two = (found.groups[group]["net"]["delta_e"][0] for group in ("one", "two"))
    assert one == pytest.approx(np.hypot(*(ab(REDDER) - ab(SKIN))), abs=0.05)
    assert found.mean["net"]["delta_e"][0] == pytest.approx((one + two) / 2)
    ratio = found.ratios["net"]["delta_e"]
    assert (ratio.worst, ratio.best) == ("one", "two")
    assert ratio.samples[0] == pytest.approx(one / two)
    assert one / two > 1.5
    assert found.photos == {"one": 2, "two": 3}
    assert "hue" not in found.ratios["gray"]
    text = found.as_markdown()
    assert f"{one / two:.2f} one / two" in text
    assert next(line for line in text.splitlines() if line.startswith("| one | 2 | gray |")).endswith("| – |")


def test_intervals_are_of_faces_drawn_anew_and_faces_without_a_hue_count_for_the_distance_alone() -> None:
    gray = tuple(int(value) for value in color.gray(flat(SKIN))[0, 0])
    found = skin.summarize({"one": measured(REDDER, SKIN, gray)})
    numbers = found.groups["one"]["net"]
    angle = skin.errors(Picture(flat(SKIN)), Picture(flat(REDDER)))[1]
    assert numbers["hue"][0] == pytest.approx(angle / 2, abs=0.01)
    assert np.nanmax(numbers["hue"][1:]) == pytest.approx(angle, abs=0.01)
    assert np.isnan(numbers["hue"]).any(), "draws of the gray one alone"
    assert np.ptp(numbers["delta_e"]) > 1
    assert not found.ratios["net"], "one group has nobody to stand over"


@pytest.fixture(scope="module")
def faces(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("faces")
    face = Image.fromarray(data.astronaut()[:220, 110:330])
    for name in ("30_1_0_1.png", "30_1_0_2.png", "31_1_1_1.png", "nobody.png"):
        face.save(folder / name)
    return folder


def test_the_command_writes_a_table_by_group_and_a_sheet(
    faces: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["evaluate", "skin", "--photos", str(faces), "--device", "cpu", "-o", str(tmp_path / "out")]
    assert main([*words, "--groups", "utkface", "--sheet", "1"]) == 0
    said = capsys.readouterr().out
    assert "1 of 4 photographs have no group" in said
    written = json.loads((tmp_path / "out" / "skin.json").read_text())
    assert {group: found["photos"] for group, found in written["groups"].items()} == {"White": 2, "Black": 1}
    number = written["groups"]["White"]["scores"]["lite"]["delta_e"]
    assert 0 < number["low"] <= number["value"] <= number["high"] < 60
    assert written["worst_over_best"]["lite"]["hue"]["value"] == pytest.approx(1), "the same face"
    assert (tmp_path / "out" / "skin.md").read_text() in said
    with Image.open(tmp_path / "out" / "skin.jpg") as sheet:
        assert sheet.width == 2 * 3 * 128 + 12, "gray, lite and truth of one face of each group"

    labels = tmp_path / "labels.tsv"
    labels.write_text("nobody.png\tsomebody\n")
    assert main([*words, "--labels", str(labels)]) == 0
    written = json.loads((tmp_path / "out" / "skin.json").read_text())
    assert list(written["groups"]) == ["somebody"]
    labels.write_text("else.png\tsomebody\n")
    assert main([*words, "--labels", str(labels)]) == 1
    assert "none of 4 photographs has a group" in capsys.readouterr().err
