"""Photographs aged like old prints: exposure, what age does to a print, and the page it is mounted on.

Batched, on the device the photos live on. Everything random about a photo follows from that photo's seed (int64, on the CPU), by a
counter-based hash and generators of its own: processes that share a batch do to each photo what one process with all of it would do.

`exposure` and `AGES` change lightness alone, the net's input, never the colors that it should answer with. The kinds of age follow an old
picture from camera to drawer: the lens, the emulsion and its chemistry, the printing press, damage. They are those that the restoration
of old photographs is trained on (Wan et al., "Bringing Old Photos Back to Life", CVPR 2020: blur, noise, scratches), with fading,
contrast, toning and print added. Sizes are shares of a photo's shorter side, as crops come in several sizes.

`print_on_page` shrinks a photo onto a page whose colors are exactly neutral, so that a net learns to leave mounts and borders gray.
"""

from __future__ import annotations

import math
import zlib
from collections.abc import Callable, Mapping
from types import MappingProxyType

import torch
import torch.nn.functional as F
from torch import Tensor

from model import color

Age = Callable[[Tensor, Tensor], Tensor]
"""(N, 1, H, W) lightness in 0…100, with sides of 32 and more, and (N) seeds → new lightness of the same kind."""

_MOST_KINDS = 3  # on one photo
_MOST_SCRATCHES = 6
_TONES = 4096  # of a toning's table

# Of each toning: red, green and blue of its blacks and of its paper, 8-bit sRGB, and the densities of the tones between, as shares of the
# silver's. Luminance is green for the most part, so that what happens to lightness follows from the green above all.
_TONINGS = {
    "sepia, silver sulfide": ((48, 36, 26), (243, 228, 198), (0.72, 1.0, 1.3)),
    "selenium, purple and deep": ((22, 16, 20), (246, 242, 234), (0.9, 1.1, 0.98)),
    "cyanotype, iron blue": ((16, 34, 84), (232, 240, 243), (1.5, 0.95, 0.6)),
    "faded to brown, as albumen prints": ((76, 58, 46), (232, 214, 178), (0.7, 0.9, 1.1)),
    "faded to orange, as color prints": ((92, 58, 38), (240, 205, 150), (0.55, 0.85, 1.2)),
}

_PAGES = ((93, 99), (84, 93), (40, 75), (6, 25))  # lightness of white, cream, gray and black paper


def exposure(lightness_N1HW: Tensor, seeds_N: Tensor) -> Tensor:
    """Develop every other photo a little differently: its lightness (0…100) through a random gamma, contrast and brightness.

    Exposure and paper should not decide a color.
    """
    (developing,) = _draw(seeds_N, "developed", (0, 1))
    return _change(lightness_N1HW.clone(), seeds_N, developing.flatten() < 0.5, _developed)


def _developed(lightness: Tensor, seeds: Tensor) -> Tensor:
    gamma, contrast, brightness = _draw(
        seeds, "exposure", (-0.3, 0.3), (0.76, 1.16), (-6, 6), device=lightness.device
    )
    developed = (lightness / 100).clamp_(0, 1).pow_(gamma.exp()).mul_(100 * contrast)
    return developed.add_(50 - 50 * contrast + brightness).clamp_(0, 100)


def age(lightness_N1HW: Tensor, seeds_N: Tensor, share: float) -> Tensor:
    """Let each photo (lightness 0…100) age with a chance of `share`, by one to three of `AGES`; the others stay exactly as they are."""
    draws_NK = _uniforms(seeds_N, "age", 2 + len(AGES))
    aging, kinds, ranks = draws_NK[:, 0] < share, 1 + draws_NK[:, 1] * _MOST_KINDS, draws_NK[:, 2:].argsort(1)
    chosen_NK = aging[:, None] & (ranks < kinds[:, None].floor())
    aged = lightness_N1HW.clone()
    for chosen_N, kind in zip(chosen_NK.unbind(1), AGES.values(), strict=True):
        _change(aged, seeds_N, chosen_N, kind)
    return aged


