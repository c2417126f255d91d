# SPDX-License-Identifier: Apache-2.0
"""The learner of the emotion study: what it learns and what not, and that a cut changes no bit."""

from __future__ import annotations

import pickle
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.numpy import load

from gazeray.config import ConfigError
from gazeray.learn.fit import Fit, Task, on_device, predict
from gazeray.learn.trained import Trained
from gazeray.metrics.ordinal import score_ordinal
from gazeray.models.emotion import SMALLEST_SCANPATH
from gazeray.storage import Folder
from gazeray.store import Store
from gazeray.studies.emotion.config import BRANCHES, SMALLEST_PUBLISHED_PX, Branch, check_metrics
from gazeray.studies.emotion.learner import EmotionLearner
from gazeray.studies.emotion.network import PictureNetwork
from gazeray.study import Row, Tried
from gazeray.unit import Unit, UnitFolder, Worker
from tests.learn.test_fit import Memory, same_weights
from tests.studies.emotion.tiny_trials import (
    FOLD,
    LABELS,
    PICTURES,
    ROWS,
    SAMPLES,
    TEST,
    TRAIN,
    VALIDATION,
    config,
    label,
    learner,
    trials,
)  # fmt: skip

CPU = torch.device("cpu")
EVERYTHING = config(
    augment={"views": 2}, model={"head": "ordinal"}, loss={"balance": "classes", "gamma": 2.0, "label_smoothing": 0.1},
    train={"epochs": 4},
)  # fmt: skip


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Store:
    return trials(Folder(tmp_path_factory.mktemp("trials")), views=2)


@pytest.fixture(scope="module")
def null(tmp_path_factory: pytest.TempPathFactory) -> Store:
    return trials(Folder(tmp_path_factory.mktemp("null")), effect=0.0)


def fitted(one: EmotionLearner, store: Store, train: np.ndarray = TRAIN, memory: Memory | None = None) -> Fit:
    run = Fit(Task(one, store, train, VALIDATION, seed=3), CPU, memory or Memory())  # type: ignore[arg-type]
    run.run()
    return run


def scores_of(run: Fit, store: Store, rows: np.ndarray = TEST) -> dict[str, dict[str, float]]:
    """{label: {metric: value}} of test rows."""
    rows, found = predict(run.learner, run.model, store, rows, CPU)
    values = {}
    for one in LABELS:
        index = store.plain(f"{one.name}_index")[rows]
        prior = np.full(3, 1 / 3)
        values[one.name] = {
            k: float(v[0]) for k, v in score_ordinal(index, found[one.name], prior, one.classes).items()
        }
    return values


# -- what is learned


@pytest.mark.parametrize(
    ("branch", "known", "unknown"),
    [
        ("series", "arousal", "felt.valence"),
        ("scanpath", "felt.valence", "arousal"),
        ("picture", "felt.valence", "arousal"),
    ],
)
@pytest.mark.parametrize("head", ["classes", "ordinal"])
def test_each_branch_learns_what_is_in_it_and_no_more(
    store: Store, branch: Branch, known: str, unknown: str, head: str
) -> None:
    found = scores_of(
        fitted(learner(config(model={"head": head}, train={"learning_rate": 1e-2}), [branch]), store), store
    )
    assert found[known]["spearman"] > 0.6
    assert abs(found[unknown]["spearman"]) < 0.4


def test_branches_together_learn_both(store: Store) -> None:
    cfg = config(train={"learning_rate": 1e-2, "epochs": 12})
    found = scores_of(fitted(learner(cfg, BRANCHES), store), store)
    assert min(found[one.name]["spearman"] for one in LABELS) > 0.6


def test_where_there_is_nothing_nothing_is_found(null: Store) -> None:
    run = fitted(learner(config(train={"patience": 3}), BRANCHES), null)
    for own in scores_of(run, null, np.concatenate([VALIDATION, TEST])).values():
        assert abs(own["spearman"]) < 0.3
        assert own["log_loss"] > 0.95 * np.log(3)


