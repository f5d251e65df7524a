"""The lecture's page: what was found, drawn and explained. Nothing is worked out here."""

from __future__ import annotations

import io
import math
from collections.abc import Mapping, Sequence
from html import escape
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from model.evaluate.story import (
    HEAD,
    LIGHTLY,
    METHODS,
    NETS,
    OUTCOMES,
    PAPERS,
    PROTOCOLS,
    STYLE,
    TEXT,
)

Found = Mapping[str, Any]
_QUESTIONS = {
    "gray": "was the color dropped?",
    "rotate": "which way is up?",
    "noise": "is there noise?",
    "sobel": "are these edges?",
}


def write(found: Found, folder: Path) -> Path:
    """folder/index.html, of what `commands.lecture` gathered. Pictures lie in the folder already; what was not run is left out."""
    parts = [
        f"<!doctype html>\n<html lang=en>\n<head>{HEAD}<style>{STYLE}</style></head>\n<body><main>",
        TEXT["head"],
    ]
    parts.append(_made(found))
    subjects: Sequence[Found] = found.get("subjects", ())
    parts.append(_in_short(subjects))
    parts.append(TEXT["methods"])
    nets = [net for net in NETS if any(one["net"] == net for one in subjects)]
    parts.append(_budgets(subjects))
    parts.append(_lessons(found.get("plan", {})))
    if "panel" in found:
        parts.append(
            f"<h3>What SimCLR does to a photo</h3>{_picture(found['panel'], 'one photo after each augmentation')}{TEXT['panel']}"
        )
    for heading, text, draw in (
        ("What each layer knows", "probes", _probes),
        ("Whose neighbors are alike?", "knn", _knn),
        ("How many labels does it spare?", "efficiency", _efficiency),
        ("Does it carry over?", "transfer", _transfer),
    ):
        drawn = [draw([one for one in subjects if one["net"] == net], net) for net in nets]
        if any(drawn):
            parts.append(
                f"<h2>{heading}</h2>{TEXT[text]}{_protocol(found) if text == 'probes' else ''}"
                f"{OUTCOMES if text == 'efficiency' else ''}{''.join(drawn)}"
            )
    parts.append(_lightly(subjects))
    parts.append(_forgotten(found.get("forgotten", {}), found.get("forgotten_runs", {})))
    if "pairwise" in found:
        parts.append(
            f"<h2>Which augmentations belong together?</h2>{TEXT['pairwise']}{_pairwise(found['pairwise'])}"
        )
    if "fringes" in found:
        parts.append(_fringes(found["fringes"]))
    parts.append(_looked(subjects))
    parts += [TEXT["limits"], "</main></body></html>\n"]
    folder.mkdir(parents=True, exist_ok=True)
    page = folder / "index.html"
    page.write_text("\n".join(part for part in parts if part))
    return page


def _made(found: Found) -> str:
    made, data = found.get("made", {}), found.get("data", {})
    if not made:
        return ""
    said = (
        f"{data.get('name', 'The photographs')}: {data.get('photos', 0):,} photographs to learn from, "
        f"{data.get('judged', 0):,} to be judged by, "
        f"{len(data.get('classes', ()))} classes, seen at {data.get('side', 0)} pixels. Made by <code>{escape(made['command'])}</code> at "
        f"{escape(made['commit'])} on {escape(made['date'])}, {escape(made['machine'])}, torch {escape(made['torch'])}."
    )
    return f"<p class=made>{said}</p>"


