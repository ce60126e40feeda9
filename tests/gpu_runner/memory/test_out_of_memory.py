"""The out-of-memory report, from plain facts; the page accepts all of it."""

import json

import pytest

from gpu_runner.memory.limit import AllocatorMessage, MemoryLimit, OtherProcess
from gpu_runner.memory.out_of_memory import BatchSize, Failure, explain
from gpu_runner.memory.prediction import Suggestion
from unfrozen.schema import read_event

MIB, GIB = 2**20, 2**30
CPU = RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 104857600")
ASKED = RuntimeError(f"{CPU} bytes. Error code 12 (Cannot allocate memory)")
PREDICTED = {
    "end_of_forward": {"params": GIB, "activations": 400 * MIB, "logits_loss": 200 * MIB},
    "optimizer_step": {"params": GIB, "grads": GIB, "moments": 2 * GIB},
}
SETTINGS = (
    Suggestion("--micro-batch 2 --grad-accum 8", 900 * MIB),
    Suggestion("--set checkpointing=full", 950 * MIB, 1.31),
    Suggestion("--seq-len 512", 700 * MIB, note="longer sequences are cut"),
)


def failure(**changes: object) -> Failure:
    known: dict[str, object] = {
        "doing": "forward",
        "step": 3,
        "micro_batch": 2,
        "micro_batches": 4,
        "batch": BatchSize(1, 4096, 2048),
        "predicted": PREDICTED,
        "suggestions": SETTINGS,
    }
    return Failure(**{**known, **changes})  # type: ignore[arg-type]


def facts(error: BaseException, where: Failure) -> dict[str, str]:
    return dict(explain(error, where).facts)


def test_the_place_is_step_micro_batch_phase_and_batch() -> None:
    report = explain(ASKED, failure())
    assert report.sentence == (
        "step 3, micro-batch 2 of 4, in the forward pass: 1 × 4,096 tokens, loss at 2,048 of them;"
        " there was no room for a block of 100 MiB"
    )


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        (
            {"doing": "evaluating", "micro_batch": 0, "step": 6},
            "during evaluation, after step 6",
        ),
        ({"micro_batch": 0, "doing": "between", "step": 0}, "between two steps, before step 1"),
        ({"micro_batches": 1}, "step 3, in the forward pass: 1 × 4,096"),
        ({"measuring": "backward", "doing": "backward"}, "in the backward pass: 1"),
    ],
)
def test_other_activities_are_named(changes: dict[str, object], text: str) -> None:
    assert text in explain(ASKED, failure(**changes)).sentence


def test_the_component_above_its_prediction_is_named_with_the_refused_block() -> None:
    held = {"params": GIB, "activations": 350 * MIB}
    found = explain(
        ASKED,
        failure(
            measured={"end_of_forward": held}, measuring="end_of_forward", growing="activations"
        ),
    )
    assert found.excess is not None
    assert found.excess._asdict() == {
        "component": "activations",
        "predicted_bytes": 400 * MIB,
        "measured_bytes": 450 * MIB,
    }
    text = dict(found.facts)["Predicted"]
    assert "Activations needed 450 MiB, 50.0 MiB more than predicted, 12%" in text


def test_components_measured_as_one_sum_are_compared_as_one_sum() -> None:
    held = {"params": GIB, "activations": 590 * MIB}  # logits among them
    where = failure(measured={"end_of_forward": held}, measuring="end_of_forward", summed=True)
    assert explain(RuntimeError("?"), where).excess is None
    held["activations"] = 800 * MIB
    found = explain(RuntimeError("?"), where).excess
    assert found is not None
    assert (found.component, found.predicted_bytes) == ("rest", 600 * MIB)
    assert str(found).startswith("Activations, logits and workspace needed 800 MiB")


def test_a_prediction_above_the_budget_is_named() -> None:
    text = facts(ASKED, failure(budget_bytes=GIB))["Predicted"]
    assert text.endswith("Only 1.00 GiB were available, so it could not fit")


