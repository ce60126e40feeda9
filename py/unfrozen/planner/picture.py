"""A plan as a picture for a notebook: the page's bar of memory as HTML that needs no other file."""

from __future__ import annotations

from html import escape
from typing import Any, Final

from unfrozen.answer.text import title
from unfrozen.plan import Plan
from unfrozen.planner.figures import bar, verdict

COLOURS: Final = {
    "params": "#2b5f82",
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
