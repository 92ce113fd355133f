"""`python -m asr` does what `asr` does."""

import sys

from asr.cli.main import main

if __name__ == "__main__":
    sys.exit(main())
