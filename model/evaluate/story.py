"""What the lecture's page says around its numbers: words, names, colors and other people's numbers."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Method:
    """How a method is called and drawn: by color, marker and dashes, so that none of them alone tells."""

    name: str
    color: str
    marker: str
    dash: str


METHODS = {
    "random": Method("random", "#777777", "x", ":"),
    "context": Method("context prediction", "#D55E00", "s", "-"),
    "colorize": Method("colorization", "#CC79A7", "^", "-"),
    "simclr": Method("SimCLR", "#0072B2", "o", "-"),
    "supervised": Method("labels", "#222222", "D", "--"),
}
NETS = {"alexnet": "AlexNet", "resnet18": "ResNet-18"}

LIGHTLY = (
    [
        "SimCLR, ResNet-18, Imagenette at 128 pixels, 800 epochs, about 7.6 million photos seen (lightly's table)",
        "88.9%",
    ],
    ["SimCLR, ResNet-18, CIFAR-10, 200 epochs, 10 million pictures seen (lightly's table)", "84.8%"],
)
"""https://docs.lightly.ai/self-supervised-learning/getting_started/benchmarks.html. Epochs times photos of the set."""

PROTOCOLS = {
    "small": "photos shown whole and mirrored, layers resized bilinearly",
    "zhang2016": "random crops of 227 of photos of 256 pixels, layers and pools resized bilinearly, batches of 64",
    "goyal2019": "random crops of 224 of photos of 256 pixels, layers averaged over overlapping windows, batches of 256",
}

PAPERS = """<p>What linear probes on ImageNet said in the papers, AlexNet, after weeks on GPUs (Zhang, Isola &amp; Efros 2017,
<a href="https://arxiv.org/abs/1611.09842">Split-Brain Autoencoders</a>, table 2):</p>
<div class=wide><table><thead><tr><th></th><th scope=col>conv1</th><th scope=col>conv2</th><th scope=col>conv3</th><th
scope=col>conv4</th>
<th scope=col>conv5</th></tr></thead><tbody>
<tr><th scope=row>random</th><td>11.6</td><td>17.1</td><td>16.9</td><td>16.3</td><td>14.1</td></tr>
<tr><th scope=row>context prediction</th><td>16.2</td><td>23.3</td><td>30.2</td><td>31.7</td><td>29.6</td></tr>
<tr><th scope=row>colorization</th><td>13.1</td><td>24.8</td><td>31.0</td><td>32.6</td><td>31.8</td></tr>
<tr><th scope=row>labels</th><td>19.3</td><td>36.3</td><td>44.2</td><td>48.3</td><td>50.5</td></tr>
</tbody></table></div>"""

OUTCOMES = """<p>U(n) = n̂/n − 1: a net that was fine-tuned on n labels is as good as one from scratch on n̂. 1 means that
half of the labels were spared, 0 that nothing was; ≥ that scratch never got there with as many labels as there were;
<em>saturated</em> that both nets are level, and alike, from there on: no n̂ can be read, and there is no utility. In brackets
95% intervals over seeds: of three they are too narrow. The outcomes are those of the paper: (a) better at every count, the end
included; (b) better with few labels, the same plateau; (c) the gain is gone before the plateau; saturated: both are level from the
first count on; open: the counts end before that can be said.</p>"""

