# SPDX-License-Identifier: Apache-2.0
"""What the metrics of the studies on pictures are called, the verdict on a run, and what limits it."""

from __future__ import annotations

from typing import Any

from gazeray.metrics.permutation import LEAST_UNITS
from gazeray.report.results import Results
from gazeray.report.words import Metric, counted, digits_for, incomplete, interval, lookup, number, score

FEW_PICTURES, FEW_OBSERVERS = 30, 10
"""Below these the verdict is followed by a warning."""

CENTRE, GOLD, OTHERS, CHOSEN = "centre_bias", "gold_standard", "other_observers", "chosen"

PROBES = {"readout": "read-out", "ridge": "ridge", "pooled": "pooled"}

REFERENCES = {
    "alain": "Alain, G., and Bengio, Y. (2017). Understanding intermediate layers using linear classifier probes. ICLR "
    "workshop. arXiv:1610.01644.",
    "bylinskii": "Bylinskii, Z. et al. (2019). What do different evaluation metrics tell us about saliency models? "
    "IEEE Transactions on Pattern Analysis and Machine Intelligence 41, 740–757. doi:10.1109/TPAMI.2018.2815601.",
    "borji": "Borji, A., Sihite, D. N., and Itti, L. (2013). Quantitative analysis of human-model agreement in visual "
    "saliency modeling. IEEE Transactions on Image Processing 22, 55–69. doi:10.1109/TIP.2012.2210727.",
    "judd": "Judd, T. et al. (2009). Learning to predict where humans look. ICCV 2009, 2106–2113. "
    "doi:10.1109/ICCV.2009.5459462.",
    "kuemmerer": "Kümmerer, M., Wallis, T. S. A., and Bethge, M. (2015). Information-theoretic model comparison "
    "unifies saliency metrics. PNAS 112, 16054–16059. doi:10.1073/pnas.1510393112.",
    "peters": "Peters, R. J. et al. (2005). Components of bottom-up gaze allocation in natural images. Vision Research "
    "45, 2397–2416. doi:10.1016/j.visres.2005.03.019.",
    "rubner": "Rubner, Y., Tomasi, C., and Guibas, L. J. (2000). The earth mover's distance as a metric for image "
    "retrieval. International Journal of Computer Vision 40, 99–121. doi:10.1023/A:1026543900054.",
    "tatler": "Tatler, B. W., Baddeley, R. J., and Gilchrist, I. D. (2005). Visual correlates of fixation selection: "
    "effects of scale and time. Vision Research 45, 643–659. doi:10.1016/j.visres.2004.09.017.",
}


METRICS = {
    "information_gain": Metric(
        "information gain", "bit per fixation", True,
        "mean over fixations of the log2 ratio of the predicted density to that of the centre bias", "kuemmerer"),
    "explained": Metric(
        "explained", "share", True,
        "information gain of the row over that of the gold standard, the ratio of their means over pictures",
        "kuemmerer"),
    "auc_uniform": Metric(
        "AUC", "all pixels", True,
        "probability that a fixated pixel has a higher value than a pixel drawn at random from the picture, ties "
        "count half", "judd"),
    "auc_judd": Metric(
        "AUC-Judd", "", True,
        "area under ROC with a threshold at every fixated value and the px of the picture that are not fixated as "
        "negatives", "judd"),
    "auc_borji": Metric(
        "AUC-Borji", "", True, "area under ROC with negatives drawn at random from all pixels", "borji"),
    "auc_shuffled": Metric(
        "shuffled AUC", "", True,
        "as AUC, but the negatives are fixations of other pictures: about 0.5 for a fixed centre bias, less for one "
        "that is made of these very fixations (centre bias, mean map)", "tatler"),
    "nss": Metric(
        "NSS", "SD", True, "mean value at fixations of the map after standardising it over the pixels", "peters"),
    "cc": Metric("CC", "", True, "Pearson correlation of map and human map over the pixels", "bylinskii"),
    "sim": Metric(
        "SIM", "", True, "sum over pixels of the smaller of map and human map, each of sum 1", "bylinskii"),
    "kl": Metric("KL", "nat", False, "Kullback-Leibler divergence of the map from the human map", "bylinskii"),
    "emd": Metric(
        "EMD", "px", False, "earth mover's distance between map and human map, px of the picture, on a coarse grid",
        "rubner"),
}  # fmt: skip
"""Every metric that a run may show, in the words of its report."""

