# SPDX-License-Identifier: Apache-2.0
"""What a model says without a channel, or with somebody else's."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from gazeray.learn.fit import Fit, Task, predict
from gazeray.storage import Folder
from gazeray.store import Store
from gazeray.studies.emotion.config import BRANCHES
from gazeray.studies.emotion.importance import importance, swapped
from gazeray.studies.shared.classification import with_regimes
from tests.learn.test_fit import Memory
from tests.studies.emotion.test_learner import unit_of
from tests.studies.emotion.tiny_trials import CHANNELS, FOLD, PICTURES, ROWS, TEST, TRAIN, config, learner, trials

CPU = torch.device("cpu")
ASKED = {"of": "series", "knock_out": True, "permute": 2}


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Store:
    return trials(Folder(tmp_path_factory.mktemp("trials")))


def asked(store: Store, branches: Any = ("series",), **controls: Any) -> tuple[Fit, Any]:
    """A fit, and its table."""
    cfg = config(train={"learning_rate": 1e-2}, controls={**ASKED, "of": "-".join(branches), **controls})
    run = Fit(Task(learner(cfg, branches), store, TRAIN, np.empty(0, np.int64), 3), CPU, Memory())  # type: ignore[arg-type]
    run.run()
    ids = with_regimes(store.table.select(["participant", "trial"]).take(TEST), FOLD, TEST)
    return run, importance(run.learner, run.model, ids, TEST, store, FOLD, CPU)  # type: ignore[arg-type]


def scores(table: Any, control: str, label: str = "arousal", repeat: int = 0) -> np.ndarray:
    """(N, K) under a control, in the order of the table."""
    rows = [row for row in table.to_pylist()
            if (row["control"], row["label"], row["repeat"]) == (control, label, repeat)]  # fmt: skip
    return np.array([row["scores"] for row in rows])


def test_every_control_has_every_tested_row_and_label(store: Store) -> None:
    _, table = asked(store)
    expected = {(f"without_{name}", 0) for name in CHANNELS}
    expected |= {(f"permuted_{name}", repeat) for name in CHANNELS for repeat in (0, 1)}
    assert set(zip(table["control"].to_pylist(), table["repeat"].to_pylist(), strict=True)) == expected
    assert table.num_rows == len(expected) * 2 * len(TEST)
    assert table.column_names == ["control", "repeat", "label", "participant", "trial", "fold", "regime", "scores"]
    first = table.slice(0, len(TEST))
    assert first["participant"].to_pylist() == store.plain("participant")[TEST].tolist()


def test_the_channel_that_tells_is_missed_and_the_others_are_not(store: Store) -> None:
    run, table = asked(store)
    _, found = predict(run.learner, run.model, store, TEST, CPU)
    truth = store.plain("arousal_index")[TEST]

    def right(p: np.ndarray) -> float:
        return float((p.argmax(axis=1) == truth).mean())

    assert right(found["arousal"]) > 0.8
    for kind in ("without", "permuted"):
        assert right(scores(table, f"{kind}_pupil_mm")) < right(found["arousal"]) - 0.2
        assert right(scores(table, f"{kind}_x")) > right(found["arousal"]) - 0.15


def test_without_a_channel_is_as_if_it_had_been_lost(store: Store, tmp_path: Path) -> None:
    run, table = asked(store)
    series = store.take(ROWS, ["series"])["series"]
    assert isinstance(series, np.ndarray)
    series[:, 2] = np.nan
    blind = trials(Folder(tmp_path), series=series)
    _, found = predict(run.learner, run.model, blind, TEST, CPU)
    np.testing.assert_allclose(scores(table, "without_pupil_mm"), found["arousal"], rtol=1e-5)


def test_repeats_differ_and_are_the_same_every_time(store: Store) -> None:
    (_, first), (_, second) = asked(store), asked(store)
    assert first.equals(second)
    control = "permuted_pupil_mm"
    assert not np.array_equal(scores(first, control), scores(first, control, repeat=1))


def test_branches_beside_the_series_are_shuffled_too(store: Store) -> None:
    run, table = asked(store, BRANCHES, permute=1)
    controls = set(table["control"].to_pylist())
    assert {"permuted_scanpath", "permuted_picture", "without_x"} <= controls
    assert not {"without_scanpath", "permuted_series"} & controls
    _, found = predict(run.learner, run.model, store, TEST, CPU)
    truth = store.plain("felt.valence_index")[TEST]
    shuffled = scores(table, "permuted_scanpath", "felt.valence")
    assert (shuffled.argmax(axis=1) == truth).mean() < (found["felt.valence"].argmax(axis=1) == truth).mean()


def test_a_model_without_series_is_asked_for_its_branches(store: Store) -> None:
    _, table = asked(store, ("scanpath",), permute=1)
    assert set(table["control"].to_pylist()) == {"permuted_scanpath"}


@pytest.mark.parametrize(
    ("controls", "kinds"),
    [({"permute": 0}, {"without"}), ({"knock_out": False, "permute": 1}, {"permuted"})],
)
def test_only_what_is_asked_is_done(store: Store, tmp_path: Path, controls: Any, kinds: set[str]) -> None:
    cfg = config(train={"epochs": 1}, controls={**ASKED, **controls})
    out, _ = unit_of(learner(cfg), store, tmp_path)
    table = out.folder.read_table("importance.parquet")
    assert {name.partition("_")[0] for name in table["control"].to_pylist()} == kinds


# -- signals of others who saw the same


def test_swapped_signals_are_those_of_somebody_else_who_saw_the_same(store: Store) -> None:
    run, _ = asked(store)
    own, stimuli, people = run.learner, store.plain("stimulus"), store.plain("participant")
    found = swapped(own, run.model, TEST, store, FOLD, CPU)["arousal"]  # type: ignore[arg-type]
    _, plain = predict(own, run.model, store, TEST, CPU)
    for place, row in enumerate(TEST):
        others = (stimuli[TEST] == stimuli[row]) & (people[TEST] != people[row])
        assert np.isclose(plain["arousal"][others], found[place], rtol=1e-5).all(axis=1).any()


def test_a_response_that_is_ones_own_is_not_in_the_signals_of_others(store: Store) -> None:
    run, _ = asked(store)
    found = swapped(run.learner, run.model, TEST, store, FOLD, CPU)["arousal"]  # type: ignore[arg-type]
    _, plain = predict(run.learner, run.model, store, TEST, CPU)
    truth = store.plain("arousal_index")[TEST]
    assert (plain["arousal"].argmax(axis=1) == truth).mean() > 0.8
    assert (found.argmax(axis=1) == truth).mean() < 0.5
    again = swapped(run.learner, run.model, TEST, store, FOLD, CPU)["arousal"]  # type: ignore[arg-type]
    assert np.array_equal(found, again)


def test_who_alone_saw_a_picture_has_no_other_signals(store: Store) -> None:
    run, _ = asked(store)
    alone = TEST[:PICTURES]  # all of one person
    found = swapped(run.learner, run.model, alone, store, FOLD, CPU)  # type: ignore[arg-type]
    assert np.isnan(found["arousal"]).all()
