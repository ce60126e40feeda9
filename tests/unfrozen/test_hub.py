"""Models by their names on the hub: a real server answers, well and badly, in place of the hub."""

from __future__ import annotations

import json
import re
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.error import HTTPError
from urllib.request import urlopen

import pytest

import unfrozen
from unfrozen import hub
from unfrozen.errors import PlanError
from unfrozen.job import read_model
from unfrozen.model import names
from unfrozen.planner import glance
from unfrozen.project.page import read_hub

NEW = "Qwen/New-Model"
CONFIG = {
    **{"model_type": "qwen3", "hidden_size": 1024, "intermediate_size": 3072, "head_dim": 128},
    **{"num_hidden_layers": 28, "num_attention_heads": 16, "num_key_value_heads": 8},
    **{"vocab_size": 151936, "tie_word_embeddings": True},
}
REVISION = "3f2a1bc9" * 5
Answer = Callable[[BaseHTTPRequestHandler], None]


def say(status: int = 200, body: bytes = b"", **headers: str) -> Answer:
    def answer(request: BaseHTTPRequestHandler) -> None:
        request.send_response(status)
        for key, value in headers.items():
            request.send_header(key.replace("_", "-"), value)
        request.end_headers()
        request.wfile.write(body)

    return answer


GOOD = say(200, json.dumps(CONFIG).encode(), X_Repo_Commit=REVISION, ETag='"one"')


class Hub:
    """A server at HF_ENDPOINT: what it answers to each path, and what it was asked."""

    def __init__(self, address: str) -> None:
        self.address, self.answers = address, dict[str, Answer]()
        self.asked: list[tuple[str, dict[str, str]]] = []

    def gives(self, answer: Answer, name: str = NEW) -> None:
        self.answers[f"/{name}/resolve/main/config.json"] = answer


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Hub]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            found.asked.append((self.path, dict(self.headers)))
            found.answers.get(self.path, say(404, X_Error_Code="RepoNotFound"))(self)

        def log_message(self, *_: Any) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as httpd:
        httpd.daemon_threads, httpd.block_on_close = True, False
        threading.Thread(target=httpd.serve_forever, args=(0.01,), daemon=True).start()
        found = Hub(f"http://127.0.0.1:{httpd.server_port}")
        monkeypatch.setenv("HF_ENDPOINT", found.address)
        monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
        monkeypatch.setenv("HF_HUB_OFFLINE", "0")
        for name in (
            "HF_HOME",
            "HF_HUB_CACHE",
            "HF_TOKEN",
            "HF_TOKEN_PATH",
            "TRANSFORMERS_OFFLINE",
        ):
            monkeypatch.delenv(name, raising=False)
        yield found
        httpd.shutdown()


def refusal(name: str = NEW) -> str:
    with pytest.raises(PlanError) as error:
        unfrozen.plan(model=name)
    return str(error.value)


def test_a_name_that_no_table_has_is_planned_by_the_hub_s_config(server: Hub) -> None:
    server.gives(GOOD)
    found = unfrozen.plan(NEW, gpu="RTX 4090")
    same = unfrozen.plan(model=CONFIG, gpu="RTX 4090")
    assert found.to_dict()["device_gib"] == same.to_dict()["device_gib"]
    assert found.to_dict()["source"] == {
        **{"name": NEW, "planned_as": None, "origin": "hub", "revision": REVISION},
        "note": f"{NEW}: config.json of the hub, revision {REVISION[:12]}.",
    }
    assert str(found).startswith(f"{NEW}: config.json of the hub, revision 3f2a1bc93f2a.")
    assert f"--model_name_or_path {NEW}" in str(found) or f"--model {NEW}" in str(found)
    assert [path for path, _ in server.asked] == [f"/{NEW}/resolve/main/config.json"] * 1


def test_a_job_and_a_trainer_s_file_name_models_of_the_hub_too(server: Hub, tmp_path: Path) -> None:
    server.gives(GOOD)
    file = tmp_path / "axolotl.yml"
    file.write_text(f"base_model: {NEW}\nsequence_len: 512\nmicro_batch_size: 1\ndatasets: []\n")
    assert unfrozen.plan(str(file)).to_dict()["source"]["origin"] == "hub"
    assert unfrozen.plan({"model": NEW}).to_dict()["source"]["origin"] == "hub"


def test_it_is_asked_again_by_the_tag_of_what_is_kept(server: Hub) -> None:
    server.gives(GOOD)
    unfrozen.plan(model=NEW)
    server.gives(say(304))
    assert hub.named_model(NEW)[0] == CONFIG
    assert server.asked[-1][1]["If-None-Match"] == '"one"'
    server.gives(say(200, json.dumps({**CONFIG, "num_hidden_layers": 2}).encode()))
    assert hub.named_model(NEW)[0]["num_hidden_layers"] == 2


