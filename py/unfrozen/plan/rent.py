"""Rent of a run: after how long it may be ended at the soonest, and what that costs.

A timeout is the upper end of the band of the time estimate, which nine in ten published runs of the
same kind stayed below, with the time to start: jobs whose timeout is the estimate itself are killed
half of the time.
"""

from __future__ import annotations

import math
from typing import Any, Final

from unfrozen.hardware.flavors import FLAVORS, Flavor
from unfrozen.job import Job
from unfrozen.plan.record import SPEEDS, band_of, most_words
from unfrozen.plan.step_time import job_gpu

START_SECONDS: Final = 900
"""Assumed for a machine to start and packages to be installed, the model beside."""
DOWNLOAD_BYTES: Final = 50e6
"""Assumed bytes a second of a model, in 16 bits, from a hub."""
ROUNDED_SECONDS: Final = 900
"""Timeouts are whole quarters of an hour."""


def timeout_seconds(job: Job, seconds: float) -> int:
    """Return when a run that is estimated to take `seconds` may be ended.

    A kind of job without a band takes the widest of those that have one, or its own worst run.
    """
    found = band_of(job)
    bands = [found.most]
    if not found.known:
        bands += [one.most for one in SPEEDS.values() if one.known]
    whole = seconds * (1 + max(bands)) + _start_seconds(job)
    return math.ceil(whole / ROUNDED_SECONDS) * ROUNDED_SECONDS


def _start_seconds(job: Job) -> float:
    return START_SECONDS + 2 * job.model.num_parameters / DOWNLOAD_BYTES


def rental(job: Job, seconds: float) -> dict[str, Any]:
    """Return the timeout of a run, and the flavors that have its GPUs, the cheapest first.

    `usd` is the price of the estimate with its start, `usd_most` that of the whole timeout.
    """
    most = timeout_seconds(job, seconds)
    gpu, gpus = job_gpu(job).name, job.cluster.gpus
    known = band_of(job).known
    fitting = [one for one in FLAVORS if (one.gpu, one.gpus) == (gpu, gpus)]
    fitting.sort(key=lambda one: (one.usd_per_hour, one.provider))
    return {
        "timeout_seconds": most,
        "timeout": _hours(most),
        "holds": f"{most_words(job)} of its kind" if known else "the widest band, for lack of one",
        "flavors": [_offer(one, seconds + _start_seconds(job), most) for one in fitting],
    }


def _offer(one: Flavor, seconds: float, most: int) -> dict[str, Any]:
    how = one.timeout.format(flavor=one.name, timeout=_hours(most), seconds=most)
    too_long = one.most_seconds is not None and most > one.most_seconds
    return {
        **{"provider": one.provider, "flavor": one.name, "usd_per_hour": one.usd_per_hour},
        "usd": round(one.usd_per_hour * seconds / 3600, 2),
        "usd_most": round(one.usd_per_hour * most / 3600, 2),
        **{"read": one.read, "source": one.source, "timeout": how},
        "note": f"it ends jobs after {_hours(one.most_seconds or 0)}: resume" if too_long else "",
    }


def _hours(seconds: int) -> str:
    """Return a time as every provider reads it: one number with its unit, "3.25h"."""
    return f"{seconds / 3600:g}h"


def rental_text(found: dict[str, Any], most: int = 3) -> str:
    """Return the timeout and the cheapest flavors in a sentence."""
    offers = [
        f"{one['flavor']} of {one['provider']} ${one['usd']:,.2f}, at most ${one['usd_most']:,.2f}"
        for one in found["flavors"][:most]
    ]
    rented = f"; rented: {'; '.join(offers)}" if offers else ""
    return f"{found['timeout']} for a rented machine ({found['holds']}){rented}"
