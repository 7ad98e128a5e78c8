"""`python -m lobula` is `lobula`."""

import sys

from lobula.cli import main

if __name__ == "__main__":
    sys.exit(main())