def blur(lightness_N1HW: Tensor, seeds_N: Tensor) -> Tensor:
    """A soft lens or a missed focus, as a Gaussian; of one photo in four, a camera or a sitter that moved, along a line."""
    (kind,) = _draw(seeds_N, "blur", (0, 1))
    moved = kind.flatten() >= 0.75
    return _change(_change(lightness_N1HW.clone(), seeds_N, ~moved, _soft), seeds_N, moved, _moved)


def _soft(lightness: Tensor, seeds: Tensor) -> Tensor:
    side = min(lightness.shape[-2:])
    (sigma,) = _draw(seeds, "soft", (0.003, 0.012), device=lightness.device)
    return _softened(lightness, _taps(side * sigma, 0.012 * side)).clamp_(0, 100)


def _moved(lightness: Tensor, seeds: Tensor) -> Tensor:
    height, width = lightness.shape[-2:]
    longest = max(2.0, min(height, width) * 0.035)
    share, angle = (drawn.flatten() for drawn in _draw(seeds, "moved", (0.012, 0.035), (0, math.pi)))
    length = (min(height, width) * share).clamp_min(2)
    steps, most = length.ceil() + 1, math.ceil(longest) + 1
    reach = math.ceil(longest / 2)
    step_S = torch.arange(most)
    along_SN = (step_S[:, None] / (steps - 1) - 0.5) * length
    weights_SN = (step_S[:, None] < steps) / steps
    down_SN, across_SN = (
        (reach + (along_SN * part).round().long()).clamp(0, 2 * reach).to(lightness.device)
        for part in (angle.sin(), angle.cos())
    )
    # Every shift of every photo, as views of one padded copy.
    padded = F.pad(lightness, (reach,) * 4, mode="replicate")
    shifted = padded[:, 0].unfold(1, height, 1).unfold(2, width, 1)
    each = torch.arange(len(lightness), device=lightness.device)
    moved = torch.zeros_like(lightness)
    for down, across, weight in zip(down_SN, across_SN, weights_SN.to(lightness.device), strict=True):
        moved.addcmul_(shifted[each, down, across][:, None], weight[:, None, None, None])
    return moved.clamp_(0, 100)


def contrast(lightness_N1HW: Tensor, seeds_N: Tensor) -> Tensor:
    """A paper too hard, or too flat: the S-shaped characteristic curve of an emulsion (Hurter and Driffield, 1890), or a stretch of it."""
    (kind,) = _draw(seeds_N, "contrast", (0, 1))
    hard = kind.flatten() < 0.5
    return _change(_change(lightness_N1HW.clone(), seeds_N, hard, _hard), seeds_N, ~hard, _flat)


def _hard(lightness: Tensor, seeds: Tensor) -> Tensor:
    pivot, slope = _draw(seeds, "hard", (0.35, 0.65), (3.5, 8), device=lightness.device)
    low, high = torch.sigmoid(-slope * pivot), torch.sigmoid(slope * (1 - pivot))
    curve = (lightness * (slope / 100)).sub_(pivot * slope).sigmoid_()
    return curve.sub_(low).mul_(100 / (high - low)).clamp_(0, 100)


def _flat(lightness: Tensor, seeds: Tensor) -> Tensor:
    pivot, slope = _draw(seeds, "flat", (35, 65), (0.45, 0.85), device=lightness.device)
    return (lightness * slope).add_(pivot * (1 - slope)).clamp_(0, 100)


def grain(lightness_N1HW: Tensor, seeds_N: Tensor) -> Tensor:
    """The clumps of silver that a picture is made of: blurred noise, strongest in the middle tones, where clumps and gaps are as many."""
    side = min(lightness_N1HW.shape[-2:])
    sigma, strength = _draw(seeds_N, "grain", (0.002, 0.006), (1.5, 7), device=lightness_N1HW.device)
    taps_NT = _taps(side * sigma, 0.006 * side)
    noise = _softened(_noise(lightness_N1HW, seeds_N, "grain noise"), taps_NT)
    # What blurring leaves of the deviation of independent pixels: Σ taps² in two passes, the root of it in each.
    strength = strength / taps_NT.square().sum(1)[:, None, None, None]
    midtones = (lightness_N1HW * (1 - lightness_N1HW / 100)).mul_(0.028).add_(0.3)
    return noise.mul_(midtones).mul_(strength).add_(lightness_N1HW).clamp_(0, 100)


