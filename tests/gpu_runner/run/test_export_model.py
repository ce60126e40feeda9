"""`export` and `push`: what is written, its card, what is said of it, what is left on failure."""

import base64
import json
import os
import re
import shutil
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from hashlib import sha256
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from gguf import GGUFReader
from rich.console import Console
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM, AutoTokenizer

from foreign_folders import FOREIGN, contents
from gpu_runner import atomic
from gpu_runner.config.load import resolve
from gpu_runner.errors import CheckpointError, SystemFailure, UsageError
from gpu_runner.run import model_card
from gpu_runner.run.blend import BlendOptions, blend
from gpu_runner.run.export_model import CPU, export_gguf, export_model, push_model
from gpu_runner.run.fine_tune import fine_tune
from gpu_runner.run.model_card import LoggedRun
from gpu_runner.serve.publish import publish

pytestmark = pytest.mark.slow

LLAMA_CPP = """
import json, sys
from xllamacpp import CommonParams, Server
given = json.load(sys.stdin)
options = CommonParams()
options.model.path, options.n_ctx, options.n_parallel = given["file"], 128, 1
options.cpuparams.n_threads = 1
server = Server(options)
asked = {"max_tokens": given["tokens"], "temperature": 0}
found = [server.handle_completions(asked | {"prompt": one}) for one in given["prompts"]]
answers = [one["choices"][0] for one in found]
json.dump([[one["text"], one["finish_reason"]] for one in answers], open(given["out"], "w"))
"""


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    runs = tmp_path_factory.mktemp("demo") / "runs"
    given = {"model": "demo", "steps": 2, "eval_rows": 4, "sample_tokens": 2, "runs": str(runs)}
    fine_tune(resolve(given), Console(quiet=True))
    (found,) = runs.iterdir()
    return found


def test_a_file_is_written_compared_and_described(run: Path, tmp_path: Path) -> None:
    found = export_gguf(run, tmp_path / "out" / "mine.gguf", "f16")
    assert found.file.stat().st_size == found.size
    assert found.largest_difference < 0.05
    assert found.same_token > 0.95
    assert found.modelfile.read_text().startswith("FROM ./mine.gguf\nPARAMETER stop ")
    assert "logits on 8 prompts differ" in found.sentences()[0]
    assert {path.name for path in (tmp_path / "out").iterdir()} == {"mine.gguf", "mine.Modelfile"}
    with pytest.raises(UsageError, match="exists already"):
        export_gguf(run, found.file, "f16")


@pytest.mark.parametrize(
    ("name", "kind", "why"),
    [
        ("x.gguf", "q4_k", "--type 'q4_k' is unknown: choose f16, bf16, q8_0"),
        ("x\nSYSTEM y.gguf", "f16", r"give a file name that ends in .gguf"),
        ("x.bin", "f16", r"give a file name that ends in .gguf"),
    ],
)
def test_what_cannot_be_written_is_refused(
    run: Path, tmp_path: Path, name: str, kind: str, why: str
) -> None:
    with pytest.raises(UsageError, match=why):
        export_gguf(run, tmp_path / name, kind)


