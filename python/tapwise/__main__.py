"""python -m tapwise: the command line without its entry point."""

import sys

from .cli import main

sys.exit(main())
