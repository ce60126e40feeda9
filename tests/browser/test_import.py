"""Files of other tools, dropped on the page: read by its own Python, shown as runs."""

import json
import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, expect

from accessibility import violations
from browser.run_reader import RunReader, written
from conftest import Server, watched_page

CHAPTERS = ("run-it-for-real",)

INPUT = "run-list input[type=file]"
DROP = """(view, [name, text]) => {
  const files = new DataTransfer();
  files.items.add(new File([text], name));
  const drop = { dataTransfer: files, bubbles: true, cancelable: true };
  view.dispatchEvent(new DragEvent("drop", drop));
}"""


def text(reader: RunReader, selector: str) -> str:
    return reader.page.locator(f"run-view {selector}").first.inner_text()


def state(steps: int) -> str:
    history: list[dict[str, float]] = [{"step": 0, "eval_loss": 3.0}]
    for n in range(5, steps + 1, 5):
        history.append({"step": n, "loss": 9.0 / n, "learning_rate": 1e-4, "num_tokens": 64.0 * n})
    history.append({"step": steps, "eval_loss": 1.5, "eval_mean_token_accuracy": 0.75})
    return json.dumps({"log_history": history, "global_step": steps, "max_steps": steps})


@pytest.fixture(scope="module")
def dropped(chromium: Browser, serve_site: Server) -> Iterator[RunReader]:
    """A page on which the state of a Trainer was dropped."""
    with watched_page(chromium.new_context(bypass_csp=True)) as page:
        reader = RunReader(page, serve_site.url)
        page.locator("run-view").first.evaluate(DROP, ["trainer_state.json", state(40)])
        reader.wait_notice("finished")
        yield reader


@pytest.fixture
def reader(dropped: RunReader) -> RunReader:
    """The same page, which notes when it has read something else."""
    dropped.page.evaluate("() => (document.querySelector('run-view').state.isOld = true)")
    return dropped


def wait_for_another(reader: RunReader, notice: str) -> None:
    """Wait until another run is shown, and how it stands."""
    reader.wait(lambda: "isOld" not in reader.state, "another run")
    reader.wait_notice(notice)


def test_a_dropped_trainer_state_becomes_a_run(dropped: RunReader) -> None:
    reader = dropped
    series = reader.state["series"]
    assert series["train/loss"]["x"] == list(range(5, 41, 5))
    assert series["train/loss"]["y"][0] == 1.8
    assert reader.state["evals"]["task"]["delta"] == [0, -1.5]
    assert "40 steps, as logged by Hugging Face Trainer" in text(reader, ".run-state")


def test_what_it_lacks_is_reported_and_no_box_stays_empty(dropped: RunReader) -> None:
    reader, view = dropped, dropped.page.locator("run-view").first
    view.scroll_into_view_if_needed()
    said = text(reader, ".run-lacks")
    assert "Hugging Face Trainer did not log" in said
    assert "memory by component" in said
    assert "whether it forgets" in said
    shown = [chart for chart in view.locator("run-chart").all() if chart.is_visible()]
    titles = [chart.locator(".run-chart-title").inner_text() for chart in shown]
    assert titles == ["Loss on the task", "Learning rate"]
    assert "mean over the steps since the point before" in shown[0].inner_text()
    assert not view.locator(".run-memory-slot").is_visible()
    assert not view.locator(".run-time").count()
    assert not view.locator(".run-drift-slot").is_visible()
    assert "No measurement yet" not in view.inner_text()


def test_curves_without_a_name_here_are_drawn_under_their_own(dropped: RunReader) -> None:
    reader, view = dropped, dropped.page.locator("run-view").first
    others = view.locator(".run-others")
    others.locator("summary").click()
    titles = others.locator(".run-chart-title")
    expect(titles).to_have_text(["num_tokens", "eval_mean_token_accuracy"])
    others.locator("canvas").first.wait_for()
    assert not violations(reader.page, "run-view")


WRONG = {
    "config.json": ('{"hidden_size": 8}', "config.json: it is JSON without a log_history"),
    "trainer_state.json": (state(40)[:60], "at byte 60: it is no whole JSON"),
    "events.out.tfevents.1": ("x", "unfrozen import reads event files of TensorBoard"),
    "notes.txt": ("no log", "notes.txt holds no event of a run. Choose an events.jsonl"),
}


def test_a_dropped_table_of_metrics_becomes_a_run(reader: RunReader) -> None:
    table = "step,train_loss,lr\n10,2.5,1e-4\n20,1.25,5e-5\n"
    reader.page.locator("run-view").first.evaluate(DROP, ["metrics.csv", table])
    wait_for_another(reader, "imported")
    series = reader.state["series"]["train/loss"]
    assert (series["x"], series["y"]) == ([10, 20], [2.5, 1.25])


