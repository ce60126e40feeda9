"""A watched SFTTrainer of TRL: one callback more."""

import torch
from datasets import Dataset
from transformers import AutoModelForCausalLM, AutoTokenizer
from trl import SFTConfig, SFTTrainer

import unfrozen
from gpu_runner.data.rows import read_rows
from gpu_runner.demo import general_eval, model_dir, task_eval, task_train

model = AutoModelForCausalLM.from_pretrained(model_dir(), dtype=torch.float32)
tokenizer = AutoTokenizer.from_pretrained(model_dir())
rows = [row for _, row in read_rows(str(task_train()))]

trainer = SFTTrainer(
    model,
    args=SFTConfig(
        output_dir="out",
        max_steps=20,
        learning_rate=1e-3,
        per_device_train_batch_size=8,
        save_strategy="no",
        report_to="none",
        bf16=False,
    ),
    train_dataset=Dataset.from_list(rows),
    processing_class=tokenizer,
    callbacks=[unfrozen.Callback(task=task_eval(), general=general_eval())],
)
trainer.train()
