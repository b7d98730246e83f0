"""`python -m energax.cli` is `energax`."""

import sys

from energax.cli import main

if __name__ == "__main__":
    sys.exit(main())
