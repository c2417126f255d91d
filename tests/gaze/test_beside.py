# SPDX-License-Identifier: Apache-2.0
"""What a data set declares beside its gaze: words, and columns that never saw the eye tracker."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from gazeray.config import ConfigError
from gazeray.gaze.beside import beside_notes
from gazeray.gaze.dataset import Dataset, open_dataset
from gazeray.tables import DataError
from tests.gaze.tiny_dataset import FILES, SAMPLES, declared, write

TRIALS = "participant,trial,condition,n,font,day\nP1,1,C,120,serif,1\nP1,2,P,0,,2\nP2,1,C,x,sans,\nP2,2,P,80,serif,4\n"
PEOPLE = "participant,age,device\nP1,31,laptop\nP2,,tower\n"
COLUMNS = {"participant": "participant", "trial": "trial"}


def opened(
    folder: Path, nuisance: Any = (), words: Any = None, trials: str = TRIALS, people: str = PEOPLE, **more: Any
) -> Dataset:
    columns = COLUMNS | ({} if words is None else {"words": words})
    spec = declared(
        nuisance=list(nuisance), trials={"path": "trials.csv", "columns": columns, **more},
        participants={"path": "people.csv", **more},
    )  # fmt: skip
    return open_dataset(spec, write(folder, {**FILES, "trials.csv": trials, "people.csv": people}))


def test_declared_columns_stand_behind_the_trials_as_numbers_or_texts(tmp_path: Path) -> None:
    trials = opened(tmp_path, ["age", "font", "day", "device"]).trials
    assert trials.columns.tolist()[-4:] == ["nuisance:age", "nuisance:font", "nuisance:day", "nuisance:device"]
    np.testing.assert_array_equal(trials["nuisance:age"], [31, 31, np.nan, np.nan])
    np.testing.assert_array_equal(trials["nuisance:day"], [1, 2, np.nan, 4])
    assert trials["nuisance:font"].tolist() == ["serif", None, "sans", "serif"]
    assert trials["nuisance:device"].tolist() == ["laptop", "laptop", "tower", "tower"]
    assert "words" not in trials


def test_values_are_those_of_the_trials_that_can_be_used(tmp_path: Path) -> None:
    trials = opened(tmp_path, ["day"], trials=TRIALS.replace("P1,1,C", "P1,1,Q")).trials
    np.testing.assert_array_equal(trials["nuisance:day"], [2, np.nan, 4])


def test_number_of_words_that_is_none_is_not_known_and_counted(tmp_path: Path) -> None:
    data = opened(tmp_path, words="n")
    np.testing.assert_array_equal(data.trials["words"], [120, np.nan, np.nan, 80])
    (note,) = beside_notes(data.spec, pa.table({"words": data.trials["words"]}))
    assert note == "trials.csv: of 2 trials n is no number of words, 1 or more"
    assert beside_notes(data.spec, pa.table({"words": [1.0, 2.0]})) == []
    assert beside_notes(data.spec, pa.table({})) == []


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ([1.0, 2.0, 3.0], []),
        (["serif", "sans", "2"], []),
        ([1.0, np.nan, 3.0], ["nuisance: of 1 of 3 trials z is not known"]),
        (["a", None, None], ["nuisance: of 2 of 3 trials z is not known"]),
        ([None, None, None], ["nuisance: of 3 of 3 trials z is not known"]),
        ([5.0, 5.0, 5.0], ["nuisance: z is the same in all trials, which tells nothing"]),
        (["31", "old", "42"], ["nuisance: z is read as 3 categories, since 'old' is no number (leave empty what is not"
                               " known)"]),
        (["31,5", "30", "42,1"], ["nuisance: z is read as 3 categories, since '31,5' is no number (a decimal comma?"
                                  " declare decimal: ',')"]),
    ],
)  # fmt: skip
def test_column_that_tells_less_than_it_seems_is_noted(values: list[Any], said: list[str]) -> None:
    assert beside_notes(declared(), pa.table({"nuisance:z": values})) == said


def test_decimal_comma_of_the_table_counts(tmp_path: Path) -> None:
    trials, people = (text.replace(",", ";").replace("31", "31,5") for text in (TRIALS, PEOPLE))
    data = opened(tmp_path, ["age"], trials=trials, people=people, delimiter=";", decimal=",")
    np.testing.assert_array_equal(data.trials["nuisance:age"], [31.5, 31.5, np.nan, np.nan])


def test_columns_may_be_called_otherwise_in_the_file(tmp_path: Path) -> None:
    spec = declared(nuisance=["years"], participants={"path": "people.csv", "columns": {"years": "age"}})
    data = open_dataset(spec, write(tmp_path, {**FILES, "people.csv": PEOPLE}))
    np.testing.assert_array_equal(data.trials["nuisance:years"], [31, 31, np.nan, np.nan])


@pytest.mark.parametrize(
    ("nuisance", "words", "said"),
    [
        pytest.param(["shoe"], None, "nuisance: 'shoe': there is no such column (allowed: n, font, day, age, device)",
                     id="nowhere"),
        pytest.param(["condition"], None, "nuisance: 'condition': is no circumstance but the label or an id (allowed: ",
                     id="label"),
        pytest.param(["participant"], None, "nuisance: 'participant': is no circumstance", id="participant"),
        pytest.param(["trial"], None, "nuisance: 'trial': is no circumstance", id="trial"),
        pytest.param([], "font", "trials.columns.words: column 'font' of trials.csv has no number of words, 1 or more"
                     " (it has 'serif')", id="words_are_names"),
        pytest.param([], "nowhere", "trials.csv: no column 'nowhere'", id="words_nowhere"),
        pytest.param(["void"], None, "nuisance: column 'void' of trials.csv has no value", id="no_value"),
        pytest.param(["vast"], None, "nuisance: column 'vast' of trials.csv has a number beyond 1e+30: '-1e300'",
                     id="beside_which_all_others_are_the_same"),
        pytest.param([], "vast", "has no number of words, 1 or more (it has '-1e300')", id="words_without_end"),
    ],
)  # fmt: skip
def test_column_that_cannot_be_used_is_named_with_those_that_can(
    tmp_path: Path, nuisance: list[str], words: str | None, said: str
) -> None:
    cells = [line.split(",") for line in TRIALS.splitlines()]
    more = [["void", "vast"], ["", "-1e300"], ["n/a", "1e300"], ["NA", "3"], ["", "1e31"]]
    if nuisance in (["void"], ["vast"]) or words == "vast":
        cells = [own[:3] + further for own, further in zip(cells, more, strict=True)]
        cells[3][4] = "0"
    with pytest.raises(DataError) as caught:
        opened(tmp_path, nuisance, words, "\n".join(map(",".join, cells)) + "\n")
    assert said in str(caught.value)


def test_text_of_too_many_categories_is_an_error_and_so_many_numbers_are_none(tmp_path: Path) -> None:
    rows = [f"P{number},1,{'CP'[number % 2]},no {number},{number}" for number in range(51)]
    files = {f"gaze/P{number}.csv": FILES["gaze/P1.csv"] for number in range(51)}
    folder = write(tmp_path, {**files, "trials.csv": "\n".join(["participant,trial,condition,seat,age", *rows]) + "\n"})
    with pytest.raises(DataError, match=r"'seat' of trials.csv has 51 different texts \(at most 50"):
        open_dataset(declared(nuisance=["seat"]), folder)
    assert open_dataset(declared(nuisance=["age"]), folder).trials["nuisance:age"].nunique() == 51


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"nuisance": "age"}, "nuisance"),
        ({"nuisance": ["age", "age"]}, "nuisance: age: more than once"),
        ({"nuisance": [True]}, "nuisance"),
        ({"participants": {"path": "people.csv", "columns": {"words": "age"}}}, "columns that nothing uses: words"),
        ({"trials": {"path": "trials.csv", "columns": {"words": ["a", "b"]}}}, "words: one column, not a list"),
    ],
)
def test_declaration_that_is_wrong_in_itself_is_refused(changes: dict[str, Any], said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        declared(**changes)


def test_trials_that_the_gaze_files_name_have_declared_columns_too(tmp_path: Path) -> None:
    gaze = "trial,condition,len,font,t,x,y\n" + "".join(
        f"{trial},{'CP'[trial - 1]},{90 + trial},{'ab'[trial - 1]},{t},200,100\n" for trial in (1, 2) for t in (0, 10)
    )
    spec = declared(
        samples=SAMPLES, nuisance=["font"],
        trials={"path": "gaze/{participant}.csv", "columns": {"trial": "trial", "words": "len"}},
    )  # fmt: skip
    trials = open_dataset(spec, write(tmp_path, {"gaze/P1.csv": gaze, "gaze/P2.csv": gaze})).trials
    assert trials["words"].tolist() == [91, 92] * 2
    assert trials["nuisance:font"].tolist() == ["a", "b"] * 2


def test_part_of_the_name_of_a_trial_may_be_a_circumstance(tmp_path: Path) -> None:
    columns = {"participant": "participant", "trial": ["session", "nr"]}
    gaze = "session,nr,t,x,y\n" + "".join(f"{s},{nr},{t},200,100\n" for s in "12" for nr in "12" for t in (0, 10))
    table = "participant,session,nr,condition\n" + "".join(
        f"{who},{s},{nr},{'CP'[int(nr) - 1]}\n" for who in ("P1", "P2") for s in "12" for nr in "12"
    )
    samples = {**SAMPLES, "columns": {**SAMPLES["columns"], "trial": ["session", "nr"]}}
    folder = write(tmp_path, {"trials.csv": table, "gaze/P1.csv": gaze, "gaze/P2.csv": gaze})
    spec = declared(samples=samples, nuisance=["session"], trials={"path": "trials.csv", "columns": columns})
    assert open_dataset(spec, folder).trials["nuisance:session"].tolist() == [1, 1, 2, 2] * 2


def test_no_column_is_called_allowed_where_files_were_not_asked_for_any(tmp_path: Path) -> None:
    gaze = "trial,condition,font,t,x,y\n1,C,a,0,200,100\n1,C,a,10,200,100\n2,P,b,0,200,100\n2,P,b,10,200,100\n"
    spec = declared(samples=SAMPLES, nuisance=["shoe"], trials={"path": "gaze/{participant}.csv"})
    with pytest.raises(DataError, match=r"nuisance: 'shoe': there is no such column$"):
        open_dataset(spec, write(tmp_path, {"gaze/P1.csv": gaze, "gaze/P2.csv": gaze}))
