"""What a first visit of each page fetches before Python, file by file, after brotli."""

import build
from house.weight import BUDGET_BYTES, brotli_bytes, fetched_paths
from tests.bench import Ratio, show
from tests.bench.browser import new_page


def main() -> None:
    """Visit the built site behind a plain file server and weigh what the browser asked for."""
    with new_page() as (page, url):
        for name, budget in BUDGET_BYTES.items():
            sizes = brotli_bytes(build.site(), fetched_paths(page, url, name))
            rows = [Ratio(file, size, budget, "B") for file, size in sizes.items()]
            rows.append(Ratio("first visit", sum(sizes.values()), budget, "B"))
            show(f"/{name}", f"its budget of {budget // 1000} kB", rows)


if __name__ == "__main__":
    main()
