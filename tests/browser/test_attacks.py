"""Every attack of `security/attacks.py` on a real page: nothing made, asked, thrown or held."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, Page, Request, expect

from browser.door import door
from browser.planner_reader import PlannerReader
from browser.run_reader import RunReader
from conftest import matrix, watched_page
from security import attacks
from slowness import slowness

CHAPTERS = ("the-planner", "run-it-for-real")

LOGS_AT_ONCE = 12
WHOLE = [name for name, _ in attacks.whole_logs()]
LAST = 2**52 + 1
HANG_MS = 4000  # of a machine with other things to do; a hang is twenty seconds

# What an attack must not leave behind, looked for after each; and how long the page stood still.
WATCH = """() => {
  const bad = 'script, iframe, frame, object, embed, link, meta, base, style, img, portal,' +
    'foreignObject, form[action], [srcdoc], [ping], .forged';
  const before = new Set(document.querySelectorAll(bad));
  const title = document.title;
  const fine = /^(#|\.\.\/#when-a-run-goes-wrong$|https:|blob:|data:image)/;
  window.attacked = () => {
    const found = [...document.querySelectorAll(bad)].filter((each) => !before.has(each));
    const said = found.map((each) => each.outerHTML.slice(0, 200));
    for (const each of document.querySelectorAll('run-view *, data-table *, data-plot *, .mp *')) {
      for (const { name, value } of each.attributes) {
        if (name.startsWith('on')) said.push(`${each.tagName} has ${name}`);
        if (/^(href|src|action)$/.test(name) && !fine.test(value)) said.push(`${name}=${value}`);
      }
    }
    for (const view of document.querySelectorAll('run-view, data-table, data-plot, .mp')) {
      if (view.textContent.includes('[object')) said.push(`${view.tagName} shows an object`);
    }
    if (window.owned !== undefined || document.title !== title) said.push('owned');
    return said;
  };
  window.stoodStill = 0;
  let last = performance.now();
  setInterval(() => {
    window.stoodStill = Math.max(window.stoodStill, performance.now() - last - 20);
    last = performance.now();
  }, 20);
}"""
# Logs given to the view as files, one after the other: what each left behind, by its name.
READ_LOGS = """async (logs) => {
  const view = document.querySelector('run-view');
  let shown = '';
  view.addEventListener('shown', ({ detail }) => (shown = detail.name));
  const frame = () => new Promise((done) => requestAnimationFrame(() => setTimeout(done)));
  const found = {};
  for (const [name, text] of logs) {
    const file = new File([text], `log-${name.slice(0, 40)}.jsonl`);
    view.dispatchEvent(new CustomEvent('choose', { detail: { kind: 'file', file } }));
    const isDrawn = () => shown.startsWith(file.name) && view.dataset.state !== 'reading';
    const late = performance.now() + 30_000;
    while (!isDrawn() && performance.now() < late) await frame();
    for (let n = 0; n < 2; n += 1) await frame();
    const said = window.attacked();
    if (!isDrawn()) said.push('still reading');
    const { refusedLines, events, skippedLines } = view.state;
    if (refusedLines + events + skippedLines === 0) said.push('nothing read');
    if (said.length) found[name] = said;
  }
  return found;
}"""
DRAW = """async (values) => {
  const found = {};
  const place = document.body.appendChild(document.createElement('div'));
  Object.assign(place.style, { position: 'fixed', top: 0, width: '600px' });
  for (const [name, tag, json] of values) {
    const element = document.createElement(tag);
    place.prepend(element);
    try {
      element.data = JSON.parse(json);
    } catch (error) {
      found[name] = [`threw ${error.message}`];
    }
    const said = window.attacked();
    if (said.length) found[name] = said;
    element.remove();
    await new Promise((done) => setTimeout(done));
  }
  return found;
}"""

# Gives the planner an address or a config; true once it has answered, whatever it says.
ASK = """async ([kind, text]) => {
  const planner = document.querySelector('memory-planner');
  const before = planner.controls;
  if (kind === 'address') location.hash = text;
  else planner.edit({ config: text });
  const late = performance.now() + 60_000;
  while (planner.controls === before && performance.now() < late) {
    await new Promise((done) => setTimeout(done, 20));
  }
  const { standing } = planner.dataset;
  return planner.controls !== before && ['live', 'stale'].includes(standing);
}"""
TOLD = {
    "an alert of 5 MB": "the line is longer than 65,536 characters",
    "a line of 50 MB": "the line is longer than 65,536 characters",
    "steps backwards": "the log had come to step 4,999",
    "another run in the middle": "run differs",
    "two starts": "a run starts once",
    "after the end": "the run had ended",
    "5,000 prompts": "4935 samples of too many prompts",
}

SINKS = (
    "document.createElement('p').innerHTML = '<img src=/owned>'",
    "document.createElement('script').text = 'owned = 1'",
    "new Worker('assets/owned.js')",
    "trustedTypes.createPolicy('mine', {})",
    "setTimeout('owned = 1')",
)


@pytest.fixture(scope="module")
def opened(chromium: Browser, static_site: Any) -> Iterator[Page]:
    """A page on a host that sends no policy, for one attack after the other."""
    with watched_page(chromium.new_context()) as page:
        page.goto(door(static_site.url, "runs"))
        page.locator("run-view[data-state]").wait_for(state="attached")
        yield page


@pytest.fixture
def attacked(opened: Page, static_site: Any) -> Iterator[Page]:
    """That page; whatever it asks for meanwhile beside its own files is reported."""
    asked: list[str] = []

    def note(request: Request) -> None:
        asked.append(request.url)

    opened.on("request", note)
    opened.evaluate(WATCH)
    yield opened
    opened.remove_listener("request", note)
    assert opened.evaluate("() => window.attacked()") == []
    assert opened.evaluate("() => window.stoodStill") < HANG_MS * slowness()
    strange = [url for url in asked if "owned" in url or not url.startswith(static_site.url)]
    assert not [url for url in strange if not url.startswith(("blob:", "data:"))]


@pytest.fixture(scope="session")
def each(request: pytest.FixtureRequest) -> slice:
    """Of hostile texts: all with `--all`, else one of five."""
    return slice(None, None, 1 if request.config.option.all else 5)


def test_no_line_of_a_log_is_drawn_that_is_not_an_event(attacked: Page, each: slice) -> None:
    lines = list(attacks.log_lines())[each]
    assert len(lines) > 200
    good = attacks.line(10_000, {"kind": "metrics", "m": {"train/loss": 1.5}})
    logs = []
    for start in range(0, len(lines), LOGS_AT_ONCE):
        group = lines[start : start + LOGS_AT_ONCE]
        numbered = [
            line.replace('"seq": 1,', f'"seq": {place},', 1)
            for place, (_, line) in enumerate(group, 1)
        ]
        logs.append((f"{start}: {group[0][0]}", "\n".join([*numbered, good, ""])))
    assert attacked.evaluate(READ_LOGS, logs) == {}


@pytest.mark.parametrize("name", matrix(WHOLE, *WHOLE[::5]))
def test_no_log_of_any_size_or_order_holds_the_page(
    attacked: Page, name: str, tmp_path: Path
) -> None:
    lines, end = dict(attacks.whole_logs())[name], LAST + WHOLE.index(name)
    alert = {"kind": "alert", "text": f"the last word of {name}", "step": 9, "att": 9000}
    last = attacks.line(end, alert)
    path = tmp_path / "hostile.jsonl"
    path.write_text("\n".join([*lines, last, ""]), "utf-8", "surrogatepass")
    reader = RunReader(attacked)
    attacked.locator("run-list input[type=file]").set_input_files(path)
    reader.wait(lambda: reader.brief["lastSeq"] == end, "end of the log")
    first = attacked.locator("run-view .run-alert-list li").first
    expect(first).to_contain_text(str(alert["text"]))
    told = attacked.locator("run-view .run-log").inner_text()
    assert name not in TOLD or TOLD[name] in told


def test_a_live_run_with_hostile_lines_shows_the_others_and_why_not_these(
    page: Page, serve_site: Any
) -> None:
    lines = [line for _, line in attacks.log_lines() if '"tag"' in line]
    good = [
        attacks.line(n, {"kind": "metrics", "m": {"train/loss": n / 1000}})
        for n in range(5000, 5010)
    ]
    folder = serve_site.runs / "hostile"
    folder.mkdir()
    (folder / "events.jsonl").write_text("\n".join([*lines, *good, ""]))
    reader = RunReader(page, serve_site.url)
    page.evaluate(WATCH)
    reader.choose("live:hostile")
    reader.wait(lambda: reader.brief["lastSeq"] == 5009, "the good lines")
    state = reader.state
    assert state["refusedLines"] > len(lines) / 2
    assert len(state["refusals"]) == 5
    expect(page.locator("run-view .run-log")).to_contain_text(f"{state['refusedLines']} refused")
    assert page.evaluate("() => window.attacked()") == []


def test_no_table_and_no_plot_is_drawn_that_a_cell_could_not_publish(
    attacked: Page, each: slice
) -> None:
    values = list(attacks.cell_data())[each]
    assert len(values) > 60
    assert attacked.evaluate(DRAW, values) == {}


@pytest.mark.parametrize(
    "address", matrix(attacks.ELSEWHERE, *attacks.ELSEWHERE[::5]), ids=lambda text: text[:20]
)
def test_an_address_that_leads_nowhere_harms_nothing(attacked: Page, address: str) -> None:
    attacked.evaluate("(hash) => { location.hash = hash; }", address)
    attacked.wait_for_timeout(300)
    attacked.reload()
    attacked.locator("run-view[data-state]").wait_for(state="attached")
    attacked.evaluate(WATCH)


def test_every_address_opens_the_planner_and_what_it_refuses_is_reported(
    page: Page, static_site: Any, each: slice
) -> None:
    reader = PlannerReader(page, f"{static_site.url}#planner?{'a=b&' * 101}")
    reader.wait("stale")
    assert "t carries 102 settings" in reader.root.locator(".widget-status").inner_text()
    assert reader.root.evaluate("(planner) => planner.getBoundingClientRect().top") < 600
    page.evaluate(WATCH)
    for address in attacks.ADDRESSES[each]:
        assert page.evaluate(ASK, ["address", address]), address[:80]
        assert page.evaluate("() => window.attacked()") == [], address[:80]
    assert page.evaluate("() => window.stoodStill") < HANG_MS * slowness()


@pytest.mark.matrix
def test_every_config_is_a_plan_or_a_sentence(page: Page, static_site: Any, each: slice) -> None:
    reader = PlannerReader(page, static_site.url)
    page.evaluate(WATCH)
    for name, text in list(attacks.configs())[each]:
        assert page.evaluate(ASK, ["config", text]), name
        assert page.evaluate("() => window.attacked()") == [], name
    assert page.evaluate("() => window.stoodStill") < HANG_MS * slowness()
    assert reader.root.locator(".verdict-title").count() == 1


def test_on_a_host_without_a_policy_no_text_becomes_markup_or_a_script(
    page: Page, static_site: Any
) -> None:
    page.allowed_errors += ["rusted", "Content Security Policy"]  # type: ignore[attr-defined]
    page.goto(static_site.url)
    for sink in SINKS:
        tried = f"() => {{ try {{ {sink}; }} catch (error) {{ return error.name; }} }}"
        assert page.evaluate(tried) in ("TypeError", "EvalError"), sink
