"""`python launcher.pyz FOLDER`: runs the job whose plan lies in FOLDER."""

import sys

from zaffre_launcher.main import main

sys.exit(main(sys.argv[1:]))
