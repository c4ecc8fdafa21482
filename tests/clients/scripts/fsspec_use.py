"""What users do with azureml-fsspec, pandas and mltable; prints what it saw as one line of JSON."""

import json
import os
import pathlib
import sys
import tempfile

import mltable
import pandas
from azureml.fsspec import AzureMachineLearningFileSystem


def main(workspace: str, folder: str) -> None:
    paths = f"{workspace}/datastores/workspaceblobstore/paths/"
    files = AzureMachineLearningFileSystem(paths)
    with tempfile.TemporaryDirectory() as name:
        here = pathlib.Path(name)
        (here / "new.csv").write_text("a,b\n1,one\n2,zwölf\n")
        files.upload(str(here / "new.csv"), f"{folder}/up", recursive=False, overwrite="MERGE_WITH_OVERWRITE")
        files.download(f"{folder}/up", str(here / "down"), recursive=True)
        downloaded = (here / "down" / "new.csv").read_text()
    with files.open(f"{folder}/up/new.csv") as file:
        opened = file.read().decode()
    uploaded = paths + f"{folder}/up/new.csv"
    pattern = mltable.from_delimited_files([{"pattern": paths + f"{folder}/up/*.csv"}])
    seen = {
        "downloaded": downloaded == opened,
        "opened": opened,
        "ls": files.ls(f"{folder}/up"),
        "glob": files.glob(f"{folder}/**/*.csv"),
        "exists": [files.exists(f"{folder}/up/new.csv"), files.exists(f"{folder}/nothing")],
        "size": files.info(f"{folder}/up/new.csv")["size"],
        "pandas": pandas.read_csv(uploaded).to_dict("list"),
        "pandas asset": pandas.read_csv(f"{workspace}/data/fsspec_file/versions/1").to_dict("list"),
        "mltable": pattern.to_pandas_dataframe().to_dict("list"),
        "mltable filter": pattern.filter('col("a") > 1').take(5).to_pandas_dataframe()["b"].tolist(),
        "pandas folder": pandas.read_csv(f"{workspace}/datastores/fsspec_folder/paths/deep/f.csv").to_dict("list"),
        "mltable asset": mltable.load(f"{workspace}/data/fsspec_table/versions/1")
        .to_pandas_dataframe()
        .to_dict("list"),
    }
    print("SEEN " + json.dumps(seen, sort_keys=True))
    print("PYTHON", pathlib.Path(mltable.__file__).parents[4] / "bin" / "python", flush=True)


main(*sys.argv[1:])
os._exit(0)  # the package waits ten seconds at its end to tell Microsoft of it
