"""The loss that is shown is the one that trains, whoever computes it, and in a unit that fits."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from datasets import Dataset
from torch import nn
from torch.nn.functional import binary_cross_entropy_with_logits as bce
from transformers import T5Config, T5ForConditionalGeneration, ViTConfig, ViTForImageClassification

import tiny_llama
import unfrozen
from unfrozen.schema import read_event
from watched_loops import alerts, batches, events, model_of, series

pytestmark = pytest.mark.slow


def sgd(model: Any) -> torch.optim.Optimizer:
    return torch.optim.SGD(model.parameters(), lr=0.05)


def settings(place: Path) -> dict[str, Any]:
    return {
        **{"output_dir": str(place / "out"), "max_steps": 2, "use_cpu": True, "bf16": False},
        **{"logging_steps": 1, "save_strategy": "no", "report_to": "none", "disable_tqdm": True},
    }


def logged(trainer: Any, name: str = "loss") -> list[float]:
    return [entry[name] for entry in trainer.state.log_history if name in entry]


@pytest.mark.filterwarnings("ignore")
def test_dpo_shows_its_own_loss_its_rewards_and_the_memory_of_its_reference(tmp_path: Path) -> None:
    from trl import DPOConfig, DPOTrainer

    pairs = [{"prompt": "a b", "chosen": " c d", "rejected": f" {n} e"} for n in range(8)]
    arguments = DPOConfig(**settings(tmp_path), per_device_train_batch_size=4, max_length=32)
    callback = unfrozen.Callback(runs=tmp_path)
    given: Any = {"train_dataset": Dataset.from_list(pairs), "callbacks": [callback]}
    tokenizer = tiny_llama.tokenizer()
    model, reference = model_of(), model_of()
    trainer = DPOTrainer(model, reference, arguments, processing_class=tokenizer, **given)
    trainer.train()
    assert series(callback.run, "train/loss") == pytest.approx(logged(trainer), abs=1e-3)
    assert series(callback.run, "train/loss")[0] == pytest.approx(0.6931, abs=1e-3)
    assert len(series(callback.run, "other/rewards/margins")) == 2
    meanings = [event for event in events(callback.run, "metrics") if "meanings" in event]
    assert "as the loop computes it" in meanings[0]["meanings"]["train/loss"]
    size = sum(p.nbytes for one in (model, reference) for p in one.parameters())
    predicted = events(callback.run, "predicted")[-1]["predicted"]["instants"]["end_of_forward"]
    assert predicted["params"] >= size
    (measured,) = [one for one in events(callback.run, "mem") if one["instant"] == "load"]
    assert measured["components"]["params"] == pytest.approx(predicted["params"], rel=0.01)


@pytest.mark.filterwarnings("ignore")
def test_grpo_shows_its_own_loss_and_its_reward(tmp_path: Path) -> None:
    from trl import GRPOConfig, GRPOTrainer

    more = {"per_device_train_batch_size": 4, "num_generations": 4, "max_completion_length": 6}
    callback = unfrozen.Callback(runs=tmp_path)
    trainer = GRPOTrainer(
        model_of(),
        reward_funcs=lambda completions, **_: [float(len(one)) for one in completions],
        args=GRPOConfig(**settings(tmp_path), **more),
        train_dataset=Dataset.from_list([{"prompt": "a b c"}] * 8),
        processing_class=tiny_llama.tokenizer(),
        callbacks=[callback],
    )
    trainer.train()
    assert series(callback.run, "train/loss") == pytest.approx(logged(trainer), abs=1e-3)
    assert series(callback.run, "other/reward") == pytest.approx(logged(trainer, "reward"))


def test_distillation_shows_the_sum_that_is_trained(tmp_path: Path) -> None:
    student, teacher = model_of(), model_of(seed=1)
    optimizer = sgd(student)
    losses = []
    with unfrozen.watch(student, optimizer, runs=tmp_path) as run:
        for batch in batches(2):
            with torch.no_grad():
                wanted = teacher(**batch).logits.softmax(-1)
            output = student(**batch)
            loss = output.loss + nn.functional.kl_div(
                output.logits.log_softmax(-1), wanted, reduction="batchmean"
            )
            loss.backward()
            losses.append(loss.item())
            optimizer.step()
            optimizer.zero_grad()
    assert series(run, "train/loss") == pytest.approx(losses)


@pytest.mark.parametrize("watched", ["generator", "discriminator"])
def test_of_a_gan_the_loss_is_that_of_the_network_that_is_watched(
    tmp_path: Path, watched: str
) -> None:
    torch.manual_seed(0)
    nets: dict[str, Any] = {
        "generator": nn.Linear(3, 5),
        "discriminator": nn.Sequential(nn.Linear(5, 4), nn.ReLU(), nn.Linear(4, 1)),
    }
    rules = {name: sgd(net) for name, net in nets.items()}
    losses: dict[str, list[float]] = {name: [] for name in nets}
    ones, zeros = torch.ones(8, 1), torch.zeros(8, 1)
    with unfrozen.watch(nets[watched], rules[watched], runs=tmp_path) as run:
        for _ in range(3):
            fake = nets["generator"](torch.randn(8, 3))
            judge = nets["discriminator"]
            rules["discriminator"].zero_grad()
            loss = bce(judge(torch.randn(8, 5)), ones) + bce(judge(fake.detach()), zeros)
            loss.backward()
            rules["discriminator"].step()
            losses["discriminator"].append(loss.item())
            rules["generator"].zero_grad()
            loss = bce(judge(fake), ones)
            loss.backward()
            rules["generator"].step()
            losses["generator"].append(loss.item())
    assert series(run, "train/loss") == pytest.approx(losses[watched])


def test_a_loss_scaler_does_not_scale_what_is_shown(tmp_path: Path) -> None:
    model: Any = nn.Linear(3, 1)
    optimizer, scaler = sgd(model), torch.amp.GradScaler("cpu", init_scale=1024.0)
    losses = []
    with unfrozen.watch(model, optimizer, runs=tmp_path) as run:
        for _ in range(2):
            loss = model(torch.randn(4, 3)).square().mean()
            scaler.scale(loss).backward()
            losses.append(loss.item())
            scaler.step(optimizer)
            scaler.update()
            optimizer.zero_grad()
    assert series(run, "train/loss") == pytest.approx(losses)


class Wrapped(nn.Module):
    """A model without a forward of its own, as a LightningModule may be."""

    def __init__(self) -> None:
        super().__init__()
        self.net = nn.Linear(4, 4)


def test_a_model_whose_forward_is_never_called_is_told_in_words_and_shown(tmp_path: Path) -> None:
    model = Wrapped()
    optimizer = sgd(model)
    with unfrozen.watch(model, optimizer, runs=tmp_path) as run:
        for _ in range(3):
            loss = model.net(torch.ones(2, 4)).square().mean()
            loss.backward()
            optimizer.step()
            optimizer.zero_grad()
    assert "The loop never calls Wrapped itself" in alerts(run)
    (told,) = (event["step"] for event in events(run, "alert") if "never calls" in event["text"])
    assert told == 0
    assert len(series(run, "train/loss")) == 3
    assert series(run, "train/loss")[-1] == pytest.approx(loss.item())
    assert series(run, "opt/lr") == [0.05] * 3
    assert not events(run, "predicted")


class Images(nn.Module):
    """A CNN whose first argument has the name `x`."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.head = nn.Conv2d(3, 8, 3, padding=1), nn.Linear(8, 10)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        found: torch.Tensor = self.head(torch.relu(self.conv(x)).mean((2, 3)))
        return found


