# ruff: noqa: F401
"""What children of `run_process` begin with: all that a run imports, and no tensor computed."""

import numpy.ma
import rich.status
import tokenizers.trainers
import transformers.models.auto.tokenization_auto
import transformers.models.llama.modeling_llama
import transformers.tokenization_utils_tokenizers
from transformers.conversion_mapping import get_checkpoint_conversion_mapping

import gpu_runner.cli.application
import gpu_runner.config.load
import gpu_runner.run.fine_tune
import gpu_runner.run.resume
import run_process

get_checkpoint_conversion_mapping("llama")  # a thousand regular expressions
