"""`python -m site_builder OUT_DIR`: print the site."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from site_builder.errors import SiteError
from site_builder.page import build_site


def main() -> int:
    """Build into the folder named on the command line; exit 1 with one clear report on failure."""
    parser = argparse.ArgumentParser(
        prog="site_builder", description="Print the article as a static site."
    )
    parser.add_argument("out", type=Path, help="folder to write, replaced as a whole")
    arguments = parser.parse_args()
    try:
        chapters = build_site(arguments.out)
    except SiteError as error:
        print(f"The site was not built.\n{error}", file=sys.stderr)
        return 1
    print(f"Printed {len(chapters)} chapters to {arguments.out / 'index.html'}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
