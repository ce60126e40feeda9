"""A watched Trainer of Lightning: one callback more."""

import pytorch_lightning as lightning
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

import unfrozen
from gpu_runner.data.rows import read_rows
from gpu_runner.demo import general_eval, model_dir, task_eval, task_train

tokenizer = AutoTokenizer.from_pretrained(model_dir())
rows = [row for _, row in read_rows(str(task_train()))]


class FineTune(lightning.LightningModule):
    """The demo model, trained on all tokens of a row."""

    def __init__(self):
        super().__init__()
        self.model = AutoModelForCausalLM.from_pretrained(model_dir(), dtype=torch.float32).train()

    def training_step(self, rows):
        """Return the loss of some rows."""
        texts = [row["prompt"] + row["completion"] for row in rows]
        batch = tokenizer(texts, return_tensors="pt", padding=True)
        labels = batch["input_ids"].masked_fill(batch["attention_mask"] == 0, -100)
        return self.model(**batch, labels=labels).loss

    def configure_optimizers(self):
        """Return AdamW over all weights."""
        return torch.optim.AdamW(self.parameters(), lr=1e-3)


watcher = unfrozen.LightningCallback(tokenizer=tokenizer, task=task_eval(), general=general_eval())
trainer = lightning.Trainer(
    max_steps=20, accelerator="cpu", logger=False, enable_checkpointing=False, callbacks=[watcher]
)
batches = torch.utils.data.DataLoader(rows, batch_size=8, collate_fn=list)
trainer.fit(FineTune(), batches)
