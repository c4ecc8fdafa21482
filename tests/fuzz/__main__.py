"""`python -m tests.fuzz --seconds 3600 [--seed N]`: as the test, for as long as you like, with figures at the end."""

from __future__ import annotations

import argparse
import random
import sys
import tempfile
from pathlib import Path

from tests.fuzz.fuzzer import Fuzzer, routes_of
from tests.support.zaffre_server import ZaffreServer


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=600)
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(2**32))
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        server = ZaffreServer(Path(folder) / "home").up()
        try:
            fuzzer = Fuzzer(server, routes_of(Path(folder) / "routes"), given.seed)
            fuzzer.run(given.seconds)
        finally:
            server.destroy()
    for failure in fuzzer.failures:
        print(failure, end="\n\n")
    answers = ", ".join(f"{status}: {times}" for status, times in sorted(fuzzer.statuses.items()))
    print(f"seed {given.seed}: {sum(fuzzer.asked.values())} requests to {len(fuzzer.asked)} operations; {answers}")
    return 1 if fuzzer.failures else 0


if __name__ == "__main__":
    sys.exit(main())
