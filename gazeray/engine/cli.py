# SPDX-License-Identifier: Apache-2.0
"""The command line that all jobs share: read the config, run, print the table, set the exit code.

0 done; 1 some units failed, they are named, or the storage did; 2 bad config or input, every mistake listed;
130 stopped by the user (Ctrl-C, SIGINT).
"""

from __future__ import annotations

import argparse
import json
import sys
import textwrap
import types
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, TypeVar, Union, get_args, get_origin

from pydantic import BaseModel

from gazeray.config import ConfigError, load_config
from gazeray.engine.faults import BAD_PLACE, interrupted, storage_fault
from gazeray.engine.plan import plan_lines
from gazeray.engine.progress import ProgressView
from gazeray.engine.run import draw, report_damage
from gazeray.learn.space import SearchError
from gazeray.report.text_tables import predictors_table
from gazeray.storage import Folder, masked
from gazeray.study import Study
from gazeray.tables import DataError, Fault
from gazeray.unit import Json

if TYPE_CHECKING:
    from gazeray.engine.experiment import Outcome

C = TypeVar("C", bound=BaseModel)
D = TypeVar("D")
S = TypeVar("S")

DONE, SOME_FAILED, BAD_INPUT, STOPPED = 0, 1, 2, 130


def main(
    study: Callable[[C], Study[D, S]],
    settings: type[C],
    job: str,
    config: Path | None,
    report: Callable[[Folder], None],
    argv: Sequence[str] | None = None,
    table: Callable[[Json], str] = predictors_table,
    plan: Callable[[C], Sequence[str]] | None = None,
) -> int:
    """Run a job from the command line; returns its exit code.

    study: makes the study of a config. settings: the model of that config. config: the YAML that is read when --config
    is not given; None: the defaults. report: draws report.html from the run folder. table: the metrics as text. plan:
    what a run would do; None: what the study finds when it is opened. Neither Ray nor PyTorch is imported here before
    there is something to run, so a study and a report that import them are best handed over as `gazeray.studies` does.
    """
    arguments = _parser(job, config, settings).parse_intermixed_args(argv)
    view = ProgressView()
    try:
        cfg = load_config(settings, arguments.config, arguments.overrides)
        if arguments.dry_run:
            return _show(plan_lines(cfg, plan or (lambda cfg: study(cfg).open().planned())))
        from gazeray.engine.experiment import run  # here: it takes seconds, and nothing above needs it

        outcome = run(study(cfg), job, view)
        _draw(outcome.run, report, view, arguments.report)
    except (ConfigError, DataError) as error:
        for line in error.errors:
            print(f"error: {masked(line)}", file=sys.stderr)
        return BAD_INPUT
    except SearchError as error:
        print(f"error: {masked(str(error))}", file=sys.stderr)
        return SOME_FAILED
    except (Exception, KeyboardInterrupt) as error:
        if interrupted(error):
            print("stopped; run the same command again: what is done is kept", file=sys.stderr)
            return STOPPED
        fault = storage_fault(error)
        if fault is None:
            raise
        print(f"error: {masked(str(fault))}", file=sys.stderr)
        if isinstance(fault, BAD_PLACE):
            return BAD_INPUT
        print("run the same command again when the storage works: what is done is kept", file=sys.stderr)
        return SOME_FAILED
    return _close(outcome, table)


def _show(lines: Sequence[str]) -> int:
    """Print a plan, and what is wrong with it as errors; returns the exit code."""
    for line in lines:
        wrong = isinstance(line, Fault)
        print(f"error: {masked(line)}" if wrong else masked(line), file=sys.stderr if wrong else sys.stdout)
    return BAD_INPUT if any(isinstance(line, Fault) for line in lines) else DONE


def _draw(run: Folder, report: Callable[[Folder], None], view: ProgressView, again: bool) -> None:
    """The report of scores that have none yet, of one that is damaged, and of any where it is asked for."""
    damaged = report_damage(run)
    for line in damaged or ():
        view.line(f"{line}; drawn again")
    if damaged == [] and not again:
        view.line("the report is kept; --report draws it again")
        return
    with view.stage("report"):
        draw(run, report)