class Several(nn.Module):
    """A model of tensors by position, in a dict and in a list."""

    def __init__(self) -> None:
        super().__init__()
        self.line = nn.Linear(6, 6)

    def forward(self, *given: Any, scale: float = 1.0, more: Any = ()) -> dict[str, torch.Tensor]:
        first, named = given
        return {"out": self.line(first + named["a"] + sum(more)) * scale}


CALLS: dict[str, Any] = {
    "images": (Images, lambda m: nn.functional.cross_entropy(m(images()), torch.arange(8))),
    "sequence": (
        lambda: nn.LSTM(4, 6, batch_first=True),
        lambda m: m(torch.randn(8, 5, 4))[0].mean(),
    ),
    "several": (
        Several,
        lambda m: m(rows_of_six(), {"a": rows_of_six()}, more=[rows_of_six()])["out"].mean(),
    ),
}


def images() -> torch.Tensor:
    return torch.randn(8, 3, 16, 16)


def rows_of_six() -> torch.Tensor:
    return torch.randn(8, 6)


@pytest.mark.parametrize("kind", CALLS)
def test_a_model_of_any_signature_is_predicted_and_counted_in_examples(
    tmp_path: Path, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    make, loss_of = CALLS[kind]
    model = make()
    optimizer = torch.optim.Adam(model.parameters())
    with unfrozen.watch(model, optimizer, runs=tmp_path) as run:
        for _ in range(2):
            loss_of(model).backward()
            optimizer.step()
            optimizer.zero_grad()
    assert alerts(run) == ""
    assert events(run, "predicted")
    if kind == "images":
        assert events(run, "run.end")[0]["summary"]["memory_ratio"] == pytest.approx(1, abs=0.03)
    assert series(run, "train/samples") == [8, 16]
    assert not series(run, "train/tokens")


def test_an_encoder_decoder_counts_all_of_its_labels(tmp_path: Path) -> None:
    config = T5Config(vocab_size=64, d_model=16, d_kv=8, d_ff=32, num_layers=1, num_heads=2)
    config.decoder_start_token_id = 0
    model: Any = T5ForConditionalGeneration(config).train()
    optimizer = sgd(model)
    ids = torch.randint(3, 60, (6, 10))
    with unfrozen.watch(model, optimizer, runs=tmp_path) as run:
        for _ in range(2):
            model(input_ids=ids, labels=ids[:, :8].contiguous()).loss.backward()
            optimizer.step()
            optimizer.zero_grad()
    assert series(run, "train/tokens") == [48, 96]


def test_a_classifier_of_images_has_no_tokens(tmp_path: Path) -> None:
    sizes = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2}
    model: Any = ViTForImageClassification(
        ViTConfig(**sizes, intermediate_size=32, image_size=16, patch_size=8, num_labels=4)
    ).train()
    optimizer = sgd(model)
    with unfrozen.watch(model, optimizer, runs=tmp_path) as run:
        for _ in range(2):
            model(images(), labels=torch.arange(8) % 4).loss.backward()
            optimizer.step()
            optimizer.zero_grad()
    assert series(run, "train/samples") == [8, 16]
    (first,) = [event for event in events(run, "metrics") if "meanings" in event][:1]
    assert first["meanings"]["train/loss"] == "the loss that the model returns, by step"
    assert read_event(first).unknown == 0