def _in_short(subjects: Sequence[Found]) -> str:
    """Of those that nobody told anything, who learned most, as neighbors tell."""
    said = []
    for net in dict.fromkeys(one["net"] for one in subjects):
        right = {
            one["method"]: one["neighbors"]["accuracy"]
            for one in subjects
            if one["net"] == net and one.get("neighbors")
        }
        unlabeled = [method for method in right if method not in ("random", "supervised")]
        if "random" not in right or not unlabeled:
            continue
        unlabeled.sort(key=lambda method: right[method], reverse=True)
        learned = ", ".join(f"{METHODS[method].name} {right[method]:.0%}" for method in unlabeled)
        told = f", who was told all labels {right['supervised']:.0%}" if "supervised" in right else ""
        said.append(f"<li>{NETS[net]}: {learned}; who learned nothing {right['random']:.0%}{told}.</li>")
    if not said:
        return ""
    return (
        f"<p>In short, how often a photo's nearest neighbors tell what is on it:</p><ul>{''.join(said)}</ul>"
    )


def _lessons(plan: Found) -> str:
    if not plan:
        return ""
    tuning = plan["tuning"]
    return (
        f"<p>Afterwards, fine-tuning takes {tuning['steps']} steps of {tuning['batch']} photos for each number of labels, and "
        f"{plan['transferred']} for each set of other photographs.</p>"
    )


def _budgets(subjects: Sequence[Found]) -> str:
    taught = [one for one in subjects if "steps" in one]
    if not taught:
        return ""
    rows = [
        [
            NETS[one["net"]],
            METHODS[one["method"]].name,
            f"{one['steps']:,} × {one['batch']}",
            f"{one['photos']:,}",
            f"{one['cpu_s'] / 60:.0f} min",
            f"{one['loss'][-1][1]:.2f}" if one["loss"] else "",
            str(one["seed"]),
        ]
        for one in taught
    ]
    heads = ["net", "method", "steps × batch", "photos seen", "of one core", "last loss, nats", "seed"]
    total = sum(one["cpu_s"] for one in taught) / 3600
    return f"<h2>The budget</h2>{TEXT['budget']}{_table(heads, rows)}<p>{total:.1f} hours of one core in all, for the teaching.</p>"


def _protocol(found: Found) -> str:
    """Of the probes, where the page's facts name it."""
    name = found.get("plan", {}).get("protocol")
    return f"<p>Probed by the protocol {escape(name)}: {PROTOCOLS[name]}.</p>" if name in PROTOCOLS else ""


def _probes(subjects: Sequence[Found], net: str) -> str:
    asked = [one for one in subjects if one.get("probes")]
    if not asked:
        return ""
    layers = list(asked[0]["probes"])

    def draw(axes: Axes) -> None:
        for one in asked:
            values = np.array([one["probes"][layer] for layer in layers]) * 100
            axes.errorbar(range(len(layers)), values.mean(1), values.std(1), **_line(one), capsize=3)
        axes.set_xticks(range(len(layers)), layers)
        axes.set_ylabel("right, %")

    rows = [[_name(one), *(_percent(one["probes"][layer]) for layer in layers)] for one in asked]
    return f"<h3>{NETS[net]}</h3>{_chart(draw, f'accuracy of linear probes by layer, {NETS[net]}')}{_table(['', *layers], rows)}"


def _knn(subjects: Sequence[Found], net: str) -> str:
    rows = [
        [_name(one), f"{of['accuracy']:.1%} ({of['low'] * 100:.1f}…{of['high'] * 100:.1f})"]
        for one in subjects
        if (of := one.get("neighbors"))
    ]
    return f"<h3>{NETS[net]}</h3>{_table(['', 'kNN of 20, and its 95% interval'], rows)}" if rows else ""