def toning(lightness_N1HW: Tensor, seeds_N: Tensor) -> Tensor:
    """A print toned sepia, blue or purple, or faded to brown or orange, as a gray scan of it shows it: the lightness of its colors.

    Each channel of linear light is black + (paper − black) · Y^density for a luminance Y of the neutral print: a toner replaces silver by
    another pigment, whose density is to the silver's as a constant (Beer and Lambert), on a stained paper, over blacks that have a color.
    With a strength between 0.4 and 1 all three are drawn from neutral to the toning. The order of tones stays.
    """
    kind, strength = _draw(seeds_N, "toning", (0, len(_TONINGS)), (0.4, 1))
    tonings_K33 = torch.tensor([*_TONINGS.values()])
    ends_K23 = color.linear_from_srgb(tonings_K33[:, :2] / 255)
    chosen = kind.flatten().long()
    black, paper = (ends_K23[chosen, end][..., None, None] * strength for end in (0, 1))
    paper = paper + (1 - strength)
    density = 1 + strength * (tonings_K33[chosen, 2][..., None, None] - 1)
    # Of a table: the powers and roots for each pixel would take ten times as long. Its steps are a tenth of those of 8 bits.
    luminance = color.cubed((torch.linspace(0, 100, _TONES) + 16) / 116).clamp(0, 1)
    toned_N3T = black + (paper - black) * luminance**density
    table_NT = color.lightness_from_linear(toned_N3T)[:, 0].clamp(0, 100).to(lightness_N1HW.device)
    places = (lightness_N1HW * ((_TONES - 1) / 100)).round_().clamp_(0, _TONES - 1).int()
    places.add_(
        torch.arange(len(seeds_N), device=places.device, dtype=torch.int32)[:, None, None, None] * _TONES
    )
    return table_NT.flatten().index_select(0, places.flatten()).view(lightness_N1HW.shape)


def fading(lightness_N1HW: Tensor, seeds_N: Tensor) -> Tensor:
    """Silver that oxidized and paper that stained: blacks lifted, whites dulled; of every other photo, here more than there."""
    device = lightness_N1HW.device
    (kind,) = _draw(seeds_N, "uneven", (0, 1))
    black, white = _draw(seeds_N, "fading", (5, 40), (70, 98), device=device)
    faded = (lightness_N1HW * ((white - black) / 100)).add_(black)
    even = kind >= 0.5
    if not even.all():
        places = (1.6 * _field(lightness_N1HW, seeds_N, "fading places") - 0.1).clamp_(0, 1)
        faded = torch.lerp(lightness_N1HW, faded, torch.maximum(places, even.float().to(device)))
    return faded.clamp_(0, 100)


def halftone(lightness_N1HW: Tensor, seeds_N: Tensor) -> Tensor:
    """Printed dots: lightness against a rotated screen of round dots, as sharp as their pitch allows, over the picture it came from."""
    device, side = lightness_N1HW.device, min(lightness_N1HW.shape[-2:])
    pitch, angle, right, low, strength = _draw(
        seeds_N,
        "halftone",
        (2.5, max(4, side / 40)),
        (0, math.pi / 2),
        (0, 6.3),
        (0, 6.3),
        (0.1, 0.5),
        device=device,
    )
    x, y = _places(lightness_N1HW)
    turn = 2 * math.pi / pitch
    cosine, sine = turn * angle.cos(), turn * angle.sin()
    # cos(a + b) = cos a · cos b − sin a · sin b: both waves of the screen as one product of what is of a row and what is of a column.
    rows = torch.cat(
        [part for wave in (sine * y + right, cosine * y + low) for part in (wave.cos(), wave.sin())], 3
    )
    columns = torch.cat([part for wave in (cosine * x, -sine * x) for part in (wave.cos(), -wave.sin())], 2)
    dots = (rows @ columns).mul_(0.5).add_(lightness_N1HW / 50 - 1).mul_(pitch * 0.8).sigmoid_().mul_(100)
    return torch.lerp(lightness_N1HW, dots, strength).clamp_(0, 100)


