"""A watched Trainer of transformers: one callback more."""

import torch
from transformers import (
    AutoModelForCausalLM,
    AutoTokenizer,
    DataCollatorForLanguageModeling,
    Trainer,
    TrainingArguments,
)

import unfrozen
from gpu_runner.data.rows import read_rows
from gpu_runner.demo import general_eval, model_dir, task_eval, task_train

model = AutoModelForCausalLM.from_pretrained(model_dir(), dtype=torch.float32)
tokenizer = AutoTokenizer.from_pretrained(model_dir())
texts = [row["prompt"] + row["completion"] for _, row in read_rows(str(task_train()))]
callback = unfrozen.Callback(task=task_eval(), general=general_eval())

trainer = Trainer(
    model,
    TrainingArguments(
        output_dir="out",
        max_steps=20,
        learning_rate=1e-3,
        per_device_train_batch_size=8,
        save_strategy="no",
        report_to="none",
    ),
    train_dataset=[tokenizer(text) for text in texts],
    data_collator=DataCollatorForLanguageModeling(tokenizer, mlm=False),
    processing_class=tokenizer,
    callbacks=[callback],
)
trainer.train()
