"""What a first visit fetches before Python, as a browser fetches it, in bytes after brotli."""

import json
import os
import subprocess
from pathlib import Path

from playwright.sync_api import Page

BUDGET_BYTES = {
    "": 350_000,
    "planner/": 200_000,
    "runs/": 200_000,
    "accuracy/": 200_000,
    "docs/": 100_000,
    "embed/planner/": 100_000,
    "embed/run/": 200_000,
    "embed/forgetting/": 90_000,
}
COMPRESSED = {".woff2", ".png", ".zip", ".whl", ".jpg"}  # brotli has nothing left to take out
COMPRESS = """
const { readFileSync } = require("node:fs");
const { brotliCompressSync } = require("node:zlib");
const sizes = JSON.parse(readFileSync(0)).map((p) => brotliCompressSync(readFileSync(p)).length);
console.log(JSON.stringify(sizes));
"""


def fetched_paths(page: Page, root: str, name: str) -> list[str]:
    """Open a page, wait until nothing more is fetched, and give what was, below the site's root."""
    urls: list[str] = []
    page.on("request", lambda asked: urls.append(asked.url) if asked.method == "GET" else None)
    page.goto(root + name, wait_until="networkidle")
    page.evaluate("document.fonts.ready.then(() => true)")
    paths = [url.removeprefix(root).partition("?")[0] for url in urls if "://" in url]
    names = {f"{path}index.html" if path in BUDGET_BYTES else path for path in paths}
    return sorted(name for name in names if not name.startswith(("python/", "pyodide/")))


def brotli_bytes(site: Path, names: list[str]) -> dict[str, int]:
    """The size of each file of the site as a good host sends it (brotli 11)."""
    packed = [name for name in names if Path(name).suffix not in COMPRESSED]
    program = os.environ.get("UNFROZEN_NODE", "node")
    answer = subprocess.run(
        [program, "-e", COMPRESS],
        input=json.dumps([str(site / name) for name in packed]),
        capture_output=True,
        text=True,
        check=True,
    )
    sizes = dict(zip(packed, json.loads(answer.stdout), strict=True))
    return {name: sizes.get(name) or (site / name).stat().st_size for name in names}
