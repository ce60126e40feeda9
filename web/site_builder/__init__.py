"""Builds the article as a static site: chapters in Markdown, cells that run, and the front end.

Reading order: config, formats, rendering, expressions, code_blocks, bibliography,
wheels, bytecode, disk_cache, compression, browser_python, fonts, third_party, common_plans, assets,
measurements, page_run, accuracy, lora_runs, example_jobs, diagrams, blocks, markdown, quiz,
reference, guides, search, page,
__main__.

A chapter is Markdown. A live cell is a fenced code block: the build runs it with the code that
runs it in the reader's browser, and the page contains everything it printed and drew.
"""

from __future__ import annotations


class SiteError(Exception):
    """The site cannot be built; `where` is "chapter.md:line" or the path of another source."""

    def __init__(self, where: str, problem: str) -> None:
        """Keep both parts for tests; the message joins them."""
        super().__init__(f"{where}: {problem}")
        self.where = where
        self.problem = problem
