"""The terms of the peak with formula, inputs and source; and the rank that has it.

Terms are read from the same points and tensors that the plan adds up, so that they cannot disagree
with it: those of a component add up to its bytes. Where GPUs hold different layers (pipelines,
device maps), the plan is that of the rank that needs most.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Protocol

from unfrozen.job.cluster import SCHEDULE_LABELS, Cluster
from unfrozen.job.lora import trained_whole
from unfrozen.job.recipe import BYTES, Recipe
from unfrozen.memory.activations import last_saved_tensors, shared_saved_tensors
from unfrozen.memory.gathering import reduced_grad_bytes
from unfrozen.memory.instants import Step, peak_rank_number
from unfrozen.memory.layer_setup import SavedTensor
from unfrozen.memory.loss import FORMULAS
from unfrozen.memory.pipeline_schedules import SOURCE
from unfrozen.memory.points import POINT_TERMS, Point
from unfrozen.memory.saved_activations import layer_kinds, saved_tensors
from unfrozen.memory.states import INT8_BYTES, trained_parameters
from unfrozen.model import ModelConfig

ZERO: Final = "Rajbhandari et al., arXiv 1910.02054, section 3.1"
AUTOGRAD: Final = "tensors that autograd saves in transformers' layers; tested against a real pass"
KORTHIKANTI: Final = "Korthikanti et al., arXiv 2205.05198, section 4"
FSDP: Final = "PyTorch FSDP, measured: the root, the layer at work and the next"
TRACED: Final = "traced steps of transformers models"
_SOURCES: Final = {
    "grads": ZERO,
    "gathered": FSDP,
    "buckets": "PyTorch, torch/nn/parallel/distributed.py: gradient_as_bucket_view",
    "held": "the caller's loop: a name bound to the output keeps it alive",
    "routers": "PyTorch, torch/utils/checkpoint.py: only outputs of the second pass are freed",
    "widened": "PyTorch, torch/_decomp/decompositions.py: embedding_dense_backward",
    "low_casts": "OCP Microscaling Formats 1.0, section 5.2; arXiv 2509.25149, section 2",
}
_STATE_SOURCES: Final = {
    "quant_constants": "Dettmers et al., arXiv 2305.14314, section 3",
    "adapters": "Hu et al., arXiv 2106.09685, section 4.1",
    "reference": "TRL 1.16, trl/trainer/dpo_trainer.py: a model in the policy's dtype",
}


@dataclass(frozen=True, slots=True)
class Term:
    """One line of the account: `bytes` = `formula` of `inputs`, according to `source`."""

    component: str
    label: str
    formula: str
    inputs: tuple[tuple[str, str], ...]
    bytes: int
    source: str


class ExplainedJob(Protocol):
    """What an explanation needs of a job."""

    @property
    def model(self) -> ModelConfig:
        """Which model."""

    @property
    def recipe(self) -> Recipe:
        """Trained how."""

    @property
    def cluster(self) -> Cluster:
        """On what."""


class ExplainedPlan(Protocol):
    """What an explanation needs of a plan."""

    @property
    def job(self) -> ExplainedJob:
        """The question."""

    @property
    def peak_instant(self) -> str:
        """The instant that needs most."""


def explain(plan: ExplainedPlan) -> list[Term]:
    """Return the terms of the plan's peak, in the order of its components; none is 0 bytes."""
    job = plan.job
    step = Step(job.model, job.recipe, job.cluster)
    components = step.instants()[plan.peak_instant]
    point = step.points.get(plan.peak_instant, {})
    found: list[Term] = []
    for component, size in components.items():
        pieces = [_piece_terms(step, key, point) for key in _pieces_of(component, point)]
        terms = [term for group in pieces for term in group]
        rest = size - sum(term.bytes for term in terms)
        found += [_state_term(step, component, rest)] if rest and not terms else terms
    return [term for term in found if term.bytes]


def _pieces_of(component: str, point: Point) -> list[str]:
    return [key for key, size in point.items() if size and POINT_TERMS[key].component == component]


def _state_term(step: Step, component: str, size: int) -> Term:
    recipe, cluster = step.recipe, step.cluster
    frozen = step.local.frozen if component in ("params", "reference") else 0
    count = step.local.num_parameters + frozen
    trained = trained_parameters(step.local, recipe)
    width, number = _state_formula(recipe, component, count, trained)
    each = f"({width})" if " + " in width.replace(_EIGHT_BITS, "") else width
    formula = f"{each} · {'N' if number == count else 'adapters'}"
    inputs: tuple[tuple[str, str], ...]
    inputs = (("N" if number == count else "adapters", f"{number:,}"),)
    whole = sum(trained_whole(step.local, recipe.lora)) if recipe.lora else 0
    if whole and number == trained:
        formula = "bytes · (adapters + embedding and head)"
        inputs = (("adapters", f"{trained - whole:,}"), ("embedding and head", f"{whole:,}"))
    if size < 0.9 * _width_bytes(width) * number and cluster.shards > 1:
        formula += " ÷ GPUs"
        inputs = (*inputs, ("GPUs", str(cluster.shards)))
    source = _STATE_SOURCES.get(component, ZERO)
    return Term(component, _LABELS.get(component, component), formula, inputs, size, source)


