# SPDX-License-Identifier: Apache-2.0
"""ro-crate-metadata.json: what a run folder is, how it came about and what lies in it, in a form that archives read.

RO-Crate 1.1 (Soiland-Reyes et al., Data Science, 2022, doi 10.3233/DS-210053) with the profile Process Run Crate 0.5: a
program made the files of this folder out of a data set. What nobody has said is said to be not stated. No path of a
machine and no command line stands here: both are in manifest.json.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import PurePosixPath
from typing import Any

Json = dict[str, Any]

CRATE = "ro-crate-metadata.json"
"""Its name, which the standard fixes."""

SPECIFICATION, PROFILE = "https://w3id.org/ro/crate/1.1", "https://w3id.org/ro/wfrun/process/0.5"

NOT_STATED = "not stated"

FORMATS = {
    ".html": "text/html",
    ".json": "application/json",
    ".md": "text/markdown",
    ".npz": "application/zip",
    ".parquet": "application/vnd.apache.parquet",
}

ABOUT = {
    "centre.npz": "the centre bias: where fixations lie over all pictures",
    "explain.npz": "what the maps add up to",
    "figures/": "the figures of the report",
    "fixations.parquet": "fixations, a row each",
    "manifest.json": "command, config, code, versions, machine, declaration of the data, folds, hashes of the files",
    "maps/": "maps of the scored items, by the index that lies with them",
    "metrics.json": "the scores of all predictors, with 95 % intervals",
    "model_card.md": "what the fitted models are for and what not, how good they are, how to load them",
    "per_item.parquet": "the scores of every item by every predictor",
    "predictions.parquet": "what was predicted of every tested item",
    "quality.parquet": "the data quality of every trial",
    "rejects.parquet": "what of the data was rejected, and why",
    "report.html": "the report: one page, the verdict first",
    "saccades.parquet": "saccades, a row each",
    "units/": "a folder for each piece of work: its result, its log, and the weights where a model was kept",
    "variants.parquet": "the items that only the run or only another setting uses, and why",
}
"""What lies in a run folder, by path; folders end in a slash."""


def crate(manifest: Mapping[str, Any], files: Mapping[str, Mapping[str, Any]]) -> Json:
    """The metadata of the folder of a run that has ended, as JSON-LD.

    manifest: what manifest.json says. files: path -> size (bytes) and sha256 (hex) of what lies in the folder beside
    it; of what lies in a folder below, as units do, the folder alone is listed.
    """
    parts = _parts(manifest, files)
    data, software, action = _data(manifest), _software(manifest), _action(manifest, parts)
    root = {
        "@id": "./",
        "@type": "Dataset",
        "conformsTo": {"@id": PROFILE},
        "name": f"{manifest['job']}-{manifest['config_hash']}: {data[0]['name']}",
        "description": f"{_sentence(manifest)} Nothing is known of a publication: the date is that of the run.",
        "datePublished": manifest["finished"][:10],
        "license": {"@id": "#licence"},
        "hasPart": _references(parts),
        "mentions": {"@id": action[0]["@id"]},
    }
    licence = _about(
        "#licence", "CreativeWork", NOT_STATED,
        description="Whoever publishes this folder has to state a licence. That of the data set may restrict it.",
    )  # fmt: skip
    profile = _about(PROFILE, "CreativeWork", "Process Run Crate", version="0.5")
    descriptor = {
        "@id": CRATE,
        "@type": "CreativeWork",
        "conformsTo": {"@id": SPECIFICATION},
        "about": {"@id": root["@id"]},
    }
    graph = [descriptor, root, profile, licence, *action, *data, *software, *parts]
    return {"@context": [f"{SPECIFICATION}/context", {"sha256": "http://schema.org/sha256"}], "@graph": graph}


def _sentence(manifest: Mapping[str, Any]) -> str:
    label = manifest["data"].get("label")
    of = f" (label {label})" if label else ""
    return (
        f"What a run of gazeray left of its study {manifest['study']} on the data set {_name(manifest)}{of}: scores of "
        "models, baselines and ceilings, what they were computed from, and a report."
    )


def _name(manifest: Mapping[str, Any]) -> str:
    return str(manifest["data"].get("dataset") or NOT_STATED)


def _parts(manifest: Mapping[str, Any], files: Mapping[str, Mapping[str, Any]]) -> list[Json]:
    """The files at the top of the folder, then the folders."""
    kept: dict[str, Mapping[str, Any]] = {"manifest.json": {}}  # which tells the hashes of the others
    kept |= {path: noted for path, noted in files.items() if "/" not in path and path != CRATE}
    folders = {f"{path.partition('/')[0]}/" for path in files if "/" in path}
    if "done" in manifest.get("units", {}).values():
        folders.add("units/")
    return [_file(path, kept[path]) for path in sorted(kept)] + [_part(path, "Dataset") for path in sorted(folders)]


def _file(path: str, noted: Mapping[str, Any]) -> Json:
    size = {"contentSize": str(noted["size"]), "sha256": noted["sha256"]} if noted else {}
    suffix = PurePosixPath(path).suffix
    return {**_part(path, "File"), **({"encodingFormat": FORMATS[suffix]} if suffix in FORMATS else {}), **size}


def _part(path: str, kind: str) -> Json:
    return {"@id": path, "@type": kind, "name": path, **({"description": ABOUT[path]} if path in ABOUT else {})}


def _action(manifest: Mapping[str, Any], parts: Iterable[Json]) -> list[Json]:
    """The run itself, then what was set: all else of the config is in manifest.json."""
    units = manifest.get("units", {})
    failed = [name for name, status in units.items() if status == "failed"]
    settings = [
        _about("#seed", "PropertyValue", "seed", value=manifest["seed"]),
        _about("#config", "PropertyValue", "hash of the config in manifest.json", value=manifest["config_hash"]),
    ]
    run = _about(
        "#run", "CreateAction", f"a run of the job {manifest['job']}",
        description="Command, config and machine are told in manifest.json.",
        instrument={"@id": "#gazeray"},
        object=[{"@id": "#data"}, *_references(settings)],
        result=_references(parts),
        startTime=min(one["started"] for one in [*manifest.get("earlier", ()), manifest] if "started" in one),
        endTime=manifest["finished"],
        actionStatus=f"http://schema.org/{'Failed' if failed else 'Completed'}ActionStatus",
    )  # fmt: skip
    error = {"error": f"{len(failed)} of {len(units)} units failed: {', '.join(failed)}"} if failed else {}
    return [{**run, **error}, *settings]


def _data(manifest: Mapping[str, Any]) -> list[Json]:
    """The data set, as its declaration describes it, and its licence."""
    data = manifest["data"]
    published = ((data.get("declaration") or {}).get("study") or {}).get("data") or {}
    doi, notes = published.get("doi"), " ".join(data.get("notes") or ())
    told = {
        "description": notes,
        "identifier": f"https://doi.org/{doi.removeprefix('https://doi.org/')}" if doi else None,
        "url": published.get("url"),
        "version": published.get("version"),
    }
    licence = _about("#licence-of-the-data", "CreativeWork", str(data.get("licence") or NOT_STATED))
    told = {key: value for key, value in told.items() if value}
    return [_about("#data", "Dataset", _name(manifest), license={"@id": licence["@id"]}, **told), licence]


def _software(manifest: Mapping[str, Any]) -> list[Json]:
    """gazeray, its code and its licence, and the packages that the numbers depend on."""
    versions = dict(manifest["versions"])
    own, git = versions.pop("gazeray", NOT_STATED), manifest.get("git")
    code = [
        _about("#sources", "PropertyValue", "SHA-256 of the source files", value=manifest.get("sources", NOT_STATED))
    ]
    if git:
        changed = {"description": "with changes that were not committed"} if git["dirty"] else {}
        code.append(_about("#commit", "PropertyValue", "git commit", value=git["commit"], **changed))
    homes = {name: f"https://pypi.org/project/{name}/" for name in versions} | {"python": "https://www.python.org/"}
    needed = [
        _about(homes[name], "SoftwareApplication", name, softwareVersion=one, url=homes[name])
        for name, one in versions.items()
    ]
    licence = _about("https://spdx.org/licenses/Apache-2.0", "CreativeWork", "Apache License 2.0")
    gazeray = _about(
        "#gazeray", "SoftwareApplication", "gazeray", softwareVersion=own, license={"@id": licence["@id"]},
        identifier=_references(code), softwareRequirements=_references(needed),
    )  # fmt: skip
    return [gazeray, licence, *code, *needed]


def _about(id_: str, kind: str, name: str, **more: object) -> Json:
    return {"@id": id_, "@type": kind, "name": name, **more}


def _references(entities: Iterable[Json]) -> list[Json]:
    return [{"@id": entity["@id"]} for entity in entities]
