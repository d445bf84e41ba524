"""python -m cosub"""

import sys

from cosub.cli import main

if __name__ == "__main__":
    sys.exit(main())