def scratches(lightness_N1HW: Tensor, seeds_N: Tensor) -> Tensor:
    """Damage: scratches, bright or dark, most of them near the vertical, as film runs; dust; on one photo in four, a fold."""
    (fold,) = _draw(seeds_N, "damage", (0, 1))
    damaged = _scratched(_dusty(lightness_N1HW, seeds_N), seeds_N)
    return _change(damaged, seeds_N, fold.flatten() < 0.25, _folded).clamp_(0, 100)


def _scratched(lightness: Tensor, seeds: Tensor) -> Tensor:
    """One to six scratches, drawn along their lines: a few pixels to either side in each row, or in each column of a flat one."""
    (count, height, width), device = (len(lightness), *lightness.shape[-2:]), lightness.device
    side, longest = min(height, width), max(height, width)
    (scratches,) = _draw(seeds, "scratches", (1, 1 + _MOST_SCRATCHES), device=device)
    seeds_NS = _hashed(_hashed(seeds)[:, None] + torch.arange(_MOST_SCRATCHES) * _GOLDEN)
    wild, any_tilt, tilt, right, low, thin, length, bright, white, black, strength = (
        drawn.view(count, _MOST_SCRATCHES, 1, 1)
        for drawn in _draw(
            seeds_NS.flatten(),
            "scratch",
            (0, 1),
            (0, math.pi),
            (-0.1, 0.1),
            (0, width),
            (0, height),
            (0.001, 0.004),
            (0.1, 0.9),
            (0, 1),
            (75, 100),
            (0, 20),
            (0.3, 0.95),
            device=device,
        )
    )
    tilt = torch.where(wild < 0.2, any_tilt, tilt)
    cosine, sine = tilt.cos(), tilt.sin()
    steep = cosine.abs() >= sine.abs()
    mainly, slope = torch.maximum(cosine.abs(), sine.abs()), torch.where(steep, sine / cosine, cosine / sine)
    along = torch.arange(longest, device=device)[:, None] - torch.where(steep, low, right)
    middle = torch.where(steep, right, low) - slope * along
    reach = math.ceil((max(0.35, side * 0.004) + 0.5) * math.sqrt(2))
    across = middle.floor() + torch.arange(-reach, reach + 2, device=device)
    ink = (middle - across).mul_(mainly).abs_().neg_().add_((side * thin).clamp_min(0.35) + 0.5).clamp_(0, 1)
    ink.mul_((along.abs() < side * length * mainly) * strength)

    # What is not in the photo is written behind its last pixel.
    place = torch.arange(longest, device=device)[:, None].expand_as(across)
    x, y = torch.where(steep, across, place).long(), torch.where(steep, place, across).long()
    shown = torch.arange(_MOST_SCRATCHES, device=device)[:, None, None] < scratches.floor()
    shown = shown & (x >= 0) & (x < width) & (y >= 0) & (y < height)
    pixels_NSP = torch.where(shown, y * width + x, height * width).flatten(2)
    color = torch.where(bright < 0.7, white, black).flatten(2)
    drawn = F.pad(lightness.flatten(1), (0, 1))
    for pixels, shade, opacity in zip(
        pixels_NSP.unbind(1), color.unbind(1), ink.flatten(2).unbind(1), strict=True
    ):
        drawn.scatter_(1, pixels, torch.lerp(drawn.gather(1, pixels), shade, opacity))
    return drawn[:, :-1].reshape(lightness.shape)


def _folded(lightness: Tensor, seeds: Tensor) -> Tensor:
    """A bright ridge along a line through a random point, and its shadow beside it."""
    (height, width), device = lightness.shape[-2:], lightness.device
    side = min(height, width)
    tilt, right, low, thick, strength = _draw(
        seeds, "fold", (0, math.pi), (0, width), (0, height), (0.003, 0.007), (10, 45), device=device
    )
    x, y = _places(lightness)
    thick = (side * thick).clamp_min(1)
    creased = tilt.cos() / thick * (x - right) + tilt.sin() / thick * (y - low)
    # Beyond, the exponentials are next to nothing, and numbers that small take a CPU long.
    creased.clamp_(-6, 9)
    ridge = creased.square().neg_().exp_() - (creased - 2).square_().mul_(-0.5).exp_().mul_(0.6)
    return ridge.mul_(strength).add_(lightness)


