# SPDX-License-Identifier: Apache-2.0
"""What stands beside the models, joined with them row by row."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from gazeray.gaze.declaration import WORDS
from gazeray.storage import Folder
from gazeray.studies.shared.baselines import joined, joined_folds, nuisance_label, whole_folds
from gazeray.studies.shared.classification import with_scores
from gazeray.studies.shared.without_gaze import ORDER
from gazeray.unit import Unit, UnitFolder


def tables(fold: int = 0) -> tuple[pa.Table, pa.Table]:
    """A trial that is tested in two regimes, and another; the baselines' rows in another order."""
    ids = pa.table({"participant": [*"aab"], "trial": [*"113"], "fold": [fold] * 3, "regime": ["new", "old", "new"]})
    scores = np.array([[0.0, 1.0], [1.0, 0.0], [0.5, 0.5]])
    model = with_scores(ids.select(["participant", "trial"]), {"scores": scores})
    model = model.append_column("fold", ids["fold"]).append_column("regime", ids["regime"])
    beside = with_scores(ids, {"majority": scores + np.arange(3)[:, None], "without_gaze": np.full((3, 2), np.nan)})
    return model, beside.take([2, 0, 1])


def test_rows_meet_by_fold_participant_trial_and_regime() -> None:
    model, beside = tables()
    found = joined(model, beside)
    assert found.column_names == ["participant", "trial", "scores", "majority", "without_gaze", "fold", "regime"]
    assert [row[0] for row in found["majority"].to_pylist()] == [0.0, 2.0, 2.5]
    assert found["without_gaze"].null_count == 3
    assert found.select(model.column_names).equals(model)


def test_row_that_the_baselines_do_not_have_is_an_error() -> None:
    model, beside = tables()
    with pytest.raises(LookupError):
        joined(model, beside.slice(1))
    with pytest.raises(LookupError):
        joined(model, tables(fold=1)[1])


def test_fold_counts_where_both_its_units_are_done(tmp_path: Path) -> None:
    done = {}
    for name, table in zip(["fold-3", "baselines-3"], tables(3), strict=True):
        done[name] = UnitFolder(Folder(tmp_path), Unit(name, {}, ""))
        done[name].folder.write_table("predictions.parquet", table)
    for name in ("fold-1", "baselines-2"):
        done[name] = UnitFolder(Folder(tmp_path), Unit(name, {}, ""))
    assert whole_folds(done, [1, 2, 3]) == [3]
    assert joined_folds(done, [3])["fold"].to_pylist() == [3, 3, 3]


def test_row_of_circumstances_names_what_was_declared() -> None:
    table = pa.table({ORDER: [1.0, 2.0]})
    assert nuisance_label(table) == "order, duration, rate, loss"
    declared = table.append_column("nuisance:age", [[20, 30]]).append_column(WORDS, [[7, 8]])
    assert nuisance_label(declared) == "order, duration, rate, loss, age"


def test_row_of_circumstances_has_no_order_where_none_is_known() -> None:
    table = pa.table({ORDER: pa.array([None, None], pa.float64()), "nuisance:order": [3, 1]})
    assert nuisance_label(table) == "duration, rate, loss, order"
