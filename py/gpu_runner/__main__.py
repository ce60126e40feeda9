"""`python -m gpu_runner …` is `unfrozen …`, also under torchrun."""

from __future__ import annotations

from gpu_runner.cli.command_line import main

if __name__ == "__main__":
    main()
