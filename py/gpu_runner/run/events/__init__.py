"""What a run says, in its log and at the terminal.

Reading order:

- `progress` — what a person at the terminal sees
- `record` — everything a run says, event by event
- `start_event` — the first event: what runs, on what, by which plan
- `rows_event` — … and the second: what is trained
- `out_of_memory` — what is known of a run that had no memory left
"""
