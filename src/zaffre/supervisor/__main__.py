"""`python -m zaffre.supervisor`."""

import sys

from zaffre.supervisor.main import main

if __name__ == "__main__":
    sys.exit(main())
