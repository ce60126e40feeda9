"""What a browser may load and run for the page: one Content-Security-Policy, stated twice.

The page carries it in a `<meta>`, for hosts that send none, with the hash of its one style sheet;
our server sends that as a header, with `frame-ancestors`, which has no effect in a `<meta>`.
Trusted Types are a net below it: no text becomes markup, code or the address of a script but
through the policy `unfrozen` of `web/python/worker-client.js`, which lets the site's own workers
through. Firefox passes over both.
"""

from __future__ import annotations

import base64
import hashlib
from typing import Final

PAGE: Final = "; ".join(
    (
        "default-src 'none'",
        "script-src 'self' 'wasm-unsafe-eval'",
        "font-src 'self'",
        "img-src 'self' data: blob:",
        "connect-src 'self' https://huggingface.co",  # for a config.json: web/planner/hub-config.js
        "worker-src 'self' blob:",  # a worker of a `blob:` inherits this policy
        "manifest-src 'self'",
        "base-uri 'none'",
        "form-action 'none'",
        "require-trusted-types-for 'script'",
        "trusted-types unfrozen",
    )
)

NO_FRAMES: Final = "; frame-ancestors 'none'"
EMBEDS: Final = "/embed/"
"""The pages below are for frames of any site: they show figures and take no command."""


def with_style(style: str) -> str:
    """Return the policy of a page whose `<style>` holds this text and no other."""
    digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
    return f"{PAGE}; style-src 'sha256-{digest}'"


CELLS: Final = "default-src 'none'; script-src 'self' 'wasm-unsafe-eval'"
"""Of the worker in which cells run: no request leaves it but for the two scripts of Pyodide."""
