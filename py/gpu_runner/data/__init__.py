"""From a row to a batch.

Reading order:

- `hub` — whether there is a way to the Hugging Face hub
- `opened` — files by what they hold: compressed or not, text, a table, an array
- `tables` — rows of CSV, TSV and Parquet
- `lines` — rows of JSON, of a table or of a hub data set, refused by line
- `chat` — a chat as its model speaks it, and which of its characters are learned
- `plain` — rows as text where there is no chat template
- `example` — one encoded row
- `encode` — a row to token ids and the mask of what is learned
- `packing` — which rows of a step go through the model together
- `feed` — micro-batches, packed or padded; order follows from (seed, epoch)
- `rows` — sets of rows: counted, replayed, held out, refused where need be
- `store` — encoded rows of large files, on disk
- `preview` — what will be trained, in numbers
- `sets` — the rows of a run: trained on, replayed, scored
"""
