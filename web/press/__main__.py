"""`python -m press OUT_DIR`: print the site."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from press.errors import PressError
from press.page import press


def main() -> int:
    """Build into the folder named on the command line; exit 1 with one clear report on failure."""
    parser = argparse.ArgumentParser(
        prog="press", description="Print the article as a static site."
    )
    parser.add_argument("out", type=Path, help="folder to write, replaced as a whole")
    arguments = parser.parse_args()
    try:
        chapters = press(arguments.out)
    except PressError as error:
        print(f"The site was not built.\n{error}", file=sys.stderr)
        return 1
    print(f"Printed {len(chapters)} chapters to {arguments.out / 'index.html'}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
