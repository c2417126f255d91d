# SPDX-License-Identifier: Apache-2.0
"""The files that get a cluster: Ray's own checks, the fields KubeRay knows, one version everywhere, names that exist.

The checks of `ray up` and of KubeRay's autoscaler are private to Ray; the pinned version has them.
"""

from __future__ import annotations

import copy
import re
import shlex
import socket
import subprocess
import tomllib
import zipfile
from pathlib import Path
from typing import Any

import pytest
import yaml
from ray._private.ray_constants import get_runtime_env_default_excludes
from ray._private.runtime_env.packaging import create_package
from ray.autoscaler._private.kuberay.autoscaling_config import _derive_autoscaling_config_from_ray_cr
from ray.autoscaler._private.util import prepare_config, validate_config

ROOT = Path(__file__).parents[2]
CLUSTER = ROOT / "cluster"
KUBERAY = [CLUSTER / "kuberay" / "raycluster.yaml", CLUSTER / "kuberay" / "rayjob.yaml"]
IMAGE = re.compile(r"registry\.example\.org/gazeray:(?P<gazeray>[\d.]+)-ray(?P<ray>[\d.]+)-py(?P<python>\d+)")

# The fields of ray.io/v1 (API reference of KubeRay 1.5) and of the Kubernetes objects below, as far as they are used.
FIELDS = {
    "RayCluster": {"apiVersion", "kind", "metadata", "spec"},
    "RayJob": {"apiVersion", "kind", "metadata", "spec"},
    "RayJobSpec": {
        *("entrypoint", "runtimeEnvYAML", "shutdownAfterJobFinishes", "ttlSecondsAfterFinished"),
        *("activeDeadlineSeconds", "backoffLimit", "submissionMode", "rayClusterSpec"),
    },
    "RayClusterSpec": {
        *("rayVersion", "authOptions", "enableInTreeAutoscaling", "autoscalerOptions"),
        *("headGroupSpec", "workerGroupSpecs"),
    },
    "authOptions": {"mode"},
    "autoscalerOptions": {"upscalingMode", "idleTimeoutSeconds", "resources", "env", "envFrom", "version"},
    "headGroupSpec": {"rayStartParams", "template", "serviceType"},
    "workerGroupSpec": {"groupName", "replicas", "minReplicas", "maxReplicas", "rayStartParams", "template"},
    "template": {"metadata", "spec"},
    "podSpec": {"serviceAccountName", "containers", "volumes", "nodeSelector", "tolerations"},
    "container": {"name", "image", "env", "envFrom", "ports", "resources", "volumeMounts"},
}


def read(path: Path) -> Any:
    return yaml.safe_load(path.read_text())


def cluster_spec(document: dict[str, Any]) -> dict[str, Any]:
    """The RayClusterSpec of a RayCluster or a RayJob."""
    spec: dict[str, Any] = document["spec"]
    return spec if document["kind"] == "RayCluster" else spec["rayClusterSpec"]


def groups(spec: dict[str, Any]) -> list[dict[str, Any]]:
    return [spec["headGroupSpec"], *spec["workerGroupSpecs"]]


def unknown_fields(document: dict[str, Any]) -> list[str]:
    """Every field that KubeRay would not know, as where.field."""
    kind, spec = document["kind"], cluster_spec(document)
    found = [(kind, document), ("RayClusterSpec", spec), ("headGroupSpec", spec["headGroupSpec"])]
    found += [("RayJobSpec", document["spec"])] if kind == "RayJob" else []
    found += [("workerGroupSpec", group) for group in spec["workerGroupSpecs"]]
    found += [(name, spec[name]) for name in ("authOptions", "autoscalerOptions") if name in spec]
    for group in groups(spec):
        pod = group["template"]["spec"]
        found += [("template", group["template"]), ("podSpec", pod)]
        found += [("container", container) for container in pod["containers"]]
    return [f"{where}.{field}" for where, value in found for field in value if field not in FIELDS[where]]


def autoscaling(document: dict[str, Any]) -> dict[str, Any]:
    """What KubeRay's autoscaler makes of the cluster."""
    metadata = {"namespace": "default", **document["metadata"]}
    config: dict[str, Any] = _derive_autoscaling_config_from_ray_cr(
        {"metadata": metadata, "spec": cluster_spec(document)}
    )
    return config


# -- AWS


def test_ray_up_accepts_the_aws_file() -> None:
    config = prepare_config(read(CLUSTER / "aws.yaml"))
    validate_config(config)
    types = config["available_node_types"]
    assert {name: node["resources"] for name, node in types.items()} == {
        "head": {"CPU": 0},
        "cpu": {"CPU": 16},
        "gpu": {"CPU": 4, "GPU": 1},
    }
    assert sum(node["max_workers"] for node in types.values()) == config["max_workers"]


def test_ray_up_refuses_a_misspelt_aws_file() -> None:
    config = read(CLUSTER / "aws.yaml")
    config["available_node_types"]["cpu"]["resorces"] = {}
    with pytest.raises(Exception, match="resorces"):
        validate_config(prepare_config(config))