@pytest.mark.parametrize("kind", ["f16", "bf16", "q8_0"])
def test_llama_cpp_answers_as_the_model_does(run: Path, tmp_path: Path, kind: str) -> None:
    prompts, file, out = list(LoggedRun.read(run).samples), tmp_path / "x.gguf", tmp_path / "said"
    export_gguf(run, file, kind)
    given = {"file": str(file), "prompts": prompts, "tokens": 12, "out": str(out)}
    asked = [sys.executable, "-c", LLAMA_CPP]
    done = subprocess.run(asked, input=json.dumps(given), capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    tokenizer = AutoTokenizer.from_pretrained(run / "model")
    model = AutoModelForCausalLM.from_pretrained(run / "model")
    expected = []
    for prompt in prompts:
        read = tokenizer(prompt, return_tensors="pt", add_special_tokens=False)
        written = model.generate(**read, max_new_tokens=12, do_sample=False)[0]
        text = tokenizer.decode(written[read.input_ids.shape[1] :], skip_special_tokens=True)
        expected.append([text, "stop" if written[-1] == tokenizer.eos_token_id else "length"])
    assert {stop for _, stop in expected} == {"stop", "length"}
    assert json.loads(out.read_text()) == expected


def test_nothing_half_written_stays(run: Path, tmp_path: Path, full_disk: int) -> None:
    del full_disk
    with pytest.raises(SystemFailure, match="could not be written"):
        export_gguf(run, tmp_path / "x.gguf", "f16")
    assert not list(tmp_path.iterdir())


def test_a_run_without_a_model_is_named(run: Path, tmp_path: Path) -> None:
    empty = Path(shutil.copytree(run, tmp_path / "run"))
    shutil.rmtree(empty / "model")
    shutil.rmtree(empty / "checkpoints", ignore_errors=True)
    with pytest.raises(CheckpointError, match="neither a finished model nor a whole checkpoint"):
        export_gguf(empty, tmp_path / "x.gguf", "f16")


def test_a_directory_is_loaded_and_answers_as_the_run_did(run: Path, tmp_path: Path) -> None:
    found = export_model(run, tmp_path / "hf")
    assert (found.alike, found.asked) == (6, 6)
    assert found.sentences()[1].endswith("it answers 6 of 6 prompts as the run did.")
    tokenizer = AutoTokenizer.from_pretrained(tmp_path / "hf")
    model = AutoModelForCausalLM.from_pretrained(tmp_path / "hf")
    for prompt, text in LoggedRun.read(run).samples.items():
        read = tokenizer(prompt, return_tensors="pt", add_special_tokens=False)
        written = model.generate(**read, max_new_tokens=2, do_sample=False)[0]
        assert (
            tokenizer.decode(written[read.input_ids.shape[1] :], skip_special_tokens=True) == text
        )


def test_a_directory_that_answers_otherwise_is_told(run: Path, tmp_path: Path) -> None:
    other = Path(shutil.copytree(run, tmp_path / "run"))
    log = (other / "events.jsonl").read_text().splitlines()
    events = [json.loads(line) for line in log]
    for event in events:
        if event["kind"] == "sample":
            event["text"] += "?"
    (other / "events.jsonl").write_text(
        "".join(json.dumps(e, separators=(",", ":")) + "\n" for e in events)
    )
    assert export_model(other).alike == 0


def test_the_card_has_the_numbers_of_the_run(run: Path, tmp_path: Path) -> None:
    export_model(run, tmp_path / "hf")
    cards = [(place / "README.md").read_text() for place in (run / "model", tmp_path / "hf")]
    head, _, text = cards[0].removeprefix("---\n").partition("\n---\n")
    assert "license: mit" in head.splitlines()
    assert "base_model" not in head  # the demo is on no hub
    logged = LoggedRun.read(run)
    first, last = (logged.scores[step]["task"] for step in (0, 2))
    assert first.exact == last.exact == (0, 0, 4)
    (line,) = [line for line in text.splitlines() if line.startswith("| task | ")]
    known = f"| task | 0 of 4 right, {first.loss:.3f} | 0 of 4 right, {last.loss:.3f} |"
    assert line == f"{known} +0.000 (−0.490 to +0.490) | {last.kl:.3f} |"
    assert "| general, all | " in text
    assert "| steps | 2 |\n| micro_batch | 32 |" in text
    assert "all 836,736 weights" in text
    assert "memory peaked" not in text  # the run had not ended
    assert "Its memory peaked at " in cards[1]
    assert str(run.parent) not in "".join(cards)


def test_what_a_log_names_stays_a_text_of_the_card(
    run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = Path(shutil.copytree(run, tmp_path / run.name))
    hostile = "a | b\n---\n[press](x.org) <b> `c` \x1b]0;t\x07\u202e"
    first, *others = (whole / "events.jsonl").read_text().splitlines(keepends=True)
    start = json.loads(first)
    start["config"] |= {"model": hostile, "data": hostile, "optimizer": hostile}
    (whole / "events.jsonl").write_text(
        "".join([json.dumps(start, separators=(",", ":")) + "\n", *others])
    )
    monkeypatch.setattr(model_card, "base_license", lambda *_: "mit\nbase_model: other/one")
    export_model(whole, tmp_path / "hf")
    text = (tmp_path / "hf" / "README.md").read_text()
    assert "other/one" not in text
    shown = r"a \| b\\n---\\n\[press\](x.org) \<b\> \`c\` \\x1b\]0;t\\x07\\u202e"
    assert text.count(shown) == 3
    assert not set(text) & {"\x1b", "\x07", "\u202e"}


def test_the_card_of_a_blend_has_its_recipe(run: Path, tmp_path: Path) -> None:
    options = BlendOptions(points=2, alpha=0.5, out=tmp_path / "out")
    found = blend(run, options, CPU)
    text = (tmp_path / "out" / "README.md").read_text()
    assert "θ₀ + 0.5 (θ* − θ₀): as --alpha says." in text
    middle = next(point for point in found.curve if point.alpha == 0.5)
    assert f" right, {middle.task.loss:.3f} |" in text


def test_a_blend_is_exported_too(run: Path, tmp_path: Path) -> None:
    whole = Path(shutil.copytree(run, tmp_path / run.name))
    blend(whole, BlendOptions(points=2, alpha=0.5), CPU)
    found = export_gguf(whole / "blend", tmp_path / "half.gguf", "f16")
    assert found.same_token > 0.95
    mixed = load_file(whole / "blend" / "model.safetensors")["model.norm.weight"]
    read = {tensor.name: tensor.data for tensor in GGUFReader(found.file).tensors}
    assert read["output_norm.weight"] == pytest.approx(mixed.numpy())
    stop = found.modelfile.read_text().splitlines()[1]
    assert (
        stop == export_gguf(run, tmp_path / "x.gguf", "f16").modelfile.read_text().splitlines()[1]
    )
    with pytest.raises(UsageError, match="is one model: leave out --step"):
        export_gguf(whole / "blend", tmp_path / "y.gguf", "f16", step=2)
    with pytest.raises(CheckpointError, match="is neither a run nor a model"):
        export_gguf(tmp_path, tmp_path / "y.gguf", "f16")


@dataclass
class Hub:
    """A hub on loopback as the real client needs it: what was made, and the files it got."""

    made: list[dict[str, Any]] = field(default_factory=list)
    files: dict[str, bytes] = field(default_factory=dict)
    objects: dict[str, bytes] = field(default_factory=dict)
    address: str = ""


class HubHandler(BaseHTTPRequestHandler):
    hub: Hub

    def log_message(self, *_: Any) -> None:
        """Print nothing."""

    def answer(self, found: Any, code: int = 200) -> None:
        body = json.dumps(found).encode()
        self.send_response(code)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def do_GET(self) -> None:
        self.answer({"name": "me", "id": "me/mine", "siblings": [], "private": True})

    def do_PUT(self) -> None:
        content = self.rfile.read(int(self.headers["Content-Length"]))
        self.hub.objects[sha256(content).hexdigest()] = content
        self.answer({})

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        if self.headers.get("Authorization") != "Bearer hf_right":
            self.answer({"error": "Invalid username or password."}, 401)
        elif self.path == "/api/repos/create":
            self.hub.made.append(json.loads(body))
            self.answer({"url": f"{self.hub.address}/me/mine", "name": "me/mine", "id": "1"})
        elif self.path == "/api/validate-yaml":
            assert json.loads(body)["content"].startswith("---\nlibrary_name: transformers")
            self.answer({"errors": [], "warnings": []})
        elif "/preupload/" in self.path:
            asked = json.loads(body)["files"]
            large = {True: "lfs", False: "regular"}
            kinds = [
                {"path": one["path"], "uploadMode": large[one["size"] > 10**6]} for one in asked
            ]
            self.answer({"files": [kind | {"shouldIgnore": False} for kind in kinds]})
        elif self.path.endswith("/info/lfs/objects/batch"):
            upload = {"upload": {"href": f"{self.hub.address}/put", "header": {}}}
            asked = json.loads(body)["objects"]
            self.answer(
                {"transfer": "basic", "objects": [one | {"actions": upload} for one in asked]}
            )
        else:
            self.commit(body)

    def commit(self, body: bytes) -> None:
        for line in map(json.loads, body.splitlines()):
            value = line["value"]
            if line["key"] == "file":
                self.hub.files[value["path"]] = base64.b64decode(value["content"])
            elif line["key"] == "lfsFile":
                self.hub.files[value["path"]] = self.hub.objects[value["oid"]]
        self.answer(
            {
                "commitUrl": f"{self.hub.address}/me/mine/commit/{'0' * 40}",
                "commitOid": "0" * 40,
                "success": True,
            }
        )


@pytest.fixture
def hub() -> Iterator[Hub]:
    found = Hub()
    handler = type("Handler", (HubHandler,), {"hub": found})
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        found.address = f"http://127.0.0.1:{server.server_port}"
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield found
        server.shutdown()


def push(hub: Hub, token: str, *words: str) -> subprocess.CompletedProcess[str]:
    """`unfrozen push`, by the hub's own client, to that address."""
    settings = {"HF_ENDPOINT": hub.address, "HF_TOKEN": token, "HF_HUB_OFFLINE": "0"}
    settings["HF_HUB_DISABLE_XET"] = "1"  # its storage is none of this hub's
    line = [sys.executable, "-m", "gpu_runner", "push", *words]
    env = os.environ | settings | {"no_proxy": "127.0.0.1"}
    return subprocess.run(line, env=env, capture_output=True, text=True, check=False, timeout=120)


def test_a_model_is_uploaded_as_it_is_on_disk(run: Path, hub: Hub) -> None:
    answer = push(hub, "hf_right", str(run), "me/mine")
    assert answer.returncode == 0, answer.stderr
    assert answer.stdout.strip() == f"{hub.address}/me/mine"
    assert hub.made[0]["visibility"] == "private"
    kept = {path.name: path.read_bytes() for path in (run / "model").iterdir()}
    del kept["manifest.json"]
    assert hub.files == kept
    assert list(map(len, hub.objects.values())) == [len(kept["model.safetensors"])]


def test_what_the_hub_refuses_is_told(run: Path, hub: Hub) -> None:
    answer = push(hub, "hf_wrong", str(run), "me/mine", "--public")
    assert answer.returncode == 2
    assert "me/mine was not uploaded to http://127.0.0.1" in answer.stderr
    assert "hf auth login" in answer.stderr
    assert not hub.files
    with pytest.raises(UsageError, match="a/b/c is no name on the hub: give OWNER/NAME or NAME"):
        push_model(run, "a/b/c")
    with pytest.raises(CheckpointError, match="is neither a run nor a model"):
        push_model(run / "checkpoints", "me/mine")


def test_a_card_with_a_token_is_not_uploaded(run: Path, hub: Hub, tmp_path: Path) -> None:
    def copy_with_token(folder: Path) -> None:
        kept = [p for p in (run / "model").iterdir() if p.name != atomic.MANIFEST]
        for path in kept:
            shutil.copy(path, folder)
        with (folder / "README.md").open("a") as card:
            card.write(f"{'hf_' + 'a' * 34}\n")

    place = atomic.publish(tmp_path / "mine", copy_with_token).path
    answer = push(hub, "hf_right", str(place), "me/mine")
    assert answer.returncode == 2
    assert re.search(r"README.md, line \d+: a Hugging Face token \(hf_a{9}…\)", answer.stderr)
    assert not hub.made
    assert push(hub, "hf_right", str(place), "me/mine", "--allow-private").returncode == 0


def private_papers(place: Path) -> None:
    (place / "m" / "thesis").mkdir(parents=True)
    (place / "m" / "thesis" / "chapter.tex").write_text("mine")


def read_only(place: Path) -> None:
    private_papers(place)
    (place / "m").chmod(0o555)


WRITERS: dict[str, Callable[[Path, Path, Path], object]] = {
    "export --to hf": lambda run, out, _: export_model(run, out),
    "export --to gguf": lambda run, out, _: export_gguf(run, out / "x.gguf", "f16"),
    "blend": lambda run, out, _: blend(run, BlendOptions(points=2, alpha=0.5, out=out), CPU),
    "publish": lambda run, out, site: publish([run], site, out, site),
}


@pytest.mark.parametrize("command", WRITERS)
def test_a_command_leaves_twelve_kinds_of_folders_as_they_are(
    command: str, run: Path, tmp_path: Path
) -> None:
    (site := tmp_path / "site" / "recordings").mkdir(parents=True)
    (site / "index.json").write_text("[]")
    for make in (*FOREIGN, private_papers, read_only):
        place = tmp_path / make.__name__
        place.mkdir()
        make(place)
        before = contents(place)
        refused = pytest.raises((SystemFailure, UsageError, CheckpointError), match=r"\bm\b")
        adds = command == "export --to gguf"  # a file beside others
        with suppress(SystemFailure, UsageError) if adds else refused:
            WRITERS[command](run, place / "m", site.parent)
        after = contents(place)
        assert before.items() <= after.items(), make.__name__
        new = {Path(name).name for name in after.keys() - before.keys()}
        assert new <= {"x.gguf", "x.Modelfile", "Modelfile", "nowhere"}, make.__name__
