"""Hosts and servers that a test may break and mend; planner and decision with Python up."""

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser

from browser.decision_reader import DecisionReader
from browser.plain_host import Host, hosted
from browser.planner_reader import PlannerReader
from conftest import Server, below, watched_page
from site_builder.assets import write_service_worker


@pytest.fixture(scope="module")
def host(site: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Host]:
    """A plain host of a copy of the site, for the tests of one module."""
    with hosted(site, tmp_path_factory.mktemp("host") / "site") as server:
        yield server


@pytest.fixture
def kept_host(site: Path, tmp_path: Path) -> Iterator[Host]:
    """A plain host for one test, below a path; a browser keeps its pages, it may change and go."""
    with hosted(site, tmp_path / "site", "x/") as server:
        write_service_worker(server.folder)
        yield server


@pytest.fixture
def server(serve_site: Server) -> Iterator[Server]:
    """The server of the site without a run; a test may kill it, and give it another token."""
    for run in serve_site.runs.glob("[!.]*"):
        shutil.rmtree(run)
    yield serve_site
    if serve_site.process is None:
        serve_site.start()


@pytest.fixture(scope="session")
def planner_up(
    chromium: Browser, whole_site: Path, static_host: tuple[Path, str]
) -> Iterator[PlannerReader]:
    """A page whose planner computes, for all tests: Python takes seconds to start in each."""
    with watched_page(chromium.new_context()) as page:
        reader = PlannerReader(page, below(static_host, whole_site).url)
        reader.type("micro_batch", "4")
        reader.settle("#planner?micro_batch=4")
        yield reader


@pytest.fixture
def planner(planner_up: PlannerReader) -> PlannerReader:
    """The planner as a reader finds it, with Python up."""
    planner_up.page.set_viewport_size({"width": 1280, "height": 720})
    planner_up.begin_anew()
    return planner_up


@pytest.fixture
def decision(planner: PlannerReader) -> DecisionReader:
    """The decision beside it, as a reader finds it."""
    reader = DecisionReader(planner.page)
    if reader.root.get_attribute("data-standing") == "baked":  # as nobody has touched it yet
        reader.control("tasks").fill("5")
        reader.settle("#decision?tasks=5")
    reader.begin_anew()
    return reader
