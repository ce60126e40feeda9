"""A watched custom loop: two lines more than without."""

from pathlib import Path

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

import unfrozen
from gpu_runner.data.rows import read_rows
from gpu_runner.demo import general_eval, model_dir, task_eval, task_train

model = AutoModelForCausalLM.from_pretrained(model_dir(), dtype=torch.float32).train()
tokenizer = AutoTokenizer.from_pretrained(model_dir())
optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3)
rows = [row for _, row in read_rows(str(task_train()))]

with unfrozen.watch(
    model,
    optimizer,
    tokenizer=tokenizer,
    task=task_eval(),
    general=general_eval(),
    steps=20,
) as run:
    for step in range(20):
        texts = [row["prompt"] + row["completion"] for row in rows[8 * step : 8 * step + 8]]
        batch = tokenizer(texts, return_tensors="pt", padding=True)
        labels = batch["input_ids"].masked_fill(batch["attention_mask"] == 0, -100)
        model(**batch, labels=labels).loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad()

print(Path(run.place or "") / "events.jsonl")
