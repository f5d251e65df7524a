"""Pairs give nothing away but color, and answers become fooling rates with intervals and sheets."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from PIL.JpegImagePlugin import JpegImageFile
from skimage import data

from model.__main__ import main
from model.evaluate import realism
from model.evaluate.realism import COLUMNS, Tally

HEAD = ",".join(COLUMNS)
NET = "ab" * 32


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Pairs of two photographs in color; a third is gray."""
    photos, out = tmp_path_factory.mktemp("photos"), tmp_path_factory.mktemp("pairs")
    Image.fromarray(data.coffee()).save(photos / "coffee.jpg", quality=60)
    Image.fromarray(data.chelsea()).save(photos / "chelsea.png")
    Image.fromarray(data.camera()).save(photos / "camera.png")
    words = [
        "evaluate",
        "realism",
        "--photos",
        str(photos),
        "--side",
        "128",
        "--terms",
        "CC0",
        "-o",
        str(out),
    ]
    assert main(words) == 0
    assert main(words) == 1, "what people have judged is not replaced"
    return out


def opened(path: Path) -> JpegImageFile:
    with Image.open(path) as picture:
        assert isinstance(picture, JpegImageFile)
        picture.load()
        return picture


def test_both_of_a_pair_are_alike_but_for_their_colors(folder: Path) -> None:
    manifest = json.loads((folder / realism.MANIFEST).read_text())
    assert manifest["terms"] == "CC0"
    [(net, name)] = manifest["nets"].items()
    assert (len(net), name) == (64, "lite")
    pairs = realism.read(folder)
    assert sorted(Path(pair.file).name for pair in pairs.values()) == ["chelsea.png", "coffee.jpg"]
    assert len(list(folder.glob("*.jpg"))) == 4
    for pair in pairs.values():
        photo, colored = opened(folder / pair.photo), opened(folder / pair.colored)
        assert photo.size == colored.size
        assert max(photo.size) == 128
        assert photo.quantization == colored.quantization
        assert photo.layer == colored.layer, "the same subsampling"
        assert photo.info.keys() == colored.info.keys()
        gray, other = (np.asarray(one.convert("L"), np.float32) for one in (photo, colored))
        assert np.abs(gray - other).mean() < 8
        difference = np.asarray(photo, np.float32) - np.asarray(colored, np.float32)
        assert np.abs(difference).max() > 20, "and the colors are others"
        assert len({pair.pair, pair.photo[:12], pair.colored[:12]}) == 3, "a pair's name is neither file's"


def test_answers_become_rates_by_net_and_game_and_sheets(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    coffee, chelsea = sorted(realism.read(folder).values(), key=lambda pair: pair.file, reverse=True)
    lines = [
        HEAD,
        f'{coffee.net},"lite",{coffee.pair},40,100,45',
        f'{chelsea.net},"lite",{chelsea.pair},40,100,5',
        f'{coffee.net},"lite",{coffee.pair},10,8,0',
        f'{NET},"a, b",0123456789ab,40,4,2',
    ]
    (tmp_path / "tallies.csv").write_text("\n".join(lines))
    words = ["evaluate", "realism", "--read", str(tmp_path / "tallies.csv"), "--pairs", str(folder)]
    assert main([*words, "-o", str(tmp_path / "out")]) == 0
    told = capsys.readouterr().out
    assert f"| lite `{coffee.net[:8]}` | 40 | 2 | 200 | 50 | 25.0 (5.0…45.0) |" in told
    assert f"| lite `{coffee.net[:8]}` | 10 | 1 | 8 | 0 | 0.0 (0.0…0.0) |" in told
    assert "| a, b `abababab` | 40 | 1 | 4 | 2 | 50.0" in told
    rows = json.loads((tmp_path / "out/realism.json").read_text())["nets"]
    assert rows[0]["rate"] == {"value": 0.25, "low": 0.05, "high": 0.45}
    for name in ("most", "least"):
        with Image.open(tmp_path / f"out/{name}.jpg") as sheet:
            assert sheet.width > 512


def test_a_pair_that_few_have_seen_is_no_extreme() -> None:
    tallies = [
        Tally(NET, "n", name, 10, *counts) for name, *counts in [("a", 1, 1), ("b", 90, 60), ("c", 90, 3)]
    ]
    tallies.append(Tally(NET, "n", "d", 10, 0, 0))
    most, least = realism.extremes(tallies, 2)
    assert [tally.pair for tally in most] == ["b", "a"]
    assert [tally.pair for tally in least] == ["c", "b"]


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (f"{HEAD}\n{NET},n,p,10,3", "line 2: net,name,pair,rounds,shown,fooled are wanted"),
        (f"{NET},n,p,10,3,x", "line 1: net"),
        (f"{NET},n,p,10,3,4", "line 1: 4 of 3 cannot have been fooled"),
        (f"{HEAD}\n{NET},n,p,10,0,0", "no answer yet"),
    ],
)
def test_what_is_no_tally_is_named_by_its_line(text: str, reason: str, tmp_path: Path) -> None:
    (tmp_path / "tallies.csv").write_text(text)
    with pytest.raises(ValueError, match=reason):
        realism.read_tallies(tmp_path / "tallies.csv")


def test_a_wrong_command_line_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["evaluate", "realism"]) == 2
    assert main(["evaluate", "realism", "--photos", str(tmp_path), "--side", "1000"]) == 2
    (tmp_path / realism.MANIFEST).write_text("{}")
    with pytest.raises(ValueError, match="is no manifest"):
        realism.read(tmp_path)
