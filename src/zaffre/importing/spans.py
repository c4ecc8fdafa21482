"""The spans of a trace, from wherever they are there: in the server's own store, or in a file as MLflow 2 and folders have them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from zaffre.importing.files import local_folder
from zaffre.importing.source import ABSENT, Source, SourceError

ARTIFACTS, LOCATION = "mlflow.artifactLocation", "mlflow.trace.spansLocation"
"""Tags that say where something of a trace lies there."""
FILE = "traces.json"


def read(source: Source, trace_id: str, tags: Mapping[str, str], *, ended: bool) -> list[Any]:
    """MLflow's own spans; none of a trace that goes on and has none yet. Raises SourceError where they cannot be read."""
    if tags.get(LOCATION):
        return source.spans(trace_id)
    uri = tags.get(ARTIFACTS, "")
    folder = local_folder(uri)
    served = None if folder is None or folder.is_dir() else source.served_trace(trace_id)
    try:
        document = source.asked(served or source.artifacts(uri).download_trace_data)
    except SourceError as error:
        if ended or error.code not in ABSENT:
            raise
        return []
    from mlflow import entities

    data: Any = entities.TraceData
    return list(data.from_dict(document).spans)