TEXT = {
    "head": """<h1>Learning without labels</h1>
<p>A box of photographs, and nobody who says what is on them. Can a network learn to see all the same? Three papers found a question
that photographs answer themselves. Whoever wants to answer it must learn something of the world on the way. Here all three are
taught on the same photographs, on the same two nets, in like time, and then asked what they know.</p>""",
    "methods": """<h2>Three questions</h2>
<div class=cards>
<section><svg viewBox="0 0 120 80" role=img aria-label="a patch in the middle, eight places around it, one of them asked for">
<g fill="none" stroke="currentColor"><rect x="50" y="30" width="20" height="20" fill="#D55E00"/><g stroke-dasharray="3 2">
<rect x="22" y="4" width="20" height="20"/><rect x="50" y="4" width="20" height="20"/><rect x="22" y="30" width="20" height="20"/>
<rect x="22" y="56" width="20" height="20"/><rect x="50" y="56" width="20" height="20"/><rect x="78" y="30" width="20" height="20"/>
<rect x="78" y="56" width="20" height="20"/></g><rect x="78" y="4" width="20" height="20"/></g><text x="84" y="19" font-size="13"
fill="currentColor">?</text></svg><h3>Context prediction</h3><p>Two patches of a photo, with a gap between them. In which of
eight directions does the
second lie? Who knows that wheels are below doors can say. <a href="https://arxiv.org/abs/1505.05192">Doersch, Gupta &amp; Efros
2015</a>.</p></section>
<section><svg viewBox="0 0 120 80" role=img aria-label="a gray square, an arrow, a square in color"><rect x="10" y="20"
width="36" height="40"
fill="#888"/><path d="M52 40h14m-5-5 5 5-5 5" stroke="currentColor" fill="none"/><rect x="74" y="20" width="36" height="13"
fill="#56B4E9"/>
<rect x="74" y="33" width="36" height="14" fill="#009E73"/><rect x="74" y="47" width="36" height="13" fill="#E69F00"/></svg>
<h3>Colorization</h3><p>A gray photo. Which of 313 colors belongs at each place? Who knows grass and sky can say.
<a href="https://arxiv.org/abs/1603.08511">Zhang, Isola &amp; Efros 2016</a>.</p></section>
<section><svg viewBox="0 0 120 80" role=img aria-label="two views of one photo pulled together, others pushed away"><g
stroke="currentColor">
<circle cx="45" cy="32" r="9" fill="#0072B2"/><circle cx="75" cy="32" r="9" fill="#0072B2"/><circle cx="20" cy="66" r="7" fill="none"/>
<circle cx="60" cy="70" r="7" fill="none"/><circle cx="100" cy="66" r="7" fill="none"/><path d="M54 32h12" stroke-width="2"/>
<path d="M40 42 25 58M60 44v16M80 42l15 16" stroke-dasharray="3 2"/></g></svg><h3>SimCLR</h3><p>Two views of each photo: cropped,
recolored,
blurred. Which of all other views in the batch is of the same photo? What both have in common is what is on it.
<a href="https://arxiv.org/abs/2002.05709">Chen and others 2020</a>.</p></section></div>
<p>Two controls stand beside them. <em>Random</em> is the same net before it learnt anything: what it can do needs no learning.
<em>Labels</em> is the net that was told the classes of all photographs: what the others do without.</p>""",
    "budget": """<p>All are taught with AdamW along a cosine, from one seed. Steps were chosen so that each takes about as
long on one core as the others on its net; as other programs ran beside, and the methods do not cost the same a photo, they came out
apart as the table says. These are minutes where the papers had weeks. What a method would become in the end cannot be seen here;
what it gives for little can.</p>""",
    "panel": """<p>Figure 4 of the paper. SimCLR here uses crop and flip, color and blur; the others are for
experiments. The cat is Chelsea, photographed by S. van der Walt (CC0), of scikit-image.</p>""",
    "probes": """<p>The net is frozen, and a linear layer is taught, from labels, on what one of its layers says. If the
classes can be told apart so simply, the layer has sorted the world out already. Points are means over seeds of the probes, bars
their deviation. A random net is a strong control: its first layers see as well as any, and lose on the way up what learning nets
keep or gain.</p>""",
    "knn": """<p>No teaching at all: a photo gets the class that most of its 20 nearest photos have, by the cosine between
what the last layer, averaged over places, says of them. After the last step, not after the best.</p>""",
    "efficiency": """<p>Now the whole net is taught on, from few labels or many, each time in the same number of steps. 90 labels
are 1% of Imagenette's, 900 are 10%. <em>Random</em> is here the net from scratch. Lessons are far shorter than it takes until
nothing more is learnt: the curves say what a start is worth to those who have as little time.</p>""",
    "transfer": """<p>Fine-tuned to other photographs: VOC2007's twenty classes, any number of them in a
photo (our half of the set, with a split of its own: not to be compared with published numbers); Caltech-101's classes, a third of
the photos judged; CamVid's streets, each pixel one of eleven things, with the head of a fully convolutional net. One seed.</p>""",
    "lightly": """<p>The same method for longer, by <a
href="https://docs.lightly.ai/self-supervised-learning/getting_started/benchmarks.html">lightly</a>. The budgets are far apart: a
hundredth, and less, of the photos seen.</p>""",
    "forgotten": """<p>SimCLR throws its last layers, the projection g, away, and keeps h beneath. Why? The loss wants g(h) to
be the same for all views, so it forgets whatever views change. A small net is asked which change was made to a view (table 3 of the
paper), once from h, once from g(h).</p>""",
    "forgotten_seen": """<p>As in the paper, turns, noise and edges were among the views: SimCLR was trained once more, for this table
alone, by crop and color and these three, each drawn for itself. It is another run than the one in all other tables, and a short
one.</p>""",
    "forgotten_unseen": """<p>What was not among the views is what the loss did not order to forget; the paper's pretraining had turns,
noise and edges among them.</p>""",
    "pairwise": """<p>Figure 5 of the paper: one view is a crop and no more, the other is changed by one augmentation (the
diagonal) or by two. How much does a net learn from each pair? In percent of photos whose class most of their 20 nearest have.</p>""",
    "fringes": """<p>Lenses part colors, more so at the edges of a photo. Who sees the fringes of a patch knows where in the
photo it was, and needs not know what is on it. So context prediction drops two of three colors. The picture has wide fringes, to be
seen. The table: a linear probe over products of neighboring pixels is asked for a patch's place and for the direction of another,
on photos with and without fringes; standard errors over photos.</p>""",
    "look": """<p>Photographs of <a href="https://data.caltech.edu/records/mzrjq-6wc02">Caltech-101</a> (Li, Andreeto,
Ranzato &amp; Perona 2022, CC BY 4.0), which no net was taught by. First each photo, then those that lie nearest to it, copies left
out; then, for two units of three layers each, the photos that excite them most and, below, what the unit sees of them.</p>""",
    "limits": """<h2>What this cannot show</h2><ul>
<li>One seed of each method: differences of a point or two may be chance. Intervals are over photographs, or over seeds of probes
and labels, not over trainings.</li>
<li>Ten classes that are easily told apart, and half of the answer is in color and texture. A net that sees gray, colorization's,
has a handicap here.</li>
<li>Minutes. Context prediction learns slowest, in the papers too, and its patches of 48 pixels are shown at another size than the
photos it is asked about.</li>
<li>The learning rate was not tuned for each method.</li></ul>""",
}

