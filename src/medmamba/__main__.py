"""`python -m medmamba` is the command line."""

import sys

from medmamba.cli import main

sys.exit(main())
