"""Steps of a tiny model in PyTorch's own pipelines, a process a rank, measured by tensors."""

import json
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.distributed.pipelining import PipelineStage
from torch.distributed.pipelining.schedules import get_schedule_class
from torch.nn import functional

import tiny_families
from gpu_runner.memory.tracker import TensorTracker
from run_process import together
from unfrozen.job.cluster import Cluster
from unfrozen.job.layout import stage_layers, stages_of
from unfrozen.model import ModelConfig

SIZES = {
    "hidden_size": 64,
    "intermediate_size": 172,
    "num_hidden_layers": 8,
    "vocab_size": 512,
    "head_dim": 16,
    "tie_word_embeddings": False,
}
LENGTH, ROWS = 96, 4
NAMES = {
    "1f1b": "1F1B",
    "interleaved": "Interleaved1F1B",
}
CPU = torch.device("cpu")


def model() -> Any:
    """The whole model, in fp32; every rank takes its layers out of it."""
    torch.manual_seed(0)
    return tiny_families.model("llama", **SIZES)


def config() -> ModelConfig:
    """The same for the planner."""
    return ModelConfig.from_hf(model().config.to_dict())


class Stage(nn.Module):
    """Some layers of a Llama, with the embedding before the first and the head after the last."""

    def __init__(self, whole: Any, layers: tuple[int, ...], first: bool, last: bool) -> None:
        super().__init__()
        self.embedding: nn.Module | None = whole.model.embed_tokens if first else None
        self.layers = nn.ModuleList(whole.model.layers[index] for index in layers)
        self.norm: nn.Module = whole.model.norm if last else nn.Identity()
        self.head: nn.Module | None = whole.lm_head if last else None
        rotary = whole.model.rotary_emb
        found = rotary(torch.zeros(1, 1, 1), torch.arange(LENGTH)[None])
        self.cos, self.sin = (nn.Buffer(table.clone()) for table in found)

    def forward(self, flow: Tensor) -> Tensor:
        """Token ids or hidden states in, hidden states or logits out."""
        if self.embedding is not None:
            flow = self.embedding(flow)
        for layer in self.layers:
            flow = layer(flow, position_embeddings=(self.cos, self.sin))
        return self.head(self.norm(flow)) if self.head is not None else flow


class Held(nn.Module):
    """All stages of a rank, as the tracker wants a model."""

    def __init__(self, stages: list[Stage]) -> None:
        super().__init__()
        self.stages = nn.ModuleList(stages)

    def get_output_embeddings(self) -> nn.Module | None:
        """The head, where it is here."""
        heads: list[Any] = [one.head for one in self.stages]
        return next((head for head in heads if head is not None), None)


def loss(logits: Tensor, labels: Tensor) -> Tensor:
    """Of the next token, as transformers computes it."""
    wide = logits.float().view(-1, logits.shape[-1])
    return functional.cross_entropy(wide, labels.reshape(-1))


def run(argument: tuple[str, int, str]) -> None:
    """Two steps of a schedule on this rank; the peak of the second goes to `folder`/rank."""
    schedule, micro_batches, folder = argument
    torch.set_num_threads(1)
    dist.init_process_group("gloo")
    rank, ranks = dist.get_rank(), dist.get_world_size()
    cluster = Cluster(ranks, pipeline_parallel=ranks, pipeline_schedule=schedule)
    whole = model()
    layers, last = stage_layers(len(whole.model.layers), cluster), cluster.stages - 1
    numbers = stages_of(rank, cluster)
    held = Held([Stage(whole, layers[n], n == 0, n == last) for n in numbers])
    del whole
    made = [
        PipelineStage(one, number, cluster.stages, CPU)
        for one, number in zip(held.stages, numbers, strict=True)
    ]
    kind = get_schedule_class(NAMES[schedule])
    single = len(made) == 1 and schedule == "1f1b"
    stages: Any = made[0] if single else made
    pipeline: Any = kind(stages, micro_batches, loss_fn=loss)
    optimizer: Any = torch.optim.AdamW(held.parameters(), fused=True)
    ids = torch.randint(0, 512, (ROWS * micro_batches, LENGTH))
    for _ in range(2):
        with TensorTracker(held, optimizer) as tracker:
            _step(pipeline, ids, first=0 in numbers, last=last in numbers)
            optimizer.step()
            optimizer.zero_grad()
    Path(folder, str(rank)).write_text(json.dumps(tracker.memory.peak_bytes), "utf-8")
    dist.destroy_process_group()


def _step(pipeline: Any, ids: Tensor, *, first: bool, last: bool) -> None:
    given: dict[str, Any] = {"return_outputs": False}
    if last:
        given |= {"target": ids.roll(-1, 1), "losses": []}
    pipeline.step(*((ids,) if first else ()), **given)


def peaks(schedule: str, micro_batches: int, folder: Path, ranks: int = 2) -> list[int]:
    """Bytes that each rank held at its peak."""
    for process in together(run, (schedule, micro_batches, str(folder)), ranks):
        process.join()
        assert process.exitcode == 0
    return [int((folder / str(rank)).read_text("utf-8")) for rank in range(ranks)]
