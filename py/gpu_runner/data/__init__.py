"""From files of examples to batches of sequences.

Reading order:

- `hub` — data sets of the Hugging Face hub, and whether it can be reached
- `rows` — the rows of a file or of a hub data set; bad ones are refused with their line
- `chat` — chats as text, and which of its characters are trained
- `examples` — encoded examples, in memory or on disk
- `encode` — rows to examples: token ids, and the mask of what is trained
- `dataset` — encoded data sets, and the count of everything left out
- `cache` — large sources, encoded once and found again
- `combine` — data sets made of others: held out, mixed by weight, replayed
- `run_data` — the data sets of a run: trained on, replayed, scored
- `feed` — examples to micro-batches, packed or padded; their order follows from (seed, epoch)
- `preview` — what will be trained, in numbers
"""
