"""GET /api/setup: whether PyTorch is still being installed, as the bar of the page asks it."""

from pathlib import Path

import pytest
from starlette.testclient import TestClient

from gpu_runner.installed import TrainingSetup
from gpu_runner.serve import app
from gpu_runner.serve.connections import Door
from gpu_runner.serve.guard import own_hosts
from gpu_runner.serve.stream import EventStreams

ORIGIN = "http://127.0.0.1:8765"
TOKEN = "0123456789abcdef0123456789abcdef"


@pytest.fixture
def client(tmp_path: Path) -> TestClient:
    (tmp_path / "index.html").write_text("<!doctype html>")
    served = app.make_app(
        runs=tmp_path / "runs",
        site=tmp_path,
        token=TOKEN,
        hosts=own_hosts("127.0.0.1", 8765),
        streams=EventStreams(),
        door=Door(),
    )
    return TestClient(served, base_url=ORIGIN, headers={"Authorization": f"Bearer {TOKEN}"})


def test_an_installation_that_is_going_on_is_reported_with_its_seconds_and_step(
    client: TestClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(app, "training_setup", lambda: TrainingSetup(31.5, "Downloading torch"))
    answer = client.get("/api/setup")
    assert answer.status_code == 200
    assert answer.json() == {"installing": {"seconds": 31.5, "doing": "Downloading torch"}}


def test_without_an_installation_there_is_nothing_to_wait_for(
    client: TestClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(app, "training_setup", lambda: None)
    assert client.get("/api/setup").json() == {"installing": None}


def test_the_route_is_behind_the_token(client: TestClient) -> None:
    assert client.get("/api/setup", headers={"Authorization": "Bearer wrong"}).status_code == 401
