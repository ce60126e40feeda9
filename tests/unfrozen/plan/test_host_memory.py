"""Memory of the hosts, worked out by hand for Llama-3.1-70B and for a CPU."""

from __future__ import annotations

import pytest

from unfrozen.job import Job
from unfrozen.model.catalogue import find
from unfrozen.plan.host_memory import FILE_BYTES, HostBytes, Reading, Writing, host_bytes

PARAMETERS = 70_553_706_496
EMBEDDING = 128_256 * 8_192
PIECE = EMBEDDING * 4 // 8
SAVED = 12 * PARAMETERS + 4 * (80 * 9 + 3)  # weights, two moments, a count of steps a tensor
RECIPE = {"params": "fp32", "grads": "fp32", "moments": "fp32", "master": None, "compute": "bf16"}


def of_70b(
    reading: Reading, writing: Writing, *, on_card: bool = True, parts: int = 8
) -> HostBytes:
    job = Job.read({"model": find("Llama-3.1-70B").config, "recipe": RECIPE})
    return host_bytes(
        job.model,
        job.recipe,
        parts=parts,
        local=parts,
        reading=reading,
        writing=writing,
        on_card=on_card,
    )


def test_experts_in_mxfp4_are_unpacked_one_tensor_at_a_time() -> None:
    """Its numbers and their copy in fp32; of each half of a byte an index and a value."""
    model = Job.read({"model": find("gpt-oss-20b").config, "recipe": RECIPE})
    sizes = {"parts": 8, "local": 8, "reading": "parts"}
    plain, unpacked = (
        host_bytes(model.model, model.recipe, **sizes, unpacked=packed).process["load"]
        for packed in (False, True)
    )
    assert unpacked - plain == 32 * 2 * 2_880 * 2_880 * (4 + 4 + 2 + 2)


def test_eight_processes_that_read_and_gather_all_need_terabytes() -> None:
    found = of_70b("whole", "whole")
    assert found.process == {
        "load": 4 * PARAMETERS,
        "save": SAVED,
        "finish": 4 * PARAMETERS,
    }
    assert found.machine["load"] == 8 * 4 * PARAMETERS  # 2.26 TB
    assert found.machine["save"] == SAVED  # 847 GB, of the first process alone


def test_eight_that_read_and_write_their_parts_need_a_few_tensors() -> None:
    found = of_70b("parts", "shards")
    assert found.process == {
        "load": 2 * PIECE,  # what is mapped of the file, and its copy
        "save": PIECE,
        "finish": FILE_BYTES + 2 * 4 * EMBEDDING,
    }
    assert found.machine["load"] == 8 * 2 * PIECE
    assert found.machine["save"] == 8 * PIECE


def test_a_copy_is_held_while_steps_go_on_beside_the_writing() -> None:
    found = of_70b("parts", "beside")
    assert found.process["save"] == -(-SAVED // 8)
    assert found.machine["save"] == 8 * found.process["save"]


def test_on_a_cpu_what_is_there_needs_no_copy() -> None:
    shards = of_70b("parts", "shards", on_card=False)
    assert shards.process["load"] == PIECE
    assert shards.process["save"] == 0
    whole = of_70b("whole", "whole", on_card=False)
    assert whole.process["load"] == 4 * PARAMETERS + 4 * PARAMETERS // 8
    assert whole.machine["save"] == SAVED + 7 * 4 * EMBEDDING


def test_alone_on_a_cpu_nothing_is_gathered() -> None:
    found = of_70b("whole", "whole", on_card=False, parts=1)
    assert found.process == {"load": 4 * PARAMETERS, "save": 0, "finish": 0}


@pytest.mark.parametrize("writing", ["whole", "shards", "beside"])
def test_the_machine_needs_no_less_than_its_first_process(writing: Writing) -> None:
    found = of_70b("parts", writing)
    assert all(found.machine[name] >= size for name, size in found.process.items())
