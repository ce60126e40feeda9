"""`python -m tests.trainers CONTENDER WORK.json`."""

import json
import os
import sys
from dataclasses import asdict
from pathlib import Path

NOT_INSTALLED = 3


def main() -> int:
    """Run one contender; its outcome is the last line of what is printed."""
    os.environ |= {"OMP_WAIT_POLICY": "PASSIVE", "TOKENIZERS_PARALLELISM": "false"}
    from tests.trainers import Work

    contender, path = sys.argv[1:]
    work = Work.read(Path(path))
    import torch
    import transformers

    torch.set_num_threads(work.threads)
    transformers.utils.logging.set_verbosity_error()
    try:
        if contender == "ours":
            from tests.trainers import ours

            outcome = ours.run(work)
        else:
            from tests.trainers import theirs

            outcome = theirs.run(work, contender)
    except ImportError as error:
        print(error)
        return NOT_INSTALLED
    print(json.dumps(asdict(outcome)))
    return 0


if __name__ == "__main__":
    sys.exit(main())
