"""Batch norms adapted to gray photographs: by how much, of which photos, and what the command leaves behind."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from copy import deepcopy
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor, nn

from model import checkpoint, color
from model.__main__ import main
from model.training import batch_norm
from model.training.batch_norm import adapt


@pytest.fixture
def net() -> nn.Module:
    torch.manual_seed(0)
    net = nn.Sequential(
        nn.Conv2d(1, 3, 3, padding=1), nn.BatchNorm2d(3), nn.ReLU(), nn.Conv2d(3, 2, 1), nn.BatchNorm2d(2)
    )
    net(torch.rand(8, 1, 16, 16) * 100)
    return net.eval()


def photos(count: int = 6) -> list[Tensor]:
    generator = torch.Generator().manual_seed(1)
    return [torch.rand(1, 1, 12, 12, generator=generator) * 40 for _ in range(count)]


def buffers(net: nn.Module) -> dict[str, Tensor]:
    return {name: value.clone() for name, value in net.named_buffers()}


@torch.no_grad()
def measured(net: nn.Module, adapted: nn.Module) -> list[tuple[Tensor, Tensor]]:
    """Mean and variance before each norm, behind those that are adapted."""
    x = torch.cat(photos())
    first = net[0](x)  # type: ignore[index]
    second = net[3](net[2](adapted[1](first)))  # type: ignore[index]
    return [(of.mean((0, 2, 3)), of.var((0, 2, 3), correction=0)) for of in (first, second)]


@pytest.mark.parametrize("prior_photos", [6, 0, 18])
def test_statistics_move_towards_the_photographs_by_their_share(prior_photos: int, net: nn.Module) -> None:
    before = buffers(net)
    adapted = adapt(net, photos(), prior_photos)
    share = 6 / (6 + prior_photos)
    after = buffers(adapted)
    for place, (mean, variance) in zip((1, 4), measured(net, adapted), strict=True):
        for name, new in ((f"{place}.running_mean", mean), (f"{place}.running_var", variance)):
            torch.testing.assert_close(after[name], before[name].lerp(new, share), rtol=1e-4, atol=1e-5)


def test_no_weight_is_learned_and_the_net_itself_stays(net: nn.Module) -> None:
    before, weights = buffers(net), {name: value.clone() for name, value in net.named_parameters()}
    adapted = adapt(net, photos())
    assert all(torch.equal(value, before[name]) for name, value in net.named_buffers())
    assert all(torch.equal(value, weights[name]) for name, value in adapted.named_parameters())
    assert not adapted.training
    assert not any(module._forward_pre_hooks for module in adapted.modules())


def test_batches_of_photos_of_one_size_count_as_photos_alone(net: nn.Module) -> None:
    alone = adapt(net, photos())
    together = adapt(net, [torch.cat(photos()[:4]), torch.cat(photos()[4:])])
    for name, value in alone.named_buffers():
        torch.testing.assert_close(together.get_buffer(name), value)


def test_what_cannot_be_adapted_is_refused(net: nn.Module) -> None:
    with pytest.raises(ValueError, match="no photograph"):
        adapt(net, [])
    with pytest.raises(ValueError, match="no batch norms"):
        adapt(nn.Conv2d(1, 1, 1), photos())


# The command


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three dark gray photographs, and one that is none."""
    folder = tmp_path_factory.mktemp("album")
    chance = np.random.default_rng(0)
    for n in range(3):
        Image.fromarray(chance.integers(0, 120, (10, 12), np.uint8)).resize((120, 96)).save(
            folder / f"{n}.png"
        )
    (folder / "broken.jpg").write_text("no photo")
    return folder


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The shipped net for photos of 64 pixels, whose rebalancing is taken back."""
    net, card = checkpoint.load(checkpoint.locate("lite"), taken_back=0)
    path = tmp_path_factory.mktemp("small") / "small.safetensors"
    prior = tuple(float(n) for n in range(1, 314))
    checkpoint.save(net, replace(card, name="small", size=64, prior=prior, lam=0.7, taken_back=0.4), path)
    return path


def hashes(*files: Path) -> Iterator[str]:
    return (hashlib.sha256(file.read_bytes()).hexdigest() for file in files)


def test_adapted_weights_color_photographs_and_the_originals_stay(
    folder: Path, small: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    originals = [small, small.with_suffix(".json"), *folder.iterdir()]
    before = [*hashes(*originals)]
    run = tmp_path / "album"
    words = [
        "train",
        "adapt",
        "--photos",
        str(folder),
        "--net",
        str(small),
        "--run",
        str(run),
        "--device",
        "cpu",
    ]
    assert main(words) == 0
    assert "3 photographs, left out: 1 unreadable;" in capsys.readouterr().out
    assert [*hashes(*originals)] == before
    out = run / "album.safetensors"
    card, old = checkpoint.read_card(out), checkpoint.read_card(small)
    assert card.name == "album"
    assert (card.recipe["adapted_from"], card.recipe["adapted_to"]) == (old.sha256, 3)
    assert (card.prior, card.lam, card.taken_back) == (old.prior, old.lam, old.taken_back), (
        "decoded as before"
    )
    assert (card.calibration, card.boldness) == (None, ()), "measured on other weights"
    assert "Batch norms adapted to 3 photographs of album" in card.notes.replace(folder.name, "album")
    new_net, old_net = (checkpoint.load(path, taken_back=0)[0] for path in (out, small))
    for name, value in old_net.named_parameters():
        assert torch.equal(new_net.get_parameter(name), value), name
    moved = {
        name: float((new_net.get_buffer(name) - value).abs().max())
        for name, value in old_net.named_buffers()
        if name.endswith(("mean", "var"))
    }
    assert min(moved.values()) > 0
    with Image.open(run / "adapted.jpg") as sheet:
        pixels = np.asarray(sheet, int)
    assert pixels.shape == (16 + 16 + 128, 3 * (3 * 128 + 12) - 12, 3), "three photographs, thrice each"
    # Of the first; not up to the edges, across which a JPEG's colors run.
    gray, *colored = (pixels[32:, left + 16 : left + 112] for left in (0, 128, 256))
    assert np.ptp(gray, 2).max() < 3
    assert all(np.ptp(cell, 2).mean() > 3 for cell in colored)
    assert np.abs(colored[0] - colored[1]).mean() > 0.5, "before and after"
    assert (run / "left_out.txt").read_text() == f"unreadable\t{folder / 'broken.jpg'}\n"
    made = tmp_path / "colored"
    assert (
        main(["colorize", str(folder / "0.png"), "-o", str(made), "--net", str(out), "--device", "cpu"]) == 0
    )
    assert [path.name for path in made.glob("[!.]*")] == ["0.png"]  # beside the manifest, which is hidden


def test_of_many_photographs_128_are_measured_evenly_chosen(
    small: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each is of one gray, lighter than those before it."""
    (tmp_path / "album").mkdir()
    for level in range(200):
        Image.new("L", (32, 32), level).save(tmp_path / "album" / f"{level:03}.png")
    seen: list[Tensor] = []

    def unchanged(net: nn.Module, lightness: Sequence[Tensor]) -> nn.Module:
        seen.extend(lightness)
        return deepcopy(net)

    # The net sees each photo as often as it has norms, which takes long.
    monkeypatch.setattr(batch_norm, "adapt", unchanged)
    run = tmp_path / "run"
    words = ["train", "adapt", "--net", str(small), "--run", str(run), "--device", "cpu", "--photos"]
    assert main([*words, str(tmp_path / "album")]) == 0
    grays = torch.tensor([n * 200 // 128 for n in range(128)])
    expected = color.lightness_from_rgb((grays / 255)[:, None, None, None].expand(-1, 3, 1, 1)).flatten()
    torch.testing.assert_close(torch.stack([of.mean() for of in seen]), expected, rtol=0, atol=0.05)
    assert "128 photographs, left out: none;" in capsys.readouterr().out
    assert checkpoint.read_card(run / "run.safetensors").recipe["adapted_to"] == 128


def test_a_training_run_is_not_written_into(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "checkpoint.pt").write_bytes(b"a run")
    words = ["train", "adapt", "--run", str(tmp_path), "--device", "cpu", "--photos", str(folder)]
    assert main(words) == 1
    assert "holds a training run" in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["checkpoint.pt"]


def test_photographs_that_there_are_not_are_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["train", "adapt", "--run", str(tmp_path / "run"), "--device", "cpu", "--photos"]
    (tmp_path / "empty").mkdir()
    assert main([*words, str(tmp_path / "empty")]) == 1
    assert "holds no photographs" in capsys.readouterr().err
    (tmp_path / "broken.jpg").write_text("no photo")
    assert main([*words, str(tmp_path / "broken.jpg")]) == 1
    assert "no photograph to adapt to" in capsys.readouterr().err
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    "more",
    [
        ["--set", "lr=1"],
        ["--recipe", "tiny"],
        ["--steps", "9"],
        ["--seed", "0"],
        ["--hold-out", "2"],
        ["--workers", "2"],
        ["--save-every", "9"],
        ["--cache", "x"],
    ],
)
def test_what_only_training_takes_is_refused(
    more: list[str], folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = tmp_path / "run"
    assert main(["train", "adapt", "--photos", str(folder), "--run", str(run), *more]) == 1
    assert "adapt takes no steps" in capsys.readouterr().err
    assert not run.exists()
