"""The projection probe: which views are transformed and how, the small net, and a projection that drops the color on purpose."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from model.__main__ import main
from model.commands import backbones
from model.evaluate.probes import Labeled, Split
from model.experiments import projection
from model.experiments.projection import TRANSFORMATIONS, Options, in_views, predictions, probe, transformed
from model.methods import simclr
from model.methods.simclr import SimCLRNet
from model.nets.backbone import Backbone
from model.training import augment, building
from model.training import config as configs

SIDE = 16
VIEWS = augment.Strengths(side=SIDE, color=0.5)
SHORT = Options(steps=80, batch=64, lr=5e-3, hidden=32, strengths=VIEWS)


class Colors(Backbone):
    """Brightness, and the colors' distances, of both signs: all that it knows."""

    layers = ("only",)
    width = 5
    channels = 3

    def __init__(self) -> None:
        super().__init__()
        self.only = nn.Sequential(nn.Conv2d(3, 5, 1), nn.ReLU())
        with torch.no_grad():
            self.only[0].weight.copy_(
                torch.tensor([[1.0, 1, 1], [1, -1, 0], [-1, 1, 0], [0, 1, -1], [0, -1, 1]])[:, :, None, None]
            )
            self.only[0].bias.copy_(torch.tensor([5.0, 0, 0, 0, 0]))


def colorblind() -> SimCLRNet:
    net = SimCLRNet(Colors(), 4, 2)
    head = nn.Linear(5, 2)
    with torch.no_grad():
        head.weight.zero_()
        head.weight[:, 0] = 1
    net.head = nn.Sequential(head)
    return net


def photos(count: int, seed: int = 0) -> Tensor:
    """Saturated blotches."""
    chance = np.random.default_rng(seed)
    coarse = chance.integers(0, 256, (count, 3, 4, 4)).repeat(6, 2).repeat(6, 3)
    return torch.from_numpy(coarse.astype(np.uint8))


# The views


@pytest.mark.parametrize("kind", TRANSFORMATIONS)
def test_the_transformed_are_those_that_the_labels_say_and_no_others(kind: str) -> None:
    rgb = photos(64)
    seen, said = transformed(rgb, kind, VIEWS, torch.Generator().manual_seed(1))
    steps = ("crop and flip", "jitter" if kind == "gray" else "color")
    plain = augment.augmented(rgb, steps, VIEWS, torch.Generator().manual_seed(1))
    assert len(seen) == len(said) == 64
    for view, before, answer in zip(seen, plain, said.tolist(), strict=True):
        if kind == "rotate":
            assert torch.equal(view, torch.rot90(before, answer, (1, 2)))
        else:
            assert torch.equal(view, before) == (answer == 0)
        if kind == "gray":
            assert bool((view.amax(0) - view.amin(0)).max() < 1e-6) == bool(answer)


@pytest.mark.parametrize(
    ("kind", "chance"), [("gray", 0.8), ("rotate", 0.25), ("noise", 0.5), ("sobel", 0.5)]
)
def test_labels_are_as_frequent_as_in_the_paper(kind: str, chance: float) -> None:
    _, said = transformed(photos(600), kind, augment.Strengths(side=4), torch.Generator().manual_seed(0))
    assert float(said.bincount().max()) / 600 == pytest.approx(chance, abs=0.05)


# The small net


def test_classes_that_no_line_parts_are_predicted() -> None:
    chance = torch.Generator().manual_seed(0)
    known, unknown = torch.randn(400, 2, generator=chance), torch.randn(200, 2, generator=chance)
    labels, truth = ((of[:, 0] * of[:, 1] > 0).long() for of in (known, unknown))
    right = predictions(known, labels, unknown, SHORT, 0) == truth
    assert float(right.float().mean()) > 0.9
    # Whatever the size of numbers, and beside one that never changes
    scaled = [torch.cat([of / 1000 + 5, torch.full_like(of, 3)], 1) for of in (known, unknown)]
    right = predictions(scaled[0], labels, scaled[1], SHORT, 0) == truth
    assert float(right.float().mean()) > 0.9


# Backbone and projection


def test_what_the_projection_discards_is_predicted_from_h_alone() -> None:
    net = colorblind()
    before = [value.clone() for value in net.state_dict().values()]
    found = probe(net, photos(150).numpy(), photos(120, 1).numpy(), SHORT)
    assert list(found) == list(TRANSFORMATIONS)
    gray = found["gray"]
    assert 0.7 < gray.chance < 0.9
    assert gray.h.accuracy.value > 0.93
    assert gray.g.accuracy.value < gray.chance + 0.03
    assert found["sobel"].h.accuracy.value > 0.9 < found["sobel"].g.accuracy.value  # edges are dark
    turns = found["rotate"]  # the same pixels: neither can know
    assert max(turns.h.accuracy.value, turns.g.accuracy.value) < turns.chance + 0.12
    assert all(len(each.h.right) == len(each.g.right) == 120 for each in found.values())
    assert net.training
    assert all(map(torch.equal, before, net.state_dict().values()))