def test_an_unmeasured_step_is_not_compared() -> None:
    assert facts(ASKED, failure())["Predicted"] == "1.59 GiB (end of forward)"
    assert "Predicted" not in facts(ASKED, failure(predicted={}))


def test_a_gpu_report_has_its_allocator_and_other_processes(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delenv("PYTORCH_CUDA_ALLOC_CONF", raising=False)
    monkeypatch.delenv("PYTORCH_ALLOC_CONF", raising=False)
    text = (
        "CUDA out of memory. Tried to allocate 2.00 GiB. GPU 0 has a total capacity of 24.00 GiB of"
        " which 1.00 GiB is free. Of the allocated memory 12.00 GiB is allocated by PyTorch, and"
        " 3.00 GiB is reserved by PyTorch but unallocated."
    )
    others = (OtherProcess(77, "python", 8 * GIB), OtherProcess(78))
    gpu = MemoryLimit("the GPU", 24 * GIB, GIB, largest_free_bytes=GIB // 2)
    shown = facts(RuntimeError(text), failure(limit=gpu, others=others))
    assert shown["Requested"] == (
        "A block of 2.00 GiB; 1.00 GiB were free, the largest free block had 512 MiB"
    )
    assert shown["Limit"] == (
        "The GPU: 24.0 GiB; tensors took 12.0 GiB, unused but reserved were 3.00 GiB"
    )
    assert shown["Other processes"] == "Process 77 (python) 8.00 GiB, process 78"
    assert shown["Fragmentation"].endswith("set PYTORCH_CUDA_ALLOC_CONF=expandable_segments:True")
    monkeypatch.setenv("PYTORCH_CUDA_ALLOC_CONF", "expandable_segments:True")
    assert "set PYTORCH" not in facts(RuntimeError(text), failure(limit=gpu))["Fragmentation"]


def test_settings_are_shown_as_they_are_typed_with_their_cost() -> None:
    lines = str(explain(ASKED, failure(budget_bytes=GIB))).splitlines()
    assert lines[-4:] == [
        "Any of these would have fit in 1.00 GiB:",
        "  --micro-batch 2 --grad-accum 8   (predicted peak 900 MiB)",
        "  --set checkpointing=full   (predicted peak 950 MiB, 31% more time)",
        "  --seq-len 512   (predicted peak 700 MiB, longer sequences are cut)",
    ]


def test_settings_that_do_not_fit_are_named_as_such() -> None:
    short = (Suggestion("--seq-len 16", 2 * GIB, fits=False),)
    assert explain(ASKED, failure(suggestions=short, budget_bytes=GIB)).advice == (
        "No combination of settings fits in 1.00 GiB; these need the least:"
    )
    assert "smaller micro-batch" in explain(ASKED, failure(suggestions=())).advice


def test_the_page_accepts_the_whole_report() -> None:
    full = failure(
        measured={"end_of_forward": {"params": GIB, "activations": 900 * MIB}},
        measuring="end_of_forward",
        growing="activations",
        limit=MemoryLimit("the GPU", 24 * GIB, GIB, 12 * GIB, 15 * GIB, GIB // 2),
        others=tuple(OtherProcess(n, "x" * 64, n) for n in range(20)),
        budget_bytes=GIB,
    )
    found = explain(ASKED, full)
    event = {
        **{"run": "r", "seq": 1, "att": 0, "t": 1.0, "kind": "run.end"},
        **{"status": "oom", "reason": found.sentence, "post_mortem": found.payload()},
    }
    verdict = read_event(json.loads(json.dumps(event)))
    assert (verdict.problem, verdict.unknown) == ("", 0)
    assert verdict.value["post_mortem"] == found.payload()
    assert len(json.dumps(event)) < 8 * 1024


def test_what_is_unknown_is_left_out() -> None:
    payload = explain(MemoryError(), Failure()).payload()
    assert payload.keys() == {"doing", "facts", "advice"}
    assert AllocatorMessage.parse(MemoryError()) == AllocatorMessage()
