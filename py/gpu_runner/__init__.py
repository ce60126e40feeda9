"""Full fine-tuning with PyTorch, streamed to the page as it happens."""