def test_a_photos_features_do_not_hang_on_those_beside_it() -> None:
    """Norms of a net in training go by the batch: then all photos' means would be the same, however bright."""
    net = SimCLRNet(Colors(), 4, 2).train()
    seen: list[Tensor] = []
    shade = np.full((6, 3, 24, 24), 40, np.uint8)
    bright = np.full((6, 3, 24, 24), 220, np.uint8)
    handle = torch.nn.modules.module.register_module_forward_hook(
        lambda module, _, out: (
            seen.append(out) if isinstance(module, nn.BatchNorm1d) and len(out) == 6 else None
        )
    )
    with handle:
        probe(net, np.concatenate([shade, bright]), bright, SHORT)
    test = [z for z in seen if z.shape[1] == 2]
    assert len(test) == 4  # of each kind the test, six at once
    assert all(float(z.mean(0).abs().max()) > 0.05 for z in test)


# What the run's views were


def test_which_changes_were_among_a_runs_views() -> None:
    plain, probing = simclr.small(), simclr.projection_probe()
    assert in_views(plain) == {"gray": True, "rotate": False, "noise": False, "sobel": False}
    assert in_views(probing) == dict.fromkeys(TRANSFORMATIONS, True)
    assert in_views(simclr.asymmetric(plain, "noise")) == {
        "gray": False,
        "rotate": False,
        "noise": True,
        "sobel": False,
    }
    never = replace(probing, strengths=replace(probing.strengths, grayed=0.0, sobeled=0.0))
    assert in_views(never) == {"gray": False, "rotate": True, "noise": True, "sobel": False}


def test_views_for_the_projections_table_have_each_change_as_often_as_it_is_probed() -> None:
    """On flat gray, noise and turns of a gradient show alone; edges of what is flat are black."""
    options = simclr.projection_probe()
    assert options.first == options.second == ("crop and flip", "color", "rotate", "noise", "sobel")
    strengths = options.strengths
    assert (strengths.rotated, strengths.noised, strengths.sobeled) == tuple(
        TRANSFORMATIONS[kind] for kind in ("rotate", "noise", "sobel")
    )
    for kind in ("rotate", "noise", "sobel"):
        rgb = photos(600)
        small = replace(strengths, side=8)
        before = augment.augmented(rgb, ("whole",), small, torch.Generator().manual_seed(0))
        after = augment.augmented(before, (kind,), small, torch.Generator().manual_seed(1))
        changed_N = (after - before.clamp(0, 1)).abs().flatten(1).amax(1) > 1e-5
        assert float(changed_N.float().mean()) == pytest.approx(TRANSFORMATIONS[kind], abs=0.06), kind


def test_shares_leave_others_as_they_are_and_draw_nothing_where_all_change() -> None:
    rgb = photos(40).float() / 255
    for kind, share in (("rotate", "rotated"), ("noise", "noised"), ("sobel", "sobeled")):
        never = replace(VIEWS, **{share: 0.0})  # type: ignore[arg-type]
        assert torch.equal(augment.augmented(rgb, (kind,), never, torch.Generator().manual_seed(2)), rgb)
    chance = torch.Generator().manual_seed(3)
    state = chance.get_state()
    augment.augmented(rgb, ("sobel",), VIEWS, chance)
    assert torch.equal(chance.get_state(), state), "older runs draw what they drew"


def test_the_probe_transforms_every_view_that_is_chosen() -> None:
    """Whatever shares the given strengths have: half of the changed would not be, and their answers wrong."""
    shares = replace(VIEWS, grayed=0.1, noised=0.1, sobeled=0.1)
    for kind in ("gray", "noise", "sobel"):
        seen, said = transformed(photos(64), kind, shares, torch.Generator().manual_seed(1))
        steps = ("crop and flip", "jitter" if kind == "gray" else "color")
        plain = augment.augmented(photos(64), steps, shares, torch.Generator().manual_seed(1))
        # A view that was gray already, and asked for gray, is the same.
        same = torch.tensor([torch.equal(a, b) for a, b in zip(seen, plain, strict=True)])
        assert torch.equal(same, said == 0)


def test_the_command_says_what_was_not_among_a_runs_views(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    small = configs.tiny("simclr", "alexnet")
    assert isinstance(small.options, simclr.SimCLROptions)
    runs = {"plain": small, "probing": replace(small, options=simclr.projection_probe(small.options))}
    monkeypatch.setattr(
        building,
        "load",
        lambda folder: building.Trained(colorblind(), runs[folder.name], {}, 4, 32, 0, 0, -1, None),
    )
    some = Labeled(photos(40).numpy(), torch.arange(40) % 2)
    monkeypatch.setattr(backbones, "_photos", lambda *_: Split(some, some, ("a", "b")))
    monkeypatch.setattr(projection, "Options", lambda: SHORT)
    command = ["evaluate", "projection", "--photos", "p", "--judged", "j", "-o", str(tmp_path)]
    assert main([*command, "--runs", "plain", "probing"]) == 0
    out = capsys.readouterr().out
    assert "plain was not trained by views that differ in rotate, noise, sobel" in out
    assert "probing was not" not in out
    found = json.loads((tmp_path / "projection.json").read_text())
    assert {kind: of["in_views"] for kind, of in found["plain"].items()} == in_views(small.options)
    assert all(of["in_views"] for of in found["probing"].values())
    assert "| plain, among its views | yes | no | no | no |" in (tmp_path / "projection.md").read_text()


def test_views_are_wanted() -> None:
    with pytest.raises(ValueError, match="at least, not 0"):
        Options(looks=0)
