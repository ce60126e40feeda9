import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace
from urllib.request import getproxies

import pytest
from transformers.utils.hub import constants

import tiny_llama
from gpu_runner.config.load import resolve
from gpu_runner.data import cache, hub, rows, run_data
from gpu_runner.data.dataset import EncodedDataset
from gpu_runner.data.encode import Encoder
from gpu_runner.data.examples import StoredExamples
from gpu_runner.errors import DataError, ModelLoadError
from gpu_runner.model import load


@pytest.fixture(autouse=True)
def _no_way_to_the_hub(monkeypatch: pytest.MonkeyPatch) -> None:
    """A hub at an address that nothing can have (RFC 2606), asked directly."""
    monkeypatch.setattr(constants, "ENDPOINT", "https://hub.invalid")
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setenv("HF_HUB_OFFLINE", "0")
    for kind in getproxies():
        monkeypatch.delenv(f"{kind}_proxy", raising=False)
        monkeypatch.delenv(f"{kind}_proxy".upper(), raising=False)


def test_a_hub_without_an_address_is_reported_once_and_for_all() -> None:
    assert hub.is_away()
    assert constants.HF_HUB_OFFLINE
    assert hub.is_away()


def test_behind_a_proxy_nothing_is_reported(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("https_proxy", "http://proxy.invalid:3128")
    assert not hub.is_away()


@pytest.mark.slow
def test_a_name_that_only_the_hub_could_know_is_refused_at_once() -> None:
    with pytest.raises(ModelLoadError, match=r"hub cannot be reached, .* Check the name\."):
        load.read_config(load.find("nobody/nothing"))
    with pytest.raises(DataError, match=r"the Hugging Face hub cannot be reached|pip install"):
        rows.read_rows("nobody/nothing")


class Revision(list[dict[str, object]]):
    """Rows of a set as its library gives them: mapped from disk, under a name of their own."""

    def __init__(self, rows: list[dict[str, object]], name: str) -> None:
        super().__init__(rows)
        self._fingerprint = name
        self.data = SimpleNamespace(nbytes=1_000)


@pytest.fixture
def library(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> dict[str, Revision]:
    """What the hub's library knows; a set is large from 1,000 bytes on."""
    known: dict[str, Revision] = {}
    stand_in = ModuleType("datasets")
    stand_in.load_dataset = lambda name, subset, split: known[f"{name} {subset} {split}"]  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "datasets", stand_in)
    monkeypatch.setattr(hub, "is_away", lambda: False)
    monkeypatch.setenv(cache.CACHE_ENV, str(tmp_path / "cache"))
    monkeypatch.setattr(cache, "LEAST_BYTES", 1_000)
    hub._load.cache_clear()
    return known


def start(**choices: object) -> EncodedDataset:
    hub._load.cache_clear()  # another process
    options = {"model": "x", "data": "me/sums:main", "general": (), **choices}
    return run_data.load_datasets(resolve(options), Encoder(tiny_llama.tokenizer(), 60))[0]


def test_a_large_set_of_the_hub_is_encoded_once_for_its_revision_and_split(
    library: dict[str, Revision], monkeypatch: pytest.MonkeyPatch
) -> None:
    library["me/sums main train"] = Revision(tiny_llama.sums(40), "one")
    library["me/sums main test"] = Revision(tiny_llama.sums(9), "one-test")
    asked: list[str] = []

    def read(source: str, *, skip_bad: bool) -> rows.SourceReader:
        asked.append(source)
        return rows.SourceReader(source, skip_bad=skip_bad)

    monkeypatch.setattr(cache, "SourceReader", read)
    first, again = start(), start()
    assert asked == ["me/sums:main"]
    assert isinstance(first.examples, StoredExamples)
    assert (first.sha256, list(first.rows)) == (again.sha256, list(again.rows))
    assert first.places[0].startswith("me/sums[")
    assert len(start(data="me/sums:main,split=test").examples) == 8
    library["me/sums main train"] = Revision(tiny_llama.sums(41), "two")
    assert start().sha256 != first.sha256
    assert len(asked) == 3
    monkeypatch.setattr(cache, "LEAST_BYTES", 10**9)
    library["me/sums main train"] = Revision(tiny_llama.sums(40), "one")
    small = start()
    assert list(small.examples) == list(first.examples)
    assert isinstance(small.examples, tuple)


def test_a_set_that_its_library_cannot_name_is_read_anew(library: dict[str, Revision]) -> None:
    library["me/sums main train"] = Revision(tiny_llama.sums(40), "")
    assert isinstance(start().examples, tuple)
