"""The page names the command as it is typed where its server was started."""

from playwright.sync_api import Page, expect

import build
from conftest import Server, StaticSite

CHAPTERS = ("run-it-for-real",)

BLOCK = "pre > code.language-sh"
DEMO = "train --model demo"


def test_a_served_page_spells_the_command_of_its_server(server: Server, page: Page) -> None:
    page.goto(server.url)
    own = (build.VENV / "bin" / "unfrozen").relative_to(build.ROOT)
    block = page.locator(BLOCK, has_text=DEMO)
    expect(block).to_have_text(f"{own} train --model demo")
    expect(page.locator("html")).to_have_attribute("data-program", str(own))
    page.goto(f"{server.origin}/runs/")
    expect(block).to_have_text(f"{own} serve\n{own} train --model demo")
    expect(page.locator("run-view .run-notice code")).to_have_text(f"{own} train --model demo")


def test_a_page_of_any_host_has_the_name(page: Page, static_site: StaticSite) -> None:
    page.goto(static_site.url)
    block = page.locator(BLOCK, has_text=DEMO)
    expect(block).to_have_text("unfrozen train --model demo")