WITH_MAPS = ("cc", "sim", "kl", "emd")
"""The metrics that compare with a human map; the others need fixations."""


def headline(results: Results) -> str | None:
    """The metric that the best model was picked by: the first shown one that it has a value for; None without one."""
    shown = [name for name in results.shown if name != "explained"]
    return next((name for name in shown if results.entry(results.best, name).get("value") is not None), None)


def verdict(results: Results) -> str:
    """Plain sentences: does the best model beat the centre bias, what share does it explain, what is fair to report."""
    unfinished = incomplete(results, "unit")
    start = f"{unfinished}. " if unfinished else ""
    if not results.rows:
        return f"{start}No verdict, because nothing was scored."
    key, best = headline(results), results.best
    if key is None or best is None:
        return f"{start}No model was scored: the table holds baselines and ceilings alone."
    said = (_against_centre, _share, _beside, _honest)
    return start + " ".join(filter(None, (say(results, best, key) for say in said)))


def centre_gain(results: Results, model: str, key: str) -> dict[str, Any]:
    """The paired gain of a model over the centre bias of the other pictures: value, ci95; empty where there is none."""
    return results.entry(model, key) if key == "information_gain" else results.gain(model, key, CENTRE)


def too_few(results: Results, model: str, key: str) -> str:
    """Why nothing can be claimed of a model by a metric, such as "2 pictures, and a claim takes at least 6", or ""."""
    n = results.entry(model, key).get("n", LEAST_UNITS)
    return f"{counted(n, 'picture')}, and a claim takes at least {LEAST_UNITS}" if n < LEAST_UNITS else ""


def beats_centre(results: Results, model: str, key: str) -> bool | None:
    """Is a model better than the centre bias of the other pictures, or worse (False)? None: nobody can tell."""
    bounds = centre_gain(results, model, key).get("ci95")
    if too_few(results, model, key) or bounds is None or bounds[0] <= 0 <= bounds[1]:
        return None
    return bool((bounds[0] > 0) == METRICS[key].rises)


def _against_centre(results: Results, best: str, key: str) -> str:
    backbone = results.manifest.get("backbone") or {}
    control = f" of the untrained {backbone.get('arch', 'network')}" if backbone.get("weights") == "none" else ""
    words, entry, name = METRICS[key], results.entry(best, key), f"“{results.label(best)}”{control}"
    gain, better = centre_gain(results, best, key), beats_centre(results, best, key)
    digits = digits_for(gain.get("value"), *(gain.get("ci95") or []))
    scored = f"{words.name} {score(entry, digits)}{f' {words.unit}' if words.unit else ''}"
    if gain.get("value") is None:
        return f"{name} scores {scored}; there is no centre bias to compare it with."
    if why := too_few(results, best, key):
        claim = f"was compared with the centre bias of the other pictures, which says too little ({why})"
    elif gain.get("ci95") is None:
        claim = "was compared with the centre bias of the other pictures, without an interval"
    elif better is not None:
        claim = f"predicts where people look {'better' if better else 'worse'} than the centre bias of the other "
        claim += "pictures does"
    else:
        claim = "cannot be told apart from the centre bias of the other pictures"
    paired = "" if key == "information_gain" else f", {score(gain, digits, signed=True)} paired"
    return f"{name} {claim}: {scored}{paired}."


def _share(results: Results, best: str, key: str) -> str:
    share, whole = results.entry(best, "explained"), results.entry(GOLD, "information_gain")
    if whole.get("value") is None:
        return "There is no gold standard of other observers, so the share of what could be explained is unknown."
    if results.entry(best, "information_gain").get("value") is None:
        return ""
    if share.get("value") is None:
        return (
            f"The other observers of a picture gain {score(whole)} bit, not clearly above 0: beyond the centre bias "
            "there is nothing certain to measure the model against."
        )
    bounds = share.get("ci95")
    percent = [100 * value for value in (share["value"], *(bounds or []))]
    digits = digits_for(*(value / 100 for value in percent)) - 2  # not "0 %" of what is not 0
    spread = f" {interval(percent[1:], digits)}" if bounds else ""
    return (
        f"The other observers of a picture gain {score(whole)} bit: the model explains "
        f"{number(percent[0], digits)}\N{NO-BREAK SPACE}%{spread} of what they know beyond the centre bias."
    )


