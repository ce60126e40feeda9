"""The site without a network, and a newer version of it: on a plain host below a path."""

import shutil
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, expect

from browser.cell_reader import CellReader
from browser.drawing import wait
from browser.plain_host import NOT_KEPT, Host
from browser.planner_reader import PlannerReader
from browser.run_reader import RunReader, written
from conftest import Server, watched_page
from gpu_runner.serve.publish import publish
from site_builder.assets import write_service_worker
from unfrozen.schema.offline import SERVICE_WORKER

CHAPTERS = ("what-full-fine-tuning-is",)

READY = "async () => (await navigator.serviceWorker.ready).active.state"
CONTROLLED = "() => navigator.serviceWorker.controller !== null"
KEPT_SNAPSHOTS = "async () => (await (await caches.open('unfrozen-python')).keys()).length"
KEPT_SCRIPTS = """async () => {
  const [name] = (await caches.keys()).filter((each) => each.startsWith("unfrozen-site "));
  const kept = (await (await caches.open(name)).keys()).map(({ url }) => url);
  return kept.filter((url) => url.includes("/assets/") && url.endsWith(".js"));
}"""
LOSE_SCRIPTS = f"""async () => {{
  const scripts = await ({KEPT_SCRIPTS})();
  for (const name of await caches.keys())
    for (const script of scripts) await (await caches.open(name)).delete(script);
  return scripts;
}}"""
REPLACE_SCRIPTS = f"""async () => {{
  const scripts = await ({KEPT_SCRIPTS})();
  const [name] = (await caches.keys()).filter((each) => each.startsWith("unfrozen-site "));
  const headers = {{ "content-type": "text/javascript" }};
  const forge = () => new Response("throw new Error('forged')", {{ headers }});
  for (const script of scripts) await (await caches.open(name)).put(script, forge());
}}"""
RECORDED = (
    "async () => (await (await fetch('../recordings/index.json')).json()).map(({ id }) => id)"
)
REGISTERED = "async () => (await navigator.serviceWorker.getRegistrations()).length"


@pytest.fixture
def reader(chromium: Browser, kept_host: Host) -> Iterator[Page]:
    """A browser that keeps what it is allowed to, and leaves before the host does."""
    assert kept_host.url
    with watched_page(chromium.new_context(service_workers="allow")) as found:
        yield found


def stay(page: Page) -> None:
    """Stay on a page until it is kept."""
    page.evaluate(READY)
    wait(page, lambda: page.evaluate(CONTROLLED), "what keeps this page")


def is_refused(page: Page, host: Host) -> bool:
    """Whether the script that keeps the site was asked for, and did not come to stay."""
    is_asked = any(path.endswith(SERVICE_WORKER) for path in host.asked)
    return is_asked and page.evaluate(REGISTERED) == 0


def test_the_built_script_knows_every_file_of_the_site(whole_site: Path, tmp_path: Path) -> None:
    copy = tmp_path / "site"
    shutil.copytree(whole_site, copy, ignore=shutil.ignore_patterns(".*"))  # what build.py notes
    write_service_worker(copy)
    assert (copy / SERVICE_WORKER).read_bytes() == (whole_site / SERVICE_WORKER).read_bytes()


def test_what_was_read_and_run_goes_on_without_a_network(reader: Page, kept_host: Host) -> None:
    cells = CellReader(reader, kept_host.url)
    stay(reader)
    assert cells.run("6 * 7")["value"] == "42"
    assert not reader.evaluate("crossOriginIsolated")  # this host sends no headers
    wait(reader, lambda: not reader.evaluate(NOT_KEPT), "files that are kept")
    wait(reader, lambda: reader.evaluate(KEPT_SNAPSHOTS), "Python that is kept as it has started")
    kept_host.shutdown()
    kept_host.server_close()
    planner = PlannerReader(reader, kept_host.url)
    planner.root.locator("[data-preset=qlora]").click()
    planner.settle("#planner?method=qlora")
    assert planner.verdict == "It fits."
    RunReader(reader, kept_host.url).wait_notice("finished")
    reader.goto(f"{kept_host.url}accuracy")
    expect(reader.locator("h1")).to_have_text("How right the planner is")
    cells = CellReader(reader, kept_host.url)
    assert reader.evaluate("crossOriginIsolated")
    assert cells.run("40 + 2")["value"] == "42"
    cells.start("while True: pass")
    assert not cells.stop()["cleared"]  # Stop interrupts here as on our own server


