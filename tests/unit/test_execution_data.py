"""Staging, capturing, and the expressions of a command."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from zaffre.execution.data import copies
from zaffre.execution.data.capture import capture
from zaffre.execution.data.copies import copy_file
from zaffre.execution.data.expressions import bind, check
from zaffre.execution.data.stage import copy_object, stage
from zaffre.execution.errors import ExpressionError, PlanError, StagingError
from zaffre.execution.plan import FileRef, JobPlan, Tree


class Objects:
    """A store of objects in a folder that counts what is fetched."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.fetched: list[str] = []
        folder.mkdir()
        self._copy = copy_object(lambda sha256: folder / sha256)

    def add(self, path: str, content: bytes) -> FileRef:
        sha256 = hashlib.sha256(content).hexdigest()
        (self.folder / sha256).write_bytes(content)
        return FileRef(path=path, sha256=sha256, size=len(content))

    def fetch(self, sha256: str, dest: Path) -> None:
        self.fetched.append(sha256)
        self._copy(sha256, dest)


@pytest.fixture
def objects(tmp_path: Path) -> Objects:
    return Objects(tmp_path / "objects")


@pytest.fixture
def job(tmp_path: Path) -> Path:
    folder = tmp_path / "job"
    folder.mkdir()
    return folder


def test_trees_are_laid_out(objects: Objects, job: Path) -> None:
    code = Tree(dest="wd", writable=True, files=(objects.add("a/run.sh", b"#!/bin/sh\n"), objects.add("b.py", b"x")))
    data = Tree(dest="inputs/data", single=True, files=(objects.add("d.csv", b"1,2"),))
    stage([code, data, Tree(dest="inputs/empty", files=())], job, objects.fetch)
    modes = {
        str(path.relative_to(job)): path.stat().st_mode & 0o777
        for path in job.rglob("*")
        if ".staged" not in path.parts
    }
    assert modes == {
        "wd": 0o700,
        "wd/a": 0o700,
        "wd/a/run.sh": 0o755,
        "wd/b.py": 0o644,
        "inputs": 0o700,
        "inputs/data": 0o500,
        "inputs/data/d.csv": 0o444,
        "inputs/empty": 0o500,
    }
    assert (job / "inputs" / "data" / "d.csv").read_bytes() == b"1,2"


def test_what_is_staged_is_not_the_object(objects: Objects, job: Path) -> None:
    file = objects.add("x", b"stored")
    stage([Tree(dest="wd", files=(file,), writable=True)], job, objects.fetch)
    (job / "wd" / "x").write_bytes(b"changed by the job")
    assert (objects.folder / file.sha256).read_bytes() == b"stored"
    assert (job / "wd" / "x").stat().st_nlink == 1


def test_again_does_nothing_and_keeps_what_the_job_wrote(objects: Objects, job: Path) -> None:
    tree = Tree(dest="wd", files=(objects.add("x", b"1"),), writable=True)
    stage([tree], job, objects.fetch)
    (job / "wd" / "made").write_text("by the job")
    stage([tree], job, objects.fetch)
    assert len(objects.fetched) == 1
    assert (job / "wd" / "made").exists()


@pytest.mark.parametrize("moment", ["while copying", "before the rename", "before the mark"])
def test_after_a_crash_it_is_whole(objects: Objects, job: Path, moment: str, monkeypatch: pytest.MonkeyPatch) -> None:
    tree = Tree(dest="inputs/x", files=(objects.add("a", b"1"), objects.add("b", b"2")))

    class Crash(BaseException):
        pass

    def crash(*_: object, **__: object) -> None:
        raise Crash

    def fetch_one(sha256: str, dest: Path) -> None:
        if objects.fetched:
            raise Crash
        objects.fetch(sha256, dest)

    with monkeypatch.context() as patched, pytest.raises(Crash):
        if moment == "before the rename":
            patched.setattr(Path, "rename", crash)
        elif moment == "before the mark":
            patched.setattr(Path, "write_text", crash)
        stage([tree], job, fetch_one if moment == "while copying" else objects.fetch)
    stage([tree], job, objects.fetch)
    assert sorted(path.name for path in (job / "inputs").iterdir()) == ["x"]
    assert sorted(path.name for path in (job / "inputs" / "x").iterdir()) == ["a", "b"]


@pytest.mark.parametrize("path", ["", "/etc/passwd", "../x", "a/../../x", "a//b", "./a", "a/.", "a\0b", "a/"])
def test_a_path_that_leaves_the_folder_is_refused(path: str) -> None:
    with pytest.raises(PlanError):
        FileRef(path=path, sha256="0", size=0)
    with pytest.raises(PlanError):
        Tree(dest=path, files=())
    with pytest.raises(PlanError):
        JobPlan(run_id="r", command="", outputs=(path,))


def test_trees_in_one_another_are_refused(objects: Objects, job: Path) -> None:
    for first, second in [("wd", "wd/data"), ("wd", "wd")]:
        with pytest.raises(PlanError, match="into one another"):
            stage(
                [Tree(dest=first, files=()), Tree(dest="wd-2", files=()), Tree(dest=second, files=())],
                job,
                objects.fetch,
            )


def test_a_missing_or_damaged_object_is_named(objects: Objects, job: Path) -> None:
    file = objects.add("deep/file.bin", b"12345")
    (objects.folder / file.sha256).write_bytes(b"123")
    with pytest.raises(StagingError, match=r"deep/file\.bin.*3 bytes.*5 were registered"):
        stage([Tree(dest="in", files=(file,))], job, objects.fetch)
    (objects.folder / file.sha256).unlink()
    with pytest.raises(StagingError, match=r"deep/file\.bin"):
        stage([Tree(dest="in", files=(file,))], job, objects.fetch)
    assert not (job / "in").exists()


