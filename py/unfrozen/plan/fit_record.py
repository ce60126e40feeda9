"""Verdicts on published runs: how many that were called fitting ran, and that were not did not.

The runs are those of web/measurements/fits_third.json; tests/measurements/test_fits.py counts them
again.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True, slots=True)
class FitCounts:
    """Published runs, those that ran, and the verdicts on them.

    `fitting` were said to fit, `failed` of these ran out of memory; `not_fitting` were said not to,
    `ran_yet` of these ran; the others were tight. `shown` say what the GPU showed, `inside` of
    these lie in the band.
    """

    runs: int
    fitting: int
    failed: int
    not_fitting: int
    ran_yet: int
    shown: int
    inside: int

    @property
    def sentence(self) -> str:
        """The verdicts in one sentence."""
        first = f"Of {self.runs} published runs {self.fitting} were said to fit"
        said = "and all did" if not self.failed else f"and {self.fitting - self.failed} did"
        none = f"{self.ran_yet}" if self.ran_yet else "none"
        return f"{first}, {said}; of {self.not_fitting} said not to fit {none} ran."


FITS: Final = FitCounts(
    runs=228, fitting=137, failed=0, not_fitting=82, ran_yet=1, shown=144, inside=139
)
