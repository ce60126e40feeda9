"""The page names the command as it is typed where its server was started."""

import json
import subprocess

from playwright.sync_api import Page, expect

import build
from conftest import Server, StaticSite
from gpu_runner.installed import short

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
    typed = f"{own} train --model demo --runs {short(server.runs)}"
    expect(page.locator("run-view .run-notice code")).to_have_text(typed)


def test_a_command_about_a_run_can_be_typed_as_it_stands(server: Server, page: Page) -> None:
    log = server.runs / "of mine" / "events.jsonl"
    log.parent.mkdir(parents=True)
    lines = (build.ROOT / "web" / "recordings" / "demo.jsonl").read_text().splitlines()[:40]
    last = json.loads(lines[-1])
    end = {name: last[name] for name in ("v", "run", "seq", "att", "t", "rt", "step")}
    end |= {"seq": last["seq"] + 1, "kind": "run.end", "status": "failed", "reason": "no disk"}
    log.write_text("\n".join([*lines, json.dumps(end | {"summary": {}})]) + "\n")
    page.goto(f"{server.origin}/runs/?run=of%20mine#t={server.token}")
    shown = page.locator("run-view .run-notice code").first
    expect(shown).to_contain_text("unfrozen check --runs")
    done = subprocess.run(
        ["bash", "-c", shown.inner_text()], cwd=build.ROOT, capture_output=True, text=True
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("of mine: failed at step")


def test_a_page_of_any_host_has_the_name(page: Page, static_site: StaticSite) -> None:
    page.goto(static_site.url)
    block = page.locator(BLOCK, has_text=DEMO)
    expect(block).to_have_text("unfrozen train --model demo")
