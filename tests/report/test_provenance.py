# SPDX-License-Identifier: Apache-2.0
"""The sections on where data come from and on the flow of people and trials, drawn of manifests and quality tables."""

from __future__ import annotations

from typing import Any

import pyarrow as pa
import pytest
from pydantic import BaseModel

from gazeray.gaze.study_facts import StudyFacts
from gazeray.report.blocks import Cell, Section, Table, Terms, Text
from gazeray.report.results import Results
from gazeray.report.sections import flow, provenance

NAN = float("nan")


def results(study: Any = None, quality: dict[str, list[float]] | None = None, **data: Any) -> Results:
    declaration = {"study": study, **data.pop("declaration", {})}
    manifest = {"data": {"licence": None, "declaration": declaration}, "config": {"data": {"dataset": "lab.yaml"}}}
    return Results({**manifest, **data}, quality=pa.table(quality or {}))


def words(section: Section) -> list[str]:
    return [block.words for block in section.blocks if isinstance(block, Text)]


def rows(section: Section) -> dict[str, list[object]]:
    """The first cell -> the others, of the section's only table."""
    (table,) = [block for block in section.blocks if isinstance(block, Table)]
    assert all(len(row) == len(table.columns) for row in table.rows)
    return {str(row[0]): list(row[1:]) for row in table.rows}


def said(section: Section) -> dict[str, str]:
    """Fact -> what is said of it."""
    return dict(pair for block in section.blocks if isinstance(block, Terms) for pair in block.pairs)


def unsaid(section: Section) -> list[str]:
    """The facts that are said to be stated nowhere."""
    (block,) = [one for one in section.blocks if isinstance(one, Text) and one.lead == "Not stated:"]
    return block.words.removesuffix(".").split("; ")


def leaves(model: type[BaseModel]) -> list[str]:
    found = []
    for name, field in model.model_fields.items():
        inner = field.annotation
        part = isinstance(inner, type) and issubclass(inner, BaseModel)
        found += [f"{name}.{leaf}" for leaf in leaves(inner)] if part else [name]  # type: ignore[arg-type]
    return found


def test_every_fact_of_a_declaration_has_a_name() -> None:
    assert set(leaves(StudyFacts)) | {"licence"} == set(provenance.FACTS)
    assert len(set(provenance.FACTS.values())) == len(provenance.FACTS)


@pytest.mark.parametrize("study", [None, StudyFacts().model_dump(mode="json")])
def test_what_is_missing_is_not_stated(study: Any) -> None:
    section = provenance.section(results(study))
    assert said(section) == {}
    assert unsaid(section) == list(provenance.FACTS.values())
    assert words(section)[0].startswith(f"0 of {len(provenance.FACTS)} facts are stated")


def test_run_of_before_that_holds_no_declaration_is_drawn() -> None:
    old = Results({"data": {"licence": "CC0-1.0"}, "config": {}})
    assert said(provenance.section(old)) == {"licence": "CC0-1.0"}
    assert "licence" not in unsaid(provenance.section(old))
    assert flow.section(old) == []


def test_simulated_data_are_called_simulated_and_have_no_rows() -> None:
    made = Results({"data": {"licence": None}, "config": {"data": {"dataset": "simulated"}}})
    (block,) = provenance.section(made).blocks
    assert isinstance(block, Text)
    assert "simulated" in block.words
    assert provenance.references(made) == []
    assert provenance.references(results()) == ["dunn"]


