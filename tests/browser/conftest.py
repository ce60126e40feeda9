"""A host of the page that a test may slow down, break and mend."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser

from browser.decision_reader import DecisionReader
from browser.plain_host import Host, hosted
from browser.planner_reader import PlannerReader
from conftest import StaticSite, watched_page


@pytest.fixture
def host(site: Path, tmp_path: Path) -> Iterator[Host]:
    """A plain host of a copy of the site, for this test alone."""
    with hosted(site, tmp_path / "site") as server:
        yield server


@pytest.fixture(scope="module")
def planner_up(chromium: Browser, static_site: StaticSite) -> Iterator[PlannerReader]:
    """A page whose planner computes: Python takes seconds to start, and one start serves many."""
    permissions = ["clipboard-read", "clipboard-write"]
    with watched_page(chromium.new_context(permissions=permissions)) as page:
        reader = PlannerReader(page, static_site.url)
        reader.type("micro_batch", "4")
        reader.settle("#planner?micro_batch=4")
        yield reader


@pytest.fixture
def planner(planner_up: PlannerReader) -> PlannerReader:
    """The planner as a reader finds it, with Python up."""
    planner_up.begin_anew()
    return planner_up


@pytest.fixture(scope="module")
def decision_up(chromium: Browser, static_site: StaticSite) -> Iterator[DecisionReader]:
    """A page whose decision computes."""
    permissions = ["clipboard-read", "clipboard-write"]
    with watched_page(chromium.new_context(permissions=permissions)) as page:
        reader = DecisionReader(page, static_site.url)
        reader.control("tasks").fill("5")
        reader.settle("#decision?tasks=5")
        yield reader


@pytest.fixture
def decision(decision_up: DecisionReader) -> DecisionReader:
    """The decision as a reader finds it, with Python up."""
    decision_up.begin_anew()
    return decision_up