@pytest.mark.parametrize(
    ("balance", "weigh"), [("none", True), ("none", False), ("classes", False), ("published_over", True)]
)
def test_probabilities_are_of_the_natural_prior_whatever_was_drawn_and_weighed(
    tmp_path: Path, balance: str, weigh: bool
) -> None:
    rng = np.random.default_rng(0)
    uneven = rng.choice(3, len(ROWS), p=[0.62, 0.3, 0.08])
    store = trials(Folder(tmp_path), effect=0.0, arousal_index=uneven)
    cfg = config(
        loss={"balance": balance}, train={"class_weights": weigh, "epochs": 12, "learning_rate": 1e-2, "patience": 3}
    )
    run = fitted(learner(cfg), store)
    prior = np.bincount(uneven[TRAIN], minlength=3) / len(TRAIN)
    _, found = predict(run.learner, run.model, store, TEST, CPU)
    np.testing.assert_allclose(found["arousal"].mean(axis=0), prior, atol=0.06)
    np.testing.assert_allclose(found["arousal"].sum(axis=1), 1, atol=1e-6)


def test_natural_undoes_weights_and_draws_by_the_formula(store: Store) -> None:
    """p * prior / (weights * shares of what is drawn), brought to a sum of 1."""
    one = learner(config(loss={"balance": "published_over"})).prepare(TRAIN[5:], store)
    found = one.found
    assert found is not None
    log_p = torch.log_softmax(torch.randn(4, 3), dim=1)
    natural = one.natural({own.name: log_p for own in LABELS})
    for place, own in enumerate(LABELS):
        ratio = log_p.exp().numpy() * found.prior[place] / found.trained[place]
        np.testing.assert_allclose(natural[own.name].numpy(), ratio / ratio.sum(axis=1, keepdims=True), rtol=1e-5)
    index = store.plain("arousal_index")[TRAIN[5:]]
    np.testing.assert_allclose(found.prior[0], np.bincount(index, minlength=3) / len(index))


# -- it can be cut, and travels


@pytest.mark.parametrize("recurrence", ["lstm", "gru", "transformer", "lstm_over_channels"])
def test_resumed_fit_equals_an_undisturbed_one_bit_by_bit(store: Store, recurrence: Any) -> None:
    cfg = EVERYTHING.model_copy(update={"model": EVERYTHING.model.model_copy(update={"recurrence": recurrence})})
    one = learner(cfg, BRANCHES)
    undisturbed, memory = fitted(one, store), Memory(stop_after=2)
    with pytest.raises(KeyboardInterrupt):
        fitted(one, store, memory=memory)
    torch.manual_seed(999)
    resumed = fitted(pickle.loads(pickle.dumps(one)), store, memory=memory)
    assert memory.saves == 4
    assert resumed.progress == undisturbed.progress
    assert same_weights(resumed, undisturbed)


def test_trained_blocks_of_a_real_network_go_on_after_a_cut(tmp_path: Path) -> None:
    """Blocks with batch normalisations, one place each, and a last batch of one example."""
    network = PictureNetwork("mobilenet_v2", "none", Folder(tmp_path), "", size_px=32, unfreeze=2, seed=0)
    with torch.inference_mode():
        shape = network.frozen()(torch.zeros(1, 3, 32, 32)).shape[1:]
    seen = np.random.default_rng(0).normal(0, 1, (len(ROWS), 3, *shape)).astype(np.float16)
    store, train = trials(Folder(tmp_path / "store"), views=2, picture=seen), TRAIN[:17]
    one = replace(
        learner(config(augment={"views": 2}, train={"epochs": 2, "batch_size": 8}), BRANCHES), network=network
    )
    undisturbed, memory = fitted(one, store, train), Memory(stop_after=1)
    with pytest.raises(KeyboardInterrupt):
        fitted(one, store, train, memory)
    assert same_weights(fitted(one, store, train, memory), undisturbed)


def test_prepared_learner_travels(store: Store) -> None:
    run = fitted(learner(config(train={"epochs": 1}), BRANCHES), store)
    there = pickle.loads(pickle.dumps(run.learner))
    first, second = (predict(own, run.model, store, TEST, CPU)[1] for own in (run.learner, there))
    assert all(np.array_equal(first[name], second[name]) for name in first)


