"""The files for containers name what is there: no container runs where these tests do."""

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from secateur_server.coordinator.settings import ServeSettings

DEPLOY = Path(__file__).resolve().parents[2] / "deploy"
YAML = sorted(path for suffix in ("*.yaml", "*.yml") for path in DEPLOY.rglob(suffix))
OPTIONS = {f"--{name.replace('_', '-')}" for name in ServeSettings.model_fields}


def documents(path: Path) -> list[dict[str, Any]]:
    return [each for each in yaml.safe_load_all(path.read_text()) if each is not None]


def serve_arguments() -> dict[str, list[str]]:
    compose = documents(DEPLOY / "compose.yaml")[0]
    kube = documents(DEPLOY / "kubernetes" / "base" / "coordinator.yaml")[0]
    [container] = kube["spec"]["template"]["spec"]["containers"]
    return {
        "compose": compose["services"]["coordinator"]["command"],
        "kubernetes": container["args"],
    }


@pytest.mark.parametrize("path", YAML, ids=lambda path: path.relative_to(DEPLOY).as_posix())
def test_each_file_is_yaml(path: Path) -> None:
    assert documents(path)


@pytest.mark.parametrize("where", ["compose", "kubernetes"])
def test_the_coordinator_is_started_with_options_that_it_has(where: str) -> None:
    command, *options = serve_arguments()[where]
    assert command == "serve"
    assert {option.partition("=")[0] for option in options} <= OPTIONS


def test_compose_mounts_what_is_there_or_what_the_operator_is_told_to_make() -> None:
    compose = documents(DEPLOY / "compose.yaml")[0]
    named = {
        volume.partition(":")[0]
        for service in compose["services"].values()
        for volume in service.get("volumes", [])
    }
    files = {name for name in named if name.startswith("./")}
    theirs = {"./broker", "./broker/fleet-ca.crt"}
    assert {name for name in files - theirs if not (DEPLOY / name).exists()} == set()
    assert named - files == set(compose["volumes"])


def test_every_folder_of_kustomize_names_files_that_are_there() -> None:
    for path in sorted((DEPLOY / "kubernetes").rglob("kustomization.yaml")):
        for resource in documents(path)[0]["resources"]:
            assert (path.parent / resource).exists(), resource


def test_what_a_pod_reads_from_its_environment_is_given_to_it() -> None:
    wanted = {
        name
        for argument in serve_arguments()["kubernetes"]
        for name in re.findall(r"\$\((\w+)\)", argument)
    }
    overlay = (DEPLOY / "kubernetes" / "overlays" / "oslo" / "kustomization.yaml").read_text()
    assert {name for name in wanted - {"POD"} if f"{name}=" not in overlay} == set()