def test_a_wrong_file_says_what_was_expected(reader: RunReader) -> None:
    for name, (content, expected) in WRONG.items():
        reader.page.locator("run-view").first.evaluate(DROP, [name, content])
        reader.wait_notice("not-readable")
        expect(reader.page.locator("run-view .run-state").first).to_contain_text(expected)
        said = text(reader, ".run-state")
        assert "trainer_state.json of Hugging Face Trainer" in said or "copy it again" in said


def test_reading_can_be_stopped_and_the_page_goes_on(page: Page, serve_site: Server) -> None:
    page.route("**/pyodide.asm.wasm", lambda _: None)  # Python never comes
    reader = RunReader(page, serve_site.url)
    reader.page.locator("run-view").first.evaluate(DROP, ["trainer_state.json", state(40)])
    stop = page.get_by_role("button", name="Stop reading")
    stop.click()
    stop.wait_for(state="hidden")
    reader.wait(lambda: reader.notice != "reading", "another state")  # what stood before the drop
    assert "trainer_state.json" not in text(reader, ".run-state")
    assert "Hugging Face Trainer" not in text(reader, ".run-state")


def test_markup_in_a_name_is_text(reader: RunReader) -> None:
    evil = "<img src=x onerror=document.title='owned'>"
    history = [{"step": 1, "loss": 1.0, evil: 2.0, f"eval_{evil}_loss": 1.0}]
    whole = json.dumps({"log_history": history, "global_step": 1, "max_steps": 1})
    reader.page.locator("run-view").first.evaluate(DROP, [f"{evil}.json", whole])
    wait_for_another(reader, "finished")
    assert reader.page.title() != "owned"
    assert reader.page.locator("run-view img").count() == 0
    assert evil in text(reader, ".run-alerts")


def drop_folder(reader: RunReader, folder: Path) -> None:
    """Drop a folder of this machine on the run view, as a file manager does."""
    view = reader.page.locator("run-view").first
    view.hover(position={"x": 60, "y": 60})  # brings that place into the window, once it rests
    box = view.bounding_box()
    assert box is not None
    files = {"items": [], "files": [str(folder)], "dragOperationsMask": 1}
    place = {"x": box["x"] + 60, "y": box["y"] + 60, "data": files}
    wire = reader.page.context.new_cdp_session(reader.page)
    for kind in ("dragEnter", "dragOver", "drop"):
        wire.send("Input.dispatchDragEvent", {"type": kind, **place})


def test_of_a_folder_the_newest_state_is_read(reader: RunReader, tmp_path: Path) -> None:
    for age, steps in enumerate((10, 15)):
        inner = tmp_path / "out" / f"checkpoint-{steps}"
        inner.mkdir(parents=True)
        (inner / "trainer_state.json").write_text(state(steps))
        os.utime(inner / "trainer_state.json", (1e9 + age, 1e9 + age))
    (tmp_path / "out" / "notes.txt").write_text("no log")
    drop_folder(reader, tmp_path / "out")
    wait_for_another(reader, "finished")
    assert reader.state["series"]["train/loss"]["x"] == [5, 10, 15]


def test_a_folder_of_our_runs_is_read(reader: RunReader, tmp_path: Path) -> None:
    log = written(tmp_path / "runs", "ours", "--steps", "4")
    drop_folder(reader, log.parent.parent)
    reader.wait(lambda: reader.state["run"] == "ours", "our own run")


def test_a_folder_without_a_run_says_so(reader: RunReader, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "empty" / "notes.txt").write_text("no log")
    drop_folder(reader, tmp_path / "empty")
    reader.wait_notice("not-readable")


def test_a_chart_of_one_value_shows_a_dot(reader: RunReader) -> None:
    view = reader.page.locator("run-view").first
    one = {"log_history": [{"step": 3, "loss": 1.5}], "global_step": 3, "max_steps": 3}
    view.evaluate(DROP, ["trainer_state.json", json.dumps(one)])
    wait_for_another(reader, "finished")
    canvas = view.locator("run-chart canvas").first
    canvas.wait_for()
    drawn = """(canvas) => {
      const color = getComputedStyle(canvas).getPropertyValue("--series-1").trim();
      const one = new OffscreenCanvas(1, 1).getContext("2d");
      one.fillStyle = color;
      one.fillRect(0, 0, 1, 1);
      const [r, g, b] = one.getImageData(0, 0, 1, 1).data;
      const { width, height } = canvas;
      const { data } = canvas.getContext("2d").getImageData(0, 0, width, height);
      let count = 0;
      for (let at = 0; at < data.length; at += 4) {
        count += data[at] === r && data[at + 1] === g && data[at + 2] === b && data[at + 3] === 255;
      }
      return count;
    }"""
    reader.wait(lambda: canvas.evaluate(drawn) > 8, "a dot")
