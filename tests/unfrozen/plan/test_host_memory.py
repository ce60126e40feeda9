"""Memory of the hosts, worked out by hand for Llama-3.1-70B and for a CPU.

The resident set is also what a process with tensors of a known size measures for itself.
"""

from __future__ import annotations

import subprocess
import sys

import pytest

from run_process import ROOT
from unfrozen.job import Job
from unfrozen.model.catalogue import find
from unfrozen.plan.host_memory import (
    FILE_BYTES,
    ONEDNN_BYTES,
    HostBytes,
    Reading,
    Writing,
    host_bytes,
    predict_resident_set,
)
from unfrozen.units import MIB

PARAMETERS = 70_553_706_496
EMBEDDING = 128_256 * 8_192
PIECE = EMBEDDING * 4 // 8
MOMENTS = 8 * PARAMETERS + 4 * (80 * 9 + 3)  # two, and a count of steps a tensor
SAVED = 4 * PARAMETERS + MOMENTS
FILE = FILE_BYTES + 2 * 4 * EMBEDDING  # of the model, and what is converted for it
RECIPE = {"params": "fp32", "grads": "fp32", "moments": "fp32", "master": None, "compute": "bf16"}
LIBRARIES = 300 * MIB
HOLD = f"""
import sys
sys.path.insert(0, {str(ROOT / "py")!r})
import psutil
import torch
import transformers
from unfrozen.plan.host_memory import predict_resident_set

found = predict_resident_set(300 << 20, 100 << 20, psutil.Process().memory_info().rss)
held = [torch.ones(1 << 20) for _ in range(75)]
print(psutil.Process().memory_info().rss, found.least, found.most)
"""


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


def test_eight_processes_that_read_all_need_terabytes_and_one_gathers_the_moments() -> None:
    found = of_70b("whole", "whole")
    assert found.process == {
        "load": 4 * PARAMETERS,
        "save": MOMENTS + FILE,
        "finish": FILE,
    }
    assert found.machine["load"] == 8 * 4 * PARAMETERS  # 2.26 TB
    assert found.machine["save"] == MOMENTS + FILE  # 578 GB, of the first process alone


def test_eight_that_read_and_write_their_parts_need_a_few_tensors() -> None:
    found = of_70b("parts", "shards")
    assert found.process == {
        "load": 2 * PIECE,  # what is mapped of the file, and its copy
        "save": PIECE,
        "finish": FILE,
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
    assert whole.machine["save"] == MOMENTS + FILE + 7 * 4 * EMBEDDING


def test_alone_on_a_gpu_a_file_of_weights_and_a_tensor_of_the_moments_are_on_the_host() -> None:
    found = of_70b("whole", "whole", parts=1)
    assert found.process == {"load": 4 * PARAMETERS, "save": FILE, "finish": FILE}


def test_alone_on_a_cpu_nothing_is_gathered() -> None:
    found = of_70b("whole", "whole", on_card=False, parts=1)
    assert found.process == {"load": 4 * PARAMETERS, "save": 0, "finish": 0}


@pytest.mark.parametrize("writing", ["whole", "shards", "beside"])
def test_the_machine_needs_no_less_than_its_first_process(writing: Writing) -> None:
    found = of_70b("parts", writing)
    assert not [
        (name, size) for name, size in found.process.items() if not found.machine[name] >= size
    ]


@pytest.mark.slow
def test_a_process_shows_its_libraries_beside_its_tensors() -> None:
    command = [sys.executable, "-W", "ignore", "-c", HOLD]
    shown, least, most = map(int, subprocess.check_output(command, text=True).split())
    assert least * 0.97 <= shown <= most
    assert shown > 300 * MIB + 150 * MIB  # half of it is no tensor


def test_memory_beyond_tensors_is_counted() -> None:
    alone = predict_resident_set(1000 * MIB, 100 * MIB, LIBRARIES)
    assert alone.least - LIBRARIES == 1000 * MIB
    assert alone.most - LIBRARIES == 1240 * MIB
    in_16_bits = predict_resident_set(1000 * MIB, 100 * MIB, LIBRARIES, in_16_bits=True)
    assert in_16_bits.most - LIBRARIES == 1240 * MIB + ONEDNN_BYTES
    together = predict_resident_set(1000 * MIB, 100 * MIB, LIBRARIES, ranks=2)
    assert together.most - LIBRARIES == 1190 * MIB  # each reads half of the model
    whole = predict_resident_set(1000 * MIB, 100 * MIB, LIBRARIES, ranks=2, read_whole=True)
    assert whole.most - LIBRARIES == 1340 * MIB  # each holds all of it, and its file


def test_the_text_is_one_line() -> None:
    text = str(predict_resident_set(1 << 30, 1 << 28, LIBRARIES))
    assert text.startswith("about ")
    assert "of Python and libraries" in text
