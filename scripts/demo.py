"""What `make demo` runs: the digits, co-trained and supervised, an evaluation, and a picture of predictions."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

from equal_time import run

from cosub.cli import main

OUT = Path("out/demo")

if __name__ == "__main__":
    run(["digits", "--out", str(OUT)])
    raise SystemExit(main(["evaluate", str(OUT / "cosub"), "--show", "24"]))
