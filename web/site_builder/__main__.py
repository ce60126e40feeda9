"""`python -m site_builder OUT_DIR`: build the site."""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path

from site_builder import SiteError
from site_builder.browser_python import snapshot
from site_builder.fonts import FACES, subset_face
from site_builder.page import build_site


def make_ahead() -> None:
    """Make what takes longest in processes beside this one, which finds it in the cache."""
    for make in (snapshot, lambda: [*map(subset_face, FACES)]):
        if os.fork() == 0:
            try:
                make()
            finally:
                os._exit(0)  # what went wrong goes wrong in the build itself again, and is said


def main() -> int:
    """Build into the folder named on the command line; return 1 and print why when it fails."""
    parser = argparse.ArgumentParser(
        prog="site_builder", description="Build the article as a static site."
    )
    parser.add_argument("out", type=Path, help="folder to write, new or empty")
    arguments = parser.parse_args()
    make_ahead()
    try:
        chapters = build_site(arguments.out)
    except SiteError as error:
        print(f"The site was not built.\n{error}", file=sys.stderr)
        return 1
    print(f"Built {len(chapters)} chapters into {arguments.out / 'index.html'}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