def test_numbers_of_the_loops_own_are_shown_at_their_step(tmp_path: Path) -> None:
    model: Any = nn.Linear(3, 1)
    optimizer = sgd(model)
    with unfrozen.watch(model, optimizer, runs=tmp_path) as run:
        for step in range(2):
            model(torch.randn(4, 3)).sum().backward()
            optimizer.step()
            optimizer.zero_grad()
            run.log({"reward": torch.tensor(step + 0.5), "entropy/mean": step, "kind": "none"})
    found = [
        (one["step"], one["m"]["other/reward"])
        for one in events(run, "metrics")
        if "other/reward" in one["m"]
    ]
    assert found == [(1, 0.5), (2, 1.5)]
    assert series(run, "other/entropy/mean") == [0.0, 1.0]
    assert "Not shown, because they are not numbers: kind." in alerts(run)


def test_an_optimizer_with_a_closure_has_the_norm_of_its_own_gradients(
    tmp_path: Path,
) -> None:
    model: Any = nn.Linear(3, 1)
    optimizer = sgd(model)
    norms = []

    def closure() -> torch.Tensor:
        optimizer.zero_grad()
        loss: torch.Tensor = model(torch.randn(4, 3)).square().mean()
        loss.backward()
        norms.append(float(nn.utils.get_total_norm([p.grad for p in model.parameters()])))
        return loss

    with unfrozen.watch(model, optimizer, runs=tmp_path, measure=False) as run:
        for _ in range(3):
            optimizer.step(closure)
    assert len(series(run, "train/loss")) == 3
    assert series(run, "train/grad_norm")[0] == pytest.approx(norms[0])


def test_several_models_are_one_run_with_a_loss_each(tmp_path: Path) -> None:
    torch.manual_seed(0)
    nets: dict[str, Any] = {"generator": nn.Linear(3, 5), "judge": nn.Linear(5, 1)}
    rules = [sgd(net) for net in nets.values()]
    losses: dict[str, list[float]] = {name: [] for name in nets}
    with unfrozen.watch(nets, rules, runs=tmp_path) as run:
        for _ in range(3):
            fake = nets["generator"](torch.randn(8, 3))
            rules[1].zero_grad()
            loss = bce(nets["judge"](torch.randn(8, 5)), torch.ones(8, 1))
            loss = loss + bce(nets["judge"](fake.detach()), torch.zeros(8, 1))
            loss.backward()
            rules[1].step()
            losses["judge"].append(loss.item())
            rules[0].zero_grad()
            loss = bce(nets["judge"](fake), torch.ones(8, 1))
            loss.backward()
            rules[0].step()
            losses["generator"].append(loss.item())
    assert len(series(run, "perf/step_seconds")) == 3
    for name, values in losses.items():
        assert series(run, f"other/loss/{name}") == pytest.approx(values)
    assert series(run, "train/samples") == [8, 16, 24]
    assert not series(run, "train/loss")
    assert events(run, "run.start")[0]["model"]["name"] == "Linear, Linear"
    assert events(run, "mem")
    assert "measured and not predicted" in alerts(run)


def test_held_out_examples_of_several_models_are_refused(tmp_path: Path) -> None:
    with pytest.raises(TypeError, match="scored by one model"):
        unfrozen.watch([nn.Linear(1, 1), nn.Linear(1, 1)], runs=tmp_path, task=[{}])


def test_a_step_that_is_compiled_as_a_whole_is_shown_with_its_loss(tmp_path: Path) -> None:
    model: Any = Images()
    optimizer = sgd(model)
    step = torch.compile(lambda x: model(x).square().mean(), backend="eager", fullgraph=True)
    with unfrozen.watch(model, optimizer, runs=tmp_path) as run:
        for call in (lambda x: model(x).mean(), step, step):
            call(images()).backward()
            optimizer.step()
            optimizer.zero_grad()
    assert len(series(run, "train/loss")) == 3
