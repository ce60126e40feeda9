"""`python -m gpu_runner.cluster --runs RUNS [--bucket DIR] TORCHRUN OPTIONS -- TRAIN OPTIONS`."""

import sys

from gpu_runner.cluster.launch import main

if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