def _dusty(lightness: Tensor, seeds: Tensor) -> Tensor:
    """Specks, three in four bright: what lay on a negative kept light from the paper."""
    height, width = lightness.shape[-2:]
    side, device = min(height, width), lightness.device
    cell, density, strength = _draw(seeds, "dust", (0.006, 0.012), (0.0005, 0.004), (40, 100), device=device)
    cell = (side * cell).clamp_min(1)
    # A speck is a tent, two cells wide: a row's part times a column's, so that all of a photo's are one product of matrices.
    most = math.ceil(0.004 * height * width / max(1.0, side * 0.006) ** 2)
    there, sign, value, x, y = _uniforms(seeds, "specks", 5 * most).view(-1, 5, 1, most).to(device).unbind(1)
    chance = density * (height * width / most) / cell.square()
    value = value * (there[:, None] < chance)[:, 0] * torch.where(sign < 0.75, 1.0, -1.0) * strength[:, 0]
    columns, rows = torch.arange(width, device=device), torch.arange(height, device=device)
    across, down = (
        (1 - (place + 0.5 - length * start.mT).abs_().div_(cell[:, 0])).clamp_(min=0)
        for place, length, start in ((columns, width, x), (rows, height, y))
    )
    return torch.baddbmm(lightness[:, 0], down.mT * value, across)[:, None]


AGES: Mapping[str, Age] = MappingProxyType(
    {
        "blur": blur,
        "contrast": contrast,
        "grain": grain,
        "toning": toning,
        "fading": fading,
        "halftone": halftone,
        "scratches": scratches,
    }
)
"""Each kind of age by its name, in the order in which they befall a picture; each draws each photo's strength apart, from its seed."""


def print_on_page(lab_N3HW: Tensor, seeds_N: Tensor, share: float) -> Tensor:
    """Mount each photo (L*, a*, b*) on a page with a chance of `share`, shrunken to 60…92% of its sides; the others stay as they are.

    The page is white, cream, gray or black paper with a little texture. Half of the prints have a light border of their own; corners are
    square, rounded or, of a border, deckled; some have a thin line about the picture. Everything but the picture has an a* and b* of
    exactly 0. The photos that came in are left alone, and are the answer where none is mounted.
    """
    (chance,) = _draw(seeds_N, "page", (0, 1))
    mounted_N = chance.flatten() < share
    return _change(lab_N3HW.clone(), seeds_N, mounted_N, _mounted) if mounted_N.any() else lab_N3HW


def _mounted(photo_N3HW: Tensor, seeds: Tensor) -> Tensor:
    device, (height, width) = photo_N3HW.device, photo_N3HW.shape[-2:]
    side = min(height, width)
    scale, right, low = _draw(seeds, "placed", (0.6, 0.92), (0.2, 0.8), (0.2, 0.8))
    (top, tall), (left, wide) = (
        (((length - (length * scale).round()) * place).round(), (length * scale).round())
        for length, place in ((height, low), (width, right))
    )
    mounted = torch.zeros_like(photo_N3HW)
    boxes_N4 = torch.cat([top, left, tall, wide], 1).flatten(1).int().tolist()
    for page, photo, (y, x, rows, columns) in zip(mounted, photo_N3HW, boxes_N4, strict=True):
        small = F.interpolate(photo[None], (rows, columns), mode="bilinear", antialias=True)
        page[:, y : y + rows, x : x + columns] = small[0]

    bordered, border, paper, corner, radius, lined, thin, line, cast = _draw(
        seeds,
        "mount",
        (0, 1),
        (0.015, 0.05),
        (84, 98),
        (0, 1),
        (0.01, 0.05),
        (0, 1),
        (0.003, 0.006),
        (5, 45),
        (0, 1),
        device=device,
    )
    border = torch.where(bordered < 0.5, side * border, 0.0).round()
    radius = torch.where(corner < 0.3, side * radius, 0.0)
    column, row = _places(photo_N3HW)
    from_left, from_top = (
        (place + 0.5 - start - span / 2).abs() - span / 2
        for place, start, span in (
            (column, left.to(device), wide.to(device)),
            (row, top.to(device), tall.to(device)),
        )
    )
    outside = torch.maximum(from_left, from_top)
    from_sheet = _from_rounded(from_left - border, from_top - border, radius)
    deckled = (corner > 0.7) & (border > 0)
    from_sheet = from_sheet + torch.where(deckled, _deckle(from_left, from_top, seeds, side), 0.0)
    sheet = (0.5 - from_sheet).clamp_(0, 1)
    inside = (0.5 - outside).clamp_(0, 1) * sheet

    shadow = torch.exp(-from_sheet.clamp_min(0) / (0.008 * side)) * (cast * 0.35)
    lightness = torch.lerp(_page(photo_N3HW[:, :1], seeds).mul_(1 - shadow), paper, sheet)
    on_line = ((thin * side).clamp_min(1) + 0.5 - outside).clamp_(0, 1).mul_(sheet).mul_(lined < 0.35)
    lightness = torch.lerp(lightness, line, on_line)
    mounted[:, 1:] *= inside
    mounted[:, :1] = torch.lerp(lightness, mounted[:, :1], inside).clamp_(0, 100)
    return mounted


