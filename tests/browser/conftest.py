"""Hosts and servers that a test may break and mend; planner and decision with Python up."""

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page

from browser.decision_reader import DecisionReader
from browser.plain_host import Host, hosted
from browser.planner_reader import PlannerReader
from conftest import Server, StaticSite, watched_page


@pytest.fixture(scope="module")
def host(site: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Host]:
    """A plain host of a copy of the site, for the tests of one module."""
    with hosted(site, tmp_path_factory.mktemp("host") / "site") as server:
        yield server


@pytest.fixture
def server(serve_site: Server) -> Iterator[Server]:
    """The server of the site without a run; a test may kill it, and give it another token."""
    for run in serve_site.runs.iterdir():
        shutil.rmtree(run)
    yield serve_site
    if serve_site.process is None:
        serve_site.start()


@pytest.fixture(scope="module")
def page_up(chromium: Browser) -> Iterator[Page]:
    """A page for many tests: Python takes seconds to start in each."""
    with watched_page(chromium.new_context()) as page:
        yield page


@pytest.fixture(scope="module")
def planner_up(page_up: Page, static_site: StaticSite) -> PlannerReader:
    """A page whose planner computes."""
    reader = PlannerReader(page_up, static_site.url)
    reader.type("micro_batch", "4")
    reader.settle("#planner?micro_batch=4")
    return reader


@pytest.fixture
def planner(planner_up: PlannerReader) -> PlannerReader:
    """The planner as a reader finds it, with Python up."""
    planner_up.begin_anew()
    return planner_up


@pytest.fixture(scope="module")
def decision_up(page_up: Page, static_site: StaticSite) -> DecisionReader:
    """A page whose decision computes."""
    reader = DecisionReader(page_up, static_site.url)
    reader.control("tasks").fill("5")
    reader.settle("#decision?tasks=5")
    return reader


@pytest.fixture
def decision(decision_up: DecisionReader) -> DecisionReader:
    """The decision as a reader finds it, with Python up."""
    decision_up.begin_anew()
    return decision_up
