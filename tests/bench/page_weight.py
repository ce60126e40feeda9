"""What a first visit fetches before Python, file by file, after brotli."""

import build
from house.weight import BUDGET_BYTES, brotli_bytes, fetched_paths
from tests.bench import Ratio, show
from tests.bench.browser import new_page


def main() -> None:
    """Visit the built site behind a plain file server and weigh what the browser asked for."""
    with new_page() as (page, url):
        sizes = brotli_bytes(build.site(), fetched_paths(page, url))
    rows = [Ratio(name, size, BUDGET_BYTES, "B") for name, size in sizes.items()]
    rows.append(Ratio("first visit", sum(sizes.values()), BUDGET_BYTES, "B"))
    show("page weight", "the budget of 350 kB", rows)


if __name__ == "__main__":
    main()
