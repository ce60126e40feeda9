"""What stops a build: one place, one reason, and what to do."""

from __future__ import annotations


class SiteError(Exception):
    """A chapter, a cell or an asset cannot be printed; `where` is "chapter.md:line" or a path."""

    def __init__(self, where: str, problem: str) -> None:
        """Keep both parts apart for tests; the message joins them."""
        super().__init__(f"{where}: {problem}")
        self.where = where
        self.problem = problem
