"""What the demo model is made of: word lists, grammars, tokenizer, network, and its card."""
