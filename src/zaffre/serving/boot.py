"""Runs first in the deployment's own interpreter: hands our socket to the unmodified azureml-inference-server-http.

Nothing here may need zaffre or more than Python 3.9. Arguments: the working folder, then those of `azmlinfsrv`.
Descriptor 3 is the listening socket; gunicorn takes it, in place of the TCP port of the command line, by the protocol
of systemd's socket activation. Taken so, it also leaves the socket's file alone when it stops.
"""

import os
import sys
from pathlib import Path

# `python boot.py` puts this file's folder first on the path, where our modules would shadow the user's
_here = Path(__file__).resolve().parent
sys.path[:] = [entry for entry in sys.path if Path(entry).resolve() != _here]

# Go only once our starter has written down who we are: no server may run that nobody knows of
if os.read(0, 1) != b"\n":
    sys.exit("The application ended before this server was registered; not started.")
os.dup2(os.open(os.devnull, os.O_RDONLY), 0)

os.chdir(sys.argv.pop(1))
os.environ["LISTEN_FDS"] = "1"
os.environ["LISTEN_PID"] = str(os.getpid())
sys.argv[0] = "azmlinfsrv"

import gunicorn.config  # type: ignore[import-not-found,import-untyped,unused-ignore]  # noqa: E402
import gunicorn.glogging  # type: ignore[import-not-found,import-untyped,unused-ignore]  # noqa: E402
import gunicorn.workers.base  # type: ignore[import-not-found,import-untyped,unused-ignore]  # noqa: E402
from azureml_inference_server_http import amlserver  # type: ignore[import-not-found,unused-ignore]  # noqa: E402

if hasattr(gunicorn.config, "ControlSocketDisable"):
    # from 25.1 on gunicorn opens an administration socket in $HOME, one path for all servers of a user
    os.environ["GUNICORN_CMD_ARGS"] = (os.environ.get("GUNICORN_CMD_ARGS", "") + " --no-control-socket").strip()

_access = gunicorn.glogging.Logger.access


def _quiet_access(log, response, request, environ, took):  # type: ignore[no-untyped-def]
    # Two probes every ten seconds would bury what the user's own code prints
    if environ.get("HTTP_USER_AGENT") != "zaffre-probe":
        _access(log, response, request, environ, took)


gunicorn.glogging.Logger.access = _quiet_access
_load = gunicorn.workers.base.Worker.load_wsgi


def _load_wsgi(worker):  # type: ignore[no-untyped-def]
    _load(worker)
    worker.wsgi = _with_azures_timeout(worker.wsgi)  # type: ignore[no-untyped-call]


def _with_azures_timeout(application):  # type: ignore[no-untyped-def]
    """The server answers 500 when run() takes longer than it may; on Azure a client sees 408 then."""

    def answer(environ, start_response):  # type: ignore[no-untyped-def]
        held = []
        body = application(environ, lambda *begun: held.append(begun))
        status, *rest = held[-1]
        if status.startswith("500"):
            parts = list(body)
            if hasattr(body, "close"):
                body.close()
            body = parts
            if b"Scoring timeout after" in b"".join(parts)[:1000]:
                status = "408 Request Timeout"
        start_response(status, *rest)
        return body

    return answer


gunicorn.workers.base.Worker.load_wsgi = _load_wsgi
amlserver.run()
