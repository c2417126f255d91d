# SPDX-License-Identifier: Apache-2.0
"""The words of a report on saliency predictors: what the metrics are called, the verdict, and what limits it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from gazeray.report.words import interval, number

FEW_PICTURES, FEW_OBSERVERS = 30, 10
"""Below these the verdict is followed by a warning."""

CENTRE, GOLD, OTHERS, CHOSEN = "centre_bias", "gold_standard", "other_observers", "chosen"

PROBES = {"readout": "read-out", "ridge": "ridge", "pooled": "pooled"}

REFERENCES = {
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


@dataclass(frozen=True)
class Metric:
    """A metric in words. unit: as in a table's head. rises: larger is better. source: a key of REFERENCES."""

    name: str
    unit: str
    rises: bool
    definition: str
    source: str

    @property
    def head(self) -> str:
        """Name and unit, and the direction where smaller is better."""
        unit = f" ({self.unit})" if self.unit else ""
        return f"{self.name}{unit}{'' if self.rises else ', smaller is better'}"


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
        "area under ROC with a threshold at every fixated value and the other pixels as negatives", "judd"),
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


def probe_name(key: str) -> str:
    """A probe in words."""
    return PROBES.get(key, key)


def metric(key: str) -> Metric:
    """The metric in words. Raises ValueError for one that is not known."""
    if key not in METRICS:
        raise ValueError(f"metrics.json: metric {key} is none of {', '.join(METRICS)}")
    return METRICS[key]


def counted(count: int, noun: str) -> str:
    """How many of a thing: "1 picture", "12 pictures"."""
    return f"{count} {noun}{'' if count == 1 else 's'}"


def score(entry: Mapping[str, Any] | None, digits: int = 2) -> str:
    """A value with its interval in words."""
    entry = entry or {}
    return f"{number(entry.get('value'), digits)} {interval(entry.get('ci95'), digits)}".strip()


def headline(metrics: Mapping[str, Any]) -> str | None:
    """The metric that the best model was picked by: the first shown one that it has a value for; None without one."""
    best = (metrics.get("rows") or {}).get(metrics.get("best")) or {}
    shown = [key for key in metrics.get("metrics_shown") or [] if key != "explained"]
    return next((key for key in shown if (best.get(key) or {}).get("value") is not None), None)


def verdict(manifest: Mapping[str, Any], metrics: Mapping[str, Any]) -> str:
    """Plain sentences: does the best model beat the centre bias, what share does it explain, what is fair to report."""
    units = manifest.get("units") or {}
    done = sum(state == "done" for state in units.values())
    start = f"Incomplete run ({done} of {len(units)} units). " if done < len(units) else ""
    if not metrics.get("rows"):
        return f"{start}No verdict, because nothing was scored."
    key = headline(metrics)
    if key is None:
        return f"{start}No model was scored: the table holds baselines and ceilings alone."
    best = str(metrics["best"])
    backbone = manifest.get("backbone") or {}
    control = f" of the untrained {backbone.get('arch', 'network')}" if backbone.get("weights") == "none" else ""
    name = f"“{_label(metrics, best)}”{control}"
    sentences = [
        _against_centre(metrics["rows"][best][key], name, key),
        _share(metrics, best),
        _beside(metrics, best, key),
    ]
    return start + " ".join(sentence for sentence in [*sentences, _honest(metrics, best, key)] if sentence)


def _label(metrics: Mapping[str, Any], key: str) -> str:
    return str((metrics["predictors"].get(key) or {}).get("label", key))


def _is_model(metrics: Mapping[str, Any], key: str) -> bool:
    return bool(metrics["predictors"][key]["kind"] == "model")


def _against_centre(entry: Mapping[str, Any], name: str, key: str) -> str:
    words, gain = METRICS[key], entry if key == "information_gain" else entry.get("gain") or {}
    bounds = gain.get("ci95")
    scored = f"{words.name} {score(entry)}{f' {words.unit}' if words.unit else ''}"
    if gain.get("value") is None:
        return f"{name} scores {scored}; there is no centre bias to compare it with."
    low, high = (bounds if words.rises else [-bound for bound in reversed(bounds)]) if bounds else (0.0, 0.0)
    if bounds is None:
        claim = "was compared with the centre bias of the other pictures, without an interval"
    elif low > 0:
        claim = "predicts where people look better than the centre bias of the other pictures does"
    elif high < 0:
        claim = "predicts where people look worse than the centre bias of the other pictures does"
    else:
        claim = "cannot be told apart from the centre bias of the other pictures"
    paired = (
        "" if key == "information_gain" else f", {number(gain['value'], 2, True)} {interval(bounds, 2, True)} paired"
    )
    return f"{name} {claim}: {scored}{paired}."


