"""Puts chapters and assets into one `index.html` that needs no script, no network and no server."""

from __future__ import annotations

import gzip
import shutil
from pathlib import Path
from typing import Final

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from site_builder.assets import FONT_LICENCES, write_assets
from site_builder.cells import embedded_json
from site_builder.chapters import Chapter, print_chapters
from site_builder.project import AUTHORS, SUBTITLE, TITLE, project
from site_builder.widgets import WEB
from unfrozen.schema import page_schema, policy

DESCRIPTION = (
    "An article about full fine-tuning that you can run: live Python in the page, "
    "and a real training run on your own machine, drawn as it happens."
)
SUFFIX: Final = ".gz"
LEAST_BYTES: Final = 1000
MOST_RATIO: Final = 0.9


def build_site(out: Path, article: Path = WEB / "article") -> list[Chapter]:
    """Write the site to `out`, replacing what was there; return the printed chapters.

    Raises SiteError before anything is replaced when the article itself cannot be printed.
    """
    chapters = print_chapters(article)
    if out.exists():
        shutil.rmtree(out)
    out.mkdir(parents=True)
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    html = environment.get_template("page.html.j2").render(
        title=TITLE,
        subtitle=SUBTITLE,
        description=DESCRIPTION,
        authors=AUTHORS,
        project=project(),
        policy=policy.PAGE,
        assets=write_assets(out),
        licences=FONT_LICENCES,
        chapters=chapters,
        schema=Markup(embedded_json(page_schema(), element_id="event-schema")),
    )
    (out / "index.html").write_text(html + "\n", encoding="utf-8")
    compress(out)
    return chapters


def compress(folder: Path) -> None:
    """Write `NAME.gz` beside each file below `folder` that shrinks by it, without a date.

    `gpu_runner.serve.site` sends them, and so does nginx with `gzip_static on`.
    """
    for path in sorted(folder.rglob("*")):
        if path.is_file() and path.suffix != SUFFIX and path.stat().st_size >= LEAST_BYTES:
            data = path.read_bytes()
            packed = gzip.compress(data, 6, mtime=0)
            if len(packed) <= MOST_RATIO * len(data):
                path.with_name(path.name + SUFFIX).write_bytes(packed)
