"""Dockerfiles without a container engine: what is followed, what is passed over, what is refused with its line."""

from __future__ import annotations

from pathlib import Path

import pytest

from zaffre.execution.environments.context import BuildContext, read_context
from zaffre.execution.environments.spec import resolve
from zaffre.execution.errors import EnvironmentSpecError


def context(folder: Path, dockerfile: str, **files: str) -> BuildContext:
    (folder / "Dockerfile").write_text(dockerfile)
    for name, content in files.items():
        path = folder / name.replace("__", "/").replace("_", ".")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content)
    return read_context(folder)


def test_the_usual_one(tmp_path: Path) -> None:
    found = context(
        tmp_path,
        """# syntax=docker/dockerfile:1
ARG VERSION=3.10
FROM --platform=linux/amd64 python:${VERSION}-slim AS base
LABEL owner="me"
ENV MODE=fast GREETING="hello there" PATH=/opt/bin:$PATH
ENV OLD style of writing
WORKDIR /app
COPY requirements.txt .
RUN pip install --no-cache-dir --upgrade pip && \\
    pip install --no-cache-dir -r requirements.txt
RUN python -m pip install "numpy>=1.26" 'pandas[excel]<3' --extra-index-url https://feeds.example/simple
EXPOSE 80
CMD ["python", "serve.py"]
""",
        requirements_txt="# what we need\nscikit-learn==1.5.0  # pinned\n\nsix\n",
    )
    assert found.spec.image == "python:3.10-slim"
    assert found.spec.requirements == (
        "pip",
        "scikit-learn==1.5.0  # pinned",
        "six",
        "numpy>=1.26",
        "pandas[excel]<3",
        "--extra-index-url https://feeds.example/simple",
    )
    assert found.variables == {"MODE": "fast", "GREETING": "hello there", "OLD": "style of writing"}
    recipe = resolve(found.spec)
    assert recipe.python == "3.10"
    assert recipe.requirements == ("pip", "scikit-learn==1.5.0", "six", "numpy>=1.26", "pandas[excel]<3")
    assert recipe.options == ("--extra-index-url=https://feeds.example/simple",)


def test_conda_files_and_packages(tmp_path: Path) -> None:
    found = context(
        tmp_path,
        """FROM mcr.microsoft.com/azureml/openmpi4.1.0-ubuntu20.04
COPY conf/ /tmp/build/
RUN conda env update -n base -f /tmp/build/conda.yml && conda clean -a -y && rm -rf /root/.cache
RUN conda install -y -c conda-forge lightgbm=4.3
RUN conda run -n base pip install six==1.17.0
""",
        conf__conda_yml="dependencies:\n  - python=3.11\n  - scikit-learn=1.5\n  - pip:\n    - mlflow-skinny\n",
    )
    recipe = resolve(found.spec)
    assert recipe.python == "3.11"
    assert recipe.requirements == ("scikit-learn==1.5.*", "mlflow-skinny", "lightgbm==4.3.*", "six==1.17.0")


def test_requirements_that_name_others(tmp_path: Path) -> None:
    found = context(
        tmp_path,
        "FROM python:3.11\nCOPY reqs /opt/reqs\nRUN pip install -r /opt/reqs/all.txt\n",
        reqs__all_txt="-r base.txt\nsix\n",
        reqs__base_txt="--pre\nattrs>=23; python_version > '3.8'\n",
    )
    assert found.spec.requirements == ("--pre", "attrs>=23; python_version > '3.8'", "six")


def test_a_dockerfile_by_another_name(tmp_path: Path) -> None:
    (tmp_path / "docker").mkdir()
    (tmp_path / "docker" / "Train.dockerfile").write_text('FROM python:3.11\nRUN ["pip", "install", "six"]\n')
    assert read_context(tmp_path, "docker/Train.dockerfile").spec.requirements == ("six",)


@pytest.mark.parametrize(
    ("dockerfile", "told"),
    [
        ("RUN pip install six", "no FROM"),
        (
            "FROM python:3.11\nRUN apt-get update && apt-get install -y libgl1",
            "Line 2 of the Dockerfile, 'RUN apt-get update'",
        ),
        ("FROM python:3.11 AS a\nFROM python:3.12", "several stages"),
        ("FROM python:3.11\nCOPY --from=other /x /y", "not in the context"),
        ("FROM python:3.11\nADD https://example.com/x.txt /x", "not in the context"),
        ("FROM python:3.11\nRUN pip install .", "Line 2"),
        ("FROM python:3.11\nRUN pip install -e /src", "Line 2"),
        ("FROM python:3.11\nRUN pip install numpy>=1.2", "Line 2"),
        ("FROM python:3.11\nRUN pip install six || true", "Line 2"),
        ("FROM python:3.11\nRUN pip install $(cat x)", "Line 2"),
        ("FROM python:3.11\nRUN pip install -r requirements.txt", "no COPY before it"),
        ("FROM python:3.11\nCOPY requirements.txt /r.txt\nRUN pip install -r /r.txt", "has no file 'requirements.txt'"),
        ("FROM python:3.11\nCOPY ../secret.txt /r.txt\nRUN pip install -r /r.txt", "has no file '../secret.txt'"),
        ("FROM python:3.11\nCOPY loop.txt /loop.txt\nRUN pip install -r /loop.txt", "the file names itself"),
        ("FROM python:3.11\nCOPY bad.yml /c.yml\nRUN conda env create -f /c.yml", "no list of 'dependencies'"),
        ("FROM python:3.11\nRUN 'open quote", "Line 2 of the Dockerfile can't be read"),
        ("FROM python:3.11\nONBUILD RUN x", "ONBUILD"),
        ("FROM python:3.11\nRUN <<EOF\npip install six\nEOF\n", "Line 2"),
    ],
)
def test_what_cannot_be_followed_is_named(tmp_path: Path, dockerfile: str, told: str) -> None:
    with pytest.raises(EnvironmentSpecError) as raised:
        context(tmp_path, dockerfile, loop_txt="-r loop.txt\n", bad_yml="- a\n")
    assert told in raised.value.message


def test_a_link_leads_nowhere(tmp_path: Path) -> None:
    outside = tmp_path / "outside.txt"
    outside.write_text("six\n")
    folder = tmp_path / "context"
    folder.mkdir()
    (folder / "requirements.txt").symlink_to(outside)
    with pytest.raises(EnvironmentSpecError, match=r"has no file 'requirements\.txt'"):
        context(folder, "FROM python:3.11\nCOPY requirements.txt /r.txt\nRUN pip install -r /r.txt\n")


def test_an_image_nobody_knows_is_refused_as_ever(tmp_path: Path) -> None:
    with pytest.raises(EnvironmentSpecError, match="can't be used"):
        resolve(context(tmp_path, "FROM nvidia/cuda:12.1\n").spec)