def test_token_file_of_the_aws_cluster_is_where_ray_looks_for_it() -> None:
    config = read(CLUSTER / "aws.yaml")
    assert config["file_mounts"] == {"/home/ray/.ray/auth_token": "~/.ray/auth_token"}
    assert "--env RAY_AUTH_MODE=token" in config["docker"]["run_options"]


# -- Kubernetes


@pytest.mark.parametrize("path", KUBERAY, ids=lambda path: path.stem)
def test_kuberay_file_holds_only_fields_that_kuberay_knows(path: Path) -> None:
    document = read(path)
    assert document["apiVersion"] == "ray.io/v1"
    assert unknown_fields(document) == []
    wrong = copy.deepcopy(document)
    cluster_spec(wrong)["workerGroupSpecs"][0]["minReplica"] = 1
    assert unknown_fields(wrong) == ["workerGroupSpec.minReplica"]


@pytest.mark.parametrize("path", KUBERAY, ids=lambda path: path.stem)
def test_autoscaler_of_kuberay_reads_the_groups(path: Path) -> None:
    config = autoscaling(read(path))
    validate_config(config)
    types = config["available_node_types"]
    assert types["headgroup"]["resources"]["CPU"] == 0, "the head computes nothing"
    assert types["cpu"]["resources"]["CPU"] == 8
    if path.stem == "raycluster":
        assert types["gpu"]["resources"]["GPU"] == 1
        assert config["max_workers"] == 6
    else:
        assert types["cpu"]["min_workers"] == types["cpu"]["max_workers"] == 2, "a job's cluster has one size"


@pytest.mark.parametrize("path", KUBERAY, ids=lambda path: path.stem)
def test_shared_memory_is_mounted_and_fits_in_the_memory_of_the_pod(path: Path) -> None:
    for group in groups(cluster_spec(read(path))):
        pod = group["template"]["spec"]
        (container,), (volume,) = pod["containers"], pod["volumes"]
        assert container["volumeMounts"] == [{"name": volume["name"], "mountPath": "/dev/shm"}]
        assert volume["emptyDir"]["medium"] == "Memory"
        shared, memory = volume["emptyDir"]["sizeLimit"], container["resources"]["limits"]["memory"]
        assert int(shared.removesuffix("Gi")) >= 0.3 * int(memory.removesuffix("Gi")), "Ray takes 30 % of the memory"
        assert container["resources"]["limits"] == container["resources"]["requests"]


def test_entrypoint_of_the_ray_job_is_a_file_of_the_image() -> None:
    (home,) = re.findall(r"^WORKDIR (\S+)$", (CLUSTER / "Dockerfile").read_text(), re.MULTILINE)
    _, script, *words = shlex.split(read(KUBERAY[1])["spec"]["entrypoint"])
    assert (ROOT / Path(script).relative_to(home)).is_file()
    assert all("=" in word for word in words)


# -- one version


def test_ray_has_one_version_everywhere() -> None:
    (pinned,) = re.findall(r"^ray==(\S+)$", (ROOT / "constraints.txt").read_text(), re.MULTILINE)
    (base,) = re.findall(r"^FROM rayproject/ray:(\S+)$", (CLUSTER / "Dockerfile").read_text(), re.MULTILINE)
    named = {path: IMAGE.findall(path.read_text()) for path in sorted(CLUSTER.rglob("*")) if path.is_file()}
    images = {image for found in named.values() for image in found}
    assert {path.name for path, found in named.items() if found} >= {"aws.yaml", "raycluster.yaml", "rayjob.yaml"}
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    python = base.rpartition("-py")[2]
    assert base == f"{pinned}-py{python}"
    assert images == {(project["version"], pinned, python)}
    assert {cluster_spec(read(path))["rayVersion"] for path in KUBERAY} == {pinned}
    least = tuple(map(int, re.findall(r"\d+", project["requires-python"])))
    assert (int(python[0]), int(python[1:])) >= least


@pytest.mark.parametrize("path", [CLUSTER / "aws.yaml", *KUBERAY], ids=lambda path: path.stem)
def test_every_image_in_the_files_is_ours(path: Path) -> None:
    named = re.findall(r"^\s*image: (\S+)", path.read_text(), re.MULTILINE)
    assert named
    assert all(IMAGE.fullmatch(image) for image in named)


def test_dockerfile_copies_files_that_exist_and_that_the_build_may_see() -> None:
    visible = {line[1:] for line in (CLUSTER / "Dockerfile.dockerignore").read_text().split() if line.startswith("!")}
    lines = re.findall(r"^COPY (?:--\S+ )*(.+)$", (CLUSTER / "Dockerfile").read_text(), re.MULTILINE)
    copied = {source for line in lines for source in line.split()[:-1]}
    assert copied == visible
    assert copied >= {"pyproject.toml", "constraints.txt", "gazeray", "jobs", "configs"}
    assert all((ROOT / source).exists() for source in copied)


# -- what is sent, what is said