def _page(like: Tensor, seeds: Tensor) -> Tensor:
    """Paper alone: its lightness, a little lighter here than there, and its fibers."""
    kind, place, slope, rough = _draw(seeds, "paper", (0, len(_PAGES)), (0, 1), (0, 8), (0.3, 1.5))
    low, high = torch.tensor(_PAGES).float()[kind.flatten().long()].T[..., None, None, None]
    paper, slope, rough = torch.stack([torch.lerp(low, high, place), slope, rough]).to(like.device).unbind()
    shade = _field(like, seeds, "page shade").sub_(0.5).mul_(slope)
    return shade.add_(_noise(like, seeds, "page fibers").mul_(rough)).add_(paper).clamp_(0, 100)


def _from_rounded(from_left: Tensor, from_top: Tensor, radius: Tensor) -> Tensor:
    """The signed distance of pixels from a rounded rectangle, from those from its sides, in pixels: below 0 inside."""
    across, down = from_left + radius, from_top + radius
    corner = torch.hypot(across.clamp_min(0), down.clamp_min(0))
    return corner + torch.maximum(across, down).clamp_max(0) - radius


def _deckle(from_left: Tensor, from_top: Tensor, seeds: Tensor, side: int) -> Tensor:
    """How far the cut of a deckled edge lies inside or outside a straight one, in pixels, at the place along the nearest edge."""
    period, phase, depth = _draw(
        seeds, "deckle", (0.02, 0.05), (0, 6.3), (0.003, 0.007), device=from_left.device
    )
    turn = 2 * math.pi / (period * side)
    along_x, along_y = (
        (turn * place + phase + torch.sin(turn * place / 2.7)).sin() for place in (from_left, from_top)
    )
    return torch.where(from_left > from_top, along_y, along_x) * (depth * side)


def _change(photos: Tensor, seeds_N: Tensor, chosen_N: Tensor, kind: Age) -> Tensor:
    """Change the chosen photos (N, bool, on the CPU) in place, each as its seed says; the photos, for a next change."""
    if not chosen_N.any():
        return photos
    where = chosen_N.nonzero()[:, 0]
    there = where.to(photos.device)
    return photos.index_copy_(0, there, kind(photos.index_select(0, there), seeds_N[where]))


def _places(photos: Tensor) -> tuple[Tensor, Tensor]:
    """Pixel coordinates: x as (W), y as (H, 1)."""
    height, width = photos.shape[-2:]
    return torch.arange(width, device=photos.device), torch.arange(height, device=photos.device)[:, None]


def _field(like: Tensor, seeds: Tensor, stream: str) -> Tensor:
    """(N, 1, H, W): 4 by 4 draws from 0…1, with bicubic interpolation between them, which passes those limits a little."""
    coarse_N144 = _uniforms(seeds, stream, 16).view(-1, 1, 4, 4).to(like.device)
    identity = torch.eye(4, device=like.device)[None, None]
    down, across = (
        F.interpolate(identity, (length, 4), mode="bicubic", align_corners=True) for length in like.shape[-2:]
    )
    return down @ (coarse_N144 @ across.mT)