SYMBOLS: Final = {
    "N": "parameters",
    "T": "tokens of a micro-batch on this GPU",
    "L": "layers",
    "V": "vocabulary",
    "c": "bytes per element in matmuls",
    "h": "width",
    "q": "heads · head dimension",
    "k": "kv heads · head dimension",
    "f": "width of the MLP, or of one expert",
    "a": "heads",
    "s": "sequence length",
    "d": "head dimension",
    "b": "micro-batch",
    "t": "experts per token",
    "E": "experts",
    "r": "rank of the adapters",
    "p": "width of the per-layer embeddings (Gemma 4)",
}
"""What the symbols of the formulas mean."""

_EIGHT_BITS: Final = "(1 + 4/256)"
_LABELS: Final = {
    "params": "weights",
    "reference": "weights of the frozen reference model",
    "master": "master copy of the weights",
    "grads": "gradients",
    "moments": "optimizer moments",
    "quant_constants": "scales of the quantized weights",
    "adapters": "adapters, and the embedding and head that train",
}


def _state_formula(recipe: Recipe, component: str, count: int, trained: int) -> tuple[str, int]:
    """Return the bytes per parameter, as text, and the number of parameters."""
    if component == "params":
        return (f"{BYTES[recipe.params]}", count) if recipe.base is None else (recipe.base, count)
    if component == "reference":
        return f"{BYTES[recipe.params]}", count
    if component == "quant_constants":
        return "scales", count
    if component == "moments":
        if recipe.projection_rank:
            return f"low rank {recipe.projection_rank}", count
        copies = {"adamw": 2}.get(recipe.optimizer, 1)
        wide = str(BYTES.get(str(recipe.moments), 4))
        width = _EIGHT_BITS if recipe.moments == "int8" else wide
        average = f"{' + ' * bool(recipe.moments)}{BYTES['fp32']}" * recipe.ema
        return f"{f'{copies}·{width}' * bool(recipe.moments or not average)}{average}", trained
    kinds = {
        "master": recipe.master,
        "grads": recipe.grads,
        "adapters": recipe.lora.dtype if recipe.lora else "bf16",
    }
    return f"{BYTES[str(kinds[component])]}", trained


def _width_bytes(width: str) -> float:
    """Return the bytes in such a text; 0 where it names no number."""
    width = width.replace(_EIGHT_BITS, str(INT8_BYTES))
    if " + " in width:
        return sum(map(_width_bytes, width.split(" + ")))
    parts = width.split("·")
    total = 1.0
    for part in parts:
        if not part.replace(".", "").isdigit():
            return 0.0
        total *= float(part)
    return total


def _piece_terms(step: Step, key: str, point: Point) -> list[Term]:
    piece, size, part = POINT_TERMS[key], point[key], step.micro_batch
    if key == "layers" and _keeps_everything(step):
        sparse = bool(step.local.sparse_layers)
        items = saved_tensors(step.local.architecture.of_layer(0), part.setup, sparse)
        return _item_terms(step, items, part.model.architecture.layers, size)
    if key == "outside" and size != 8 * part.tokens:
        recipe = step.recipe
        checkpointed = recipe.checkpointing != "none"
        a = step.local.architecture
        shared = shared_saved_tensors(a, part.setup, checkpointed, recipe.sequences)
        return _item_terms(step, (*shared, *last_saved_tensors(a, part.setup)), 1, size)
    formula = FORMULAS[part.loss_kind] if key == "loss" else piece.formula
    formula = "8·T" if key == "outside" else formula  # all but the ids is gone
    source = KORTHIKANTI if key in ("layers", "recomputed") else TRACED
    source = _SOURCES.get(key, source)
    inputs = _symbols(step, formula)
    if key in ("layers", "recomputed"):
        layers = part.model.architecture.layers if key == "layers" else 1
        inputs = (*inputs, ("saved", f"{size / (part.tokens * layers):,.0f} bytes"))
    if key == "in_flight":
        source = SOURCE
        inputs = (("micro-batches", str(step.in_flight)), ("rank", str(step.rank)))
    if key == "grads":
        width = BYTES[step.recipe.grads]
        if step.recipe.accumulates_whole and step.cluster.stage >= 2:
            width = reduced_grad_bytes(step.recipe, step.cluster)
        inputs = (("bytes", str(width)), ("reached", f"{size // width:,}"))
    return [Term(piece.component, piece.label, formula, inputs, size, source)]


def _keeps_everything(step: Step) -> bool:
    recipe = step.recipe
    mixed = len(layer_kinds(step.local)) > 1
    return recipe.checkpointing == "none" and not recipe.activation_offload and not mixed