def test_published_sizes_are_fitted_the_same_twice(tmp_path: Path) -> None:
    """With a last batch of one example, whose batch statistics do not exist."""
    side = 76
    scanpath = np.random.default_rng(0).integers(0, 255, (len(ROWS), 1, side, side)).astype(np.uint8)
    store = trials(Folder(tmp_path), scanpath=scanpath)
    cfg = config(model={"size": "published"}, scanpath={"side_px": side}, train={"epochs": 1, "batch_size": 8})
    first, second = (fitted(learner(cfg, BRANCHES), store, TRAIN[:17]) for _ in range(2))
    assert same_weights(first, second)
    assert np.isfinite(first.progress.history[0]["validation_loss"])


# -- what is moved together


def plain_batch(store: Store, one: EmotionLearner, rows: np.ndarray = TRAIN[:32]) -> dict[str, Any]:
    return on_device(store.take(rows, [*one.columns, *one.targets]), CPU)


def test_gaze_scanpath_and_picture_take_the_affine_of_the_same_view(tmp_path: Path) -> None:
    """Pictures say which view they are; the gaze is where that view's affine puts it, and the scanpath is too."""
    views = 3
    told = np.arange(1 + views, dtype=np.float16)[None, :, None] * np.ones((len(ROWS), 1, 6), np.float16)
    dot = np.zeros((len(ROWS), 1, 32, 32), np.uint8)
    dot[:, 0, 15:17, 7:9] = 255
    series = np.zeros((len(ROWS), 3, SAMPLES), np.float32)
    series[:, 0] = -0.5
    store = trials(Folder(tmp_path), views=views, picture=told, scanpath=dot, series=series)
    cfg = config(augment={"views": views, "rotate_deg": 0.0, "shear_deg": 0.0, "scale": [1.0, 1.0], "crop": 0.3},
                 signals={"scale": "published"})  # fmt: skip
    one = learner(cfg, BRANCHES).prepare(TRAIN, store)
    batch = plain_batch(store, one, TRAIN)
    torch.manual_seed(1)
    moved = one.inputs(batch, moved=True)
    view = moved["picture"][:, 0].long()
    assert set(view.tolist()) == {0, 1, 2, 3}
    affine = batch["affine"][torch.arange(len(view)), view]
    expected = affine[:, :, 0] * -0.5 + affine[:, :, 2]
    torch.testing.assert_close(moved["series"][:, :2, 0], expected)
    column = (moved["scanpath"][:, 0].float().sum(dim=1) * torch.arange(32)).sum(1) / moved["scanpath"].float().sum(
        (1, 2, 3)
    )
    there = expected[:, 0].abs() < 0.9
    assert there.sum() > 100
    torch.testing.assert_close((2 * column[there] + 1) / 32 - 1, expected[there, 0], atol=0.03, rtol=0)
    assert torch.equal(batch["series"], torch.from_numpy(series[: len(TRAIN)])), "the batch itself is not moved"


def test_without_a_picture_gaze_and_scanpath_take_new_affines(store: Store) -> None:
    one = learner(config(augment={"views": 1, "flip": 1.0, "rotate_deg": 0.0, "shear_deg": 0.0, "scale": [1.0, 1.0]},
                         signals={"scale": "published"}), ["series", "scanpath"]).prepare(TRAIN, store)  # fmt: skip
    batch = plain_batch(store, one, TRAIN)
    torch.manual_seed(0)
    moved, plain = one.inputs(batch, moved=True), one.inputs(batch, moved=False)
    there = plain["series"][:, 3].bool()
    flipped = torch.tensor(
        [torch.equal(moved["series"][n, 0][there[n]], -plain["series"][n, 0][there[n]]) for n in TRAIN]
    )
    kept = torch.tensor([torch.equal(moved["series"][n], plain["series"][n]) for n in TRAIN])
    assert (flipped ^ kept).all(), "each example is mirrored or as it was"
    assert 0.3 < flipped.float().mean() < 0.7, "the plain view is as frequent as the other"
    for n in np.flatnonzero(flipped.numpy())[:5]:
        torch.testing.assert_close(moved["scanpath"][n].float(), plain["scanpath"][n].float().flip(2), atol=1, rtol=0)
    assert torch.equal(moved["series"][:, 2], plain["series"][:, 2]), "pupils stay"