BAD = [
    (say(401, X_Error_Code="GatedRepo"), r"its terms; accept them at \S+/Qwen/New-Model"),
    (say(403), "accepted its terms"),
    (say(401, X_Error_Code="RepoNotFound"), "to a visitor; correct the name; if .*HF_TOKEN"),
    (say(404, X_Error_Code="RepoNotFound"), "no model of this name"),
    (say(404, X_Error_Code="EntryNotFound"), "has no config.json of it; name the model"),
    (say(429), r"fewer questions \(429\); wait"),
    (say(503), r"error \(503\); try again, or give"),
    (say(200, b"<html>sign in</html>"), "a web page, not a .*sign in to this network"),
    (say(200, b'{"model_type": NaN'), "not JSON"),
    (say(200, b'{"a": ' * 100 + b"1" + b"}" * 100), "nested too deeply"),
    (say(200, b"[1]"), "is not a config.json"),
    (say(200, b"\xff\xfe"), "not JSON"),
    (say(200, b"{" + b" " * 4_000_000), "more than 4,000,000 bytes"),
    (say(302, Location="http://127.0.0.2:1/config.json"), r"elsewhere \('127.0.0.2:1'\)"),
    (say(302, Location=f"/{NEW}/resolve/main/config.json"), "redirects more than 5 times"),
    (say(302), "redirects more than 5 times"),
    (say(200, b'{"model_type": "qwen3"}'), "hidden_size"),
]


@pytest.mark.parametrize(("answer", "says"), BAD)
def test_each_bad_answer_is_refused_in_words_with_the_remedy(
    server: Hub, answer: Answer, says: str
) -> None:
    server.gives(answer)
    assert re.search(says, refusal()), refusal()


def in_page(server: Hub, name: str = NEW) -> dict[str, Any]:
    """Return what the page reads of the answer that its reader asked for."""
    try:
        with urlopen(f"{server.address}/{name}/resolve/main/config.json") as found:
            status, headers, body = found.status, found.headers, found.read()
    except HTTPError as error:
        status, headers, body = error.code, error.headers, b""
    answer = {"status": status, "headers": {key.lower(): text for key, text in headers.items()}}
    text = body.decode("utf-8", "replace")
    return read_hub({**answer, "text": text, "state": {"model": name, "gpu": "RTX 4090"}})


@pytest.mark.parametrize(
    "answer", [answer for answer, says in BAD if not re.search("redirects|elsewhere|hidden", says)]
)
def test_the_page_reads_each_bad_answer_as_the_terminal_does(server: Hub, answer: Answer) -> None:
    server.gives(answer)
    bound = refusal().split("; ")[1].partition(" (")[0]
    found = in_page(server)
    assert found["problem"].startswith(bound)
    assert "HF_TOKEN" not in found["problem"]
    assert found["state"] is None


def test_the_page_plans_the_hub_s_config_by_its_name(server: Hub) -> None:
    server.gives(GOOD)
    found = in_page(server)
    terminal = unfrozen.plan(NEW, gpu="RTX 4090")
    assert found["text"] == terminal.to_dict()["source"]["note"]
    shown: Any = glance(found["state"])
    assert (shown["model"], shown["facts"]["name"], shown["facts"]["link"]) == (NEW, NEW, "")
    assert f", {shown['facts']['size']}, " in str(terminal)
    assert f"--model {NEW} " in shown["commands"]["run"]
    named = glance({**found["state"], "model": "", "config": json.dumps(CONFIG)})
    assert named["facts"]["name"] == "your config.json"  # type: ignore[index]


def test_the_page_says_why_the_hub_gives_nothing_and_plans_the_size_of_the_name() -> None:
    state = {"model": "Qwen/Qwen9-9B"}
    found = read_hub({"failed": "Failed to fetch", "state": state})
    assert found["state"] == state
    assert "the size that its name says" in found["text"]
    assert "cannot be reached (Failed to fetch): try again, or drop" in found["text"]


def test_no_answer_is_waited_for_longer_than_the_limit(
    server: Hub, monkeypatch: pytest.MonkeyPatch
) -> None:
    def drip(request: BaseHTTPRequestHandler) -> None:
        with suppress(OSError):
            for _ in range(100):
                request.wfile.write(b"H")
                time.sleep(0.1)

    monkeypatch.setattr(hub, "SECONDS", 0.5)
    server.gives(drip)
    begun = time.monotonic()
    assert "no whole answer in 0.5 seconds" in refusal()
    assert time.monotonic() - begun < 5


