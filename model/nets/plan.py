"""The widths and strides of the nets that color, for whoever builds one: as a torch module here, as a graph in `runtimes.graphs`."""

from __future__ import annotations

from typing import Final

# lite's backbone: kernel, stride, expansion, out channels, repeats; the stages end at strides 2, 4, 8, 16, 16, 32, 32
LITE_STAGES: Final = (
    (3, 1, 1, 16, 1),
    (3, 2, 6, 24, 2),
    (5, 2, 6, 40, 2),
    (3, 2, 6, 80, 3),
    (5, 1, 6, 112, 3),
    (5, 2, 6, 192, 4),
    (3, 1, 6, 320, 1),
)
LITE_STEM: Final = 32
LITE_SKIPS: Final = {2: 24, 4: 40, 10: 112}
"""Block whose output the decoder takes at strides 4, 8, 16: its channels."""
LITE_CONTEXT: Final = 256
LITE_MERGES: Final = {16: 192, 8: 128, 4: 64}
"""Stride of a merge: its channels."""
LITE_NORM_EPSILON: Final = 1e-3
"""Of the backbone's norms, as in EfficientNet; the decoder's have PyTorch's own."""
LITE_MEAN: Final = 0.498
LITE_DEVIATION: Final = 0.502
"""L* of gray is nearly linear in sRGB, which the backbone was trained on, scaled like this: (L*/100 − mean) / deviation."""
NORM_EPSILON: Final = 1e-5
"""PyTorch's own."""

HINTS: Final = 3
"""Channels of a hint map: a* and b* over 110, and where there is one."""
HINTED: Final = ((32, 64), (64, 128), (128, 192), (192, 256))
"""At strides 4, 8, 16, 32: a hint's features, and the decoder's that they join."""
AB_UNIT: Final = 15.0
"""Of lite-l2's last layer: about the root mean square of a* and b* in photographs (15.6 over 200)."""

# eccv16: blocks of 3×3 convolutions: channels, how many, the stride of the last, dilation
ECCV16_BLOCKS: Final = (
    (64, 2, 2, 1),
    (128, 2, 2, 1),
    (256, 3, 2, 1),
    (512, 3, 1, 1),
    (512, 3, 1, 2),
    (512, 3, 1, 2),
    (512, 3, 1, 1),
)
ECCV16_WIDTH: Final = 256
"""Channels of the last block, at a quarter of the side."""