def test_gaze_that_leaves_the_frame_is_masked_where_asked(store: Store) -> None:
    lost = {}
    for outside in ("keep", "mask"):
        one = learner(config(augment={"views": 8, "scale": [2.0, 2.0], "outside": outside})).prepare(TRAIN, store)
        torch.manual_seed(0)
        lost[outside] = 1 - one.inputs(plain_batch(store, one), moved=True)["series"][:, 3:5].mean()
    assert lost["mask"] > lost["keep"] + 0.02


@pytest.mark.parametrize("branches", [["series"], BRANCHES])
def test_predictions_are_never_moved(store: Store, branches: Sequence[Branch]) -> None:
    """The same as if no view but the plain one were there."""
    one = learner(config(augment={"views": 2}), branches).prepare(TRAIN, store)
    torch.manual_seed(0)
    model = one.model()
    _, first = predict(one, model, store, TEST, CPU)
    plain = replace(one, cfg=config())
    _, second = predict(plain, model, store, TEST, CPU)
    assert all(np.array_equal(first[name], second[name]) for name in first)


# -- what is drawn


def test_epochs_draw_training_rows_alone_and_anew(store: Store) -> None:
    one = learner(config(loss={"balance": "classes"})).prepare(TRAIN, store)
    first, second = (one.drawn(TRAIN, store, seed) for seed in (1, 2))
    assert set(first) | set(second) <= set(TRAIN)
    assert len(first) == len(TRAIN)
    assert not np.array_equal(np.sort(first), np.sort(second))
    assert len(set(first)) < len(first), "some come twice"
    assert np.array_equal(learner().drawn(TRAIN, store, 1), TRAIN)


# -- scaled within people


def test_scaling_within_people_takes_offsets_of_their_own_away(tmp_path: Path) -> None:
    """People whose pupils differ by far more than what arousal does; tested ones are scaled by their own trials."""
    offset = np.repeat(np.random.default_rng(0).normal(0, 30, 12), PICTURES)
    plain = trials(Folder(tmp_path / "plain"))
    series = plain.take(ROWS, ["series"])["series"]
    assert isinstance(series, np.ndarray)
    series[:, 2] += offset[:, None]
    store = trials(Folder(tmp_path / "shifted"), series=series)
    found = {}
    for scale in ("training_people", "participant"):
        one = learner(config(signals={"scale": scale}, train={"learning_rate": 1e-2}))
        found[scale] = scores_of(fitted(one, store), store)["arousal"]["spearman"]
    assert found["participant"] > 0.6
    assert found["training_people"] < 0.4


# -- what it says of itself


def test_columns_are_those_of_the_branches() -> None:
    assert learner(branches=["series"]).columns == ("series",)
    assert learner(branches=BRANCHES).columns == ("series", "scanpath", "picture", "affine")
    assert learner(config(signals={"scale": "participant"})).columns == ("series", "participant")
    assert learner(config(signals={"scale": "participant"}), ["scanpath"]).columns == ("scanpath",)
    assert replace(learner(), series="series@+500").columns == ("series@+500",)
    assert learner().targets == ("arousal_index", "felt.valence_index")
    assert learner(branches=["series", "picture"]).own_key == "series-picture"


def test_a_picture_without_a_network_and_no_branch_at_all_are_refused() -> None:
    with pytest.raises(ValueError, match="picture only with a network"):
        replace(learner(branches=BRANCHES), network=None)
    with pytest.raises(ValueError, match="at least one"):
        learner(branches=[])


def test_kappa_is_asked_of_ordered_labels_alone() -> None:
    cfg = config(train={"stop_on": "qwk"})
    check_metrics(cfg, LABELS)
    for odd in (label("load", 2), label("kind", 3, ordered=False)):
        with pytest.raises(ConfigError, match=r"train\.stop_on: qwk needs a label with three ordered levels"):
            check_metrics(cfg, (odd,))
    searched = config(search={"metric": "qwk", "space": {"loss": {"gamma": [0, 2]}}})
    with pytest.raises(ConfigError, match=r"search\.metric"):
        check_metrics(searched, (label("load", 2),))