def test_a_redirect_within_the_hub_is_followed(server: Hub) -> None:
    server.gives(say(307, Location="/api/cache/config.json", X_Repo_Commit=REVISION))
    server.answers["/api/cache/config.json"] = say(200, json.dumps(CONFIG).encode())
    found = hub.named_model(NEW)
    assert found[1]
    assert (found[0], found[1].revision) == (CONFIG, REVISION)


def test_the_token_goes_to_the_hub_and_nowhere_else(
    server: Hub, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    other = server.address.replace("127.0.0.1", "localhost")
    server.gives(say(302, Location=f"{other}/config.json"))
    monkeypatch.setenv("HF_TOKEN", "hf_abc\n")
    assert "elsewhere" in refusal()
    assert [asked["Authorization"] for _, asked in server.asked] == ["Bearer hf_abc"]
    monkeypatch.setenv("HF_TOKEN", "hf_abc\r\nX-Evil: 1")
    server.gives(GOOD)
    hub.named_model(NEW)
    assert not {"X-Evil", "Authorization"} & server.asked[-1][1].keys()
    monkeypatch.delenv("HF_TOKEN")
    (tmp_path / "huggingface").mkdir()
    (tmp_path / "huggingface" / "token").write_text("hf_file")
    hub.named_model(NEW)
    assert server.asked[-1][1]["Authorization"] == "Bearer hf_file"


def test_offline_what_is_kept_is_used_and_said(
    server: Hub, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    server.gives(GOOD)
    hub.named_model(NEW)
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    config, source = hub.named_model(NEW)
    assert source
    assert (config, source.origin, source.revision) == (CONFIG, "cache", REVISION)
    assert source.note.endswith(
        "kept from an earlier answer: HF_HUB_OFFLINE is set, so the hub is not asked."
    )
    for file in (tmp_path / "unfrozen" / "hub").iterdir():
        file.write_text('{"name": 1}')
    assert (
        "HF_HUB_OFFLINE is set, so the hub is not asked; give the model's config.json" in refusal()
    )
    assert len(server.asked) == 1
    snapshot = tmp_path / "huggingface" / "hub" / "models--Qwen--New-Model"
    (snapshot / "refs").mkdir(parents=True)
    (snapshot / "refs" / "main").write_text(REVISION)
    (snapshot / "snapshots" / REVISION).mkdir(parents=True)
    (snapshot / "blob").write_text(json.dumps(CONFIG))
    (snapshot / "snapshots" / REVISION / "config.json").symlink_to("../../blob")
    found = hub.named_model(NEW)
    assert found[1]
    assert (found[0], found[1].revision) == (CONFIG, REVISION)


def test_a_hub_that_is_down_is_answered_from_what_is_kept_and_one_that_refuses_is_not(
    server: Hub,
) -> None:
    server.gives(GOOD)
    hub.named_model(NEW)
    server.gives(say(503))
    found = hub.named_model(NEW)[1]
    assert found
    assert "kept from an earlier answer: the hub answered with an error (503)" in found.note
    server.gives(say(403))
    assert "accepted its terms" in refusal()


@pytest.mark.usefixtures("server")
@pytest.mark.parametrize(
    "endpoint", ["file:///etc", "ftp://127.0.0.1", "nonsense", "http://", "http://127.0.0.1:1"]
)
def test_an_endpoint_that_is_none_is_refused_in_words(
    monkeypatch: pytest.MonkeyPatch, endpoint: str
) -> None:
    monkeypatch.setenv("HF_ENDPOINT", endpoint)
    assert re.search("no address; correct it|cannot be reached", refusal())


COPIES = {
    "unsloth/Qwen3-8B-unsloth-bnb-4bit": "Qwen/Qwen3-8B",
    "unsloth/Meta-Llama-3.1-8B-Instruct": "meta-llama/Llama-3.1-8B",
    "mlx-community/Meta-Llama-3.1-8B-Instruct-4bit": "meta-llama/Llama-3.1-8B",
    "mlx-community/Qwen3-8B-4bit-DWQ": "Qwen/Qwen3-8B",
    "Qwen/Qwen2.5-7B-Instruct-GPTQ-Int4": "Qwen/Qwen2.5-7B",
    "Qwen/Qwen3-8B-AWQ": "Qwen/Qwen3-8B",
    "TheBloke/Llama-2-7B-Chat-GGUF": "meta-llama/Llama-2-7b-hf",
    "bartowski/Qwen_Qwen3-8B-GGUF": "Qwen/Qwen3-8B",
    "RedHatAI/Meta-Llama-3.1-8B-Instruct-quantized.w4a16": "meta-llama/Llama-3.1-8B",
    "nvidia/Llama-3.1-8B-Instruct-NVFP4": "meta-llama/Llama-3.1-8B",
    "unsloth/gpt-oss-20b-BF16": "openai/gpt-oss-20b",
    "deepseek-ai/DeepSeek-R1-Distill-Qwen-7B": "Qwen/Qwen2.5-7B",
    "unsloth/DeepSeek-R1-Distill-Llama-8B-GGUF": "meta-llama/Llama-3.1-8B",
    "llama 8b": "meta-llama/Llama-3.1-8B",
}


@pytest.mark.parametrize("name", COPIES)
def test_a_copy_of_a_known_model_is_planned_as_it_without_asking(server: Hub, name: str) -> None:
    config, source = hub.named_model(name)
    assert source
    assert source.planned_as == COPIES[name]
    assert source.note.startswith(f"{name} is planned as {COPIES[name]}, ")
    assert config == unfrozen.plan(model=COPIES[name]).to_dict()["job"]["model"]
    assert not server.asked


FINE_TUNES = {
    "NousResearch/Hermes-3-Llama-3.1-8B": "meta-llama/Llama-3.1-8B",
    "Qwen/Qwen2.5-Coder-7B": "Qwen/Qwen2.5-7B",
    "Qwen/Qwen3-Coder-30B-A3B-Instruct": "Qwen/Qwen3-30B-A3B",
    "someone/gemma-2-2b-jpn": "google/gemma-2-2b",
    "someone/phi-4-reasoning": "microsoft/phi-4",
}
OTHERS = {
    "Qwen/Qwen3-VL-30B-A3B": 30e9,  # sees pictures too
    "Qwen/Qwen3-Embedding-8B": 8e9,
    "google/gemma-3-2b": 2e9,  # "gemma" and "2b" are not gemma-2b
    "deepseek-ai/DeepSeek-R1-Distill-Qwen-1.5B": 1.5e9,  # not all of DeepSeek-R1
    "acme/Foo-7B": 7e9,
    "acme/Foo-8x7B": 56e9,
    "acme/Foo-350M": 350e6,
}


@pytest.mark.parametrize("name", FINE_TUNES)
def test_a_fine_tune_is_asked_for_and_else_planned_as_the_base_of_its_name(
    server: Hub, name: str
) -> None:
    source = hub.named_model(name)[1]
    assert source
    assert source.planned_as == FINE_TUNES[name]
    assert "which its name says. The hub shows no model of this name" in source.note
    server.gives(GOOD, name)
    assert hub.named_model(name)[0] == CONFIG


@pytest.mark.usefixtures("server")
@pytest.mark.parametrize("name", OTHERS)
def test_of_another_name_the_size_alone_is_planned_within_half_and_twice(name: str) -> None:
    found = unfrozen.plan(model=name)
    data = found.to_dict()
    assert (data["source"]["origin"], data["family"]) == ("size", "bounded")
    assert "all of it may be half as much, or twice" in " ".join(str(found).split())
    assert data["band"][1] > 3.5 * data["band"][0]
    assert read_model(data["job"]["model"]).num_parameters == pytest.approx(OTHERS[name], rel=0.2)


@pytest.mark.usefixtures("server")
def test_a_name_of_several_models_is_a_question_with_the_choices() -> None:
    assert refusal("qwen 7b").endswith("choose Qwen/Qwen2.5-7B, Qwen/Qwen2.5-VL-7B-Instruct")
    assert "16 models of the catalogue are called so; choose " in refusal("7B")
    assert "base may be any of several; name " in refusal("x/Merge-Llama-3.1-8B-Qwen3.5-9B-x")
    assert "not in the catalogue" in refusal("nonsense")
    assert "did you mean meta-llama/Llama-3.1-" in refusal("Llama-3.1-7B")


def test_jobs_of_a_list_are_refused_one_by_one(server: Hub, tmp_path: Path) -> None:
    server.gives(GOOD)
    file = tmp_path / "jobs.json"
    file.write_text(json.dumps([{"model": NEW}, {"model": "a/b"}, {"model": NEW}]))
    found = hub_answers(str(file))
    assert [one.get("source", {}).get("origin") for one in found] == ["hub", None, "hub"]
    assert "shows no model of this name" in found[1]["error"]
    assert len(server.asked) == 2


def hub_answers(file: str) -> list[dict[str, Any]]:
    from unfrozen.request import PlannedList, Request, answer_of

    found = answer_of(Request(file))
    assert isinstance(found, PlannedList)
    return found.to_list()


@pytest.mark.usefixtures("server")
def test_a_command_names_the_base_of_a_copy_that_no_trainer_loads() -> None:
    assert names.loaded_name("unsloth/Qwen3-8B-GGUF") == "Qwen/Qwen3-8B"
    assert names.loaded_name("unsloth/Qwen3-8B") == "unsloth/Qwen3-8B"
    assert names.loaded_name(NEW) == NEW
    assert names.loaded_name("llama 8b") == ""
