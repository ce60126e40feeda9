"""A watched Trainer of Lightning."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import pytorch_lightning as lightning
import torch
from torch import nn

import unfrozen
from watched_loops import alerts, events, series

pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore")]


class Classifier(lightning.LightningModule):
    """A module without a forward of its own around a network that it calls."""

    def __init__(self, width: int = 256) -> None:
        super().__init__()
        self.save_hyperparameters()
        self.net = nn.Sequential(nn.Linear(64, width), nn.Dropout(0.2), nn.Linear(width, 3))

    def training_step(self, batch: Any, index: int) -> torch.Tensor:
        loss = nn.functional.cross_entropy(self.net(batch[0]), batch[1])
        self.log("my_loss", loss)
        if index == 5:
            raise ZeroDivisionError
        return loss

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.AdamW(self.parameters(), lr=1e-2)


class Scattered(Classifier):
    """The same in two parts: neither holds all weights."""

    def __init__(self) -> None:
        super().__init__()
        self.more = nn.Linear(3, 3)

    def training_step(self, batch: Any, index: int) -> torch.Tensor:
        del index
        return nn.functional.cross_entropy(self.more(self.net(batch[0])), batch[1])


def fitted(place: Path, module: Any, steps: int = 4, **options: Any) -> tuple[Any, Any]:
    """The weights after training, and the callback, if the run is watched."""
    lightning.seed_everything(3, verbose=False)
    torch.manual_seed(3)
    module = module()
    rows = torch.utils.data.TensorDataset(torch.randn(64, 64), torch.randint(3, (64,)))
    callback = unfrozen.LightningCallback(runs=place, **options) if options else None
    trainer = lightning.Trainer(
        max_steps=steps,
        accelerator="cpu",
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        log_every_n_steps=1,
        callbacks=[callback] if callback else [],
    )
    trainer.fit(module, torch.utils.data.DataLoader(rows, batch_size=8))
    return {name: value.tolist() for name, value in module.state_dict().items()}, callback


def test_a_trainer_of_lightning_is_watched_and_computes_the_same(tmp_path: Path) -> None:
    weights, callback = fitted(tmp_path, Classifier, name="mine")
    assert weights == fitted(tmp_path, Classifier)[0]
    run = callback.run
    assert alerts(run) == ""
    assert len(series(run, "train/loss")) == 4
    assert series(run, "other/my_loss") == pytest.approx(series(run, "train/loss"))
    assert series(run, "train/samples") == [8, 16, 24, 32]
    start, end = events(run, "run.start")[0], events(run, "run.end")[0]
    assert start["trainer"].startswith("Lightning")
    assert start["plan"]["steps"] == 4
    assert start["config"] == {"width": 256}
    assert "stop" in start["can"]
    assert end["status"] == "finished"
    assert end["summary"]["memory_ratio"] == pytest.approx(1, abs=0.03)


def test_a_module_that_only_calls_its_parts_is_told_in_words(tmp_path: Path) -> None:
    _, callback = fitted(tmp_path, Scattered, name="mine")
    assert "The loop never calls Scattered itself" in alerts(callback.run)
    assert len(series(callback.run, "train/loss")) == 4


def test_an_error_of_the_module_is_how_the_run_ended(tmp_path: Path) -> None:
    with pytest.raises(ZeroDivisionError):
        fitted(tmp_path, Classifier, steps=8, name="mine")
    end = events(tmp_path / "mine")[-1]
    assert end["status"] == "failed"
    assert "ZeroDivisionError" in end["reason"]