def test_what_job_submit_sends_is_the_code_and_nothing_else(tmp_path: Path) -> None:
    package = tmp_path / "package.zip"
    create_package(str(ROOT), package, include_gitignore=True, excludes=get_runtime_env_default_excludes())
    with zipfile.ZipFile(package) as archive:
        sent = {name for name in archive.namelist() if not name.endswith("/")}
    assert sent >= {"jobs/cv_heatmap.py", "configs/cv_heatmap.yaml", "gazeray/report/templates/report.css"}
    assert {name.split("/")[0] for name in sent if "/" in name} == {"gazeray", "jobs", "configs", "cluster"}
    assert package.stat().st_size < 4_000_000


def test_slurm_script_is_valid_and_names_files_that_exist() -> None:
    script = CLUSTER / "slurm.sbatch"
    checked = subprocess.run(["bash", "-n", script], capture_output=True, text=True, check=False)
    assert (checked.returncode, checked.stderr) == (0, "")
    named = files_named(script.read_text())
    assert named >= {"jobs/cv_heatmap.py", "cluster/slurm.sbatch"}
    assert [name for name in named if not (ROOT / name).exists()] == []


def stub(folder: Path, name: str, body: str) -> None:
    """A command that notes how it was called and then does `body`."""
    path = folder / name
    path.write_text(f'#!/bin/bash\necho "{name} $*" >> "$CALLS"\n{body}\n')
    path.chmod(0o755)


@pytest.mark.parametrize("code", [0, 1, 2])
def test_slurm_script_starts_ray_on_every_node_runs_the_job_and_ends_with_its_exit_code(
    tmp_path: Path, code: int
) -> None:
    commands = tmp_path / "commands"
    commands.mkdir()
    stub(commands, "scontrol", "printf 'n1\\nn2\\nn3\\n'")
    stub(commands, "srun", 'if [[ "$*" == *hostname* ]]; then echo "127.0.0.1 ::1"; else exec sleep 60; fi')
    stub(commands, "ray", "")
    job = f'echo "at $RAY_ADDRESS, $RAY_AUTH_MODE" >> "$CALLS"; exit {code}'
    wait = 'until (($(grep -c -- --block "$CALLS") == 2)); do sleep 0.05; done'
    stub(commands, "python", f'if [[ "$1" == - ]]; then {wait}; else {job}; fi')
    (tmp_path / ".venv" / "bin").mkdir(parents=True)
    (tmp_path / ".venv" / "bin" / "activate").write_text("")
    calls = tmp_path / "calls"
    environment = {"PATH": f"{commands}:/usr/bin:/bin", "CALLS": str(calls), "SLURM_SUBMIT_DIR": str(tmp_path)}
    environment |= {"SLURM_JOB_NUM_NODES": "3", "SLURM_JOB_NODELIST": "n[1-3]", "SLURM_JOB_ID": "7"}
    environment |= {"SLURM_CPUS_PER_TASK": "16"}
    with socket.create_server(("127.0.0.1", 0)) as head:
        port = head.getsockname()[1]
        script = (CLUSTER / "slurm.sbatch").read_text().replace("\nport=6379\n", f"\nport={port}\n")
        command = ["bash", "-c", script, "slurm.sbatch", "run.seed=3", "run.dir=a b"]
        done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=240, check=False)
    assert done.returncode == code, done.stderr
    told = calls.read_text().splitlines()
    starts = sorted((call for call in told if "--block" in call), key=lambda call: "--head" not in call)
    assert f"--nodelist=n1 ray start --head --node-ip-address=127.0.0.1 --port={port} --temp-dir=/tmp/gr-7" in starts[0]
    assert f"--nodes=2 --ntasks=2 --exclude=n1 ray start --address=127.0.0.1:{port}" in starts[1]
    assert all(call.endswith("--block --num-cpus=16") for call in starts)
    ran = told.index("python jobs/cv_heatmap.py run.seed=3 run.dir=a b")
    assert told.index("python - 3") < ran
    assert told[ran + 1] == f"at 127.0.0.1:{port}, token"


def files_named(text: str) -> set[str]:
    """The paths below the folders of the repository that a text names."""
    return set(re.findall(r"(?<![\w/.-])((?:cluster|configs|gazeray|jobs|tests)/[\w./-]*\w)", text))


def test_readme_names_files_that_exist() -> None:
    text = (CLUSTER / "README.md").read_text()
    named = {ROOT / name for name in files_named(text)}
    named |= {(CLUSTER / name).resolve() for name in re.findall(r"\]\(([^)#:]+)\)", text)}
    assert named >= {ROOT / "jobs" / "cv_heatmap.py", CLUSTER / "aws.yaml", *KUBERAY}
    assert [str(path) for path in named if not path.exists()] == []


def test_every_file_of_the_folder_is_named_in_its_readme() -> None:
    text = (CLUSTER / "README.md").read_text()
    files = {path.name for path in CLUSTER.rglob("*") if path.is_file()} - {"README.md", "Dockerfile.dockerignore"}
    assert {name for name in files if name not in text} == set()
