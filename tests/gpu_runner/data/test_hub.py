from urllib.request import getproxies

import pytest
from transformers.utils.hub import constants

from gpu_runner.data import hub, lines
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


def test_a_hub_without_an_address_is_told_once_and_for_all() -> None:
    assert hub.is_away()
    assert constants.HF_HUB_OFFLINE
    assert hub.is_away()


def test_behind_a_proxy_nothing_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("https_proxy", "http://proxy.invalid:3128")
    assert not hub.is_away()


def test_a_name_that_only_the_hub_could_know_is_refused_at_once() -> None:
    with pytest.raises(ModelLoadError, match=r"hub cannot be reached, .* Check the name\."):
        load.read_config(load.find("nobody/nothing"))
    with pytest.raises(DataError, match=r"the Hugging Face hub cannot be reached|pip install"):
        lines.read_rows("nobody/nothing")
