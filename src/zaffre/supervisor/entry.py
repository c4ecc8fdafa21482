"""The first words of the application's process: end with the supervisor, then become the application.

`python -m zaffre.supervisor.entry <pid of the supervisor> <module> [argument]…`. It is set here, in the new process,
because running code between fork and exec is not safe once there are threads.
"""

import gc
import json
import os
import runpy
import sys

from zaffre.supervisor import platform_linux


def main() -> None:
    platform_linux.die_with_parent(int(sys.argv[1]))
    for value in json.loads(os.environ["ZAFFRE_FDS"]).values():
        for handle in value if isinstance(value, list) else [value]:
            os.set_inheritable(handle, False)  # no job may hold the server's sockets
    # Imports make a hundred thousand objects and hardly any garbage; the application turns it on when it is ready.
    gc.disable()
    module = sys.argv[2]
    sys.argv[:] = [module, *sys.argv[3:]]
    runpy.run_module(module, run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    main()
