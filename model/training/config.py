"""What decides a training run, its photographs apart: one typed configuration, and named ones as functions that return it.

`lite` trains the product's net at length, and `realism` is a last stage; the shipped weights came of both, with other values here and there
(LOG.md); `finetune` goes on from them with few photographs; `small` trains a backbone in minutes; `doersch2015`, `zhang2016` and
`chen2020` are the papers' constants. What any of these does not do as its paper does is listed in its method's file. Here, for all: lr
falls along a cosine (Doersch keeps it, Zhang lowers it in steps), and the weights to use are averaged over the last steps.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal, TypeVar, get_args, get_origin, get_type_hints

from model.errors import InputError
from model.methods import colorize, context, simclr
from model.methods.realism import RealismWeights
from model.training import augment, optim
from model.training.batches import Crops
from model.training.cache import Shape

Method = Literal["colorize", "regress", "context", "simclr", "supervised"]
METHODS: tuple[str, ...] = get_args(Method)
MethodOptions = colorize.ColorizeOptions | context.ContextOptions | simclr.SimCLROptions | augment.Strengths

T = TypeVar("T")

_OPTIONS: dict[str, type[Any]] = {
    "colorize": colorize.ColorizeOptions,
    "regress": colorize.ColorizeOptions,
    "context": context.ContextOptions,
    "simclr": simclr.SimCLROptions,
    "supervised": augment.Strengths,
}


@dataclass(frozen=True)
class Config:
    """All that decides a training run, its photographs apart. Shares are 0…1."""

    method: str
    net: str
    steps: int
    batch: int  # photographs a step, over all processes
    lr: float
    options: MethodOptions  # of the method; supervised: the crops that it is shown
    shape: Shape = field(default_factory=lambda: Shape(160))  # of photographs in the cache
    crops: Crops | None = None  # None: the method is given whole squares, and cuts them itself
    start: str = ""  # a net's name, a weights file or a run's folder to go on from; else ImageNet's backbone for lite, or nothing
    earlier: tuple[int, ...] = ()  # steps at which earlier stages of an extended run ended
    optimizer: optim.Name = "adamw"
    backbone_lr: float | None = None  # None: lr
    adversary_lr: float = 4e-4  # of a discriminator that learns beside the net
    warmup: int = 50  # steps
    momentum: float = 0.9  # Adam's first beta
    weight_decay: float = 0.01
    clip: float = 0.0  # the largest norm of the net's gradients together; 0: any
    # Parts of a batch whose gradients are added up before a step; each has its own batch norm, and what a method has of "a batch".
    accumulate: int = 1
    # First blocks of lite's backbone that are left as they are: 60% more photos a second at 3.
    frozen_blocks: int = 0
    # Batch norm goes by what the start has seen: few photographs alike would pull it to themselves.
    fixed_norms: bool = False
    ema: float = 0.999  # of the averaged weights, which are those to use
    prior_share: float = 1.0  # of these photographs in the prior; the rest is the start's
    validate_every: int = 0  # steps; 0: only at the end
    validated: int = 256  # photographs, at most
    patience: int = 0  # validations without a better one before the run ends early; 0: it never does
    # Weights to use lie this far on the way from the start's to the averaged ones; less than 1 wants keep_best.
    blend: float = 1.0
    # The weights of the best validation are those to use, the start's among them.
    keep_best: bool = False
    seed: int = 0

    def __post_init__(self) -> None:
        if self.method not in METHODS:
            raise InputError(f"{self.method!r} is none of the methods: {', '.join(METHODS)}")
        if not isinstance(self.options, _OPTIONS[self.method]):
            raise InputError(f"{type(self.options).__name__} are not the options of {self.method}")
        for name in ("steps", "batch", "accumulate", "validated"):
            if getattr(self, name) < 1:
                raise InputError(f"{name} is {getattr(self, name)}, and must be 1 or more")
        for name in ("lr", "backbone_lr", "adversary_lr"):
            if getattr(self, name) is not None and not 0 < getattr(self, name) < 100:
                raise InputError(f"{name} is {getattr(self, name)}, and must be above 0")
        for name in (
            "warmup",
            "weight_decay",
            "clip",
            "frozen_blocks",
            "validate_every",
            "patience",
        ):
            if not getattr(self, name) >= 0:
                raise InputError(f"{name} is {getattr(self, name)}, and must not be negative")
        if not 0 <= self.seed < 2**32:
            raise InputError(f"seed is {self.seed}, and must lie in 0…4294967295")
        for name in ("momentum", "ema", "prior_share", "blend"):
            if not 0 <= getattr(self, name) <= 1:
                raise InputError(f"{name} is {getattr(self, name)}, and must lie in 0…1")
        if self.momentum == 1:
            raise InputError(
                "momentum is 1, and must be below 1: old gradients would count as much as new ones"
            )
        if self.optimizer not in get_args(optim.Name):
            raise InputError(
                f"no optimizer is called {self.optimizer!r}: choose one of {', '.join(get_args(optim.Name))}"
            )
        if self.accumulate > self.batch:
            raise InputError(
                f"a batch of {self.batch} has no {self.accumulate} parts to accumulate: lower accumulate"
            )
        sides = (*self.crops.sides, self.crops.last, self.crops.small) if self.crops else ()
        stride = 8 if self.net == "eccv16" else 32
        if any(side % stride for side in sides):
            raise InputError(f"crops for {self.net} must have sides of multiples of {stride}, not {sides}")
        if self.blend < 1 and not self.keep_best:
            raise InputError(
                "weights between the start's and the trained ones are kept beside the checkpoint: keep_best=true"
            )
        if self.earlier and self.earlier[-1] >= self.steps:
            raise InputError(f"the run has {self.earlier[-1]} steps already: it can only be extended to more")

    @property
    def ends(self) -> tuple[int, ...]:
        """The step at which each stage ends, the last one's being `steps`."""
        return (*self.earlier, self.steps)

    def changed(self, assignments: Sequence[str]) -> Config:
        """With fields set as in ["lr=5e-4", "sides=128,160", "age=0.25"], of the configuration, its crops, shape or options; of what is
        within those, as in "strengths.rotated=0.5".

        Raises InputError for a field that there is not, or a value that does not fit.
        """
        config = self
        for assignment in assignments:
            name, _, text = assignment.partition("=")
            config = config._set(name, text)
        return config

    def _set(self, name: str, text: str) -> Config:
        if name in _settable(self):
            return _with(self, name, text)
        for part in ("crops", "shape", "options"):
            if name in _settable(getattr(self, part)):
                return _with(self, f"{part}.{name}", text)
        names = [n for of in (self, self.crops, self.shape, self.options) for n in _settable(of)]
        raise InputError(f"there is no {name!r} to set: {', '.join(names)}")


