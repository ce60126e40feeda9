"""The Hugging Face hub: whether there is a way to it, before its client asks for half a minute."""

from __future__ import annotations

import os
import socket
from urllib.parse import urlsplit
from urllib.request import getproxies


def is_away() -> bool:
    """Whether the hub has no address here; then what is cached is taken at once, or nothing.

    Its client would ask six times, with pauses. Behind a proxy nothing can be told from here.
    """
    from transformers.utils.hub import constants  # type: ignore[attr-defined]  # the hub's own

    if constants.HF_HUB_OFFLINE:
        return True
    if getproxies():
        return False
    try:
        socket.getaddrinfo(urlsplit(constants.ENDPOINT).hostname, 443)
    except OSError:
        os.environ["HF_HUB_OFFLINE"] = "1"  # for what is imported later
        constants.HF_HUB_OFFLINE = True  # for what is imported already
        return True
    return False