def _efficiency(subjects: Sequence[Found], net: str) -> str:
    asked = [one for one in subjects if one.get("efficiency")]
    if not asked:
        return ""
    counts = asked[0]["efficiency"]["labels"]

    def draw(axes: Axes) -> None:
        for one in asked:
            values = np.array(one["efficiency"]["accuracy"]) * 100
            axes.errorbar(counts, values.mean(0), values.std(0), **_line(one), capsize=3)
        axes.set_xscale("log")
        axes.set_xticks(counts, [str(count) for count in counts])
        axes.minorticks_off()
        axes.set_xlabel("labels")
        axes.set_ylabel("right, %")

    rows = [
        [_name(one), *(_percent(of) for of in zip(*one["efficiency"]["accuracy"], strict=True))]
        for one in asked
    ]
    worth = [one for one in asked if one.get("utility")]
    tables = _table(["labels", *map(str, counts)], rows)
    if worth:
        tables += _table(
            ["U(n)", *map(str, counts)],
            [[_name(one), *(of["text"] for of in one["utility"])] for one in worth],
        )
        said = (
            f"<li>{_name(one)}: ({one['verdict']['outcome']}) {escape(one['verdict']['why'])}.</li>"
            for one in worth
        )
        tables += f"<ul>{''.join(said)}</ul>"
    return f"<h3>{NETS[net]}</h3>{_chart(draw, f'accuracy by number of labels, {NETS[net]}')}{tables}"


def _transfer(subjects: Sequence[Found], net: str) -> str:
    asked = [one for one in subjects if one.get("transfer")]
    tasks = list(dict.fromkeys(task for one in asked for task in one["transfer"]))
    names = {"voc2007": "VOC2007, 11-point mAP", "camvid": "CamVid, mean IU"}
    rows = [
        [
            _name(one),
            *(f"{one['transfer'][task]:.1%}" if task in one["transfer"] else "not run" for task in tasks),
        ]
        for one in asked
    ]
    heads = ["", *(names.get(task, f"{task}, right") for task in tasks)]
    return f"<h3>{NETS[net]}</h3>{_table(heads, rows)}" if tasks else ""


def _lightly(subjects: Sequence[Found]) -> str:
    ours = [
        [
            f"SimCLR, {NETS[one['net']]}, {one['photos']:,} photos seen (here)",
            f"{one['neighbors']['accuracy']:.1%}",
        ]
        for one in subjects
        if one["method"] == "simclr" and one.get("neighbors") and "photos" in one
    ]
    return (
        f"<h2>Beside what others published</h2>{TEXT['lightly']}{_table(['', 'kNN'], [*ours, *LIGHTLY])}{PAPERS}"
        if ours
        else ""
    )


def _forgotten(found: Mapping[str, Found], runs: Mapping[str, Found]) -> str:
    if not found:
        return ""
    # Results of before runs said so are of views without turns, noise and edges.
    rows = [
        [
            NETS[net],
            _QUESTIONS.get(question, question),
            "yes" if of.get("in_views", question == "gray") else "no",
            *(f"{of[key]:.1%}" for key in ("h", "g", "chance")),
        ]
        for net, questions in found.items()
        for question, of in questions.items()
    ]
    text = TEXT["forgotten"]
    text += TEXT["forgotten_seen"] if all(row[2] == "yes" for row in rows) else TEXT["forgotten_unseen"]
    budgets = "; ".join(
        f"{NETS[net]}, {of['steps']:,} steps of {of['batch']} photos, {of['photos']:,} photos seen"
        for net, of in runs.items()
    )
    text += f"<p>These runs: {budgets}.</p>" if budgets else ""
    heads = ["net", "question", "among its views", "from h", "from g(h)", "chance"]
    return f"<h2>What the projection forgets</h2>{text}{_table(heads, rows)}"


def _pairwise(found: Found) -> str:
    steps, values = [*found["steps"]], np.array(found["accuracy"], float) * 100
    columns = [*steps, "mean"][: values.shape[1]]
    untrained = found.get("untrained")
    if untrained is not None:
        # The same net for every pair: a row of one number, on the scale of the others.
        steps, values = [*steps, "untrained"], np.vstack([values, np.full(len(columns), untrained * 100)])

    def draw(axes: Axes) -> None:
        axes.imshow(values, cmap="viridis")
        axes.set_xticks(range(len(columns)), columns, rotation=45, ha="right")
        axes.set_yticks(range(len(steps)), steps)
        middle = float(np.nanmean(values))
        for row, line in enumerate(values):
            for column, value in enumerate(line):
                if math.isfinite(value):
                    axes.text(
                        column,
                        row,
                        f"{value:.0f}",
                        ha="center",
                        va="center",
                        color="white" if value < middle else "black",
                    )
        axes.set_xlabel("second")
        axes.set_ylabel("first")

    said = f"{escape(found['caption'])}{_beside(found)}"
    return f"{_chart(draw, 'accuracy by pair of augmentations', 5.0)}<p>{said}</p>"