def read(values: dict[str, Any]) -> Config:
    """A configuration from what `dataclasses.asdict` made of it, JSON's lists for its tuples."""
    options = dict(values["options"])
    for name, kind in (
        ("strengths", augment.Strengths),
        ("crops", augment.Strengths),
        ("realism", RealismWeights),
    ):
        if options.get(name):
            options[name] = _made(kind, options[name])
    made: dict[str, Any] = values | {
        "options": _made(_OPTIONS[values["method"]], options),
        "shape": _made(Shape, values["shape"]),
        "crops": _made(Crops, values["crops"]) if values["crops"] else None,
    }
    return _made(Config, made)


# The product's net


def lite(method: str, net: str) -> Config:
    """The product's net at length: crops of the sizes that it is used at, old prints among them, hints for a part.

    Begins from ImageNet's backbone, or with `--set start=lite` from the shipped weights.
    """
    _only(method, "colorize", "lite")
    return Config(
        method,
        net,
        steps=62_500,
        batch=32,
        lr=8e-4,
        options=colorize.ColorizeOptions(lam=0.7, age=0.25, page=0.05, hinted=0.25),
        shape=Shape(160, aspect=1.6, enlarge=False),
        crops=Crops(sides=(128, 128, 160, 192), last=224, balance=0.5),
        backbone_lr=3e-4,
        warmup=300,
        frozen_blocks=3,
        ema=0.9995,
        validate_every=2000,
    )


