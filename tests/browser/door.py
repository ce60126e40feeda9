"""Addresses of the pages of a site."""

from urllib.parse import urlsplit


def door(url: str, page: str) -> str:
    """Return the address of a page of the site whose front page `url` leads to, fragment and all.

    >>> door("http://127.0.0.1:8/#t=1", "runs")
    'http://127.0.0.1:8/runs/#t=1'
    """
    parts = urlsplit(url)
    return parts._replace(path=f"{parts.path.rstrip('/')}/{page}/").geturl()
