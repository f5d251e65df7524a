"""AlexNet: five convolutions, the net of the first papers that learn without labels, in the shape that they gave it.

Krizhevsky, Sutskever & Hinton, NeurIPS 2012; here as in Doersch, Gupta & Efros 2015 (https://github.com/cdoersch/deepcontext, train.py):
conv1 padded by 5, pools unpadded and rounded up, no groups. Zhang, Isola & Efros 2016 pad conv1 likewise. What lies above conv5 belongs
to a method's head, pool5 and the fully connected layers included.

Other than there:
- A batch norm between every convolution and its ReLU, which is where Zhang has them all and Doersch those of conv3…conv5, with local
  response norms above pool1 and pool2. Ours scale and shift, theirs do not.
- Weights begin as He et al. 2015 draw them; the papers say Xavier, a Gaussian or k-means.
- Zhang has groups of two in conv2, conv4 and conv5, and pools padded by 1.
"""

from __future__ import annotations

from collections import OrderedDict
from typing import Literal

from torch import nn

from model.nets.backbone import Backbone, initialize


class AlexNet(Backbone):
    """(N, channels, H, W) → conv1…conv5, of 96, 256, 384, 384 and 256 channels. 3,748,576 parameters with three channels.

    With stride 4, conv5 has a position for every 16 pixels of a side: 14×14 of 224, 6×6 of 96. For small photos, and patches of 48 pixels,
    stride 2 has one for every 8, at four times the cost for a picture of the same size. Other strides raise ValueError.
    """

    layers = ("conv1", "conv2", "conv3", "conv4", "conv5")
    width = 256

    def __init__(self, channels: int = 3, stride: Literal[2, 4] = 4) -> None:
        super().__init__()
        if stride not in (2, 4):
            raise ValueError(f"conv1 has a stride of 4, or 2 for small pictures, not {stride}")
        self.channels = channels
        self.conv1 = _layer(channels, 96, kernel=11, stride=stride)
        self.conv2 = _layer(96, 256, kernel=5, pooled=True)
        self.conv3 = _layer(256, 384, kernel=3, pooled=True)
        self.conv4 = _layer(384, 384, kernel=3)
        self.conv5 = _layer(384, 256, kernel=3)
        initialize(self)


def _layer(channels_in: int, out: int, kernel: int, stride: int = 1, pooled: bool = False) -> nn.Sequential:
    parts: dict[str, nn.Module] = {"pool": nn.MaxPool2d(3, 2, ceil_mode=True)} if pooled else {}
    parts["conv"] = nn.Conv2d(channels_in, out, kernel, stride, kernel // 2, bias=False)
    parts["norm"] = nn.BatchNorm2d(out)
    parts["relu"] = nn.ReLU(inplace=True)
    return nn.Sequential(OrderedDict(parts))