def test_what_files_say_stands_beside_what_is_declared() -> None:
    study = {"tracker": {"rate_hz": 60.0}, "population": {"took_part": 0}, "screen": {"width_mm": 500}}
    quality = {"sampling_hz": [59.0, 60.5, NAN], "validation_left_deg": [0.3, NAN, NAN],
               "validation_right_deg": [0.5, 0.8, NAN], "rms_s2s_deg": [NAN] * 3}  # fmt: skip
    steps = [{"people": 4}, {"people": 3}]
    screen = {"width_mm": 500.0, "height_mm": None, "distance_mm": "seat_mm"}
    notes = ["both eyes are in the file; the left eye is used: 2 files (a.asc, b.asc)", "trials out of order"]
    section = provenance.section(results(
        study, quality, flow={"steps": steps}, declaration={"screen": screen}, notes_on_recordings=notes,
    ))  # fmt: skip
    found, nowhere = said(section), "not stated; in the files: "
    none = "; none for 1 of 3 trials"
    assert (
        found["sampling rate (Hz)"]
        == f"60; in the files: median 59.8, 59.0 to 60.5 over trials (by the timestamps){none}"
    )
    validated = f"median 0.60, 0.40 to 0.80 over trials (of the tracker’s last validation before the trial){none}"
    assert found["accuracy (deg)"] == nowhere + validated
    assert found["people who took part"] == "0; in the files: 4 in the tables, 3 used"
    assert found["screen: width (mm)"] == "500; in the files: 500 is what degrees are computed with"
    assert found["distance to the screen (mm)"] == nowhere + "the column seat_mm of the tables"
    assert found["eyes recorded"] == nowhere + notes[0]
    assert {"precision (deg)", "screen: height (mm)"} <= set(unsaid(section))
    assert sorted([*found, *unsaid(section)]) == sorted(provenance.FACTS.values())


@pytest.mark.parametrize(
    ("study", "quality", "said"),
    [
        ({"tracker": {"rate_hz": 60}}, {"sampling_hz": [57.1, 62.9]}, ""),
        ({"tracker": {"rate_hz": 60}}, {"sampling_hz": [60.0] * 19 + [30.0]}, ""),
        ({"tracker": {"rate_hz": 60}}, {"sampling_hz": [60.0] * 18 + [30.0] * 2}, "2 of 20 trials are more than 5 %"),
        ({"tracker": {"rate_hz": 60}}, {"sampling_hz": [64.0]}, "the median is 64.0 Hz"),
        ({"tracker": {"rate_hz": 60}}, {"sampling_hz": [NAN]}, ""),
        ({"calibration": {"accuracy_deg": 0.5}}, {"validation_left_deg": [0.2, 0.5, 3.0]}, ""),
        ({"calibration": {"accuracy_deg": 0.5}}, {"validation_right_deg": [0.2, 0.51, 3.0]}, "3 trials is 0.51 deg"),
        ({"calibration": {"accuracy_deg": 0.5}}, {"validation_right_deg": [NAN]}, ""),
        ({"calibration": {"accuracy_deg": 0.0}}, {"validation_left_deg": [0.4]}, "accuracy of 0 deg is better"),
        ({"screen": {"distance_mm": 600}}, {}, "600 is reported, degrees are computed with 650"),
        ({"screen": {"distance_mm": 648}}, {}, ""),
    ],
)
def test_contradictions_are_said_in_words(study: Any, quality: dict[str, list[float]], said: str) -> None:
    found = provenance.contradictions(results(study, quality, declaration={"screen": {"distance_mm": 650.0}}))
    assert len(found) == bool(said)
    assert said in "".join(found)


@pytest.mark.parametrize(
    ("asked", "took", "there", "said"),
    [(40, 36, 36, ""), (40, 36, 30, ""), (None, 36, 37, "36 participants took part as declared, the tables name 37."),
     (30, 36, 36, "36 participants took part, 30 were asked."), (30, None, 36, "")],
)  # fmt: skip
def test_people_that_cannot_be_are_a_contradiction(asked: Any, took: Any, there: int, said: str) -> None:
    study = {"population": {"asked": asked, "took_part": took}}
    found = provenance.contradictions(results(study, flow={"steps": [{"people": there}, {"people": there}]}))
    assert found == ([f"Contradiction: {said}"] if said else [])


# -- the flow


def step(name: str, people: int, control: int, pseudoword: int, unknown: int = 0, **more: str) -> dict[str, Any]:
    classes = {"pseudoword": pseudoword, "control": control}
    trials = control + pseudoword + unknown
    return {"step": name, "people": people, "trials": trials, "classes": classes, "class_not_known": unknown, **more}


def told(*steps: dict[str, Any], p: float | None = None, **more: Any) -> Results:
    entry = {"steps": steps, "apart": [], "further": 0, "people_lost": [], "by_class": {"test": "a test", "p": p}}
    return Results({"flow": {**entry, **more}, "classes": ["control", "pseudoword"]})


