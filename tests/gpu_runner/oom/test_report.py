"""What is said of a run without memory, from plain facts; the page takes all of it."""

import json

import pytest

from gpu_runner.oom.report import post_mortem
from gpu_runner.oom.scene import BatchSize, Held, Other, Proposal, Scene
from gpu_runner.oom.thrown import Thrown
from unfrozen.schema import read_event

MIB, GIB = 2**20, 2**30
CPU = RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 104857600")
ASKED = RuntimeError(f"{CPU} bytes. Error code 12 (Cannot allocate memory)")
PREDICTED = {
    "end_of_forward": {"params": GIB, "activations": 400 * MIB, "logits_loss": 200 * MIB},
    "optimizer_step": {"params": GIB, "grads": GIB, "moments": 2 * GIB},
}
SETTINGS = (
    Proposal("--micro-batch 2 --grad-accum 8", 900 * MIB),
    Proposal("--set checkpointing=full", 950 * MIB, 1.31),
    Proposal("--seq-len 512", 700 * MIB, note="longer rows are cut"),
)


def scene(**changes: object) -> Scene:
    known: dict[str, object] = {
        "doing": "forward",
        "step": 3,
        "micro_batch": 2,
        "micro_batches": 4,
        "batch": BatchSize(1, 4096, 2048),
        "predicted": PREDICTED,
        "settings": SETTINGS,
    }
    return Scene(**{**known, **changes})  # type: ignore[arg-type]


def facts(error: BaseException, where: Scene) -> dict[str, str]:
    return dict(post_mortem(error, where).facts)


def test_the_place_is_step_micro_batch_phase_and_batch() -> None:
    told = post_mortem(ASKED, scene())
    assert told.sentence == (
        "step 3, micro-batch 2 of 4, in the forward pass: 1 × 4,096 tokens, loss at 2,048 of them;"
        " there was no room for a block of 100 MiB"
    )


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        (
            {"doing": "evaluating", "micro_batch": 0, "step": 6},
            "while it was evaluated, after step 6",
        ),
        ({"micro_batch": 0, "doing": "between", "step": 0}, "between two steps, before step 1"),
        ({"micro_batches": 1}, "step 3, in the forward pass: 1 × 4,096"),
        ({"now": "backward", "doing": "backward"}, "in the backward pass: 1"),
    ],
)
def test_other_places_have_their_words(changes: dict[str, object], told: str) -> None:
    assert told in post_mortem(ASKED, scene(**changes)).sentence


def test_the_component_beyond_its_prediction_is_named_with_the_block_that_was_refused() -> None:
    held = {"params": GIB, "activations": 350 * MIB}
    found = post_mortem(
        ASKED, scene(measured={"end_of_forward": held}, now="end_of_forward", growing="activations")
    )
    assert found.beyond is not None
    assert found.beyond._asdict() == {
        "component": "activations",
        "predicted_bytes": 400 * MIB,
        "measured_bytes": 450 * MIB,
    }
    told = dict(found.facts)["Predicted"]
    assert "Activations needed 450 MiB, 50.0 MiB more than predicted, 12%" in told


def test_what_one_sum_was_measured_for_is_compared_as_one_sum() -> None:
    held = {"params": GIB, "activations": 590 * MIB}  # logits among them
    where = scene(measured={"end_of_forward": held}, now="end_of_forward", lumped=True)
    assert post_mortem(RuntimeError("?"), where).beyond is None
    held["activations"] = 800 * MIB
    found = post_mortem(RuntimeError("?"), where).beyond
    assert found is not None
    assert (found.component, found.predicted_bytes) == ("rest", 600 * MIB)
    assert str(found).startswith("Activations, logits and workspace needed 800 MiB")


def test_a_prediction_that_had_no_room_is_said_to_have_had_none() -> None:
    told = facts(ASKED, scene(budget_bytes=GIB))["Predicted"]
    assert told.endswith("There was room for 1.00 GiB: it could not fit")


