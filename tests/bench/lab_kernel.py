"""The lab's matmuls and AdamW by WebAssembly beside numpy's, taking turns in one interpreter.

The interpreter is started by the worker's own files, on a page of the site that has no policy.
"""

from __future__ import annotations

import json
from typing import Any, Final

from playwright.sync_api import Page, Route

import build
from site_builder.assets import defines
from tests.bench import Ratio
from unfrozen.lab.demo import FILES

ROUNDS: Final = 5
SOURCES: Final = build.ROOT / "web"
START: Final = """async ({ defines, files, code }) => {
  Object.assign(globalThis, defines);
  const { installPackage, prepareScripts, startPyodide } = await import("./boot.js");
  prepareScripts();
  const { fetchFiles } = await import("./runtime-files.js");
  const { fetchPackage } = await import("./package-fetcher.js");
  let memory;
  const options = { module: "unfrozen", onMemory: (found) => (memory = found), onSnapshot() {} };
  const pyodide = await startPyodide(await fetchFiles(() => {}), options);
  installPackage(pyodide, "numpy", await fetchPackage("numpy", () => {}));
  const bytes = async (path) => (await fetch(path)).arrayBuffer();
  const imports = { env: { memory } };
  const { instance } = await WebAssembly.instantiate(await bytes("matmul.wasm"), imports);
  pyodide.FS.mkdirTree("/demo/model");
  pyodide.FS.mkdirTree("/demo/data");
  for (const name of files) {
    pyodide.FS.writeFile(`/demo/${name}`, new Uint8Array(await bytes(`../demo/${name}`)));
  }
  const { multiply, exp, adamw } = instance.exports;
  pyodide.globals.set("kernels", pyodide.toPy([multiply, exp, adamw]));
  return JSON.parse(pyodide.runPython(code));
}"""
CODE: Final = """
import json
import time
from pathlib import Path
from statistics import median

import numpy as np
from unfrozen.lab import operations, optimizer
from unfrozen.lab.choices import Choices
from unfrozen.lab.demo import FILES, Demo
from unfrozen.lab.llama import NullMeter
from unfrozen.lab.step import Trainer

demo = Demo.read({name: Path("/demo", name).read_bytes() for name in FILES})
trainers = {kind: Trainer(demo, Choices(ewc=0)) for kind in ("kernel", "numpy")}
results = {kind: [] for kind in trainers}
drawn = np.random.default_rng(0)
shapes = {"T×h · h×h": (384, 128, 128), "T×h · h×f": (384, 128, 512), "h×T · T×f": (128, 384, 512)}
factors = {
    name: [drawn.standard_normal(size, np.float32) for size in ((m, k), (k, n))]
    for name, (m, k, n) in shapes.items()
}
times = {}


def timed(name, kind, work):
    multiply, exp, adamw = kernels if kind == "kernel" else (None, None, None)
    operations.set_kernel(multiply, exp)
    optimizer.set_kernel(adamw)
    start = time.perf_counter()
    found = work()
    times.setdefault(name, {}).setdefault(kind, []).append(time.perf_counter() - start)
    return found


def step(kind, number):
    steps = trainers[kind].step(number, NullMeter())
    while True:
        try:
            next(steps)
        except StopIteration as done:
            return done.value.loss


def moved(kind):
    trainer = trainers[kind]
    trainer._optimizer.move(trainer.weights, {n: w * 0 for n, w in trainer.weights.items()}, 1e-3)


same = True
for number in range(1, ROUNDS + 2):
    for kind in trainers:
        results[kind].append(timed("a step", kind, lambda: step(kind, number)))
    for name, (a, b) in factors.items():
        one, other = (timed(name, kind, lambda: operations.matmul(a, b)) for kind in trainers)
        same = same and one.tobytes() == other.tobytes()
    for kind in trainers:
        timed("AdamW, all weights", kind, lambda: moved(kind))
warm = {name: {kind: median(of[1:]) for kind, of in by.items()} for name, by in times.items()}
json.dumps({"times": warm, "same": same and results["kernel"] == results["numpy"]})
"""


def numpy_of_the_site() -> dict[str, Any]:
    """The entry of numpy in the lock that the site carries, with the size of its wheel."""
    folder = build.site() / "pyodide"
    lock = json.loads((folder / "pyodide-lock.json").read_text())
    entry: dict[str, Any] = lock["packages"]["numpy"]
    return entry | {"bytes": (folder / entry["file_name"]).stat().st_size}


def measured_kernel(page: Page, url: str) -> tuple[list[Ratio], bool]:
    """Milliseconds of a step and of its products by both; whether their bits are the same."""

    def source(route: Route) -> None:
        script = SOURCES / route.request.url.removeprefix(url)
        route.fulfill(body=script.read_text(), content_type="text/javascript")

    for path in [*SOURCES.glob("python/*.js"), *SOURCES.glob("page/*.js")]:
        page.route(f"{url}{path.relative_to(SOURCES)}", source)
    page.goto(f"{url}python/")
    code = CODE.replace("ROUNDS", str(ROUNDS))
    packages = {"numpy": numpy_of_the_site()}
    given = {"defines": defines(packages), "files": list(FILES), "code": code}
    found = page.evaluate(START, given)
    rows = [
        Ratio(name, 1000 * by["kernel"], 1000 * by["numpy"], "ms")
        for name, by in found["times"].items()
    ]
    return rows, found["same"]
