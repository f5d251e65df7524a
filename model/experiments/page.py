"""The lecture's page and its table: what was measured, drawn. Its words are in page.html.j2; nothing is measured here."""

from __future__ import annotations

import io
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup
from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from model.evaluate.report import table
from model.experiments import aberration

Found = Mapping[str, Any]


@dataclass(frozen=True)
class Method:
    """How a method is called and drawn: by color, marker and dashes, so that none of them alone tells."""

    name: str
    color: str
    marker: str
    dash: str


RANDOM, RANDOM_GRAY = "random", "random-gray"
"""The controls: untrained nets that see colors, or lightness alone."""
METHODS = {
    RANDOM: Method("random", "#777777", "x", ":"),
    RANDOM_GRAY: Method("random, gray", "#AAAAAA", "+", ":"),
    "context": Method("context prediction", "#D55E00", "s", "-"),
    "colorize": Method("colorization", "#CC79A7", "^", "-"),
    "simclr": Method("SimCLR", "#0072B2", "o", "-"),
    "supervised": Method("labels", "#222222", "D", "--"),
}
NETS = {"alexnet": "AlexNet", "resnet18": "ResNet-18"}
PROTOCOLS = {
    "small": "photos shown whole and mirrored, layers resized bilinearly",
    "zhang2016": "random crops of 227 of photos of 256 pixels, layers and pools resized bilinearly, batches of 64",
    "goyal2019": "random crops of 224 of photos of 256 pixels, layers averaged over overlapping windows, batches of 256",
}
LIGHTLY = (
    (
        "SimCLR, ResNet-18, Imagenette at 128 pixels, 800 epochs, about 7.6 million photos seen (lightly's table)",
        "88.9%",
    ),
    ("SimCLR, ResNet-18, CIFAR-10, 200 epochs, 10 million pictures seen (lightly's table)", "84.8%"),
)
"""https://docs.lightly.ai/self-supervised-learning/getting_started/benchmarks.html. Epochs times photos of the set."""

_TRANSFORMATIONS = {
    "gray": "color dropped",
    "rotate": "rotation, by quarters",
    "noise": "noise",
    "sobel": "Sobel's edges",
}
_TASKS = {"voc2007": "VOC2007, 11-point mAP", "camvid": "CamVid, mean IU"}
_PICTURES = {
    "neighbors": "each photo, and the nearest others",
    "activations": "what excites two units of each of three layers",
}


def write(found: Found, folder: Path) -> Path:
    """folder/index.html, of what the lecture gathered. Pictures lie in the folder already; what was not run is left out."""
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    folder.mkdir(parents=True, exist_ok=True)
    page = folder / "index.html"
    page.write_text(environment.get_template("page.html.j2").render(_sections(found)))
    return page


def _sections(found: Found) -> dict[str, Any]:
    """What each section of the template shows; nothing for one that was not run."""
    subjects: Sequence[Found] = found.get("subjects", ())
    return {
        "made": found.get("made"),
        "data": found.get("data", {}),
        "in_short": _in_short(subjects),
        "gray_control": any(one["method"] == RANDOM_GRAY for one in subjects),
        "budget": _budget([one for one in subjects if "steps" in one]),
        "plan": found.get("plan", {}),
        "protocols": PROTOCOLS,
        "panel": found.get("panel"),
        "probes": _by_net(_probes, subjects, "probes"),
        "knn": _by_net(_knn, subjects, "neighbors"),
        "efficiency": _by_net(_efficiency, subjects, "efficiency"),
        "transfer": _by_net(_transfer, subjects, "transfer"),
        "beside_lightly": _beside_lightly(subjects),
        "projection": _projection(found.get("projection", {}), found.get("projection_runs", {})),
        "pairs": _pairs(found["pairwise"]) if "pairwise" in found else None,
        "fringes": _fringes(found["fringes"]) if "fringes" in found else None,
        "pictures": _pictures(subjects),
    }


def _in_short(subjects: Sequence[Found]) -> list[tuple[str, str, str, str]]:
    """By net: kNN of the methods without labels, best first, of the untrained net, and of supervised learning, "" if it was not run."""
    found = []
    for net in dict.fromkeys(one["net"] for one in subjects):
        right = {
            one["method"]: one["neighbors"]["accuracy"]
            for one in subjects
            if one["net"] == net and one.get("neighbors")
        }
        unlabeled = [method for method in right if method not in (RANDOM, RANDOM_GRAY, "supervised")]
        if RANDOM not in right or not unlabeled:
            continue
        unlabeled.sort(key=lambda method: right[method], reverse=True)
        learned = ", ".join(f"{METHODS[method].name} {right[method]:.0%}" for method in unlabeled)
        supervised = f"{right['supervised']:.0%}" if "supervised" in right else ""
        gray = f", of lightness alone {right[RANDOM_GRAY]:.0%}" if RANDOM_GRAY in right else ""
        found.append((NETS[net], learned, f"{right[RANDOM]:.0%}{gray}", supervised))
    return found


