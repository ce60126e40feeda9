"""A run on machines that come and go: Slurm, SkyPilot, spot instances.

Reading order:

- `mirror` — copies of runs in a bucket, which takes whole files only
- `launch` — one machine's part of a run: begun, gone on with or done, and its exit code
"""
