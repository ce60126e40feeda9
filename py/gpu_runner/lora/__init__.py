"""Full fine-tuning beside LoRA, each at its own best rate: `python -m gpu_runner.lora`.

Reading order: methods, trial, study, report.
"""