def _budget(trained: Sequence[Found]) -> dict[str, Any] | None:
    if not trained:
        return None
    rows = [
        [
            NETS[one["net"]],
            _name(one),
            f"{one['steps']:,} × {one['batch']}",
            f"{one['photos']:,}",
            f"{one['cpu_s'] / 60:.0f} min",
            f"{one['loss'][-1][1]:.2f}" if one["loss"] else "",
            str(one["seed"]),
        ]
        for one in trained
    ]
    heads = ["net", "method", "steps × batch", "photos seen", "of one core", "last loss, nats", "seed"]
    return {"heads": heads, "rows": rows, "hours": f"{sum(one['cpu_s'] for one in trained) / 3600:.1f}"}


def _by_net(
    section: Callable[[Sequence[Found], str], dict[str, Any]], subjects: Sequence[Found], key: str
) -> list[dict[str, Any]]:
    """The section of each net of which something has this key."""
    measured = {net: [one for one in subjects if one["net"] == net and one.get(key)] for net in NETS}
    return [{"net": NETS[net]} | section(of, NETS[net]) for net, of in measured.items() if of]


def _probes(subjects: Sequence[Found], net: str) -> dict[str, Any]:
    layers = list(subjects[0]["probes"])

    def draw(axes: Axes) -> None:
        for one in subjects:
            values = np.array([one["probes"][layer] for layer in layers]) * 100
            axes.errorbar(range(len(layers)), values.mean(1), values.std(1), **_line(one), capsize=3)
        axes.set_xticks(range(len(layers)), layers)
        axes.set_ylabel("right, %")

    rows = [[_name(one), *(_percent(one["probes"][layer]) for layer in layers)] for one in subjects]
    chart = _chart(draw, f"accuracy of linear probes by layer, {net}")
    return {"chart": chart, "heads": ["", *layers], "rows": rows}


def _knn(subjects: Sequence[Found], net: str) -> dict[str, Any]:
    return {
        "rows": [
            [_name(one), f"{of['accuracy']:.1%} ({of['low'] * 100:.1f}…{of['high'] * 100:.1f})"]
            for one in subjects
            for of in [one["neighbors"]]
        ]
    }


def _efficiency(subjects: Sequence[Found], net: str) -> dict[str, Any]:
    counts = subjects[0]["efficiency"]["labels"]

    def draw(axes: Axes) -> None:
        for one in subjects:
            values = np.array(one["efficiency"]["accuracy"]) * 100
            axes.errorbar(counts, values.mean(0), values.std(0), **_line(one), capsize=3)
        axes.set_xscale("log")
        axes.set_xticks(counts, [str(count) for count in counts])
        axes.minorticks_off()
        axes.set_xlabel("labels")
        axes.set_ylabel("right, %")

    compared = [one for one in subjects if one.get("utility")]
    return {
        "chart": _chart(draw, f"accuracy by number of labels, {net}"),
        "heads": ["labels", *map(str, counts)],
        "rows": [
            [_name(one), *(_percent(of) for of in zip(*one["efficiency"]["accuracy"], strict=True))]
            for one in subjects
        ],
        "utility_heads": ["U(n)", *map(str, counts)],
        "utility": [[_name(one), *(of["text"] for of in one["utility"])] for one in compared],
        "verdicts": [(_name(one), one["verdict"]) for one in compared],
    }


def _transfer(subjects: Sequence[Found], net: str) -> dict[str, Any]:
    tasks = list(dict.fromkeys(task for one in subjects for task in one["transfer"]))
    rows = [
        [
            _name(one),
            *(f"{one['transfer'][task]:.1%}" if task in one["transfer"] else "not run" for task in tasks),
        ]
        for one in subjects
    ]
    return {"heads": ["", *(_TASKS.get(task, f"{task}, right") for task in tasks)], "rows": rows}


def _beside_lightly(subjects: Sequence[Found]) -> list[tuple[str, str]]:
    ours = [
        (
            f"SimCLR, {NETS[one['net']]}, {one['photos']:,} photos seen (here)",
            f"{one['neighbors']['accuracy']:.1%}",
        )
        for one in subjects
        if one["method"] == "simclr" and one.get("neighbors") and "photos" in one
    ]
    return [*ours, *LIGHTLY] if ours else []


def _projection(found: Mapping[str, Found], runs: Mapping[str, Found]) -> dict[str, Any] | None:
    if not found:
        return None
    # Results from before runs said so are of views without rotation, noise and edges.
    rows = [
        [
            NETS[net],
            _TRANSFORMATIONS.get(kind, kind),
            "yes" if of.get("in_views", kind == "gray") else "no",
            *(f"{of[key]:.1%}" for key in ("h", "g", "chance")),
        ]
        for net, kinds in found.items()
        for kind, of in kinds.items()
    ]
    budgets = "; ".join(
        f"{NETS[net]}, {of['steps']:,} steps of {of['batch']} photos, {of['photos']:,} photos seen"
        for net, of in runs.items()
    )
    return {"rows": rows, "all_in_views": all(row[2] == "yes" for row in rows), "runs": budgets}


