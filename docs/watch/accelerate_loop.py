"""A watched loop with Accelerate: one tracker."""

import torch
from accelerate import Accelerator
from transformers import AutoModelForCausalLM, AutoTokenizer

import unfrozen
from gpu_runner.data.rows import read_rows
from gpu_runner.demo import general_eval, model_dir, task_eval, task_train

model = AutoModelForCausalLM.from_pretrained(model_dir(), dtype=torch.float32).train()
tokenizer = AutoTokenizer.from_pretrained(model_dir())
optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3)
rows = [row for _, row in read_rows(str(task_train()))]

tracker = unfrozen.Tracker(
    model, optimizer, tokenizer=tokenizer, task=task_eval(), general=general_eval(), steps=20
)
accelerator = Accelerator(log_with=tracker)
model, optimizer = accelerator.prepare(model, optimizer)
accelerator.init_trackers("demo", config={"lr": 1e-3})
for step in range(20):
    texts = [row["prompt"] + row["completion"] for row in rows[8 * step : 8 * step + 8]]
    batch = tokenizer(texts, return_tensors="pt", padding=True).to(accelerator.device)
    labels = batch["input_ids"].masked_fill(batch["attention_mask"] == 0, -100)
    accelerator.backward(model(**batch, labels=labels).loss)
    optimizer.step()
    optimizer.zero_grad()
accelerator.end_training()
