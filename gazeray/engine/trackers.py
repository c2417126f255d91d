# SPDX-License-Identifier: Apache-2.0
"""TensorBoard and MLflow, each by its own writer: event files, and runs of a tracking store.

Both are optional, so they are imported where they are begun.
"""

from __future__ import annotations

import os
import re
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from gazeray.config import digest
from gazeray.engine.tracking import End
from gazeray.unit import Unit

Parameters = Mapping[str, str | float | bool]

FLUSH_S = 5
"""So old may be what TensorBoard shows of a unit under way; its own default is two minutes."""


class TensorBoard:
    """Event files below a folder, a folder per unit: TensorBoard's own writer, as PyTorch wraps it.

    tensorboardX, which Ray Tune brings along, writes such files too, but is another's code. A unit that goes on begins
    a new file in place of the old one, whose epochs are told again: in one folder TensorBoard keeps the first word on
    how a unit ended. `purge_step` takes back what a TensorBoard that is looking has already read.
    """

    def __init__(self, folder: Path, parameters: Parameters) -> None:
        """Raises ImportError, OSError."""
        from torch.utils.tensorboard import SummaryWriter

        folder.mkdir(parents=True, exist_ok=True)
        self.folder, self.parameters, self.writer = folder, parameters, SummaryWriter
        self.writers: dict[str, Any] = {}

    def begin(self, unit: Unit) -> int:
        """See `Tracker`: no epoch stays."""
        from torch.utils.tensorboard.summary import hparams

        folder = self.folder / unit.name
        for old in folder.glob("events.out.tfevents.*"):
            old.unlink()
        writer: Any = self.writer(str(folder), purge_step=0, flush_secs=FLUSH_S)
        _, start, _ = hparams(dict(self.parameters), {})
        writer.file_writer.add_summary(start)
        self.writers[unit.name] = writer
        return 0

    def log(self, unit: Unit, values: Mapping[str, float], epoch: int) -> None:
        """See `Tracker`."""
        for name, value in values.items():
            self.writers[unit.name].add_scalar(name, value, epoch)

    def end(self, unit: Unit, how: End) -> None:
        """See `Tracker`. Of a unit that was stopped TensorBoard says nothing, since it may go on."""
        from tensorboard.compat.proto.summary_pb2 import Summary
        from tensorboard.plugins.hparams import api_pb2, metadata
        from tensorboard.plugins.hparams.plugin_data_pb2 import HParamsPluginData, SessionEndInfo

        writer = self.writers.pop(unit.name)
        if how != "stopped":
            ended = SessionEndInfo(status=api_pb2.STATUS_SUCCESS if how == "done" else api_pb2.STATUS_FAILURE)
            about = metadata.create_summary_metadata(HParamsPluginData(session_end_info=ended))
            writer.file_writer.add_summary(
                Summary(value=[Summary.Value(tag=metadata.SESSION_END_INFO_TAG, metadata=about)])
            )
        writer.close()


ENVIRONMENT = {
    "MLFLOW_DISABLE_TELEMETRY": "true",  # a run reports to nobody that was not named
    "MLFLOW_LOGGING_LEVEL": "WARNING",
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "2",  # its defaults would hold up the driver for minutes
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "10",
}

MOST_PARAMETERS, LONGEST_PARAMETER, MOST_METRICS = 100, 6000, 1000
"""MLflow's limits: entries of a batch, characters of a value."""


class Mlflow:
    """Runs of an MLflow store, in an experiment per job; a tag made of the unit's hash finds a run again."""

    def __init__(self, store: str, job: str, run: str, place: str, parameters: Parameters) -> None:
        """store: a local folder, or MLflow's tracking URI. run, place: name and URI of the run folder.

        Raises ImportError, OSError, and whatever MLflow raises.
        """
        for name, value in ENVIRONMENT.items():
            os.environ.setdefault(name, value)
        from mlflow.tracking import MlflowClient

        if "://" not in store:
            Path(store).mkdir(parents=True, exist_ok=True)
            store = f"sqlite:///{store}/mlflow.db"  # as MLflow itself does; folders of text files it gives up
        self.client = MlflowClient(tracking_uri=store)
        self.job, self.run, self.place, self.parameters = job, run, place, parameters
        self.ids: dict[str, str] = {}

    def begin(self, unit: Unit) -> int:
        """See `Tracker`: all epochs stay, since MLflow forgets none."""
        from mlflow.entities import Param

        found = self.client.get_experiment_by_name(self.job)
        experiment = found.experiment_id if found else self.client.create_experiment(self.job)
        mark = digest([self.place, unit.hash])
        runs = self.client.search_runs([experiment], f"tags.gazeray_unit = '{mark}'", max_results=1)
        if runs:
            self.ids[unit.name] = runs[0].info.run_id
            self.client.update_run(runs[0].info.run_id, status="RUNNING")
            return int(runs[0].data.metrics.get("epoch", 0))
        tags = {"gazeray_unit": mark, "unit": unit.name, "unit_hash": unit.hash, "run_folder": self.place}
        run = self.client.create_run(experiment, tags=tags, run_name=f"{self.run}/{unit.name}")
        self.ids[unit.name] = run.info.run_id
        params = [Param(_key(key), str(value)[:LONGEST_PARAMETER]) for key, value in self.parameters.items()]
        for start in range(0, len(params), MOST_PARAMETERS):
            self.client.log_batch(run.info.run_id, params=params[start : start + MOST_PARAMETERS])
        return 0

    def log(self, unit: Unit, values: Mapping[str, float], epoch: int) -> None:
        """See `Tracker`."""
        from mlflow.entities import Metric

        now = int(time.time() * 1000)
        metrics = [Metric(_key(name), value, now, epoch) for name, value in values.items()]
        for start in range(0, len(metrics), MOST_METRICS):
            self.client.log_batch(self.ids[unit.name], metrics=metrics[start : start + MOST_METRICS])

    def end(self, unit: Unit, how: End) -> None:
        """See `Tracker`."""
        status = {"done": "FINISHED", "failed": "FAILED", "died": "KILLED", "stopped": "KILLED"}[how]
        self.client.set_terminated(self.ids.pop(unit.name), status)


def _key(name: str) -> str:
    """A name with the characters that MLflow allows."""
    return re.sub(r"[^\w\-. :/]", "_", name)