def _pairs(found: Found) -> dict[str, Any]:
    steps, values = [*found["steps"]], np.array(found["accuracy"], float)
    untrained = found.get("untrained")
    # The matrix is symmetric: of each pair one cell.
    cells = values[np.triu_indices(len(steps))]
    above = int((cells > untrained).sum()) if untrained is not None else 0
    columns = [*steps, "mean"][: values.shape[1]]
    if untrained is not None:
        # The same net for every pair: a row of one number, on the scale of the others.
        steps, values = [*steps, "untrained"], np.vstack([values, np.full(len(columns), untrained)])
    values = values * 100

    def draw(axes: Axes) -> None:
        axes.imshow(values, cmap="viridis")
        axes.set_xticks(range(len(columns)), columns, rotation=45, ha="right")
        axes.set_yticks(range(len(steps)), steps)
        middle = float(np.nanmean(values))
        for row, line in enumerate(values):
            for column, value in enumerate(line):
                if math.isfinite(value):
                    color = "white" if value < middle else "black"
                    axes.text(column, row, f"{value:.0f}", ha="center", va="center", color=color)
        axes.set_xlabel("second")
        axes.set_ylabel("first")

    return {
        "chart": _chart(draw, "accuracy by pair of augmentations", 5.0),
        "caption": found["caption"],
        "untrained": f"{untrained:.1%}" if untrained is not None else "",
        "above": above,
        "count": len(cells),
    }


def _fringes(found: Found) -> dict[str, Any]:
    rows = [
        [
            of["lens"],
            of["target"],
            aberration.TREATMENTS[of["colors"]],
            f"{of['accuracy']:.1%} ± {of['error'] * 100:.1f}",
            f"{of['chance']:.1%}",
        ]
        for of in found["rows"]
    ]
    return {"picture": found["picture"], "photos": f"{found['photos']:,}", "rows": rows}


def _pictures(subjects: Sequence[Found]) -> list[tuple[str, str]]:
    """Paths, and what is to be seen there."""
    return [
        (one["pictures"][kind], f"{_name(one)}, {NETS[one['net']]}: {words}")
        for one in subjects
        for kind, words in _PICTURES.items()
        if kind in (one.get("pictures") or {})
    ]


# The same in one table

LABELS = (20, 90, 900)
TASKS = {"voc2007": "VOC2007 mAP", "caltech101": "Caltech-101", "camvid": "CamVid mean IU"}


def overview(subjects: Sequence[Found]) -> str:
    """The lecture's `subjects` as a Markdown table, all in percent; what was not measured stays empty.

    kNN with its interval over photos, the best layer's probe, fine-tuning by few labels as mean ± deviation over seeds, and other photos.
    """
    labels = [f"{count} labels" for count in LABELS]
    heads = ["net", "trained by", "photos seen", "kNN", "best probe", *labels, *TASKS.values()]
    return table(heads, [_overview_row(one) for one in subjects])


def _overview_row(one: Found) -> list[str]:
    near, probes, transfer = one.get("neighbors"), one.get("probes"), one.get("transfer", {})
    best = max(probes, key=lambda layer: np.mean(probes[layer])) if probes else ""
    return [
        NETS[one["net"]],
        _name(one),
        f"{one['photos']:,}" if "photos" in one else "none",
        f"{near['accuracy'] * 100:.1f} ({near['low'] * 100:.1f}…{near['high'] * 100:.1f})" if near else "",
        f"{np.mean(probes[best]) * 100:.1f} ({best})" if probes else "",
        *(_fine_tuned(one.get("efficiency"), count) for count in LABELS),
        *(f"{transfer[task] * 100:.1f}" if task in transfer else "" for task in TASKS),
    ]


def _fine_tuned(efficiency: Found | None, count: int) -> str:
    if not efficiency or count not in efficiency["labels"]:
        return ""
    right = np.array(efficiency["accuracy"])[:, efficiency["labels"].index(count)] * 100
    return f"{right.mean():.1f} ± {right.std():.1f}"


# Names, numbers and charts


def _name(one: Found) -> str:
    return METHODS[one["method"]].name


def _line(one: Found) -> dict[str, Any]:
    method = METHODS[one["method"]]
    return {"label": method.name, "color": method.color, "marker": method.marker, "linestyle": method.dash}


def _percent(values: Sequence[float]) -> str:
    spread = f" ± {np.std(values) * 100:.1f}" if len(values) > 1 else ""
    return f"{np.mean(values) * 100:.1f}{spread}"


def _chart(draw: Callable[[Axes], None], label: str, height: float = 3.4) -> dict[str, Any]:
    """Inline SVG, on a white card in any color scheme."""
    figure = Figure((6.4, height), layout="constrained")
    axes = figure.subplots()
    draw(axes)
    if axes.get_legend_handles_labels()[0]:
        axes.spines[["top", "right"]].set_visible(False)
        axes.grid(axis="y", alpha=0.25)
        axes.legend(frameon=False, fontsize=8)
    file = io.StringIO()
    # Without a salt, ids are random, and the same numbers would be another file each time.
    with rc_context({"svg.hashsalt": label}):
        figure.savefig(file, format="svg", metadata={"Date": None})
    svg = file.getvalue()
    return {"label": label, "svg": Markup(svg[svg.index("<svg") :])}
