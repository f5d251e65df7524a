"""Segmentation: a copy of a backbone with the head of a fully convolutional net is trained on masks, and measured by mean IU.

Long, Shelhamer & Darrell, "Fully Convolutional Networks for Semantic Segmentation", CVPR 2015 (https://arxiv.org/abs/1411.4038, section 4):
a 1×1 convolution scores the last layer, another each finer layer below; coarse scores are enlarged, added to finer ones, and those enlarged
to the picture's size; the loss is the cross-entropy of each pixel, void ones left out. Three levels are their FCN-8s, two FCN-16s, one
FCN-32s: of AlexNet conv5, conv2 and conv1, of a ResNet its last three stages.

Other than there:
- Enlarged bilinearly, which is where their upsampling begins; here it has no weights. All levels are trained at once, as in their later
  version (PAMI 2016), and all scores begin at 0.
- No convolutionalized fully connected layers: our backbones have none. Nothing is cropped off, as layers are padded evenly.
- Adam, not momentum; the loss is the mean over pixels that count, theirs the sum. Half of the pictures are mirrored, which they
  saw no gain in.

CamVid (Brostow, Fauqueur & Cipolla 2009) as in SegNet's release: frames, and masks of 11 classes and void. Here at half of our frames' size
by default, 160×120, in the test too: no figures to lay beside those of others. 100 steps of 8 frames are, with AlexNet on one core in
bf16, a quarter of a minute.

Mean IU is that of section 5: of each class, the pixels that are rightly predicted over those that are or were predicted to be of it; the
mean over classes. Pixels without a class (void) do not count.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import cast

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor, nn
from torch.nn import functional as F

from model.errors import InputError
from model.evaluate.finetuning import FineTuning, copied, fit
from model.evaluate.intervals import Bootstrap, Interval, Samples, interval
from model.evaluate.probes import batches
from model.nets.backbone import Backbone, autocast, normalized
from model.training import data

CAMVID = (
    "sky",
    "building",
    "pole",
    "road",
    "pavement",
    "tree",
    "sign",
    "fence",
    "car",
    "pedestrian",
    "bicyclist",
)
VOID = 255  # as VOC's pictures have it
_CAMVID_VOID = len(CAMVID)


@dataclass(frozen=True)
class Options(FineTuning):
    """How a backbone is fine-tuned to segment."""

    steps: int = 100
    batch: int = 8
    frozen: int = 0  # layers, from the bottom, that stay as they are
    levels: int = 3  # from the top, each finer than the one above


@dataclass(frozen=True, eq=False)
class Masked:
    """Pictures, (N, 3, H, W) uint8, and of each pixel its class, (N, H, W) from 0, or void. InputError for none, or other shapes."""

    pictures: NDArray[np.uint8]
    masks: NDArray[np.integer]
    classes: int
    void: int = VOID
    unusable: tuple[Path, ...] = ()
    """Of those that were to be read: frames without a mask or the other way around, damaged, of another shape, with other classes."""

    def __post_init__(self) -> None:
        count, *_, height, width = shape = self.pictures.shape
        if not count or shape != (count, 3, height, width) or self.masks.shape != (count, height, width):
            raise InputError(f"pictures of shape {shape} and masks of {self.masks.shape}")


@dataclass(frozen=True, eq=False)
class Segmented:
    """(N, classes, classes) pixels of each picture, by true class and predicted class."""

    confusions: NDArray[np.int64]

    @property
    def mean_iu(self) -> Interval | None:
        """0…1, with its 95% interval by bootstrap over the pictures; None where all is void."""
        return interval(mean_iu(Bootstrap(len(self.confusions)).sums(self.confusions)))

    def by_class(self) -> list[float]:
        """IU; NaN for a class that neither is nor was predicted."""
        return [float(iu) for iu in _by_class(self.confusions.sum(0))]


def camvid(frames: Path, annotations: Path, height: int = 120) -> Masked:
    """Frames and the masks of their names, such as camvid/train and camvid/trainannot, at this height in pixels.

    Frames are reduced bicubically, of masks the nearest pixel is taken. What cannot be used is named. FileNotFoundError for a folder
    without files, InputError where no frame can be used.
    """
    folders = []
    for folder in (frames, annotations):
        folders.append({path.stem: path for path in sorted(folder.glob("*")) if path.is_file()})
        if not folders[-1]:
            raise FileNotFoundError(f"{folder} holds no pictures")
    of_frames, of_masks = folders
    unusable = [of_frames.get(name) or of_masks[name] for name in sorted(of_frames.keys() ^ of_masks.keys())]
    read = []
    for name in sorted(of_frames.keys() & of_masks.keys()):
        pair = _pair(of_frames[name], of_masks[name], height)
        if pair is None:
            unusable.append(of_frames[name])
        else:
            read.append((of_frames[name], *pair))
    shapes = Counter(mask.shape for *_, mask in read).most_common(1)
    unusable += [path for path, _, mask in read if mask.shape != shapes[0][0]]
    used = [(picture, mask) for _, picture, mask in read if mask.shape == shapes[0][0]]
    if not used:
        raise InputError(f"none of {len(unusable)} frames of {frames} can be used")
    pictures, masks = (np.stack(parts) for parts in zip(*used, strict=True))
    return Masked(pictures, masks, len(CAMVID), _CAMVID_VOID, tuple(sorted(unusable)))


class FCN(nn.Module):
    """A backbone, and a score for each class at each pixel."""

    def __init__(
        self, backbone: Backbone, classes: int, layers: tuple[str, ...], widths: tuple[int, ...]
    ) -> None:
        """Scores these layers, from the coarsest to the finest, which have so many channels."""
        super().__init__()
        self.backbone, self.layers = backbone, layers
        self.scores = nn.ModuleList(nn.Conv2d(width, classes, 1) for width in widths)
        for score in self.scores.parameters():
            nn.init.zeros_(score)

    @classmethod
    def over(cls, backbone: Backbone, classes: int, levels: int, height: int, width: int) -> FCN:
        """For pictures of this size. InputError where the backbone has fewer levels."""
        learning, device = backbone.training, next(backbone.parameters()).device
        with torch.no_grad():
            found = backbone.eval().taps(torch.zeros(1, backbone.channels, height, width, device=device))
        backbone.train(learning)
        last = {x.shape[2:]: layer for layer, x in found.items()}  # of each size
        if not 0 < levels <= len(last):
            raise InputError(f"a net with layers of {len(last)} sizes has no {levels} levels")
        layers = tuple(reversed(last.values()))[:levels]
        return cls(backbone, classes, layers, tuple(found[layer].shape[1] for layer in layers)).to(device)

    def forward(self, x_NCHW: Tensor) -> Tensor:
        """(N, classes, H, W) logits, float32."""
        taps = self.backbone.taps(x_NCHW)
        coarse: Tensor | None = None
        for layer, score in zip(self.layers, self.scores, strict=True):
            fine = score(taps[layer]).float()
            coarse = fine if coarse is None else fine + _enlarged(coarse, fine)
        assert coarse is not None
        return _enlarged(coarse, x_NCHW)


def segment(backbone: Backbone, train: Masked, test: Masked, options: Options, seed: int = 0) -> Segmented:
    """What a copy of the backbone, fine-tuned, predicts of the test. The backbone given stays as it is."""
    generator = torch.Generator().manual_seed(seed)
    device = next(backbone.parameters()).device
    copy = copied(backbone, options.frozen)
    net = FCN.over(copy, train.classes, options.levels, *train.masks.shape[1:])
    net.to(memory_format=torch.channels_last)  # type: ignore[call-overload]

    def logits(rgb_N3HW: Tensor) -> Tensor:
        x = normalized(rgb_N3HW.to(device), backbone.channels).contiguous(memory_format=torch.channels_last)
        with autocast(device):
            return cast(Tensor, net(x))

    def loss(numbers: Tensor) -> Tensor:
        mirrored = torch.rand(len(numbers), generator=generator)[:, None, None] < 0.5
        rgb = torch.from_numpy(train.pictures[numbers.numpy()])
        mask = torch.from_numpy(train.masks[numbers.numpy()].astype(np.int64))
        rgb = torch.where(mirrored[:, None], rgb.flip(3), rgb)
        mask = torch.where(mirrored, mask.flip(2), mask)
        return pixel_loss(logits(rgb), mask.to(device), train.void)

    fit(net, len(train.pictures), loss, options, generator)
    net.eval()
    found = []
    with torch.no_grad():
        for rgb in batches(test.pictures, options.batch):
            found += list(logits(rgb).argmax(1).cpu().numpy())
    pairs = zip(test.masks, found, strict=True)
    return Segmented(np.stack([confusion(mask, of, train.classes, test.void) for mask, of in pairs]))


def pixel_loss(logits_NCHW: Tensor, masks_NHW: Tensor, void: int) -> Tensor:
    """Mean cross-entropy, in nats, over the pixels that are not void; 0 where all are."""
    total = F.cross_entropy(logits_NCHW, masks_NHW, ignore_index=void, reduction="sum")
    return total / (masks_NHW != void).sum().clamp_min(1)


def confusion(
    truth: NDArray[np.integer], predicted: NDArray[np.integer], classes: int, void: int = VOID
) -> NDArray[np.int64]:
    """(classes, classes) counts, by true class and predicted class, of what is not void. ValueError for a class that is none."""
    counted = truth != void
    true, claimed = truth[counted].astype(np.int64), predicted[counted].astype(np.int64)
    for of in (true, claimed):
        if len(of) and not 0 <= of.min() <= of.max() < classes:
            raise ValueError(f"classes are 0…{classes - 1}, not {of.min()}…{of.max()}")
    return np.bincount(true * classes + claimed, minlength=classes**2).reshape(classes, classes)


def mean_iu(confusion_CC: NDArray[np.integer] | NDArray[np.floating]) -> Samples:
    """(…, classes, classes) counts → (…) 0…1. Classes that neither are nor were predicted are left out; NaN where all are."""
    return class_means(_by_class(confusion_CC))


def class_means(by_class: NDArray[np.float64]) -> Samples:
    """Means over the last axis, classes, without those that are NaN; NaN where there is nothing else."""
    there = ~np.isnan(by_class)
    count = there.sum(-1)
    total = np.where(there, by_class, 0).sum(-1)
    found: Samples = np.divide(total, count, out=np.full(total.shape, np.nan), where=count > 0)
    return found


def _by_class(confusion_CC: NDArray[np.integer] | NDArray[np.floating]) -> NDArray[np.float64]:
    """(…, classes) IU; NaN for classes that neither are nor were predicted."""
    right = np.diagonal(confusion_CC, axis1=-2, axis2=-1).astype(np.float64)
    union = confusion_CC.sum(-1) + confusion_CC.sum(-2) - right
    found: NDArray[np.float64] = np.divide(right, union, out=np.full_like(right, np.nan), where=union > 0)
    return found


def _enlarged(scores_NCHW: Tensor, like_NCHW: Tensor) -> Tensor:
    return F.interpolate(scores_NCHW, like_NCHW.shape[2:], mode="bilinear", align_corners=False)


def _pair(frame: Path, annotation: Path, height: int) -> tuple[NDArray[np.uint8], NDArray[np.uint8]] | None:
    """(3, H, W) and (H, W)."""
    try:
        picture = Image.fromarray(data.read(frame))
        with Image.open(annotation) as image:
            mask = image.convert("P") if image.mode not in ("L", "P") else image.copy()
    except OSError:
        return None
    if mask.size != picture.size or np.asarray(mask).max() > _CAMVID_VOID:
        return None
    size = (round(picture.width * height / picture.height), height)
    pixels = np.asarray(picture.resize(size, Image.Resampling.BICUBIC)).transpose(2, 0, 1)
    return np.ascontiguousarray(pixels), np.array(mask.resize(size, Image.Resampling.NEAREST))