def test_nothing_that_was_not_measured_is_said_to_be_as_predicted() -> None:
    assert facts(ASKED, scene())["Predicted"] == "1.59 GiB (end of forward)"
    assert "Predicted" not in facts(ASKED, scene(predicted={}))


def test_a_card_tells_its_allocator_and_who_else_is_there(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("PYTORCH_CUDA_ALLOC_CONF", raising=False)
    monkeypatch.delenv("PYTORCH_ALLOC_CONF", raising=False)
    text = (
        "CUDA out of memory. Tried to allocate 2.00 GiB. GPU 0 has a total capacity of 24.00 GiB of"
        " which 1.00 GiB is free. Of the allocated memory 12.00 GiB is allocated by PyTorch, and"
        " 3.00 GiB is reserved by PyTorch but unallocated."
    )
    others = (Other(77, "python", 8 * GIB), Other(78))
    card = Held("the card", 24 * GIB, GIB, largest_free_bytes=GIB // 2)
    told = facts(RuntimeError(text), scene(held=card, others=others))
    assert told["Asked for"] == (
        "A block of 2.00 GiB; 1.00 GiB were free, the largest free block had 512 MiB"
    )
    assert told["Bound"] == (
        "The card: 24.0 GiB; tensors held 12.0 GiB, the allocator 3.00 GiB beside them"
    )
    assert told["Other processes"] == "Process 77 (python) 8.00 GiB, process 78"
    assert told["In pieces"].endswith("set PYTORCH_CUDA_ALLOC_CONF=expandable_segments:True")
    monkeypatch.setenv("PYTORCH_CUDA_ALLOC_CONF", "expandable_segments:True")
    assert "set PYTORCH" not in facts(RuntimeError(text), scene(held=card))["In pieces"]


def test_settings_are_told_as_they_are_typed_with_what_they_cost() -> None:
    lines = str(post_mortem(ASKED, scene(budget_bytes=GIB))).splitlines()
    assert lines[-4:] == [
        "Any of these would have fitted in 1.00 GiB:",
        "  --micro-batch 2 --grad-accum 8   (predicted peak 900 MiB)",
        "  --set checkpointing=full   (predicted peak 950 MiB, 31% more time)",
        "  --seq-len 512   (predicted peak 700 MiB, longer rows are cut)",
    ]


def test_settings_that_do_not_fit_are_not_said_to() -> None:
    short = (Proposal("--seq-len 16", 2 * GIB, fits=False),)
    assert post_mortem(ASKED, scene(settings=short, budget_bytes=GIB)).advice == (
        "Nothing that can be set fits in 1.00 GiB; these need least:"
    )
    assert "fewer rows at once" in post_mortem(ASKED, scene(settings=())).advice


def test_the_page_takes_all_of_it_and_leaves_nothing_out() -> None:
    full = scene(
        measured={"end_of_forward": {"params": GIB, "activations": 900 * MIB}},
        now="end_of_forward",
        growing="activations",
        held=Held("the card", 24 * GIB, GIB, 12 * GIB, 15 * GIB, GIB // 2),
        others=tuple(Other(n, "x" * 64, n) for n in range(20)),
        budget_bytes=GIB,
    )
    found = post_mortem(ASKED, full)
    event = {
        **{"run": "r", "seq": 1, "att": 0, "t": 1.0, "kind": "run.end"},
        **{"status": "oom", "reason": found.sentence, "post_mortem": found.payload()},
    }
    verdict = read_event(json.loads(json.dumps(event)))
    assert (verdict.problem, verdict.unknown) == ("", 0)
    assert verdict.value["post_mortem"] == found.payload()
    assert len(json.dumps(event)) < 8 * 1024


def test_what_is_unknown_is_left_out() -> None:
    payload = post_mortem(MemoryError(), Scene()).payload()
    assert payload.keys() == {"doing", "facts", "advice"}
    assert Thrown.of(MemoryError()) == Thrown()
