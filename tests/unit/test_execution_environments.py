"""Environments: what a spec resolves to, and real ones built from PyPI by uv."""

from __future__ import annotations

import asyncio
import fcntl
import os
import signal
import stat
import subprocess
import sys
import tomllib
from concurrent.futures import ThreadPoolExecutor
from importlib.resources import files
from pathlib import Path

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet

from tests.support.zaffre_server import eventually
from zaffre.execution.environments import build as build_module
from zaffre.execution.environments import interpreters
from zaffre.execution.environments import overlay as overlay_module
from zaffre.execution.environments.builder import READY, ensure, ensure_async, ready
from zaffre.execution.environments.conda import read_conda, translate
from zaffre.execution.environments.overlay import overlay
from zaffre.execution.environments.spec import DEFAULT_PYTHON, EnvironmentSpec, Recipe, curated_names, resolve
from zaffre.execution.errors import EnvironmentBuildError, EnvironmentSpecError
from zaffre.execution.files import make_read_only, remove_tree


def writable(folder: Path) -> list[Path]:
    """What may still be written to. The compiler renames its files while we look: one that went is one more look's matter."""
    found = []
    for path in folder.rglob("*"):
        try:
            mode = path.lstat().st_mode
        except FileNotFoundError:
            found.append(path)
            continue
        if not stat.S_ISLNK(mode) and mode & 0o222:
            found.append(path)
    return found


def conda(*dependencies: str, pip: tuple[str, ...] = ()) -> str:
    lines = ["channels: [conda-forge]", "name: x", "dependencies:"]
    lines += [f"  - '{line}'" for line in dependencies]
    if pip:
        lines += ["  - pip:"] + [f"    - '{line}'" for line in pip]
    return "\n".join(lines)


@pytest.mark.parametrize(
    ("image", "python"),
    [
        ("python:3.10", "3.10"),
        ("python:3.9.18-slim-bookworm", "3.9"),
        ("docker.io/library/python:3.12-slim", "3.12"),
        ("python", DEFAULT_PYTHON),
        ("python:3-slim", DEFAULT_PYTHON),
        ("mcr.microsoft.com/azureml/openmpi4.1.0-ubuntu22.04:20240101.v1", DEFAULT_PYTHON),
        ("mcr.microsoft.com/azureml/openmpi4.1.0-cuda11.8-cudnn8-ubuntu22.04", DEFAULT_PYTHON),
        ("mcr.microsoft.com/azureml/minimal-ubuntu20.04-py38-cpu-inference:latest", "3.8"),
        ("mcr.microsoft.com/azureml/base:intelmpi2018.3-ubuntu16.04", DEFAULT_PYTHON),
    ],
)
def test_known_images_are_interpreters(image: str, python: str) -> None:
    recipe = resolve(EnvironmentSpec(image=image))
    assert (recipe.python, recipe.requirements) == (python, ())


@pytest.mark.parametrize(
    "image", ["nvcr.io/nvidia/pytorch:24.01-py3", "ubuntu:22.04", "mypython:3.11", "python:bookworm", "x/python:3.11"]
)
def test_other_images_are_refused(image: str) -> None:
    with pytest.raises(EnvironmentSpecError) as caught:
        resolve(EnvironmentSpec(image=image))
    assert image in caught.value.message
    assert caught.value.target == "image"


def test_curated_names_resolve_with_and_without_prefix_and_as_image() -> None:
    specs = [
        EnvironmentSpec(curated="AzureML-sklearn-1.5"),
        EnvironmentSpec(curated="sklearn-1.5"),
        EnvironmentSpec(image="mcr.microsoft.com/azureml/curated/sklearn-1.5:14"),
    ]
    recipes = {resolve(spec).key for spec in specs}
    assert len(recipes) == 1
    with pytest.raises(EnvironmentSpecError, match=r"AzureML-nothing-9.*sklearn-1\.5"):
        resolve(EnvironmentSpec(curated="AzureML-nothing-9"))
    for name in curated_names():
        for line in resolve(EnvironmentSpec(curated=name)).requirements:
            Requirement(line)


