"""Full fine-tuning with PyTorch, streamed to the page as it happens.

Reading order (each module uses only those above it):

- what a run is asked for: `errors` · `installed` · `demo` · `bounds` · `config` ·
  `config_file` · `options`
- from a row to a batch: `hub` · `lines` · `encode` · `packing` · `feed` · `data`
- the step and what it stands on: `world` · `attention` · `model` · `fused` · `blocks` ·
  `host_memory` · `loss` · `checkpoint` · `anchor` · `rounding` · `update_rules` · `muon` ·
  `eight_bit` · `optim` · `early` · `penalties` · `measure` · `train`
- what is kept of it: `training_state`
- what is said about it: `evaluate` · `history` · `tail` · `log` · `pulse` · `record` ·
  `observe`
- before the first step: `predict` · `remedy` · `sets` · `plan` · `fisher` · `run_start` ·
  `pace`
- a step that costs nothing: `step_tracker` · `adapters` · `trace` · `trace_report`
- until the last line: `keep` · `progress` · `plan_table` · `ending` · `mailbox` · `signals` ·
  `obey` · `running` · `session`
- many runs side by side: `forgetting` · `lora`
- about the machine, and for other tools: `export` · `doctor` · `selftest`
- the page and its runs: `runs` · `guard` · `site` · `stream` · `recipes` · `launch` · `control` ·
  `serve`
- what is typed: `commands` · `application` · `command_line`
"""
