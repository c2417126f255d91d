# SPDX-License-Identifier: Apache-2.0
"""The simulated study of felt arousal and valence before its trials are cut: what tracker and experiment have written.

    raw_data/all gaze/User <i>_all_gaze.csv            one export of Gazepoint with biometrics a person
    raw_data/our scale OS files/subject-<i>.csv        the log of the experiment, with its own clock; by turns , and ;
    Images/<image>.jpg

The log has one row for practice and two a picture, of which the first has the answer on arousal, the second that on
valence. `time_Images` is the onset of the picture, ms since `start_time_system`; the tracker's clock began at the date
in the name of its column of times.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from gazeray.storage import Folder
from gazeray.synth.emotion import Clock, Study, make_clock, make_study, rows_of_slot, time_column
from gazeray.synth.emotion_body import Signals
from gazeray.synth.emotion_parameters import EmotionSimulation

TICKS_PER_S = 10_000_000

GAZE_COLUMNS = (
    "MEDIA_ID,MEDIA_NAME,CNT,{time},TIMETICK(f=10000000),FPOGX,FPOGY,FPOGS,FPOGD,FPOGID,FPOGV,BPOGX,BPOGY,BPOGV,"
    "LPMM,LPMMV,RPMM,RPMMV,GSR,GSRV,HR,HRV"
)
GAZE_ROW = "0,NewMedia,%d,%.5f,%d,%.5f,%.5f,%.5f,%.5f,%d,%d,%.5f,%.5f,%d,%.5f,%d,%.5f,%d,%.0f,%d,%.0f,%d"
LOG_COLUMNS = ("Image", "count_Images", "form_response", "start_time_system", "subject_nr", "time_Images")


def simulate_raw(root: Folder, params: EmotionSimulation) -> None:
    """Write the same study as `simulate_emotion`, uncut, below `root`.

    The rows of a trial are those from its onset on, of which the first 301 (at 61.2 Hz) are its epoch.
    """
    study = make_study(params)
    for path, data in study.files.items():
        root.write_bytes(path, data)
    for number in range(params.people):
        gaze, log = _recording(study, number)
        root.write_text(f"raw_data/all gaze/User {number + 1}_all_gaze.csv", gaze)
        root.write_text(f"raw_data/our scale OS files/subject-{number + 1}.csv", log)


def _recording(study: Study, number: int) -> tuple[str, str]:
    """The export of the tracker and the log of one person."""
    clock, rows = make_clock(study.params, number), rows_of_slot(study.params)
    gaze, log = [GAZE_COLUMNS.format(time=time_column(clock))], [LOG_COLUMNS]
    begun = f"{clock.log_start:%d/%m/%y %H:%M:%S.%f}"
    for slot, trial, found in study.recorded(number, clock):
        here = slice(slot * rows, (slot + 1) * rows)
        gaze += _gaze_rows(found, clock, here)
        onset = (clock.onset_s(slot, rows) - clock.log_ahead_s) * clock.log_rate * 1000
        name = study.contents[trial.picture].name
        for answer in (trial.arousal, trial.valence)[: 1 if slot == 0 else 2]:
            log.append((name, str(slot), str(answer), begun, str(number + 1), f"{onset:.3f}"))
    comma = ",;"[number % 2]
    return "\n".join([*gaze, ""]), "\n".join([*(comma.join(f'"{cell}"' for cell in row) for row in log), ""])


def _gaze_rows(found: Signals, clock: Clock, here: slice) -> list[str]:
    """The rows of a slot, which are the rows `here` of the recording."""
    time = clock.time_s[here]
    first = np.unique(found.fixation, return_index=True, return_inverse=True)
    begins = time[first[1]][first[2]]
    ticks = np.rint((time + 1000) * TICKS_PER_S).astype(np.int64)
    columns: list[NDArray[Any]] = [np.arange(here.start, here.stop), time, ticks, found.x, found.y, begins]
    columns += [time - begins, found.fixation, found.gaze_valid, found.x, found.y, found.gaze_valid]
    columns += [found.left_mm, found.left_valid, found.right_mm, found.right_valid]
    columns += [found.gsr_ohm, found.body_valid, found.heart_bpm, found.body_valid]
    return [GAZE_ROW % values for values in zip(*(column.tolist() for column in columns), strict=True)]