def realism(method: str, net: str) -> Config:
    """A short last stage: the decoder alone learns to show pictures that look like photographs (model/methods/realism.py)."""
    _only(method, "colorize", "realism")
    return replace(
        lite(method, net),
        start="lite",
        steps=600,
        lr=3e-4,
        warmup=50,
        frozen_blocks=16,
        ema=0.995,
        prior_share=0.0,
        options=colorize.ColorizeOptions(
            lam=0.7, age=0.25, page=0.05, realism=RealismWeights(perceptual=0.36, smooth=0.04, adversary=0.21)
        ),
        crops=Crops(sides=(128, 160), last=192, last_share=0.25, balance=0.5),
        validate_every=300,
    )


def from_imagenet(method: str, net: str) -> Config:
    """192,000 crops from ImageNet's backbone: for comparing what a net is trained for, and on."""
    return replace(
        lite("colorize", net),
        method=method,
        steps=6000,
        lr=1e-3,
        backbone_lr=5e-4,
        warmup=200,
        ema=0.999,
        options=colorize.ColorizeOptions(lam=0.7),
        crops=Crops(),
    )


def finetune(method: str, net: str) -> Config:
    """A few hundred photographs of one's own: a low lr, the shipped prior blended with theirs, and never worse than the start.

    What is measured and kept lies halfway between the start's weights and the averaged ones (Wortsman et al., "Robust fine-tuning of
    zero-shot models", CVPR 2022, https://arxiv.org/abs/2109.01903), and answers to other photographs are held to the start's
    (model/methods/distillation.py): one's own photographs gain, and others change little (LOG.md, 2026-12-01, afternoon). Every 25
    steps these weights are measured on the photographs that are held out; the best are kept, the start's among them, and eight
    measurements without a better one end the run.
    """
    _only(method, "colorize", "finetune")
    return replace(
        lite(method, net),
        start="lite",
        steps=600,
        batch=16,
        lr=1e-4,
        backbone_lr=3e-5,
        warmup=30,
        ema=0.98,
        fixed_norms=True,
        blend=0.5,
        prior_share=0.2,
        options=colorize.ColorizeOptions(lam=0.7, age=0.1, distilled=10),
        crops=Crops(sides=(160, 192), last=224, last_share=0.2),
        shape=Shape(256, aspect=1.6, enlarge=False),
        validate_every=25,
        patience=8,
        keep_best=True,
    )


# Backbones


def small(method: str, net: str) -> Config:
    """For photos of 160 pixels, some thousands of them, and minutes on a processor."""
    crops = augment.Strengths(side=96, area=(0.25, 1.0))
    # Of little time SimCLR makes more with many small views than with few large ones.
    views_of_two = replace(simclr.small(), strengths=augment.Strengths(side=64, area=(0.15, 1.0), color=0.5))
    options: dict[str, tuple[MethodOptions, int]] = {
        "context": (replace(context.small(), hidden=512), 64),
        "colorize": (colorize.ColorizeOptions(lam=0.5, crops=crops), 64),
        "simclr": (views_of_two, 192),
        "supervised": (crops, 64),
    }
    if method not in options:
        raise InputError(f"small is a configuration for {', '.join(options)}, not for {method}")
    chosen, batch = options[method]
    return Config(
        method,
        net,
        steps=1000,
        batch=batch,
        lr=1e-3,
        options=chosen,
        warmup=50,
        weight_decay=0.05,
        ema=0.99,
        validate_every=100,
    )


def doersch2015(method: str, net: str) -> Config:
    """ImageNet, 1.7 million steps of 512 patches. The code's lr is 1e-5 for a sum over about 1,400 pairs, and its momentum 0."""
    _only(method, "context", "doersch2015")
    return Config(
        method,
        net,
        steps=1_700_000,
        batch=16,
        lr=1.4e-2,
        options=context.doersch2015(),
        shape=Shape(448),
        warmup=1,
        optimizer="sgd",
        momentum=0.0,
        weight_decay=0.0,
        ema=0.9999,
        validate_every=20_000,
    )