def _item_terms(step: Step, items: tuple[SavedTensor, ...], layers: int, total: int) -> list[Term]:
    """Return a term for each item; bytes of `total` freed by backward reduce the largest."""
    cluster, tokens = step.cluster, step.micro_batch.tokens
    ranks = cluster.tensor_parallel if cluster.sequence_parallel else 1
    sizes = [round(tokens * layers * i.size / (ranks if i.whole else 1)) for i in items]
    freed = sum(sizes) - total
    for index in sorted(range(len(sizes)), key=lambda i: -sizes[i]):
        taken = min(freed, sizes[index])
        sizes[index], freed = sizes[index] - taken, freed - taken
    source = KORTHIKANTI if step.recipe.kernels == "fused" else AUTOGRAD
    found = []
    for item, size in zip(items, sizes, strict=True):
        formula = f"T·L·({item.formula})" if layers > 1 else f"T·({item.formula})"
        inputs = _symbols(step, formula)
        found.append(Term("activations", item.label, formula, inputs, size, source))
    return found


def _symbols(step: Step, formula: str) -> tuple[tuple[str, str], ...]:
    """Return the symbols of a formula that are sizes of this step, with their values."""
    a, part = step.local.architecture, step.micro_batch
    values = {
        "T": part.tokens,
        "L": part.model.architecture.layers,
        "V": part.vocab,
        "c": part.setup.compute,
        "h": a.hidden,
        "q": a.q_width,
        "k": a.kv_width,
        "f": a.experts.ffn if a.experts else a.ffn,
        "a": a.heads,
        "s": step.recipe.seq_len,
        "d": a.head_dim,
        "b": step.recipe.sequences,
        "t": a.experts.per_token if a.experts else 0,
        "E": a.experts.count if a.experts else 0,
        "r": step.recipe.lora.rank if step.recipe.lora else 0,
    }
    words = _letters(formula)
    return tuple((name, f"{value:,}") for name, value in values.items() if name in words)


def _letters(formula: str) -> set[str]:
    """Return the symbols of a formula: letters that stand alone, a factor before them allowed."""
    plain = "".join(char if char.isalnum() else " " for char in formula)
    return {word.lstrip("0123456789") for word in plain.split()}


@dataclass(frozen=True, slots=True)
class PeakRank:
    """The rank, from 0, of `ranks`; the numbers of its layers, from 0; which ends it has; and the
    stages' micro-batches in flight on it beside the one at work.
    """

    rank: int
    ranks: int
    layers: tuple[int, ...]
    embedding: bool
    head: bool
    in_flight: int


def peak_rank(job: ExplainedJob) -> PeakRank | None:
    """Return the rank that a plan describes; None where all GPUs hold the same layers."""
    cluster = job.cluster
    if cluster.pipeline_parallel == 1:
        return None
    rank = peak_rank_number(job.model, job.recipe, cluster)
    step = Step(job.model, job.recipe, cluster, rank=rank)
    a = step.local.architecture
    layers = a.part.layers if a.part else tuple(range(a.layers))
    ranks = cluster.pipeline_parallel
    return PeakRank(rank, ranks, layers, a.has_embedding, a.has_head, step.in_flight)


def format_peak_rank(job: ExplainedJob) -> str:
    """Return a sentence on the rank that a plan describes, or "" where all are alike."""
    found = peak_rank(job)
    if found is None:
        return ""
    cluster = job.cluster
    where = f"ranks ({SCHEDULE_LABELS[cluster.pipeline_schedule]})"
    ends = [name for name in ("embedding", "head") if getattr(found, name)]
    parts = [f"layers {_ranges(found.layers)}", *(f"the {end}" for end in ends)]
    held = parts[0] if len(parts) == 1 else f"{', '.join(parts[:-1])} and {parts[-1]}"
    first = f"Of {found.ranks} {where} number {found.rank + 1} needs most: it has {held}"
    if not found.in_flight:
        return f"{first}."
    of = " of one of its stages each" if cluster.chunks > 1 else ""
    return f"{first}, and {found.in_flight} more micro-batches{of} in flight."


def format_layout(cluster: Cluster) -> list[str]:
    """Return short descriptions of pipeline, experts and replicas of a cluster."""
    ranks, schedule = cluster.pipeline_parallel, SCHEDULE_LABELS[cluster.pipeline_schedule]
    asked = (
        (cluster.shards < cluster.alike, f"among {cluster.shards} of them"),
        (ranks > 1, f"pipeline of {ranks} ({schedule})"),
        (cluster.expert_parallel > 1, f"experts shared by {cluster.expert_parallel}"),
    )
    return [words for holds, words in asked if holds]


def _ranges(layers: tuple[int, ...]) -> str:
    """Return numbers from 1 as ranges: "1–4, 17–20"."""
    runs: list[list[int]] = []
    for layer in sorted(layers):
        if runs and layer == runs[-1][-1] + 1:
            runs[-1].append(layer)
        else:
            runs.append([layer])
    return ", ".join(
        f"{run[0] + 1}–{run[-1] + 1}" if len(run) > 1 else str(run[0] + 1) for run in runs
    )
