"""`python -m zaffre.supervisor`."""

import sys

# The supervisor never speaks TLS. asyncio does without where there is none, and is imported in two thirds of the time.
sys.modules["ssl"] = None  # type: ignore[assignment]

from zaffre.supervisor.main import main  # noqa: E402  after the line above, which is for what it imports

if __name__ == "__main__":
    sys.exit(main())
