# SPDX-License-Identifier: Apache-2.0
"""The methods of the emotion study, in the words of its report."""

from __future__ import annotations

from collections.abc import Sequence

from gazeray.report.blocks import Block, Section, Terms, Text
from gazeray.report.results import Results
from gazeray.report.sections import methods as sections
from gazeray.report.sections import provenance
from gazeray.report.sections.classification import held_out, resampled
from gazeray.report.sections.search import choice_name
from gazeray.report.words import counted, number
from gazeray.studies.emotion.views import SEES, models
from gazeray.studies.emotion.words import METRICS, hold_out, scaled_within

REFERENCES = {
    "cohen": "Cohen, J. (1968). Weighted kappa: nominal scale agreement with provision for scaled disagreement or "
    "partial credit. Psychological Bulletin 70, 213–220. doi:10.1037/h0026256.",
    "lin": "Lin, L. I.-K. (1989). A concordance correlation coefficient to evaluate reproducibility. Biometrics 45, "
    "255–268. doi:10.2307/2532051.",
    "guo": "Guo, C. et al. (2017). On calibration of modern neural networks. ICML 2017. arXiv:1706.04599.",
    "focal": "Lin, T.-Y. et al. (2017). Focal loss for dense object detection. ICCV 2017, 2999–3007. "
    "doi:10.1109/ICCV.2017.324.",
    "breiman": "Breiman, L. (2001). Random forests. Machine Learning 45, 5–32. doi:10.1023/A:1010933404324.",
    "ordinal": "McCullagh, P. (1980). Regression models for ordinal data. Journal of the Royal Statistical Society B "
    "42, 109–127. doi:10.1111/j.2517-6161.1980.tb01109.x.",
}

FOLDS = {
    "participants": "The participants were divided into {dealt}. The model tested on a fold was never given a trial of "
    "its participants. Pictures were seen by people on both sides: the scores speak for new people with these "
    "pictures.",
    "stimuli": "The pictures were divided into {dealt}. The model tested on a fold was never given a trial of its "
    "pictures. Everybody is on both sides, so that how a person uses the scale, and what is particular to their "
    "signals, is known: the scores speak for new pictures seen by these very people.",
    "both": "Participants and pictures were each divided into groups, and every group of one was crossed with every "
    "group of the other: {dealt}. The model tested on a fold was given neither a trial of its participants nor one of "
    "its pictures.",
    "neither": "Trials were divided into {dealt} at random. People and pictures are on both sides: the model knows how "
    "each person uses the scale and how each picture is rated, and the scores speak for nobody and nothing new.",
}


FILE = "The folds were dealt elsewhere and read from a file; what it claims to hold out was checked."


def methods(results: Results, views: Sequence[Results]) -> Section:
    """The section on methods."""
    held = hold_out(results)
    dealt = counted(len(results.manifest.get("folds") or []), "fold")
    paragraphs: list[Block] = [
        Text(FILE if (results.config.get("folds") or {}).get("path") else FOLDS[held].format(dealt=dealt), "Folds."),
        Text(_model(results), "Model."),
        Text(_fitting(results), "Fitting."),
        Text(_signals(results), "Signals."),
    ]
    references = ["phipson", "bengio", "field", *provenance.references(results)]
    if views:
        keys = list(dict.fromkeys(name for view in views for name in view.shown))
        pairs = [(METRICS[key].head, METRICS[key].definition) for key in keys if METRICS[key].definition]
        paragraphs += [Text("Over the test trials of all folds together, label by label.", "Scores."), Terms(pairs)]
        paragraphs += [Text(BASELINES, "Baselines"), Text(CEILINGS, "Ceilings"), Text(_sure(views[0]), "How sure.")]
        references += [METRICS[key].source for key in keys if METRICS[key].source]
        references += ["owen"] if len(held_out(views[0])) > 1 else []
    loss = results.config.get("loss") or {}
    references += ["focal"] if loss.get("gamma") else []
    references += ["ordinal"] if (results.config.get("model") or {}).get("head") == "ordinal" else []
    references += ["cawley"] if results.metrics.get("search") else []
    references += ["breiman"] if results.metrics.get("importance") else []
    return sections.methods(paragraphs, [REFERENCES.get(key, key) for key in references])


RECURRENCE = {"lstm": "an LSTM", "gru": "a GRU", "transformer": "a transformer"}