def _share(metrics: Mapping[str, Any], best: str) -> str:
    share = metrics["rows"][best].get("explained") or {}
    whole = (metrics["rows"].get(GOLD) or {}).get("information_gain") or {}
    if whole.get("value") is None:
        return "There is no gold standard of other observers, so the share of what could be explained is unknown."
    if (metrics["rows"][best].get("information_gain") or {}).get("value") is None:
        return ""
    if share.get("value") is None:
        return (
            f"The other observers of a picture gain {score(whole)} bit, not clearly above 0: beyond the centre bias "
            "there is nothing certain to measure the model against."
        )
    bounds = share.get("ci95")
    spread = f" [{number(100 * bounds[0], 0)}, {number(100 * bounds[1], 0)}]" if bounds else ""
    return (
        f"The other observers of a picture gain {score(whole)} bit: the model explains "
        f"{number(100 * share['value'], 0)} %{spread} of what they know beyond the centre bias."
    )


def _beside(metrics: Mapping[str, Any], best: str, key: str) -> str:
    """A second metric, beside centre bias and observers."""
    rows = metrics["rows"]
    second = next((name for name in ("nss", "auc_shuffled", "auc_uniform") if name != key and name in rows[best]), None)
    if second is None or rows[best][second].get("value") is None:
        return ""
    values = {
        "for the centre bias": ((rows.get(CENTRE) or {}).get(second) or {}).get("value"),
        "for the map of the other observers": ((rows.get(OTHERS) or {}).get(second) or {}).get("value"),
    }
    beside = [f"{number(value, 2)} {words}" for words, value in values.items() if value is not None]
    name = METRICS[second].name
    found = f"{name[0].upper()}{name[1:]} is {number(rows[best][second]['value'], 2)}"
    return f"{found}, beside {' and '.join(beside)}." if beside else f"{found}."


def _honest(metrics: Mapping[str, Any], best: str, key: str) -> str:
    """What is fair to report where the best of several was picked on the very pictures that it is scored on."""
    models = [name for name in metrics["rows"] if _is_model(metrics, name) and name != CHOSEN]
    if len(models) < 2 or best == CHOSEN:
        return ""
    picked = f"It is the best of {len(models)} models, picked by these very scores, which flatters it"
    fair = (metrics["rows"].get(CHOSEN) or {}).get(key) or {}
    if fair.get("value") is None:
        return f"{picked}."
    name = _label(metrics, CHOSEN)
    return f"{picked}; the figure to report is the row “{name}”, chosen without the test pictures: {score(fair)}."


def caveats(manifest: Mapping[str, Any], metrics: Mapping[str, Any]) -> list[str]:
    """What to know before the numbers are believed, a sentence each."""
    counts, backbone, rows = manifest.get("counts") or {}, manifest.get("backbone") or {}, metrics.get("rows") or {}
    whole = counts.get("pictures") or 0
    scored = (metrics.get("n") or {}).get("pictures", whole)
    found = []
    if backbone.get("weights") == "none":
        found.append(
            "The network is untrained (weights: none). The scores are a control: what the architecture, the read-out "
            "and the centre bias do alone. They say nothing about a trained network."
        )
    if rows and scored != whole:
        these = "this one" if scored == 1 else f"these {scored}"
        found.append(f"The maps cover {scored} of {counted(whole, 'picture')}; every row is over {these} alone.")
    if scored == 1:
        found.append("There is one picture: no interval, and nothing is said about others.")
    elif rows and scored < FEW_PICTURES:
        found.append(f"There are {scored} pictures only: intervals over so few are rough, and too narrow.")
    if rows:
        found += _observers(manifest, metrics)
    shares = {key: (row.get("explained") or {}).get("value") or 0 for key, row in rows.items()}
    above = [_label(metrics, key) for key, share in shares.items() if share > 1 and _is_model(metrics, key)]
    if above:
        found.append(f"More than the gold standard is explained by {', '.join(above)}: with few observers or fixations "
                     "the gold standard is no upper bound.")  # fmt: skip
    return found


