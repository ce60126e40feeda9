"""A run on machines that come and go: Slurm, SkyPilot, spot instances.

Reading order:

- `bucket` — copies of runs in a mounted bucket, which takes whole files only

`python -m gpu_runner.cluster` is one machine's part of a run: begun, resumed or already finished.
"""