def test_loss_of_the_validation_rows_does_not_depend_on_gamma_and_weights(store: Store) -> None:
    """Else a search would choose whatever makes the loss small."""
    one = learner().prepare(TRAIN, store)
    torch.manual_seed(0)
    model = one.model()
    other = replace(one, cfg=config(loss={"gamma": 4.0, "form": "published", "label_smoothing": 0.3}))
    values = []
    for own in (one, other):
        rows, found = predict(own, model, store, VALIDATION, CPU)
        values.append(own.metrics(found, store.take(rows, own.targets)))
    assert values[0] == values[1]
    assert set(values[0]) == set(one.watched)


def test_metrics_are_means_over_the_labels(store: Store) -> None:
    one = learner().prepare(TRAIN, store)
    rng = np.random.default_rng(0)
    found = {own.name: rng.dirichlet(np.ones(3), len(TEST)) for own in LABELS}
    targets = store.take(TEST, one.targets)
    assert one.found is not None
    by_hand = [
        score_ordinal(targets[f"{own.name}_index"], found[own.name], prior, own.classes)
        for own, prior in zip(LABELS, one.found.prior, strict=True)
    ]
    values = one.metrics(found, targets)
    for name, theirs in {"loss": "log_loss", "balanced_accuracy": "balanced_accuracy", "qwk": "qwk"}.items():
        assert values[name] == pytest.approx(np.mean([own[theirs][0] for own in by_hand]))


# -- bad input


def test_scanpaths_too_small_for_the_published_layers_are_refused_by_the_config() -> None:
    assert SMALLEST_SCANPATH["published"] == SMALLEST_PUBLISHED_PX
    for branches in (BRANCHES, ("series",)):
        model = {"size": "published", "branches": list(branches)}
        assert config(model=model, scanpath={"side_px": 76}).scanpath.side_px == 76
        if "scanpath" in branches:
            with pytest.raises(ValueError, match=r"scanpath\.side_px: 75 must be at least 76"):
                config(model=model, scanpath={"side_px": 75})
        else:
            config(model=model, scanpath={"side_px": 75})


def test_a_level_that_no_training_row_has_gets_no_probability(tmp_path: Path) -> None:
    arousal = np.random.default_rng(0).integers(0, 3, len(ROWS))
    arousal[TRAIN[arousal[TRAIN] == 2]] = 0
    store = trials(Folder(tmp_path), arousal_index=arousal)
    for head in ("classes", "ordinal"):
        for balance in ("none", "classes", "published_over", "published_neutral"):
            run = fitted(learner(config(model={"head": head}, loss={"balance": balance}, train={"epochs": 2})), store)
            assert run.learner.fitted()["class_weights.arousal"][2] == 0
            _, found = predict(run.learner, run.model, store, TEST, CPU)
            assert not found["arousal"][:, 2].any()
            assert np.isfinite(found["arousal"]).all()
            assert np.isfinite(run.progress.history[-1]["validation_loss"])


def test_a_label_that_no_training_row_knows_is_not_predicted_and_stops_nothing(tmp_path: Path) -> None:
    unknown = np.full(len(ROWS), -1)
    store = trials(Folder(tmp_path / "store"), **{"felt.valence_index": unknown})
    for balance in ("none", "classes", "published_over", "published_neutral"):
        run = fitted(learner(config(loss={"balance": balance}, train={"epochs": 2})), store)
        assert np.isfinite(run.progress.history[-1]["validation_loss"])
        _, found = predict(run.learner, run.model, store, TEST, CPU)
        assert np.isnan(found["felt.valence"]).all()
        assert np.isfinite(found["arousal"]).all()
    _, table = unit_of(learner(config(train={"epochs": 1})), store, tmp_path / "run")
    assert table["felt.valence:series"].null_count == len(TEST)
    assert table["arousal:series"].null_count == 0


def test_trials_without_one_label_are_learned_from_for_the_other(tmp_path: Path) -> None:
    """Half of the arousal unknown; whole batches have none of it."""
    plain = trials(Folder(tmp_path / "plain"))
    arousal = np.array(plain.plain("arousal_index"))
    arousal[: 4 * PICTURES] = -1
    store = trials(Folder(tmp_path / "half"), arousal_index=arousal)
    store.window_examples = 1  # so that batches are of one person
    run = fitted(learner(config(train={"learning_rate": 1e-2, "epochs": 16, "batch_size": 16, "patience": 16})), store)
    assert scores_of(run, store)["arousal"]["spearman"] > 0.6
    found = run.learner.found  # type: ignore[attr-defined]
    index = arousal[4 * PICTURES : TRAIN[-1] + 1]
    np.testing.assert_allclose(found.prior[0], np.bincount(index, minlength=3) / len(index))