def test_flow_has_a_row_for_each_cause_and_classes_in_their_order() -> None:
    lost = step("rejected", 1, 3, 0, 2, stage="labels", cause="missing <label>")
    (section,) = flow.section(told(step("declared", 3, 12, 6, 2), lost, step("used", 3, 9, 6)))
    (table,) = [block for block in section.blocks if isinstance(block, Table)]
    assert [column.head for column in table.columns] == ["step", "cause", "people", "trials", "control", "pseudoword",
                                                         "class not known"]  # fmt: skip
    assert table.rows[0] == ["declared", "", "3", "20", "12", "6", "2"]
    assert table.rows[1] == ["refused: labels", "missing <label>", "1", Cell("5", "(25.0\xa0%)"),
                             Cell("3", "(25.0\xa0%)"), Cell("0"), Cell("2")]  # fmt: skip
    used = [Cell("15", "(75.0\xa0%)"), Cell("9", "(75.0\xa0%)"), Cell("6"), Cell("0")]
    assert table.rows[2] == ["used", "", "3", *used]
    assert len(words(section)) == 1


def test_causes_beyond_the_largest_are_summed() -> None:
    causes = [step("rejected", 1, 1 + (number == 30), 0, stage="gaze", cause=f"cause {number}") for number in range(40)]
    (section,) = flow.section(told(step("declared", 9, 50, 50), *causes, step("used", 9, 9, 50)))
    (table,) = [block for block in section.blocks if isinstance(block, Table)]
    assert len(table.rows) == 23
    assert any(row[1] == "cause 30" for row in table.rows)
    assert table.rows[-2] == [
        "refused: others",
        "20 causes",
        "",
        Cell("20", "(20.0\xa0%)"),
        Cell("20", "(40.0\xa0%)"),
        Cell("0"),
    ]
    trials = [int(row[3].words if isinstance(row[3], Cell) else str(row[3])) for row in table.rows]
    assert trials[0] == sum(trials[1:])


@pytest.mark.parametrize(("p", "warned"), [(None, False), (0.01, False), (0.0099, True), (1e-9, True)])
def test_loss_that_depends_on_the_label_is_warned_of(p: float | None, warned: bool) -> None:
    (section,) = flow.section(told(step("declared", 4, 40, 40), step("used", 4, 38, 20), p=p))
    assert words(section)[0].startswith("Warning: the loss depends on the label.") == warned
    if warned:
        assert "pseudoword 20 of 40 (50.0\xa0%), control 2 of 40 (5.0\xa0%); a test, p" in words(section)[0]


def test_loss_that_only_trials_tell_of_is_no_warning() -> None:
    test = {"test": "a test", "p": 0.4, "p_trials": 1e-9, "people": 1}
    (section,) = flow.section(told(step("declared", 4, 40, 40), step("used", 4, 38, 20), by_class=test))
    said = words(section)[0]
    assert said.startswith(
        "Trials lost: pseudoword 20 of 40 (50.0\N{NO-BREAK SPACE}%), control 2 of 40 (5.0\N{NO-BREAK SPACE}%). Whether"
    )
    assert "cannot be told: by trials it seems to (p\N{NO-BREAK SPACE}<" in said
    assert "they are of one participant (a test" in said or "they are of 1 participant (a test" in said
    (section,) = flow.section(
        told(step("declared", 4, 40, 40), step("used", 4, 38, 20), by_class=test | {"p_trials": 0.2})
    )
    assert not words(section)[0].startswith("Trials lost")


def test_people_who_lost_everything_and_rejects_apart_are_told() -> None:
    apart = [{"stage": "read", "cause": "cannot be read", "rejects": 2}]
    steps = step("declared", 4, 40, 40), step("used", 2, 20, 20)
    (section,) = flow.section(told(*steps, apart=apart, further=1, people_lost=["P1", "P2"]))
    (said,) = words(section)
    assert "2 participants lost all trials: P1, P2." in said
    assert "Not in this table: 2 rejects of files and rows that name no trial and 1 reject within trials" in said


def test_pictures_have_no_people_and_no_classes() -> None:
    steps = [{"step": "declared", "pictures": 4}, {"step": "used", "pictures": 4}]
    (section,) = flow.section(Results({"flow": {"steps": steps, "apart": [], "further": 0}}))
    assert rows(section) == {"declared": ["", "4"], "used": ["", Cell("4")]}