EXIT_CODES = """exit codes:
  0  done
  1  some units failed (named), or the storage did; the same command retries what is missing
  2  bad config or input, every mistake listed, nothing fitted
  130  stopped (Ctrl-C, SIGINT); the same command does what is missing
"""


def _parser(job: str, config: Path | None, settings: type[BaseModel]) -> argparse.ArgumentParser:
    listed = "\n".join(settings_help(settings))
    usual = f" (default: {config.name})" if config is not None else ""
    parser = argparse.ArgumentParser(
        prog=f"python jobs/{job}.py",
        description="Without arguments it runs on the embedded simulated study.",
        epilog=f"{EXIT_CODES}\nsettings, with their defaults:\n{listed}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--config", type=Path, default=config, help=f"YAML with the settings{usual}")
    parser.add_argument("--dry-run", action="store_true", help="print the plan and stop")
    parser.add_argument("--report", action="store_true", help="draw the report again where nothing has changed")
    parser.add_argument("overrides", nargs="*", metavar="section.key=value", help="settings that replace the YAML's")
    return parser


def settings_help(model: type[BaseModel]) -> Iterator[str]:
    """Every setting of a config as lines of text: `section.key=default  (type)`, and what it means below."""
    for key, default, kind, description in _settings(model, model(), ""):
        yield f"  {key}={default if isinstance(default, str) else json.dumps(default)}  ({kind})"
        yield from textwrap.wrap(description, 112, initial_indent=" " * 6, subsequent_indent=" " * 6)


def _settings(model: type[BaseModel], defaults: BaseModel, prefix: str) -> Iterator[tuple[str, Any, str, str]]:
    """(dotted key, default, type, description) of every value in a nested model, in its order.

    A section that may be null stands for itself, and its keys follow with the defaults that they have once it is there.
    """
    for name, field in model.model_fields.items():
        key, value = f"{prefix}{name}", getattr(defaults, name)
        sections = [kind for kind in _parts(field.annotation) if isinstance(kind, type) and issubclass(kind, BaseModel)]
        if not sections:
            limits = [sign + f"{getattr(rule, limit):.10g}" for rule in field.metadata for limit, sign in LIMITS.items()
                      if getattr(rule, limit, None) is not None]  # fmt: skip
            yield key, value, ", ".join([_kind(field.annotation), *limits]), field.description or ""
            continue
        if value is None:
            yield key, value, "a section, or null", field.description or ""
        yield from _settings(sections[0], sections[0]() if value is None else value, f"{key}.")


LIMITS = {"gt": "> ", "ge": ">= ", "lt": "< ", "le": "<= "}
KINDS = {int: "integer", float: "number", str: "text", bool: "true or false", type(None): "null"}


def _parts(annotation: Any) -> tuple[Any, ...]:
    """What a union joins; anything else alone."""
    return get_args(annotation) if get_origin(annotation) in (Union, types.UnionType) else (annotation,)


def _kind(annotation: Any) -> str:
    """A type in words: `integer or null`, `adamw | sgd`, `list of ...`."""
    if get_origin(annotation) is Annotated:
        return _kind(get_args(annotation)[0])
    parts = _parts(annotation)
    if len(parts) > 1:
        return " or ".join(map(_kind, parts))
    inner = get_args(annotation)
    if get_origin(annotation) is Literal:
        return " | ".join(inner)
    if get_origin(annotation) is tuple:
        return f"list of {_kind(inner[0])}" if inner[-1] is ... else f"[{', '.join(map(_kind, inner))}]"
    return KINDS.get(annotation, "mapping")


def _close(outcome: Outcome, table: Callable[[Json], str]) -> int:
    """Print the table, where the results are, and what failed."""
    if outcome.metrics is not None:
        print("\n" + table(outcome.metrics) + "\n")
    print(f"report: {outcome.run.uri}/report.html")
    for name, reason in outcome.failed.items():
        print(f"failed: {name}: {reason}", file=sys.stderr)
    if outcome.failed:
        print("run the same command again to retry only what failed", file=sys.stderr)
        return SOME_FAILED
    return DONE
