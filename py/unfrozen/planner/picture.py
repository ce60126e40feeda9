"""A plan as a picture: the page's bar of memory for a notebook, a badge for a README."""

from __future__ import annotations

from typing import Any, Final

from unfrozen.answer.text import title
from unfrozen.errors import PlanError
from unfrozen.job import Job
from unfrozen.plan import Plan
from unfrozen.planner.figures import bar, verdict

COLOURS: Final = {
    "params": "#2b5f82",
    "reference": "#6b7a8f",
    "adapters": "#1f8a93",
    "quant_constants": "#8a6a4f",
    "master": "#5f8fb3",
    "moments": "#7d5fa6",
    "grads": "#bd5b23",
    "activations": "#3b8265",
    "logits_loss": "#a07c12",
    "gathered": "#ad4a78",
}
"""Of the components, as in the page; what is not a tensor of its own is grey."""
_GREY: Final = "#8f897c"
_WIDTH: Final = 1000
_SQUARE: Final = "display:inline-block;width:.8em;height:.8em;margin-right:.35em;background:"


_VERDICT_COLOURS: Final = {"fits": "#2d6a3e", "tight": "#8a6100", "does not fit": "#a8281c"}
_LETTER: Final = 6.6
"""Width of a letter of the badge, which is stretched to that in any font."""


def verdict_badge(answer: str, job: Job) -> str:
    """Return an SVG badge: the answer, one of VERDICTS, and the GPUs that it is about.

    Raises PlanError where no GPU is named.
    """
    if job.gpu is None:
        raise PlanError("--badge", "this plan", "no GPU is named", "give --gpu or --gpus")
    many = f"{job.cluster.gpus:,} × " if job.cluster.gpus > 1 else ""
    parts = {answer: _VERDICT_COLOURS[answer], f"{many}{job.gpu.name}": "#555"}
    left, shapes = 0, []
    for text, colour in parts.items():
        width = round(_LETTER * len(text))
        shapes.append(
            f'<path fill="{colour}" d="M{left} 0h{width + 12}v20h-{width + 12}z"/>'
            f'<text x="{left + 6}" y="14" textLength="{width}">{escape(text)}</text>'
        )
        left += width + 12
    label = escape(" ".join(parts))
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{left}" height="20" role="img"'
        f' aria-label="{label}" fill="#fff" font-family="Verdana,DejaVu Sans,sans-serif"'
        f' font-size="11"><title>{label}</title>{"".join(shapes)}</svg>'
    )


def memory_picture(plan: Plan) -> str:
    """Return the memory at the peak, part by part, on one scale with its band and the GPU."""
    found: Any = bar(plan, "GiB")
    said: Any = verdict(plan, "GiB")
    shapes, left, legend = [], 0.0, []
    for part in found["parts"]:
        colour = COLOURS.get(part["key"], _GREY)
        width = _WIDTH * part["bytes"] / found["most"]
        words = f"{escape(part['label'])} {part['text']}"
        shapes.append(
            f'<rect x="{left:.1f}" y="6" width="{width:.1f}" height="26" fill="{colour}">'
            f"<title>{words}</title></rect>"
        )
        legend.append(f'<span><i style="{_SQUARE}{colour}"></i>{words}</span>')
        left += width
    low, high = (_WIDTH * found["band"][edge] / found["most"] for edge in ("low", "high"))
    ends = f"M{low:.1f} 35v8m0 -4H{high:.1f}m0 -4v8"
    shapes.append(f'<path d="{ends}" fill="none" stroke="currentColor"/>')
    if found["limit"]:
        edge = _WIDTH * found["limit"]["bytes"] / found["most"]
        shapes.append(f'<path d="M{edge:.1f} 0v46" stroke="#a8281c" stroke-width="3"/>')
        legend.append(f'<span style="color:#a8281c">| {escape(found["limit"]["label"])}</span>')
    legend.append(f"<span>⊢⊣ {found['band']['text']} in all likelihood</span>")
    label = escape(f"{said['title']} {found['total']['text']}: {title(plan.job)}")
    return (
        '<figure style="margin:.5em 0;max-width:45em;font:14px/1.5 system-ui,sans-serif">'
        f"<figcaption><b>{escape(said['title'])}</b> {escape(said['text'])}<br/>"
        f"{escape(title(plan.job))}</figcaption>"
        f'<svg role="img" aria-label="{label}" viewBox="0 0 {_WIDTH} 46" width="100%" height="46"'
        f' preserveAspectRatio="none">{"".join(shapes)}</svg>'
        f'<div style="display:flex;flex-wrap:wrap;gap:.1em 1.2em">{"".join(legend)}</div></figure>'
    )


def escape(text: str) -> str:
    """Return text for HTML; `html.escape` would import a table of all of its names."""
    for mark, name in (("&", "&amp;"), ("<", "&lt;"), (">", "&gt;"), ('"', "&quot;")):
        text = text.replace(mark, name)
    return text
