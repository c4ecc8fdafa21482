"""The import as a whole: experiment by experiment, page by page, several runs at once; parents before their children."""

from __future__ import annotations

import threading
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait
from functools import partial
from typing import Any, NamedTuple

import msgspec

from zaffre.importing import journal, logged_models, traces
from zaffre.importing.files import Files
from zaffre.importing.registry import Registry
from zaffre.importing.report import CHANGED, NEW, SAME, Report
from zaffre.importing.runs import Runs
from zaffre.importing.source import Source, SourceError
from zaffre.importing.target import Target, TargetError
from zaffre.profiles import ClientError

PARENT = "mlflow.parentRunId"


class Wishes(msgspec.Struct, frozen=True, kw_only=True):
    """`experiments` are names, none for all of them. `again` goes through what is here already, too."""

    experiments: tuple[str, ...] = ()
    artifacts: bool = True
    again: bool = False
    parallel: int = 8


class Brought(NamedTuple):
    """An experiment as it is there, its id here (empty where a dry run would make it), whether an import made it, its runs there."""

    there: Any
    id: str
    imported: bool
    runs: list[str]


class Importer:
    def __init__(self, source: Source, target: Target, report: Report, wishes: Wishes) -> None:
        self._source, self._target, self._report, self._wishes = source, target, report, wishes
        self._files = Files(source, target, report, wanted=wishes.artifacts, parallel=wishes.parallel)
        self._runs = Runs(source, target, self._files, report, again=wishes.again)
        self._models = logged_models.LoggedModels(source, target, self._files, report, again=wishes.again)
        self._traces = traces.Traces(source, target, self._files, report, again=wishes.again)
        self._registries = [
            Registry(source, target, self._files, report, prompts=prompts, again=wishes.again)
            for prompts in (False, True)
        ]
        self._threads = ThreadPoolExecutor(wishes.parallel, thread_name_prefix="zf-import")

    def run(self) -> None:
        """Import everything that is wished for. Raises ClientError only when nothing can go on; the rest is reported."""
        try:
            found = list(self._source.experiments())
            here = self._experiments_here()
            brought: list[Brought] = []
            for one in self._chosen(found):
                name = f"'{one.name}'"
                self._tried("experiment", name, partial(self._experiment, one, here.get(one.name), brought))
            self._all_traces(brought)
            for each in brought:
                self._tried("experiment", f"'{each.there.name}'", partial(self._delete_again, each))
            if not self._wishes.experiments:
                for registry in self._registries:
                    models = self._source.registered_models(prompts=registry.prompts)
                    self._all(registry.thing, ((one.name, partial(registry.bring, one)) for one in models))
                self._name_webhooks()
        finally:
            self._threads.shutdown(wait=True, cancel_futures=True)
            self._files.close()

    def _all_traces(self, brought: Sequence[Brought]) -> None:
        having: list[Brought] = []

        def look(one: Brought) -> None:
            if self._source.has_traces(one.there.experiment_id):
                having.append(one)

        for each in brought:
            self._tried("experiment", f"'{each.there.name}'", partial(look, each))
        links = self._links(having, [run for one in brought for run in one.runs]) if having else {}
        for each in having:
            self._tried("experiment", f"'{each.there.name}'", partial(self._traces_of, each, links))

    def _traces_of(self, one: Brought, links: Mapping[str, set[str]]) -> None:
        for page in self._source.traces(one.there.experiment_id):
            heads = [traces.head(info) for info in page]
            known = self._traces.known([head.here for head in heads]) if one.id else {}
            wanted = [(head, known.get(head.here), links.get(head.there, set())) for head in heads]
            if one.there.lifecycle_stage == "deleted" and any(self._traces.is_new(*each) for each in wanted):
                self._restore(one)
            self._all(
                "trace", ((each[0].there, partial(self._traces.bring, *each, experiment_id=one.id)) for each in wanted)
            )

    def _links(self, having: Sequence[Brought], runs: Sequence[str]) -> dict[str, set[str]]:
        """By trace the runs that it was linked to; ids are those there."""
        found: dict[str, set[str]] = defaultdict(set)
        told = self._source.links()
        if told is not None:
            for trace, run in told:
                found[trace].add(run)
            return found
        experiments = [one.there.experiment_id for one in having]
        lock = threading.Lock()

        def ask(run: str) -> None:
            belonging = [traces.head(info).there for info in self._source.traces_of(run, experiments)]
            with lock:
                for trace in belonging:
                    found[trace].add(run)

        self._all("run", ((run, partial(ask, run)) for run in runs))
        return found

    def _restore(self, one: Brought) -> None:
        """No trace is taken in a deleted experiment; it is deleted again at the end."""
        if self._report.dry:
            return
        if self._target.get("experiments/get", experiment_id=one.id)["experiment"]["lifecycle_stage"] == "deleted":
            self._target.post("experiments/restore", {"experiment_id": one.id})

    def _delete_again(self, one: Brought) -> None:
        """What is deleted there is deleted here, if it is an import that made it."""
        if one.there.lifecycle_stage != "deleted" or not one.imported or self._report.dry:
            return
        now = self._target.get("experiments/get", experiment_id=one.id)["experiment"]
        if now["lifecycle_stage"] == "active":
            self._target.post("experiments/delete", {"experiment_id": one.id})

    def _name_webhooks(self) -> None:
        """They are not imported: nobody is told their secrets, and where they may go is for this server's operator to say."""
        try:
            names = self._source.webhooks()
        except SourceError as error:
            self._report.note(f"the webhooks there could not be listed: {error}")
            return
        if names:
            listed = ", ".join(sorted(names))
            self._report.note(f"webhooks are left out, since their secrets cannot be read; make them anew: {listed}")

    def _chosen(self, found: Sequence[Any]) -> list[Any]:
        names = self._wishes.experiments
        unknown = set(names) - {one.name for one in found}
        if unknown:
            raise ClientError(f"{self._source.name} has no experiment named {', '.join(sorted(unknown))}.")
        return [one for one in found if not names or one.name in names]

    def _experiments_here(self) -> dict[str, dict[str, Any]]:
        """By name."""
        wish = {"view_type": "ALL", "max_results": 1000}
        try:
            return {one["name"]: one for one in self._target.pages("experiments/search", "experiments", wish)}
        except TargetError as error:
            if self._report.dry and error.status == 404:  # the workspace would be made
                return {}
            raise

    def _experiment(self, there: Any, here: dict[str, Any] | None, brought: list[Brought]) -> None:
        """The experiment with its models and runs, noted in `brought`."""
        id_, imported = self._put_experiment(there, here)
        if id_ is None:
            return
        runs: list[str] = []
        known = self._runs.known(id_) if here is not None else {}
        models = self._source.logged_models(there.experiment_id)
        known_models = self._models.known(id_) if here is not None and models else {}
        self._all(
            "logged model",
            ((one.model_id, partial(self._models.bring, one, id_, known_models.get(one.model_id))) for one in models),
        )
        measured = logged_models.measured(models)
        for page in self._source.runs(there.experiment_id):
            runs += [run.info.run_id for run in page]
            for level in _by_depth(page):
                work = []
                for run in level:
                    held = known.get(journal.run_id(run.info.run_id))
                    points = measured.get(run.info.run_id, ())
                    work.append((run.info.run_id, partial(self._runs.bring, run, id_, held, points)))
                self._all("run", work)
        brought.append(Brought(there, id_, imported, runs))

    def _put_experiment(self, there: Any, here: dict[str, Any] | None) -> tuple[str | None, bool]:
        """The id here, and whether it is an import that made it; no id where its runs are to be left out."""
        tags = {tag["key"]: tag["value"] for tag in (here or {}).get("tags", ())}
        imported = here is None or journal.SOURCE in tags
        if here is not None and here["lifecycle_stage"] == "deleted" and there.lifecycle_stage == "active":
            self._report.note(
                f"experiment '{there.name}' is deleted here; it is left as it is. Restore it to import its runs."
            )
            self._report.count("experiment", SAME)
            return None, imported
        wanted = {key: value for key, value in there.tags.items() if key not in journal.OURS}
        if here is None:
            wanted[journal.SOURCE] = self._source.name
        if here is not None and all(tags.get(key) == value for key, value in wanted.items()):
            self._report.count("experiment", SAME)
            return here["experiment_id"], imported
        if self._report.dry:
            self._report.count("experiment", NEW if here is None else CHANGED)
            return ("" if here is None else here["experiment_id"]), imported
        times = {"creation_time": there.creation_time, "last_update_time": there.last_update_time}
        given = {"id": there.experiment_id, "name": there.name, "tags": wanted}
        answer = self._target.put("experiments", given | {key: at for key, at in times.items() if at is not None})
        self._report.count("experiment", NEW if answer["made"] else CHANGED)
        return answer["id"], imported

    def _all(self, thing: str, work: Iterable[tuple[str, Callable[[], None]]]) -> None:
        """Do all of it at once; what fails is reported, and nothing else stops but for what would fail for everything."""

        started = [self._threads.submit(self._tried, thing, which, do) for which, do in work]
        over, rest = wait(started, return_when=FIRST_EXCEPTION)
        for waiting in rest:
            waiting.cancel()
        for each in over:
            each.result()

    def _tried(self, thing: str, which: str, do: Callable[[], None]) -> None:
        """Do it; a failure is reported. Raises the one that everything else would meet, too."""
        try:
            do()
        except ClientError as error:
            if isinstance(error, TargetError) and error.hopeless:
                raise
            self._report.fail(thing, which, error)


def _by_depth(runs: Sequence[Any]) -> Iterator[list[Any]]:
    """The runs of a page, those first whose parent is not among them, then their children, and so on."""
    rest = {run.info.run_id: run for run in runs}
    while rest:
        level = [
            run
            for run in rest.values()
            if run.data.tags.get(PARENT) not in rest or run.data.tags[PARENT] == run.info.run_id
        ]
        level = level or list(rest.values())  # a circle
        yield level
        for run in level:
            del rest[run.info.run_id]