def _observers(manifest: Mapping[str, Any], metrics: Mapping[str, Any]) -> list[str]:
    """What the number of observers allows to say: the ceilings that are not there and why, or how good they are."""
    rows, observers = metrics["rows"], (manifest.get("counts") or {}).get("observers") or 0
    if GOLD in rows:
        if observers >= FEW_OBSERVERS:
            return []
        told = any((row.get("explained") or {}).get("value") is not None for row in rows.values())
        low = "so the gold standard is too low" + (" and the explained share too high" if told else "")
        return [f"There are {observers} observers only: a density of so few understates what people share, {low}."]
    if _without_fixations(metrics):
        gone = [metric(name).name for name in metrics["metrics_shown"] if name not in WITH_MAPS]
        what = f"{', '.join(gone)} are undefined for that reason, and " if gone else ""
        return [f"The data set gives human maps and no fixations: {what}there are no ceilings."]
    if not observers:
        return ["The data set tells no observers apart: there are no ceilings from other observers."]
    if observers == 1:
        return ["There is one observer: there are no ceilings."]
    if CENTRE not in rows:
        return ["No unit of baselines finished: there are neither baselines nor ceilings."]
    if ((manifest.get("config") or {}).get("baselines") or {}).get("observers") is False:
        return ["The config leaves the ceilings out (baselines.observers: false)."]
    if OTHERS not in rows:
        return ["No picture has fixations of two observers: there are no ceilings."]
    if observers == 2:
        return ["There are two observers: the gold standard needs three observers."]
    return ["No picture has fixations of three observers: the gold standard needs three observers."]


def _without_fixations(metrics: Mapping[str, Any]) -> bool:
    return bool((metrics.get("n") or {}).get("fixations") == 0)


def undefined(metrics: Mapping[str, Any]) -> list[str]:
    """Why cells of the score table are empty, and which rows were scored on fewer pictures; a sentence each."""
    reasons: dict[str, list[str]] = {}
    for key, row in (metrics.get("rows") or {}).items():
        gone: dict[str, list[str]] = {}
        for name in metrics["metrics_shown"]:
            entry = row.get(name) or {}
            if entry.get("value") is None:
                gone.setdefault(_reason(metrics, key, name), []).append(METRICS[name].name)
            elif 0 < entry.get("n", 0) < metrics["n"]["pictures"]:
                scored = f"scored on {entry['n']} of {metrics['n']['pictures']} pictures, {_others(metrics, key, name)}"
                gone.setdefault(scored, []).append(METRICS[name].name)
        for reason, names in gone.items():
            reasons.setdefault(reason, []).append(f"{_label(metrics, key)} ({', '.join(names)})")
    return [f"{reason[0].upper()}{reason[1:]}: {'; '.join(rows)}." for reason, rows in reasons.items()]


def _others(metrics: Mapping[str, Any], key: str, name: str) -> str:
    """Why a row's metric has no value on some of the pictures."""
    model = _is_model(metrics, key)
    scored_maps = model and metrics.get("study") == "score_maps"
    units = ["maps-"] * scored_maps + ["baselines-"] * (not model or name == "explained")
    if any(unit.startswith(tuple(units)) for unit in metrics.get("failed") or []):
        return "undefined on the others or in a unit that failed"
    row = metrics["rows"][key]
    most = max((entry.get("n") or 0) for entry in row.values())
    if scored_maps and row[name]["n"] == most:
        return "no map of the others"
    return "undefined on the others"


def _reason(metrics: Mapping[str, Any], key: str, name: str) -> str:
    rows = metrics["rows"]
    if name not in WITH_MAPS and _without_fixations(metrics):
        return "the data set gives human maps and no fixations"
    if name == "explained":
        gains = [((rows.get(one) or {}).get("information_gain") or {}).get("value") for one in (GOLD, key)]
        if gains[0] is None:
            return "there is no gold standard to divide by"
        if gains[1] is not None:
            return "the gold standard’s gain, to divide by, is not clearly above 0"
    if key in (GOLD, OTHERS) and name in WITH_MAPS:
        return "one left-out person’s fixations make no human map to compare with"
    if key == "uniform":
        return "undefined for a map that is the same everywhere"
    return "undefined on every picture (no fixations, no human map, or a map that is the same everywhere)"
