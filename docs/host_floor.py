"""Measure what a layer costs the processor: the constants of py/unfrozen/plan/timing/host.py.

    .venv/bin/python docs/host_floor.py              transformers, PEFT and FSDP2
    .venv/bin/python docs/host_floor.py deepspeed    ZeRO-1 and ZeRO-3 too; needs `deepspeed`

Layers of a Llama 32 wide compute next to nothing, so that their processor time is what Python, the
dispatcher, autograd and the hooks of sharding take. A GPU would add the launch of each kernel.
"""

from __future__ import annotations

import os
import statistics
import sys
import time
from collections.abc import Callable
from typing import Any, Final

import torch
from peft import LoraConfig, get_peft_model
from torch import distributed
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import fully_shard
from transformers import LlamaConfig, LlamaForCausalLM

LAYERS: Final = 8
KERNELS: Final = (34 + 7 * 9, 56 + 7 * 13)
"""Of one layer with seven adapters under autocast, forward and backward, as the planner counts."""
TOKENS: Final = torch.randint(0, 64, (1, 8), generator=torch.Generator().manual_seed(0))


def model(checkpointing: bool = False) -> Any:
    """A Llama in bf16 whose matmuls cost nothing."""
    sizes = {"hidden_size": 32, "intermediate_size": 64, "vocab_size": 64}
    heads = {"num_attention_heads": 2, "num_key_value_heads": 2}
    config = LlamaConfig(num_hidden_layers=LAYERS, use_cache=False, **sizes, **heads)
    found = LlamaForCausalLM(config).to(torch.bfloat16).train()
    if checkpointing:
        found.gradient_checkpointing_enable(gradient_checkpointing_kwargs={"use_reentrant": False})
    return found


def milliseconds(step: Callable[[], object], times: int = 15) -> float:
    """Processor time of one layer, the median."""
    found = []
    for _ in range(3 + times):
        before = time.process_time()
        step()
        found.append(time.process_time() - before)
    return 1e3 * statistics.median(found[3:]) / LAYERS


def trained(found: Any) -> float:
    """Both passes of a model that is called as any other."""
    return milliseconds(lambda: found(input_ids=TOKENS, labels=TOKENS).loss.backward())


def adapted() -> tuple[float, float]:
    """A layer with seven adapters of PEFT under autocast, forward and backward."""
    found = get_peft_model(model(), LoraConfig(r=4, lora_dropout=0.05, target_modules="all-linear"))
    found.enable_input_require_grads()

    def forward() -> torch.Tensor:
        with torch.autocast("cpu", torch.bfloat16):
            return found(input_ids=TOKENS, labels=TOKENS).loss

    ahead = milliseconds(forward)
    return ahead, milliseconds(lambda: forward().backward()) - ahead


def sharded() -> float:
    """Both passes under FSDP2, each layer and the whole."""
    found, mesh = model(), init_device_mesh("cpu", (1,))
    for part in (*found.model.layers, found):
        fully_shard(part, mesh=mesh)
    return trained(found)


def by_deepspeed(stage: int) -> float:
    """All passes under ZeRO with recomputation, gradients added up and never applied."""
    import deepspeed

    zero = {"stage": stage, "stage3_param_persistence_threshold": 0}
    adam = {"type": "AdamW", "params": {"torch_adam": True}}
    config = {
        "train_micro_batch_size_per_gpu": 1,
        "gradient_accumulation_steps": 10**6,
        **{"zero_optimization": zero, "bf16": {"enabled": True}, "optimizer": adam},
    }
    one = model(checkpointing=True)
    engine, *_ = deepspeed.initialize(
        model=one, config=config, model_parameters=one.parameters(), dist_init_required=False
    )
    return milliseconds(lambda: engine.backward(engine(input_ids=TOKENS, labels=TOKENS).loss))


def main() -> None:
    """Print each constant."""
    os.environ |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": "29871", "DS_ACCELERATOR": "cpu"}
    os.environ |= {"RANK": "0", "LOCAL_RANK": "0", "WORLD_SIZE": "1"}
    torch.set_num_threads(1)
    distributed.init_process_group("gloo", rank=0, world_size=1)
    for name, each, kernels in zip(("forward", "backward"), adapted(), KERNELS, strict=True):
        print(
            f"{name}: {each:.2f} ms a layer with adapters, {1e3 * each / kernels:.1f} µs a kernel"
        )
    plain = trained(model())
    print(f"FSDP2: {(sharded() - plain) / 2:.2f} ms a layer and pass")
    if "deepspeed" in sys.argv:
        again = trained(model(checkpointing=True))
        print(f"ZeRO-1: {(by_deepspeed(1) - again) / 9:.2f} ms a weight")
        print(f"ZeRO-3: {(by_deepspeed(3) - again) / 9 / 3:.2f} ms a weight and pass")
    distributed.destroy_process_group()


if __name__ == "__main__":
    main()