def test_a_conda_file_becomes_requirements() -> None:
    text = conda(
        "python=3.10.4", "pip", "numpy=1.26", "pandas>=2.0,<3", "conda-forge::scikit-learn 1.5.*", "pytorch==2.2.0",
        "scipy=1.11.4=py310h64a44f3_0", "matplotlib", "cudatoolkit=11.8", "opencv",
        pip=("six==1.17.0  # pinned", "mlflow>=2", "--extra-index-url https://x.example/simple?a=b", "--pre"),
    )  # fmt: skip
    recipe = resolve(EnvironmentSpec(image="mcr.microsoft.com/azureml/openmpi4.1.0-ubuntu22.04", conda=text))
    assert recipe.python == "3.10"
    assert recipe.requirements == (
        "numpy==1.26.*", "pandas>=2.0,<3", "scikit-learn==1.5.*", "torch==2.2.0", "scipy==1.11.4.*", "matplotlib",
        "opencv-python-headless", "six==1.17.0", "mlflow>=2",
    )  # fmt: skip
    assert recipe.options == ("--extra-index-url=https://x.example/simple?a=b", "--prerelease=allow")


def test_a_conda_package_without_a_wheel_is_named() -> None:
    with pytest.raises(EnvironmentSpecError, match="'r-base'") as caught:
        resolve(EnvironmentSpec(conda=conda("numpy", "r-base=4")))
    assert (caught.value.package, caught.value.target) == ("r-base", "conda_file")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("dependencies:\n  - numpy\n - pip", "not YAML in line 3"),
        ("- numpy", "no list of 'dependencies'"),
        ("dependencies: numpy", "no list of 'dependencies'"),
        ("dependencies:\n  - {npm: [x]}", "not understood"),
        ("dependencies:\n  - numpy=1.24|1.25", "can't be translated"),
        ("dependencies:\n  - python=2.7", "no Python 3"),
        ("dependencies:\n  - pip: [-r other.txt]", "can't be followed"),
        ("dependencies:\n  - pip: [-e .]", "can't be followed"),
        ("dependencies:\n  - pip: ['/etc/x.whl']", "is a path"),
        ("dependencies:\n  - pip: ['x @ file:///etc/x.whl']", "is a path"),
    ],
)
def test_a_wrong_conda_file_says_where(text: str, message: str) -> None:
    with pytest.raises(EnvironmentSpecError, match=message):
        resolve(EnvironmentSpec(conda=text))


@pytest.mark.parametrize(
    ("asked", "python"),
    [
        ("python", None), ("python=3", "3.11"), ("python>=3.8", "3.11"), ("python>=3.8,<3.11", "3.10"),
        ("python<=3.9", "3.9"), ("python=3.12.1", "3.12"), ("python==3.8.*", "3.8"), ("python>3.11,<3.13", "3.11"),
        ("python>=3.10,!=3.11", "3.14"), ("python<3.11.5", "3.11"), ("python~=3.9", "3.11"), ("python 3.13", "3.13"),
    ],
)  # fmt: skip
def test_which_python_a_conda_file_means(asked: str, python: str | None) -> None:
    assert read_conda(conda(asked), "3.11").python == python


@given(st.lists(st.integers(0, 30), min_size=1, max_size=3), st.integers(0, 30))
def test_a_single_equals_sign_is_a_prefix(wanted: list[int], next_part: int) -> None:
    version = ".".join(map(str, wanted))
    specifier = SpecifierSet(translate(f"={version}", "x"))
    assert specifier.contains(version)
    assert specifier.contains(f"{version}.{next_part}")
    assert not specifier.contains(".".join(map(str, [*wanted[:-1], wanted[-1] + 1])))


def test_every_row_of_the_table_is_a_package_name() -> None:
    package = "zaffre.execution.environments"
    table = tomllib.loads(files(package).joinpath("conda_wheels.toml").read_text(encoding="utf-8"))
    for name in [*table["same"], *table["other"].values()]:
        assert str(Requirement(name)) == name
    assert len(table["same"]) == len(set(table["same"]))
    assert not set(table["ignored"]) & set(table["same"])


def test_the_key_is_decided_by_everything_that_decides() -> None:
    specs = [
        EnvironmentSpec(image="python:3.11"),
        EnvironmentSpec(image="python:3.10"),
        EnvironmentSpec(image="python:3.11", requirements=("six",)),
        EnvironmentSpec(image="python:3.11", requirements=("six", "attrs")),
        EnvironmentSpec(image="python:3.11", requirements=("six", "--pre")),
    ]
    assert len({resolve(spec).key for spec in specs}) == len(specs)
    assert resolve(specs[0]).key == resolve(EnvironmentSpec(image="python:3.11-slim")).key


