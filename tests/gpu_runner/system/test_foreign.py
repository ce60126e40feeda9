"""Templates and tokenizers that come with a model may not hang the run or fill memory."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tokenizers import Regex, normalizers

import tiny_llama
from conftest import matrix
from gpu_runner.data import encode
from gpu_runner.data.chat.messages import BadRow
from gpu_runner.data.encode import Encoder
from gpu_runner.errors import DataError
from gpu_runner.log.import_runs import import_runs
from gpu_runner.system import foreign
from gpu_runner.system.foreign import ForeignCodeError
from unfrozen.errors import ForeignFileError

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(sys.platform != "linux", reason="only Linux has the limits"),
]

CHAT = {"messages": [{"role": "user", "content": "a b"}, {"role": "assistant", "content": "c"}]}
ROWS = [(f"rows[{n}]", CHAT) for n in range(3)]
ENDLESS = (
    "{% for a in range(99999) %}{% for b in range(99999) %}{% for c in range(99999) %}"
    "{% if c < 0 %}x{% endif %}{% endfor %}{% endfor %}{% endfor %}"
)
GROWING = (
    "{% set ns = namespace(s='ab') %}"
    "{% for a in range(99) %}{% set ns.s = ns.s ~ ns.s %}{% endfor %}"
)
TEMPLATES = {
    "endless": (ENDLESS, "worked for more than 1 seconds"),
    "growing": (GROWING, "needed more than 0.5 GiB"),
    "one large text": ("{{ ('a' * 10**10) | length }}", "needed more than 0.5 GiB"),
    "one large text per message": (
        "{{ messages[0].content * 10**10 }}",
        "needed more than 0.5 GiB",
    ),
}


@pytest.fixture(autouse=True)
def narrow(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(foreign, "limited_here", False)
    monkeypatch.setattr(foreign, "CPU_SECONDS", 1)
    monkeypatch.setattr(foreign, "ROOM_BYTES", 2**29)


@pytest.mark.parametrize("name", matrix(TEMPLATES, "endless", "one large text"))
def test_a_template_that_never_ends_or_fills_memory_is_refused(name: str) -> None:
    template, reason = TEMPLATES[name]
    encoder = Encoder(tiny_llama.tokenizer(), 60, template=template)
    with pytest.raises(DataError, match=r"rows\[0\], or a row up to 256 behind it") as refused:
        list(encoder.encode_rows(ROWS))
    assert reason in str(refused.value)
    with pytest.raises(BadRow, match=reason):
        encoder.render_question("a b")


def test_a_normalizer_that_doubles_a_text_is_refused() -> None:
    tokenizer = tiny_llama.tokenizer()
    encoder = Encoder(tokenizer, 60)
    double = normalizers.Replace(Regex("(?<=c)|(?=c)"), "cccccccccccccccc")
    tokenizer.backend_tokenizer.normalizer = normalizers.Sequence([double] * 40)
    reason = r"(needed more than 0\.5 GiB|worked for more than 1 s)"
    with pytest.raises(DataError, match=reason):
        list(encoder.encode_rows([("rows[0]", {"text": "b c b"})]))
    double = normalizers.Replace(Regex("(?<=a)|(?=a)"), "aaaaaaaaaaaaaaaa")
    tokenizer.backend_tokenizer.normalizer = normalizers.Sequence([double] * 40)
    with pytest.raises(DataError, match=f"tokenizer {reason}.* on the text a"):
        Encoder(tokenizer, 60)


def test_results_and_errors_come_as_they_would_without_a_child() -> None:
    def work() -> Iterator[Any]:
        yield {"a": (1, None)}
        yield None
        raise ForeignFileError("file", "it is torn", "copy it again", 7)

    found = foreign.limited(work)
    assert (next(found), next(found)) == ({"a": (1, None)}, None)
    with pytest.raises(ForeignFileError, match="file at byte 7: it is torn; copy it again"):
        next(found)
    assert foreign.call(lambda: None) is None


SLOW = "{% for a in range(200) %}{% for b in range(1500) %}{% endfor %}{% endfor %}"


def test_all_rows_together_have_a_limit_and_the_row_that_breaks_it_is_named(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(foreign, "CPU_SECONDS", 60)  # each row is quick enough
    monkeypatch.setattr(foreign, "TOTAL_SECONDS", 0.2)
    monkeypatch.setattr(foreign, "EACH_SECONDS", 1e-5)
    monkeypatch.setattr(encode, "_AT_ONCE", 1)
    encoder = Encoder(tiny_llama.tokenizer(), 60, template=f"{SLOW}{{{{ messages[1].content }}}}")
    rows = [(f"rows[{n}]", CHAT) for n in range(10_000)]
    with pytest.raises(DataError, match=r"worked for more than 0\.2.* seconds, with") as refused:
        list(encoder.encode_rows(rows))
    place, count = re.search(r"rows\[(\d+)\].* with ([\d,]+) result", str(refused.value)).groups()
    assert int(place) == int(count.replace(",", "")) < 1000


def test_all_runs_of_a_folder_have_a_limit_and_those_left_out_are_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in "abc":
        (tmp_path / name).mkdir()
        entry = '{"global_step": 1, "log_history": [{"step": 7, "loss": 0.5}]}'
        (tmp_path / name / "trainer_state.json").write_text(entry)
    monkeypatch.setattr(foreign, "TOTAL_SECONDS", 0)
    monkeypatch.setattr(foreign, "EACH_SECONDS", 1e-3)
    first, *others = import_runs(tmp_path, tmp_path / "runs")
    assert not first.problem
    assert [re.search("seconds, with (.*) before it", one.problem)[1] for one in others] == [
        "1 result",
        "2 results",
    ]


IMPORT = """
import sys
from pathlib import Path
from gpu_runner.log.import_runs import import_runs
from gpu_runner.system import foreign
foreign.ROOM_BYTES = 2**24
for found in import_runs(Path(sys.argv[1]), Path(sys.argv[1]) / "runs"):
    print(found.problem or f"new: {found.is_new}")
"""


def test_a_log_of_another_tool_that_fills_memory_is_refused(tmp_path: Path) -> None:
    def imported(history: str) -> str:
        """What a process says in which no freed memory lies."""
        file = tmp_path / "trainer_state.json"
        file.write_text(f'{{"global_step": 1, "log_history": [{history}]}}')
        words = [sys.executable, "-c", IMPORT, str(tmp_path)]
        return subprocess.run(words, capture_output=True, text=True, check=True).stdout

    entry = '{"step": 7, "loss": 0.5}'
    refused = imported(f"{entry}, " * 300_000 + entry)
    assert "reading it needed more than 0.015625 GiB of memory" in refused
    assert imported(entry) == "new: True\n"


def test_each_result_has_its_own_time() -> None:
    def work() -> Iterator[int]:
        for number in range(3):
            end = foreign.time.process_time() + 0.5
            while foreign.time.process_time() < end:
                pass
            yield number

    assert [*foreign.limited(work)] == [*range(3)]


def test_a_child_that_is_killed_is_reported_and_one_that_is_left_ends() -> None:
    def die() -> Iterator[int]:
        yield 1
        foreign.os.kill(foreign.os.getpid(), 11)

    with pytest.raises(ForeignCodeError, match="ended its process \\(SIGSEGV\\)"):
        list(foreign.limited(die))
    endless = foreign.limited(lambda: iter(int, 1))
    assert next(endless) == 0
    endless.close()  # waits for the child