@pytest.mark.parametrize("broken", [(), ("reflink",), ("reflink", "in kernel")])
def test_every_way_to_copy_gives_the_same(
    tmp_path: Path, broken: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    def not_here(*_: object) -> int:
        raise OSError(95, "not supported")

    if "reflink" in broken:
        monkeypatch.setattr(copies.fcntl, "ioctl", not_here)
    if "in kernel" in broken:
        monkeypatch.setattr(copies.os, "copy_file_range", not_here)
    content = os.urandom(3_000_001)
    (tmp_path / "a").write_bytes(content)
    copy_file(tmp_path / "a", tmp_path / "b")
    assert (tmp_path / "b").read_bytes() == content
    with pytest.raises(FileExistsError):
        copy_file(tmp_path / "a", tmp_path / "b")


def test_capture_takes_files_and_follows_no_link_out(tmp_path: Path) -> None:
    out = tmp_path / "out"
    (out / "best" / "deep").mkdir(parents=True)
    (out / "a.txt").write_text("12")
    (out / "best" / "deep" / "m.bin").write_text("345")
    (out / "latest").symlink_to("best")
    (out / "alias.txt").symlink_to("a.txt")
    (out / "passwd").symlink_to("/etc/passwd")
    (out / "etc").symlink_to("/etc")
    (out / "nothing").symlink_to("gone")
    (out / "best" / "loop").symlink_to("..")
    os.mkfifo(out / "pipe")
    (out / os.fsdecode(b"bad\xff")).write_text("")
    (tmp_path / "out-2").mkdir()
    (out / "neighbour").symlink_to("../out-2")
    skipped: dict[str, str] = {}
    files = capture(out, skipped.__setitem__)
    assert [(file.path, file.size) for file in files] == [
        ("a.txt", 2),
        ("alias.txt", 2),
        ("best/deep/m.bin", 3),
        ("latest/deep/m.bin", 3),
    ]
    assert files[3].source == out / "best" / "deep" / "m.bin"
    assert set(skipped) == {
        *("passwd", "etc", "nothing", "neighbour", "pipe", "bad?", "best/loop", "latest/loop"),
    }
    assert capture(tmp_path / "absent") == []


def test_values_go_in_as_they_are() -> None:
    command = "python t.py --lr ${{inputs.lr}} --in ${{ inputs.data }} --out ${{outputs.model}} --z ${{search_space.z}}"
    bound = bind(command, {"lr": "0.1", "data": "a b ${{inputs.lr}} $(x)"}, {"model": "out/model"}, {"z": "3"})
    assert bound == "python t.py --lr 0.1 --in a b ${{inputs.lr}} $(x) --out out/model --z 3"


@pytest.mark.parametrize(("epochs", "bound"), [("3", "train  --epochs 3  --seed 1 end"), (None, "train  --seed 1 end")])
def test_optional_sections(epochs: str | None, bound: str) -> None:
    command = "train $[[ --epochs ${{inputs.epochs}} ]] $[[--seed ${{inputs.seed}}]] end"
    assert bind(command, {"epochs": epochs, "seed": "1"}, {}) == bound


def test_an_unknown_name_is_named_with_what_there_is() -> None:
    with pytest.raises(ExpressionError) as caught:
        bind("x ${{inputs.dta}}", {"data": "1", "a": "2"}, {})
    assert caught.value.name == "inputs.dta"
    assert caught.value.known == ("a", "data")
    assert "'dta'" in caught.value.message
    assert "a, data" in caught.value.message
    for command in ("${{outputs.x}}", "${{parent.inputs.x}}", "${{x}}", "${{}}", "$[[ ${{inputs.x}} ]]"):
        with pytest.raises(ExpressionError):
            check(command, {}, {})
    with pytest.raises(ExpressionError):
        check("$[[ ${{inputs.absent}} ${{inputs.unknown}} ]]", [], [], optional=["absent"])


def test_an_optional_input_belongs_in_a_section() -> None:
    with pytest.raises(ExpressionError, match=r"optional section; write \$\[\[ … \$\{\{inputs\.x\}\}"):
        check("run ${{inputs.x}}", ["x"], [], optional=["x"])
    check(
        "run $[[ ${{inputs.x}} ]] ${{outputs.o}} ${{search_space.lr}}", [], ["o"], optional=["x"], search_space=["lr"]
    )


_NAMES = st.from_regex(r"[A-Za-z_][A-Za-z0-9_]{0,8}", fullmatch=True)
_PLAIN = st.text(alphabet=st.characters(blacklist_characters="$[]{}"), max_size=20)


@given(st.text())
def test_binding_never_changes_what_is_no_expression(text: str) -> None:
    if "${{" not in text and "$[[" not in text:
        assert bind(text, {}, {}) == text


@given(st.dictionaries(_NAMES, st.text(), min_size=1), st.lists(_PLAIN, min_size=1), st.data())
def test_binding_is_joining(inputs: dict[str, str], texts: list[str], data: st.DataObject) -> None:
    names = [data.draw(st.sampled_from(sorted(inputs))) for _ in texts]
    command = "".join(f"{text}${{{{inputs.{name}}}}}" for text, name in zip(texts, names, strict=True))
    expected = "".join(text + inputs[name] for text, name in zip(texts, names, strict=True))
    assert bind(command, inputs, {}) == expected
    check(command, inputs, {})


@given(_PLAIN, _NAMES, st.none() | st.text())
def test_a_section_is_all_or_nothing(text: str, name: str, value: str | None) -> None:
    bound = bind(f"a$[[{text}${{{{inputs.{name}}}}}]]b", {name: value}, {})
    assert bound == ("ab" if value is None else f"a{text}{value}b")
