# SPDX-License-Identifier: Apache-2.0
"""From a recording to its trials with their events: signals without gaze have none, however slow they are."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path

import pytest

from gazeray.gaze.dataset import open_dataset
from gazeray.gaze.events import EventsConfig
from gazeray.gaze.quality import QualityConfig
from gazeray.studies.shared.recordings import SeeRecording
from tests.gaze.test_channels_alone import spec_of
from tests.gaze.tiny_dataset import TRIALS, write

SLOW = "trial,t,p,g,h\n" + "".join(f"{trial},{250 * at},3,{1 + at},60\n" for trial in "12" for at in range(20))


@pytest.mark.parametrize("detector", ["idt_px", "ivt", "adaptive"])
def test_signals_without_gaze_may_be_slower_than_any_detector_of_events_takes(tmp_path: Path, detector: str) -> None:
    root = write(tmp_path, {"trials.csv": TRIALS, "gaze/P1.csv": SLOW, "gaze/P2.csv": SLOW})
    spec = spec_of()
    data = open_dataset(spec, root, None)
    events = EventsConfig.model_validate({"detector": detector})
    found = SeeRecording(spec, root, data.trials, events, QualityConfig())(asdict(data.recordings[0]))
    assert [one.gaze.trial for one in found.trials] == ["1", "2"]
    assert found.rejects == []
    assert all(len(one.fixations["onset_ms"]) == 0 for one in found.trials)
    assert {name: table.num_rows for name, table in found.events.items()} == {"fixations": 0, "saccades": 0}