def test_an_environment_is_built_once_and_then_there(tmp_path: Path) -> None:
    log = tmp_path / "logs" / "build.log"
    recipe = resolve(EnvironmentSpec(requirements=("six==1.17.0",)))
    assert ready(recipe, tmp_path) is None
    python = ensure(recipe, tmp_path, log)
    assert python == tmp_path / "environments" / recipe.key / "bin" / "python"
    folder = python.parents[1]
    eventually(lambda: writable(folder), lambda found: found == [], seconds=60, what="the environment to be read-only")
    assert not [path for path in folder.rglob("*.py") if path.stat().st_nlink > 1], "linked into uv's cache"
    assert run_python(python, "import six; print(six.__version__, six.__cached__ is not None)") == "1.17.0 True"
    assert run_python(python, "import pip, sys; print(sys.prefix)") == str(python.parents[1])
    assert "six==1.17.0" in log.read_text()
    before = log.read_text()
    assert ensure(recipe, tmp_path, log) == python
    assert asyncio.run(ensure_async(recipe, tmp_path, log)) == python
    assert log.read_text() == before


def test_an_environment_without_packages_is_a_venv(tmp_path: Path) -> None:
    python = asyncio.run(ensure_async(resolve(EnvironmentSpec()), tmp_path, tmp_path / "log"))
    assert run_python(python, "import sys; print(sys.prefix != sys.base_prefix)") == "True"