def _noise(like: Tensor, seeds: Tensor, stream: str) -> Tensor:
    """Gaussian noise of mean 0 and deviation 1, independent from pixel to pixel; each photo's follows from its seed."""
    noise = torch.empty_like(like)
    for photo, seed in zip(noise, _hashed(seeds ^ _key(stream)).tolist(), strict=True):
        photo.normal_(generator=torch.Generator(noise.device).manual_seed(seed))
    return noise


def _taps(sigma_N111: Tensor, largest: float) -> Tensor:
    """(N, T) weights of a Gaussian; T follows from the largest sigma there may be, not from this batch's."""
    reach = max(1, math.ceil(2.5 * largest))
    places = torch.arange(-reach, reach + 1, device=sigma_N111.device)
    return torch.softmax(-places.square() / (2 * sigma_N111.view(-1, 1).square()), 1)


def _softened(photos_N1HW: Tensor, taps_NT: Tensor) -> Tensor:
    """Each photo blurred by its own taps, in two passes; the edge's pixels go on beyond it."""
    # A CPU takes a few photos at a time, that they stay in its cache.
    each = 4 if photos_N1HW.device.type == "cpu" else len(photos_N1HW)
    parts = zip(torch.split(photos_N1HW, each), torch.split(taps_NT, each), strict=True)
    return torch.cat([_summed(_summed(photos, taps, 3), taps, 2) for photos, taps in parts])


def _summed(photos: Tensor, taps_NT: Tensor, axis: int) -> Tensor:
    """A pass along an axis, 2 or 3: shifted copies, weighed by symmetric taps and added up."""
    # A convolution in groups takes as long for ten photos, but how it rounds depends on how many there are.
    taps, reach, length = taps_NT.T[..., None, None, None], taps_NT.shape[1] // 2, photos.shape[axis]
    padding = (reach, reach, 0, 0) if axis == 3 else (0, 0, reach, reach)
    padded = F.pad(photos, padding, mode="replicate")
    summed = padded.narrow(axis, reach, length) * taps[reach]
    pair = torch.empty_like(summed)
    for step in range(1, reach + 1):
        before, after = (padded.narrow(axis, start, length) for start in (reach - step, reach + step))
        summed.addcmul_(torch.add(before, after, out=pair), taps[reach + step])
    return summed


def _draw(
    seeds_N: Tensor, stream: str, *spans: tuple[float, float], device: torch.device | str = "cpu"
) -> tuple[Tensor, ...]:
    """(N, 1, 1, 1) for each span (low, high): uniform in it, each photo's from its seed."""
    low, high = torch.tensor(spans, dtype=torch.float32).T
    drawn_NK = torch.lerp(low, high, _uniforms(seeds_N, stream, len(spans)))
    return drawn_NK.T[..., None, None, None].to(device).unbind()


_GOLDEN = 0x9E3779B97F4A7C15 - 2**64
_FIRST, _SECOND = 0xBF58476D1CE4E5B9 - 2**64, 0x94D049BB133111EB - 2**64


def _uniforms(seeds_N: Tensor, stream: str, count: int) -> Tensor:
    """(N, count) draws from 0 up to 1, on the CPU, of a stream by its name: counters hashed, so that no draw waits for another."""
    start_N1 = _hashed(_hashed(seeds_N) ^ _key(stream))[:, None]
    bits = _hashed(start_N1 + torch.arange(1, count + 1) * _GOLDEN) >> 40 & 0xFFFFFF
    return bits.float() / 2**24


def _hashed(x: Tensor) -> Tensor:
    """SplitMix64's finalizer (Steele, Lea & Flood, "Fast Splittable Pseudorandom Number Generators", OOPSLA 2014), on int64."""
    x = (x ^ (x >> 30 & 2**34 - 1)) * _FIRST
    x = (x ^ (x >> 27 & 2**37 - 1)) * _SECOND
    return x ^ (x >> 31 & 2**33 - 1)


def _key(stream: str) -> int:
    return zlib.crc32(stream.encode())
