"""The comparison of full fine-tuning with LoRA. Reading order: methods, trial, study, report."""
