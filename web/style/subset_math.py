"""Cut STIX Two Math down to the characters that formulas in the article may use.

Not part of the build: its result, math.woff2, is kept here. To make it again:
    pip install fonttools brotli && npm pack @fontsource/stix-two-math@5.3.0
    python web/style/subset_math.py stix-two-math-latin-400-normal.woff2 web/style/math.woff2
"""

import sys

from fontTools import subset  # type: ignore[import-not-found]
from fontTools.ttLib import TTFont  # type: ignore[import-not-found]

RANGES = (
    (0x20, 0x7E),  # ASCII
    (0x391, 0x3F5),  # Greek
    (0x1D434, 0x1D467),  # mathematical italic Latin
    (0x1D6E2, 0x1D71B),  # mathematical italic Greek
)
SIGNS = "\u00a0·×±ℎ…′‖∂∇∈∉∏∑−∗√∞∥∫≈≠≡≤≥≪≫⋅⋯→←↦⌈⌉⌊⌋⟨⟩⏞⏟ˆ̂ˉ̄˜̃→ℝ𝔼ℒ"


def main(source: str, target: str) -> None:
    """Read a font file, write the subset with its MATH table, without a clock in it."""
    font = TTFont(source, recalcTimestamp=False)
    options = subset.Options(hinting=False)
    options.layout_features = ["ssty", "flac", "dtls"]
    options.name_IDs = [0, 13, 14]  # copyright and licence
    cutter = subset.Subsetter(options)
    wanted = {code for first, last in RANGES for code in range(first, last + 1)}
    cutter.populate(unicodes=wanted | set(map(ord, SIGNS)))
    cutter.subset(font)
    font.flavor = "woff2"
    font.save(target, reorderTables=False)


if __name__ == "__main__":
    main(*sys.argv[1:])