def test_a_newer_version_is_offered_to_every_tab_and_never_forced(
    reader: Page, kept_host: Host
) -> None:
    reader.goto(kept_host.url)
    stay(reader)
    other = reader.context.new_page()
    other.goto(kept_host.url)
    page = kept_host.folder / "index.html"
    page.write_text(page.read_text("utf-8").replace("<h1>Unfrozen", "<h1>Newer"), "utf-8")
    write_service_worker(kept_host.folder)
    reader.reload()
    expect(reader.locator("h1")).to_have_text("Unfrozen")
    note = reader.locator(".version-note")
    expect(note).to_contain_text("A newer version of this page is here.")
    expect(other.locator(".version-note")).to_be_visible()
    note.get_by_role("button", name="Reload").click()
    expect(reader.locator("h1")).to_have_text("Newer")
    expect(other.locator("h1")).to_have_text("Unfrozen")
    expect(other.locator(".version-note")).to_have_count(1)
    other.locator(".version-note").get_by_role("button", name="Reload").click()
    expect(other.locator("h1")).to_have_text("Newer")


def test_what_a_browser_has_lost_of_the_site_is_fetched_and_kept_again(
    reader: Page, kept_host: Host
) -> None:
    reader.goto(kept_host.url)
    stay(reader)
    lost = reader.evaluate(LOSE_SCRIPTS)
    assert len(lost) > 10
    assert CellReader(reader, kept_host.url).phase == "idle"
    wait(reader, lambda: reader.evaluate(KEPT_SCRIPTS), "script that is kept again")
    assert set(reader.evaluate(KEPT_SCRIPTS)) <= set(lost)
    reader.evaluate(REPLACE_SCRIPTS)  # as any other page of this origin may
    assert CellReader(reader, kept_host.url).phase == "idle"
    reader.evaluate(LOSE_SCRIPTS)
    kept_host.shutdown()
    kept_host.server_close()
    reader.allowed_errors += ["ERR_", "Failed"]  # type: ignore[attr-defined]
    reader.reload()
    expect(reader.locator("h1")).to_have_text("Unfrozen")
    expect(reader.locator("live-cell .cell-output").first).to_be_visible()


def test_a_browser_without_room_keeps_nothing_and_computes(reader: Page, kept_host: Host) -> None:
    devtools = reader.context.new_cdp_session(reader)
    full = {"origin": kept_host.url, "quotaSize": 1000}
    devtools.send("Storage.overrideQuotaForOrigin", full)
    cells = CellReader(reader, kept_host.url)
    assert cells.run("6 * 7")["value"] == "42"
    wait(reader, lambda: is_refused(reader, kept_host), "attempt to keep it")
    assert not reader.evaluate(CONTROLLED)
    assert cells.run("40 + 3")["value"] == "43"


def test_two_copies_on_one_origin_are_kept_each_with_its_own_runs(
    chromium: Browser, site: Path, tmp_path: Path
) -> None:
    def copy(run: str) -> Path:
        """A published copy with this run."""
        log = written(tmp_path / "runs", run, "--steps", "3", "--pace", "0", "--end", "finished")
        publish([log.parent], site, tmp_path / run, tmp_path)
        return tmp_path / run

    def recorded(place: str, run: str) -> list[str]:
        """The recordings of a copy, by its list; one of them is on view."""
        page.goto(f"{host.url}{place}/runs/?recording={run}.jsonl")
        RunReader(page).wait_notice("finished")
        assert RunReader(page).state["run"] == run
        ids: list[str] = page.evaluate(RECORDED)
        return [each for each in ids if each in ("mine", "theirs")]

    with (
        Host(tmp_path / "host") as host,
        watched_page(chromium.new_context(service_workers="allow")) as page,
    ):
        threading.Thread(target=host.serve_forever, daemon=True).start()
        shutil.copytree(site, host.folder / "one")  # the site itself, before it has a run
        write_service_worker(host.folder / "one")
        copy("theirs").rename(host.folder / "two")
        for place in ("one", "two"):
            page.goto(f"{host.url}{place}/")
            stay(page)
        shutil.rmtree(host.folder / "one")
        copy("mine").rename(host.folder / "one")
        page.goto(f"{host.url}one/runs/")
        with page.expect_navigation():
            page.locator(".version-note").get_by_role("button", name="Reload").click()
        host.shutdown()
        host.server_close()
        assert recorded("one", "mine") == ["mine"]
        assert recorded("two", "theirs") == ["theirs"]


@pytest.mark.matrix
def test_a_half_copied_site_is_not_kept_and_a_runner_s_never(
    reader: Page, kept_host: Host, serve_site: Server
) -> None:
    script = next(kept_host.folder.glob("assets/main-*.js"))
    script.write_text(script.read_text("utf-8") + " ")
    reader.goto(kept_host.url)
    wait(reader, lambda: is_refused(reader, kept_host), "attempt to keep it")
    assert not reader.evaluate(CONTROLLED)
    assert reader.evaluate("async () => (await caches.keys()).length") <= 1
    with reader.expect_response(lambda answer: answer.request.method == "HEAD"):
        reader.goto(serve_site.url)  # which asks for nothing to be kept, once it knows who answers
    assert reader.evaluate(REGISTERED) == 0
