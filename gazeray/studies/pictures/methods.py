# SPDX-License-Identifier: Apache-2.0
"""The methods of the studies on pictures, in the words of their report."""

from __future__ import annotations

from typing import Any

from gazeray.report.blocks import Block, Section, Terms, Text
from gazeray.report.results import Results
from gazeray.report.sections import methods, provenance
from gazeray.report.words import counted
from gazeray.studies.pictures.words import METRICS, REFERENCES

MAP_KINDS = {"saliency": "saliency maps", "density": "densities", "log_density": "log-densities"}

PROBES = (
    "Read-out: one weight per channel gives a value per place, blurred, plus a weighted centre bias where the config "
    "says so, made a density by a softmax over the picture and fitted by likelihood. Ridge: linear regression of the "
    "human map on the features of each place, solved exactly. Pooled: the features averaged over the picture, linearly "
    "mapped to a whole map; position is lost, so it stands for what a global vector can tell."
)
BASELINES = (
    "never look at the picture: an even density; centre Gaussians; the mean map of the other pictures; and the centre "
    "bias, a kernel density of the other pictures’ fixations on relative coordinates mixed with an even density, its "
    "width and share fitted by likelihood. Information gain is measured from this centre bias. It is made of all other "
    "pictures, a read-out’s own centre bias of its training pictures alone, which leans against the model."
)
CEILINGS = (
    "come from the picture’s observers. Gold standard: each observer is predicted by a kernel density of the others, "
    "mixed with centre bias and an even density, its width and shares fitted by likelihood on those others, as "
    "benchmarks of saliency models do (Kümmerer et al., 2015). Other observers: the map of the others, smoothed as the "
    "human map. Split half: the human map of one half of the observers against the other half, over random halves; its "
    "CC, SIM and KL are against a map of half of the people, and worse than those of all would be; KL most, for it "
    "punishes what a map leaves empty, and may be worse than that of an even density. A score of the "
    "ceiling says how far people agree; it is no upper bound when observers are few."
)
EXPLAINED = (
    " “Explained” divides a mean over fixations by a mean over observers, which differ a little where observers made "
    "different numbers of fixations; it is left undefined where the gold standard’s gain is not clearly above 0."
)


def section(results: Results, probing: bool) -> Section:
    """The section on methods. probing: the models are probes of a network, not maps that were made elsewhere."""
    shown = [METRICS[name] for name in results.shown]
    sources = {"kuemmerer", *(metric.source for metric in shown)}
    references = ["efron", *(["alain", "cawley"] if probing else []), *sources, *provenance.references(results)]
    terms: list[Block] = [
        Text("All are means over pictures, each computed on one picture first.", "Metrics."),
        Terms([(metric.head, metric.definition) for metric in shown]),
    ]
    resamples = (results.config.get("score") or {}).get("resamples")
    intervals = (
        f"are 95 % percentile intervals of a bootstrap{f' of {resamples} resamples' if resamples else ''}: pictures "
        "are drawn with replacement, the same ones for all predictors (Efron and Tibshirani, 1993). They cover which "
        "pictures were shown; they cover neither which people looked nor the noise of fitting again."
    )
    paragraphs = [
        *(_probes(results) if probing else [Text(_maps(results), "Maps.")]),
        Text(_grid(results.config, probing), "Grid."),
        *(terms if shown else []),
        Text(BASELINES, "Baselines"),
        Text(CEILINGS + (EXPLAINED if "explained" in results.shown else ""), "Ceilings"),
        Text(intervals, "Intervals"),
    ]
    return methods.methods(paragraphs, [REFERENCES.get(key, key) for key in references])


def _probes(results: Results) -> list[Block]:
    backbone = results.manifest.get("backbone") or {}
    folds = counted(len(results.manifest.get("folds") or []), "fold")
    network = backbone.get("arch") or "The network"
    if backbone:
        known = backbone["sha256"] and backbone["weights"] != "none"
        mark = f" (sha256 {backbone['sha256'][:16]}…)" if known else ""
        network += (
            f", weights {backbone['weights']}{mark}, longest side of its input {backbone['longest_px']} px, aspect kept"
        )
    precision = f" in {backbone['precision']}" if "precision" in backbone else ""
    return [
        Text(
            f"{network}. It was frozen, in evaluation mode, and its features were computed once{precision}; each "
            "worker compares the SHA-256 of all parameters and buffers before and after each shard of pictures, and "
            "stops if they differ. A probe is a small model on the features of one layer: what it can read tells what "
            "the layer holds (Alain and Bengio, 2017).",
            "Network.",
        ),
        Text(PROBES, "Probes."),
        Text(
            f"The pictures were divided into {folds}; a model is tested on pictures that it was not fitted to, "
            "and every picture is tested once. In every fold the penalty was chosen by inner folds of the training "
            "pictures alone (Cawley and Talbot, 2010). Observers look at all pictures: the scores speak for new "
            "pictures seen by these people. “Chosen” takes in each fold the layer with the best inner score; the best "
            "row of the table was picked by its test scores.",
            "Folds.",
        ),
    ]


def _maps(results: Results) -> str:
    maps = results.manifest.get("maps")
    read = ""
    if maps:
        kind = MAP_KINDS.get(maps["kind"], maps["kind"])
        read = f"{counted(maps['used'], 'map')} of “{maps['label']}”, read as {kind}. "
    return (
        f"{read}They were made elsewhere. Whether their models ever saw these pictures is not known to this report. "
        "Baselines that use other pictures leave out the picture itself; their smoothing is fitted in "
        f"{counted(len(results.manifest.get('folds') or []), 'fold')}."
    )


def on_grid(results: Results) -> str:
    """Which grid the scores were taken on, and which of them depend on it; "" where the config does not say."""
    longest = (results.config.get("score") or {}).get("longest_px")
    if longest is None:
        return ""
    judd = (
        " AUC-Judd takes the fixated px of the picture out of its negatives, not whole cells of the grid: it does not "
        "rise where the grid is coarse and fixations are many."
    )
    return (
        f"Scored on a grid of {longest} px at the longest side, or of the picture’s own px where it has fewer."
        f"{judd if 'auc_judd' in results.shown else ''}"
    )


def _grid(config: dict[str, Any], probing: bool) -> str:
    targets, longest = config.get("targets") or {}, (config.get("score") or {}).get("longest_px")
    side = f", {longest} px at its longest side at most" if longest is not None else ""
    human = f"Human maps: recipe “{targets['recipe']}”, {_blur(targets)}. " if "recipe" in targets else ""
    files = (
        " Densities that come from files are mixed with 0.1 % of an even density, so that a fixation where they are 0 "
        "costs no infinity."
    )
    return (
        f"Maps, human maps and fixations are compared on a grid of the picture’s shape{side}. {human}Where a saliency "
        "map has to be a density (information gain) its minimum is subtracted, it is divided by its sum, and 5 % of an "
        f"even density are mixed in; SIM, KL and EMD divide it by its sum.{'' if probing else files}"
    )


def _blur(targets: dict[str, Any]) -> str:
    """The Gaussian of a recipe of human maps."""
    if targets.get("sigma_deg") is not None:
        return f"Gaussian of {targets['sigma_deg']} deg"
    if targets.get("sigma_px") is not None:
        return f"Gaussian of {round(targets['sigma_px'], 2)} px of the picture"
    widths = {"gaussian": "4 % of the picture’s height", "salicon": "19 px at a height of 480 px"}
    return f"Gaussian of {widths.get(targets['recipe'], '10 px on the picture squashed to 256 x 256')}"