def _beside(results: Results, best: str, key: str) -> str:
    """A second metric, beside centre bias and observers."""
    scored = results.rows[best]
    second = next((name for name in ("nss", "auc_shuffled", "auc_uniform") if name != key and name in scored), None)
    if second is None or scored[second].get("value") is None:
        return ""
    values = {
        "for the centre bias": results.entry(CENTRE, second).get("value"),
        "for the map of the other observers": results.entry(OTHERS, second).get("value"),
    }
    beside = [f"{number(value, 2)} {words}" for words, value in values.items() if value is not None]
    name = METRICS[second].name
    found = f"{name[0].upper()}{name[1:]} is {number(scored[second]['value'], 2)}"
    return f"{found}, beside {' and '.join(beside)}." if beside else f"{found}."


def _honest(results: Results, best: str, key: str) -> str:
    """What is fair to report where the best of several was picked on the very pictures that it is scored on."""
    models = [name for name in results.of_kind("model") if name != CHOSEN]
    if len(models) < 2 or best == CHOSEN:
        return ""
    picked = f"It is the best of {len(models)} models, picked by these very scores, which flatters it"
    fair = results.entry(CHOSEN, key)
    if fair.get("value") is None:
        return f"{picked}."
    name = results.label(CHOSEN)
    return f"{picked}; the figure to report is the row “{name}”, chosen without the test pictures: {score(fair)}."


def caveats(results: Results) -> list[str]:
    """What to know before the numbers are believed, a sentence each."""
    whole = results.counts.get("pictures") or 0
    scored = (results.metrics.get("n") or {}).get("pictures", whole)
    found = []
    if (results.manifest.get("backbone") or {}).get("weights") == "none":
        found.append(
            "The network is untrained (weights: none). The scores are a control: what the architecture, the read-out "
            "and the centre bias do alone. They say nothing about a trained network."
        )
    if results.rows and scored != whole:
        these = "this one" if scored == 1 else f"these {scored}"
        found.append(f"The maps cover {scored} of {counted(whole, 'picture')}; every row is over {these} alone.")
    if scored == 1:
        found.append("There is one picture: no interval, and nothing is said about others.")
    elif results.rows and scored < FEW_PICTURES:
        found.append(f"There are {scored} pictures only: intervals over so few are rough, and too narrow.")
    if results.rows:
        found += _observers(results)
    models = [key for key in results.rows if results.predictors[key]["kind"] == "model"]
    above = [results.label(key) for key in models if (results.entry(key, "explained").get("value") or 0) > 1]
    if above:
        found.append(f"More than the gold standard is explained by {', '.join(above)}: with few observers or fixations "
                     "the gold standard is no upper bound.")  # fmt: skip
    return found


def _observers(results: Results) -> list[str]:
    """What the number of observers allows to say: the ceilings that are not there and why, or how good they are."""
    rows, observers = results.rows, results.counts.get("observers") or 0
    if GOLD in rows:
        if observers >= FEW_OBSERVERS:
            return []
        told = any(results.entry(key, "explained").get("value") is not None for key in rows)
        low = "so the gold standard is too low" + (" and the explained share too high" if told else "")
        return [f"There are {observers} observers only: a density of so few understates what people share, {low}."]
    if (results.metrics.get("n") or {}).get("fixations") == 0:
        gone = [lookup(METRICS, name).name for name in results.shown if name not in WITH_MAPS]
        what = f"{', '.join(gone)} are undefined for that reason, and " if gone else ""
        return [f"The data set gives human maps and no fixations: {what}there are no ceilings."]
    if not observers:
        return ["The data set tells no observers apart: there are no ceilings from other observers."]
    if observers == 1:
        return ["There is one observer: there are no ceilings."]
    if CENTRE not in rows:
        return ["No unit of baselines finished: there are neither baselines nor ceilings."]
    if (results.config.get("baselines") or {}).get("observers") is False:
        return ["The config leaves the ceilings out (baselines.observers: false)."]
    if OTHERS not in rows:
        return ["No picture has fixations of two observers: there are no ceilings."]
    if observers == 2:
        return ["There are two observers: the gold standard needs three observers."]
    return ["No picture has fixations of three observers: the gold standard needs three observers."]