BASELINES = (
    "are fitted in the same folds on all trials that are not tested, each a logistic regression on what it knows. "
    "Majority: the shares of the levels, nothing else. Participant’s mean, picture’s mean: how the ratings of the same "
    "person, of the same picture by known people, differ from all, shrunken as far as their number asks for; "
    "participant + picture: both, fitted together and added up. What was held out has no mean of its own, and its row "
    "is undefined. Order, duration, rate, loss: when and how well a trial was recorded. All without gaze together: all "
    "of these. Ridge: simple features of gaze and body, which a network should beat. The branch of the picture is a "
    "network, and sees neither gaze nor body either."
)
CEILINGS = (
    "are what people tell. Other people: the ratings of everybody else of the same picture, each rater left out in "
    "turn. Test-retest: the same person’s other ratings of the same picture, where there are any. A model of signals "
    "may beat the first, since it sees this person, and hardly the second."
)


def _model(results: Results) -> str:
    told, config = results.manifest.get("branches") or {}, results.config.get("model") or {}
    used = [f"{SEES[name]} ({name})" for name in told.get("used") or [] if name in SEES]
    over = "the filters of its convolution" if config.get("recurrence") == "lstm_over_channels" else "time"
    parts = (
        [f"One branch for each of: {', '.join(used)}; their features are fused, with a head for each label."]
        if used
        else []
    )
    if "series" in (told.get("used") or []) and config.get("recurrence"):
        kind = RECURRENCE[str(config["recurrence"]).partition("_")[0]]
        parts.append(f"Signals go through convolutions and {kind} over {over}.")
    count = len(models(results))
    if count > 1:
        parts.append(f"{counted(count, 'subset')} of the branches were fitted, each as a network of its own.")
    if config.get("head") == "ordinal":
        parts.append("Of ordered labels the head gives cumulative logits with proportional odds (McCullagh, 1980).")
    return " ".join(parts)


def _fitting(results: Results) -> str:
    loss, train = results.config.get("loss") or {}, results.config.get("train") or {}
    gamma = loss.get("gamma")
    parts = ["The loss is the sum over the labels of the cross-entropy"]
    if gamma:
        form = (
            "exp of the weighted loss in place of the probability, as published"
            if loss.get("form") == "published"
            else "Lin et al., 2017"
        )
        parts = [f"The loss is the sum over the labels of the focal loss with gamma {gamma:g} ({form})"]
    if train.get("class_weights"):
        parts.append("levels weighing by their inverse frequency among the training trials")
    if (balance := loss.get("balance", "none")) != "none":
        parts.append(f"training trials drawn by the rule “{balance}”, within the training side of each fold")
    if views := (results.config.get("augment") or {}).get("views"):
        parts.append(
            f"picture, gaze and scanpath moved by one random affine, in {views} of {views + 1} draws on average"
        )
    chosen = choice_name(results)
    how = (
        f" The setting was chosen in inner folds of the training trials alone, by {chosen}." if chosen
        else " The epoch whose weights are tested was chosen on validation trials, held out as the test is."
    )  # fmt: skip
    undone = (
        " Weights and balancing are undone before anything is scored: probabilities are those of levels as frequent as "
        "in training."
    )
    return f"{', '.join(parts)}.{how}{undone}"


def _signals(results: Results) -> str:
    config = results.config.get("signals") or {}
    channels = [
        f"{one['name']} ({one['unit']})" if one.get("unit") else str(one["name"])
        for one in results.manifest.get("channels") or []
    ]
    parts = [f"Channels: {', '.join(channels)}."] if channels else []
    if config:
        parts.append(
            f"Each trial is put onto {config['samples']} points over {number(config['duration_ms'], 0)} ms by its "
            f"timestamps. Invalid and implausible values are lost; losses of up to "
            f"{number(config['max_gap_ms'], 0)} ms are interpolated, longer ones masked, and the mask is an input."
        )
    if scaled_within(results):
        parts.append("Signals are scaled within each person, without labels.")
    return " ".join(parts)


def _sure(view: Results) -> str:
    crossed = (
        " Both are drawn independently, and a trial counts as often as its participant was drawn times as often as its "
        "picture was (Owen, 2007)."
    )
    test = view.metrics.get("permutation") or {}
    times = f" {counted(test['n'], 'time')}" if test.get("n") else ""
    return (
        f"Intervals are 95 % percentile intervals of a cluster bootstrap over {resampled(view)}, each with all their "
        f"trials (Field and Welsh, 2007).{crossed if len(held_out(view)) > 1 else ''} They do not cover the noise of "
        f"fitting again. Labels were shuffled{times} {test.get('design', '')}, while predictions stayed fixed (Phipson "
        "and Smyth, 2010); the spread of the shuffles was widened, since folds train on each other’s test trials "
        "(Bengio and Grandvalet, 2004). A score is called above chance, or better than a row, where interval "
        "and one-sided p (0.025) both say so."
    )
