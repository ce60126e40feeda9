"""From files of examples to batches of sequences.

Reading order:

- `hub` — data sets of the Hugging Face hub, and whether it can be reached
- `files` — files told apart by what they hold: compressed or not, text, a table, an array
- `sources` — rows of a file or of a hub data set; bad ones are refused with their line
- `chat` — a chat as its model writes it, and which of its characters are trained
- `examples` — one encoded example, and what is known of many
- `encode` — a row to token ids and the mask of what is trained
- `packing` — which sequences of a step share a micro-batch
- `feed` — micro-batches, packed or padded; their order follows from (seed, epoch)
- `dataset` — encoded data sets: counted, held out, refused where nothing can be trained
- `stored` — encoded examples in files that are mapped into memory
- `cache` — encoded examples of large sources, made once and found again
- `combine` — data sets made of others: by weight, with replay, held out
- `preview` — what will be trained, in numbers
- `run_data` — the data sets of a run: trained on, replayed, scored
"""