def _beside(found: Found) -> str:
    """How many pairs are better than nothing."""
    untrained = found.get("untrained")
    if untrained is None:
        return ""
    pairs = [row[place:] for place, row in enumerate(np.array(found["accuracy"])[:, : len(found["steps"])])]
    cells = np.concatenate(pairs)
    return f" The same net untrained: {untrained:.1%}, the last row; {int((cells > untrained).sum())} of {len(cells)} pairs are above it."


def _fringes(found: Found) -> str:
    colors = {"keep": "colors kept", "drop": "one color kept", "project": "projected"}
    rows = [
        [
            of["lens"],
            of["question"],
            colors[of["colors"]],
            f"{of['accuracy']:.1%} ± {of['error'] * 100:.1f}",
            f"{of['chance']:.1%}",
        ]
        for of in found["rows"]
    ]
    heads = ["lens", "asked for", "shown", "right", "always the same answer"]
    picture = _picture(
        found["picture"], "a photo with and without colored fringes, and what a net is shown of a patch"
    )
    return f"<h2>A shortcut</h2>{TEXT['fringes']}{picture}<p>{found['photos']:,} photos:</p>{_table(heads, rows)}"


def _looked(subjects: Sequence[Found]) -> str:
    parts = []
    for one in subjects:
        pictures = one.get("pictures") or {}
        for kind, said in (
            ("neighbors", "each photo, and its nearest strangers"),
            ("activations", "what excites two units of each of three layers"),
        ):
            if kind in pictures:
                what = f"{_name(one)}, {NETS[one['net']]}: {said}"
                parts.append(f"<details><summary>{what}</summary>{_picture(pictures[kind], what)}</details>")
    return f"<h2>To look at</h2>{TEXT['look']}{''.join(parts)}" if parts else ""


def _name(one: Found) -> str:
    return METHODS[one["method"]].name


def _line(one: Found) -> dict[str, Any]:
    method = METHODS[one["method"]]
    return {"label": method.name, "color": method.color, "marker": method.marker, "linestyle": method.dash}


def _percent(values: Sequence[float]) -> str:
    spread = f" ± {np.std(values) * 100:.1f}" if len(values) > 1 else ""
    return f"{np.mean(values) * 100:.1f}{spread}"


def _table(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    head = "".join(f"<th scope=col>{escape(text)}</th>" for text in heads)
    body = "".join(
        f"<tr><th scope=row>{escape(first)}</th>{''.join(f'<td>{escape(text)}</td>' for text in rest)}</tr>"
        for first, *rest in rows
    )
    return f"<div class=wide><table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>"


def _picture(path: str, said: str) -> str:
    return f'<img src="{escape(path)}" alt="{escape(said)}" loading=lazy>'


def _chart(draw: Any, said: str, height: float = 3.4) -> str:
    """Inline SVG, on a white card in any color scheme."""
    figure = Figure((6.4, height), layout="constrained")
    axes = figure.subplots()
    draw(axes)
    if axes.get_legend_handles_labels()[0]:
        axes.spines[["top", "right"]].set_visible(False)
        axes.grid(axis="y", alpha=0.25)
        axes.legend(frameon=False, fontsize=8)
    file = io.StringIO()
    figure.savefig(file, format="svg", metadata={"Date": None})
    svg = file.getvalue()
    return f'<figure role=img aria-label="{escape(said)}">{svg[svg.index("<svg") :]}</figure>'