def zhang2016(method: str, net: str) -> Config:
    """ImageNet at 256, crops of 176, 450,000 steps of 40; the paper's own eccv16, or a backbone.

    As the released solver has it: Adam with L2, of 1e-3 on a loss that is summed over the 44×44 positions of a photo, which is 5e-7 on
    its mean. lr falls by a cosine, where the solver has steps.
    """
    _only(method, "colorize", "zhang2016")
    # As good as never smaller: the paper crops without resizing.
    crops = augment.Strengths(side=176, area=(0.47, 0.48), ratio=(0.999, 1.001))
    return Config(
        method,
        net,
        steps=450_000,
        batch=40,
        lr=3.16e-5,
        options=colorize.zhang2016(crops),
        shape=Shape(256),
        warmup=1,
        optimizer="adam",
        weight_decay=5e-7,
        ema=0.9999,
        validate_every=5000,
    )


def chen2020(method: str, net: str) -> Config:
    """ImageNet, batch 4096 over all processes, 100 epochs, of which 10 warm up; lr is .3 · batch / 256."""
    _only(method, "simclr", "chen2020")
    return Config(
        method,
        net,
        steps=31_250,
        batch=4096,
        lr=4.8,
        options=simclr.chen2020(),
        shape=Shape(256),
        warmup=3125,
        optimizer="lars",
        weight_decay=1e-6,
        ema=0.999,
        validate_every=500,
    )


def tiny(method: str, net: str) -> Config:
    """Seconds long: for tests, and to see that a machine is set up."""
    if net.startswith("lite"):
        begun = from_imagenet(method, net)
        return replace(begun, steps=8, batch=4, warmup=2, crops=Crops(sides=(64,), last=64), validated=8)
    return replace(
        small(method, net),
        shape=Shape(128),
        steps=4,
        batch=8,
        warmup=1,
        validate_every=0,
        validated=8,
    )


CONFIGS: dict[str, Callable[[str, str], Config]] = {
    "lite": lite,
    "realism": realism,
    "from-imagenet": from_imagenet,
    "finetune": finetune,
    "small": small,
    "doersch2015": doersch2015,
    "zhang2016": zhang2016,
    "chen2020": chen2020,
    "tiny": tiny,
}


def _only(method: str, wanted: str, name: str) -> None:
    if method != wanted:
        raise InputError(f"{name} is a configuration for {wanted}, not for {method}")


def _settable(of: Any) -> list[str]:
    """Fields of plain values; those within others as "outer.inner", but for the configuration's own parts."""
    names: list[str] = []
    for each in dataclasses.fields(of) if of is not None else ():
        now = getattr(of, each.name)
        if dataclasses.is_dataclass(now) and not isinstance(of, Config):
            names += [f"{each.name}.{inner}" for inner in _settable(now)]
        elif each.name not in {"method", "net", "earlier", "crops", "shape", "options"}:
            names.append(each.name)
    return names


def _with(of: T, name: str, text: str) -> T:
    outer, _, inner = name.partition(".")
    value = _with(getattr(of, outer), inner, text) if inner else _value(of, name, text)
    return replace(of, **{outer: value})  # type: ignore[type-var]


def _value(of: Any, name: str, text: str) -> Any:
    """The text as a value of the field's annotation."""
    kind = get_type_hints(type(of))[name]
    if type(None) in get_args(kind):
        if text == "none":
            return None
        kind = get_args(kind)[0]  # of kind | None
    try:
        if get_origin(kind) is tuple:
            parts, kinds = [part for part in text.split(",") if part], get_args(kind)
            if kinds[-1] is not ... and len(parts) != len(kinds):
                raise ValueError(f"{len(kinds)} values with commas between them are wanted")
            return tuple(kinds[0](part) for part in parts)
        if kind is bool:
            if text.lower() not in ("true", "false"):
                raise ValueError("true or false is wanted")
            return text.lower() == "true"
        return kind(text) if isinstance(kind, type) else type(getattr(of, name))(text)
    except ValueError as error:
        raise InputError(f"{name}={text}: {error}") from error


def _made(kind: type[T], values: dict[str, Any]) -> T:
    return kind(**{key: tuple(value) if isinstance(value, list) else value for key, value in values.items()})