def test_channels_and_trials_that_are_lost_altogether_spoil_nothing(tmp_path: Path) -> None:
    plain = trials(Folder(tmp_path / "plain"))
    series = plain.take(ROWS, ["series"])["series"]
    assert isinstance(series, np.ndarray)
    series[:, 1] = np.nan  # for everybody
    series[3] = series[TEST[0]] = np.nan  # a trial without any signal
    series[TEST[1:9]] = np.nan
    store = trials(Folder(tmp_path / "lost"), series=series)
    for scale in ("training_people", "participant", "published"):
        run = fitted(learner(config(signals={"scale": scale}, train={"epochs": 2}, augment={"views": 1})), store)
        _, found = predict(run.learner, run.model, store, TEST, CPU)
        assert all(np.isfinite(own).all() for own in found.values())


def test_a_batch_of_one_uses_running_statistics_and_leaves_them(store: Store) -> None:
    one = learner(config(model={"size": "published", "branches": ["series"]})).prepare(TRAIN, store)
    model = one.model().train()
    before = {name: value.clone() for name, value in model.named_buffers()}
    loss = one.loss(model, plain_batch(store, one, TRAIN[:1]), 1)
    loss.backward()  # type: ignore[no-untyped-call]
    assert torch.isfinite(loss)
    assert all(torch.equal(value, before[name]) for name, value in model.named_buffers())
    one.loss(model, plain_batch(store, one, TRAIN[:2]), 1)
    assert any(not torch.equal(value, before[name]) for name, value in model.named_buffers())


# -- a unit


def unit_of(one: EmotionLearner, store: Store, folder: Path) -> tuple[UnitFolder, Any]:
    """A fold's unit, done, and its predictions."""
    trained = Trained({"m": Row("m", "model")}, [Tried({}, one, store, "c")], [FOLD], 5, key=one.own_key)
    (spec,) = trained.units()
    run = Folder(folder)
    unit = Unit(spec.name, spec.spec, "0" * 64)
    out = UnitFolder(run, unit)
    result = trained.run(unit, Worker(CPU, run), out)
    assert set(result["metrics"]) == {"loss", "balanced_accuracy", "qwk"}
    return out, out.folder.read_table("predictions.parquet")


def test_unit_writes_predictions_weights_and_what_was_found(store: Store, tmp_path: Path) -> None:
    one = learner(config(train={"epochs": 2}), ["series", "scanpath"])
    out, table = unit_of(one, store, tmp_path)
    assert out.unit.name == "series-scanpath-3"
    names = ["participant", "trial", "fold", "regime", "arousal:series-scanpath", "felt.valence:series-scanpath"]
    assert table.column_names == names
    assert table["participant"].to_pylist() == store.plain("participant")[TEST].tolist()
    assert table["trial"].to_pylist() == store.plain("trial")[TEST].tolist()
    assert set(table["fold"].to_pylist()) == {3}
    assert set(table["regime"].to_pylist()) == {"test"}
    np.testing.assert_allclose(np.array(table["arousal:series-scanpath"].to_pylist()).sum(axis=1), 1)
    kept = load(out.folder.read_bytes("checkpoint/model.safetensors"))
    prepared = one.prepare(TRAIN, store)
    for name, value in prepared.fitted().items():
        assert np.array_equal(kept[f"learner.{name}"], value), name
    assert {"channel_mean", "prior.felt.valence", "class_weights.arousal"} <= set(prepared.fitted())
    assert not out.folder.exists("importance.parquet"), "the controls ask another model"


def test_name_of_the_row_can_be_another_one(store: Store, tmp_path: Path) -> None:
    cfg = config(train={"epochs": 1}, controls={"knock_out": True, "permute": 1})
    out, table = unit_of(learner(cfg, key="shift+500"), store, tmp_path)
    assert "arousal:shift+500" in table.column_names
    assert not out.folder.exists("importance.parquet"), "a control is not asked for its channels"