HEAD = '<meta charset=utf-8><meta name=viewport content="width=device-width, initial-scale=1"><title>Learning without labels</title>'
STYLE = """
:root{color-scheme:light dark;--ink:#1b1b1b;--paper:#fdfcf9;--line:#cfcac0}
@media(prefers-color-scheme:dark){:root{--ink:#e8e4dc;--paper:#191816;--line:#4a463f}a{color:#8ec5f0}}
body{margin:0;background:var(--paper);color:var(--ink);font:17px/1.55 Georgia,serif}
main{max-width:46rem;margin:auto;padding:1.5rem 1rem 4rem}
h1{font-size:2.2rem;line-height:1.15}h2{margin-top:2.6rem}h3{margin-bottom:.4rem}
.made{font-size:.85rem;opacity:.8}
.cards{display:grid;grid-template-columns:repeat(auto-fit,minmax(13rem,1fr));gap:1rem}
.cards section{border:1px solid var(--line);border-radius:8px;padding:.8rem}.cards svg{width:100%}
.wide{overflow-x:auto}table{border-collapse:collapse;font:14px/1.35 system-ui,sans-serif;margin:.6rem 0}
th,td{padding:.3rem .6rem;border-bottom:1px solid var(--line);text-align:left;vertical-align:top}td{font-variant-numeric:tabular-nums}
figure{margin:.6rem 0;background:#fff;border-radius:8px;padding:.4rem}figure svg{width:100%}figure svg,img{max-width:100%;height:auto}
details{margin:.5rem 0}summary{cursor:pointer}
@media print{details{break-inside:avoid}}
"""