def test_a_job_installs_into_its_own_thin_environment(tmp_path: Path) -> None:
    shared = ensure(resolve(EnvironmentSpec(requirements=("six==1.16.0", "wheel"))), tmp_path, tmp_path / "log")
    own = overlay(shared, tmp_path / "job" / "venv")
    version = "import six, wheel, sys; print(six.__version__, sys.prefix)"
    assert run_python(own, version) == f"1.16.0 {own.parents[1]}"
    assert str(own) in (own.parent / "wheel").read_text()
    assert str(shared.parents[1]) not in (own.parent / "wheel").read_text()
    environment = {**os.environ, "PATH": f"{own.parent}:/usr/bin:/bin"}
    pip = ["pip", "install", "--quiet", "--no-warn-script-location", "six==1.17.0"]
    done = subprocess.run(["env", *pip], env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert overlay(shared, own.parents[1]) == own
    assert run_python(own, version).startswith("1.17.0")
    assert run_python(shared, version) == f"1.16.0 {shared.parents[1]}"


def test_a_script_starts_the_thin_environment_however_deep_it_lies(tmp_path: Path) -> None:
    shared = ensure(resolve(EnvironmentSpec()), tmp_path, tmp_path / "log")
    own = overlay(shared, tmp_path / ("x" * 100) / ("y" * 100) / "venv")
    script = own.parent / "where"
    assert len(str(own)) > 127
    script.write_bytes(overlay_module._within_limit(f"#!{own}\nimport sys; print(sys.prefix)\n".encode()))
    script.chmod(0o700)
    assert subprocess.run([script], capture_output=True, text=True, check=True).stdout.strip() == str(own.parents[1])


def test_two_at_once_build_once(tmp_path: Path) -> None:
    recipe = resolve(EnvironmentSpec(requirements=("six",)))
    logs = [tmp_path / f"log-{number}" for number in range(3)]
    with ThreadPoolExecutor(3) as threads:
        pythons = set(threads.map(lambda log: ensure(recipe, tmp_path, log), logs))
    assert len(pythons) == 1
    texts = [log.read_text() for log in logs]
    assert sum("Building environment" in text for text in texts) == 1
    assert sum("is ready" in text for text in texts) == 2


def test_who_waits_is_not_told_for_whom_it_is_built(tmp_path: Path) -> None:
    """It may be a job of another workspace, whose log is nobody else's business."""
    recipe, log = resolve(EnvironmentSpec()), tmp_path / "log"
    (tmp_path / "environments").mkdir()
    with open(tmp_path / "environments" / f"{recipe.key}.lock", "w") as lock, ThreadPoolExecutor(1) as threads:
        fcntl.flock(lock, fcntl.LOCK_EX)
        lock.write("/home/jobs/theirs/secret-project/build.log")
        lock.flush()
        waiting = threads.submit(ensure, recipe, tmp_path, log)
        eventually(
            lambda: log.exists() and log.read_text(), lambda text: "is being built" in str(text), what="the wait"
        )
        fcntl.flock(lock, fcntl.LOCK_UN)
        assert waiting.result().exists()
    assert "theirs" not in log.read_text()


def test_a_package_that_does_not_exist_is_named_in_the_resolvers_words(tmp_path: Path) -> None:
    recipe = resolve(EnvironmentSpec(requirements=("zaffre-no-such-package-xyz",)))
    log = tmp_path / "log"
    for attempt in (lambda: ensure(recipe, tmp_path, log), lambda: asyncio.run(ensure_async(recipe, tmp_path, log))):
        with pytest.raises(EnvironmentBuildError, match="zaffre-no-such-package-xyz"):
            attempt()
    assert "zaffre-no-such-package-xyz" in log.read_text()
    assert ready(recipe, tmp_path) is None


def test_what_a_killed_builder_left_is_built_anew(tmp_path: Path) -> None:
    recipe = resolve(EnvironmentSpec())
    folder = tmp_path / "environments" / recipe.key
    folder.mkdir(parents=True)
    (folder / "half").write_text("done")
    make_read_only(folder)
    python = ensure(recipe, tmp_path, tmp_path / "log")
    assert not (folder / "half").exists()
    assert python.exists()


def test_an_environment_whose_interpreter_was_removed_is_not_ready(tmp_path: Path) -> None:
    recipe = resolve(EnvironmentSpec())
    folder = tmp_path / "environments" / recipe.key
    (folder / "bin").mkdir(parents=True)
    (folder / READY).write_text("{}")
    (folder / "bin" / "python").symlink_to("/gone/python")
    assert ready(recipe, tmp_path) is None


def test_a_build_outlives_the_one_who_asked(tmp_path: Path) -> None:
    recipe = resolve(EnvironmentSpec())
    caller = (
        "import os, signal, sys, msgspec; from pathlib import Path\n"
        "from zaffre.execution.environments import builder; from zaffre.execution.environments.spec import Recipe\n"
        "recipe = msgspec.json.decode(sys.argv[1], type=Recipe); home = Path(sys.argv[2])\n"
        "builder._begin(recipe, home, home / 'log', ()); os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    arguments = [sys.executable, "-c", caller, msgspec.json.encode(recipe).decode(), str(tmp_path)]
    assert subprocess.run(arguments, check=False).returncode == -signal.SIGKILL
    ensure(recipe, tmp_path, tmp_path / "log-2")
    told = (tmp_path / "log").read_text() + (tmp_path / "log-2").read_text()
    assert told.count("Building environment") == 1


def test_a_python_that_is_not_here_is_named_with_those_that_are(tmp_path: Path) -> None:
    recipe = Recipe(python="3.77", requirements=(), options=(), key="k" * 64)
    with pytest.raises(EnvironmentSpecError, match=rf"needs Python 3\.77.*it has .*{DEFAULT_PYTHON}"):
        ensure(recipe, tmp_path, tmp_path / "log")


def test_a_shim_that_runs_nothing_is_passed_over(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shim = tmp_path / "python3.14"
    shim.write_text("#!/bin/sh\nexit 127\n")
    shim.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setenv("PYENV_ROOT", str(tmp_path / "none"))
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "none"))
    assert interpreters.available() == [DEFAULT_PYTHON]


def test_the_operators_pip_settings_reach_uv(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("UV_DEFAULT_INDEX", "UV_INDEX", "UV_FIND_LINKS"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("PIP_INDEX_URL", "https://one/simple")
    monkeypatch.setenv("PIP_EXTRA_INDEX_URL", "https://two/simple https://three/simple")
    monkeypatch.setenv("PIP_FIND_LINKS", "/a /b")
    environment = build_module._uv_environment()
    assert environment["UV_DEFAULT_INDEX"] == "https://one/simple"
    assert environment["UV_INDEX"] == "https://two/simple https://three/simple"
    assert environment["UV_FIND_LINKS"] == "/a,/b"
    monkeypatch.setenv("UV_DEFAULT_INDEX", "https://own/simple")
    assert build_module._uv_environment()["UV_DEFAULT_INDEX"] == "https://own/simple"


def test_read_only_trees_can_be_removed(tmp_path: Path) -> None:
    folder = tmp_path / "a"
    (folder / "b").mkdir(parents=True)
    (folder / "b" / "c").write_text("x")
    (folder / "link").symlink_to("/etc/hostname")
    before = Path("/etc/hostname").stat().st_mode
    make_read_only(folder)
    assert Path("/etc/hostname").stat().st_mode == before
    remove_tree(folder)
    remove_tree(folder)
    assert not folder.exists()


def run_python(python: Path, code: str) -> str:
    done = subprocess.run([python, "-c", code], capture_output=True, text=True, check=False, env={"PATH": ""})
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()
