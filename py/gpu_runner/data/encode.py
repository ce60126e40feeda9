"""From one row of data to token ids and a mask that says which of them the model learns to predict.

Four row formats, told apart by their keys:

| keys                                  | what is trained                       |
|---------------------------------------|---------------------------------------|
| `messages` [{role, content}, …]       | what the assistant says, end included |
| `prompt`, `completion`                | the completion, end included          |
| `instruction`, (`input`), `output`    | the output, end included              |
| `text`                                | everything                            |

The first three go through the tokenizer's chat template when it has one. When it has none, this
plain template stands in (⏎ is a newline, ␃ the end-of-text token; the trained part is in brackets):

    prompt/completion   {prompt}[{completion}␃]                  spaces are yours to give
    instruction         Instruction: …⏎Input: …⏎Response:[ …␃]
    messages            User: …⏎Assistant:[ …␃]⏎User: …⏎Assistant:[ …␃]
    text                [{text}␃]

The mask is made from character spans of the rendered text and the tokenizer's own offsets, so that
one tokenization serves for training and for inference: no token is split at a seam that would not
be there when the model is used. A token is trained if it begins inside a trained span.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from gpu_runner.errors import DataError

_SURROGATE: Final = re.compile("[\ud800-\udfff]")  # no text, and tokenizers refuse it
ROLES: Final = ("system", "user", "assistant")
FORMATS: Final = (
    '{"messages": [{"role", "content"}, …]}, {"prompt", "completion"}, '
    '{"instruction", "input", "output"} or {"text"}'
)

SHAREGPT: Final = (
    "Rename conversations to messages, in each from to role (human to user, gpt to assistant) and"
    " value to content"
)


@dataclass(frozen=True, slots=True)
class Segment:
    """A stretch of rendered text, and whether the model learns to write it."""

    text: str
    trained: bool


@dataclass(frozen=True, slots=True)
class Example:
    """One encoded row: `ids` (T,) and `trained` (T,), right-truncated to the longest length.

    The first token has nothing before it to be predicted from, so it is never trained.
    """

    ids: tuple[int, ...]
    trained: tuple[bool, ...]
    cut_tokens: int = 0
    """Tokens that truncation dropped."""

    @property
    def trainable_tokens(self) -> int:
        """How many predictions of this row enter the loss."""
        return sum(self.trained)

    @property
    def trained_positions(self) -> list[int]:
        """Where they are."""
        return [position for position, trained in enumerate(self.trained) if trained]


class BadRow(ValueError):
    """Why a row cannot be used; the reader of the file adds file and line number."""


class Encoder:
    """Renders, tokenizes and masks rows with one tokenizer.

    `tokenizer` is a fast Hugging Face tokenizer (offsets are needed), `seq_len` the longest row.
    """

    def __init__(self, tokenizer: Any, seq_len: int) -> None:
        if not tokenizer.is_fast:
            raise DataError(
                f"tokenizer {type(tokenizer).__name__} gives no character offsets, which the loss"
                " mask needs: save it with a tokenizer.json (a 'fast' tokenizer)."
            )
        self._tokenizer = tokenizer
        self._seq_len = seq_len
        self._end = tokenizer.eos_token or ""
        self._start = _start_text(tokenizer)
        self.has_template = bool(getattr(tokenizer, "chat_template", None))

    def encode(self, row: Mapping[str, Any]) -> Example:
        """Ids and mask of one row. Raises `BadRow` with the key and the reason."""
        segments = self._segments(row)
        text = "".join(segment.text for segment in segments)
        tokens = self._tokenizer(text, add_special_tokens=False, return_offsets_mapping=True)
        spans = _trained_spans(segments)
        trained = [
            index > 0 and any(start < high and low < end for low, high in spans)
            for index, (start, end) in enumerate(tokens["offset_mapping"])
        ]
        ids = tokens["input_ids"]
        keep = self._seq_len
        return Example(tuple(ids[:keep]), tuple(trained[:keep]), max(0, len(ids) - keep))

    def show(self, example: Example, most: int = 60) -> str:
        """The row's tokens as text with trained ones in [brackets], at most `most` of them."""
        shown = []
        for token_id, trained in list(zip(example.ids, example.trained, strict=True))[:most]:
            token = self._tokenizer.decode([token_id])
            shown.append(f"[{token}]" if trained else token)
        return repr("".join(shown)) + (" …" if len(example.ids) > most else "")

    def prompt_text(self, row: Mapping[str, Any]) -> str:
        """What a person would type to get this row's answer: the row up to its first trained span.

        For `text` rows, the first half of the words.
        """
        if "text" in row:
            words = _string(row, "text").split(" ")
            return self._start + " ".join(words[: max(1, len(words) // 2)])
        segments = self._segments(row)
        first = next((i for i, segment in enumerate(segments) if segment.trained), len(segments))
        return "".join(segment.text for segment in segments[:first])

    def question_of(self, row: Mapping[str, Any]) -> str:
        """The row's question in a person's words, for showing it."""
        if "messages" in row:
            asked = [m["content"] for m in _messages(row["messages"]) if m["role"] == "user"]
            return asked[0] if asked else ""
        for key in ("prompt", "instruction"):
            if key in row:
                return _string(row, key)
        return self.prompt_text(row).removeprefix(self._start)

    def question_text(self, prompt: str) -> str:
        """A bare prompt as the model expects it: inside the chat template, if there is one."""
        if self.has_template:
            return self._render([{"role": "user", "content": prompt}], answer_next=True)
        return self._start + prompt

    def _segments(self, row: Mapping[str, Any]) -> list[Segment]:
        if "messages" in row:
            messages = _messages(row["messages"])
            return self._chat(messages) if self.has_template else self._plain_chat(messages)
        if "prompt" in row or "completion" in row:
            prompt, answer = _string(row, "prompt"), _string(row, "completion")
            if self.has_template:
                return self._chat(_turns(prompt, answer))
            return [Segment(self._start + prompt, False), Segment(answer + self._end, True)]
        if "instruction" in row or "output" in row:
            return self._instruction(row)
        if "text" in row:
            text = _string(row, "text")
            return [Segment(self._start, False), Segment(text + self._end, True)]
        keys = ", ".join(map(str, list(row)[:6])) or "none"
        hint = f". {SHAREGPT}" if "conversations" in row else ""
        raise BadRow(f"its keys are {keys}, but a row is {FORMATS}{hint}")

    def _instruction(self, row: Mapping[str, Any]) -> list[Segment]:
        task, answer = _string(row, "instruction"), _string(row, "output")
        extra = _string(row, "input") if row.get("input") else ""
        if self.has_template:
            return self._chat(_turns(f"{task}\n\n{extra}" if extra else task, answer))
        middle = f"Input: {extra}\n" if extra else ""
        head = f"{self._start}Instruction: {task}\n{middle}Response:"
        return [Segment(head, False), Segment(f" {answer}{self._end}", True)]

    def _plain_chat(self, messages: list[dict[str, str]]) -> list[Segment]:
        segments = [Segment(self._start, False)]
        for message in messages:
            role, content = message["role"], message["content"]
            if role == "assistant":
                segments += [Segment("Assistant:", False), Segment(f" {content}{self._end}", True)]
                segments += [Segment("\n", False)]
            else:
                segments += [Segment(f"{role.capitalize()}: {content}\n", False)]
        return segments

    def _chat(self, messages: list[dict[str, str]]) -> list[Segment]:
        """Split the rendered chat at what the template puts before and after each answer."""
        segments: list[Segment] = []
        done = ""
        for index, message in enumerate(messages):
            if message["role"] != "assistant":
                continue
            if index == 0:
                raise BadRow("message 0 is the assistant's: put before it what it answers")
            before = self._render(messages[:index], answer_next=True)
            after = self._render(messages[: index + 1], answer_next=False)
            if not (before.startswith(done) and after.startswith(before)):
                raise BadRow(
                    "the tokenizer's chat template changes earlier turns when later ones follow,"
                    " so answers cannot be told from questions: split the chat into one row an"
                    " answer"
                )
            segments += [Segment(before[len(done) :], False), Segment(after[len(before) :], True)]
            done = after
        whole = self._render(messages, answer_next=False)
        if whole.startswith(done) and whole != done:
            segments.append(Segment(whole[len(done) :], False))
        return segments

    def _render(self, messages: list[dict[str, str]], *, answer_next: bool) -> str:
        try:
            return str(
                self._tokenizer.apply_chat_template(
                    messages, tokenize=False, add_generation_prompt=answer_next
                )
            )
        except Exception as error:  # the template is a program of the model's author: any error
            reason = str(error).rstrip(".")
            raise BadRow(f"the tokenizer's chat template refuses it: {reason}") from error


def _turns(question: str, answer: str) -> list[dict[str, str]]:
    return [{"role": "user", "content": question}, {"role": "assistant", "content": answer}]


def _trained_spans(segments: list[Segment]) -> list[tuple[int, int]]:
    """[start, end) of every trained segment, in characters of the joined text."""
    spans, position = [], 0
    for segment in segments:
        if segment.trained:
            spans.append((position, position + len(segment.text)))
        position += len(segment.text)
    return spans


def _start_text(tokenizer: Any) -> str:
    """The token this tokenizer itself puts before a text, if it does (Llama does, GPT-2 not)."""
    bos = tokenizer.bos_token
    ids = tokenizer("a").input_ids
    return str(bos) if bos and ids and ids[0] == tokenizer.bos_token_id else ""


def _string(row: Mapping[str, Any], key: str) -> str:
    value = row.get(key)
    if not isinstance(value, str):
        got = "is missing" if value is None else f"is {type(value).__name__} {value!r}"[:80]
        raise BadRow(f'"{key}" {got}, but must be a string')
    if (half := _SURROGATE.search(value)) is not None:
        raise BadRow(f'"{key}" holds half a character (\\u{ord(half[0]):04x} at {half.start()})')
    return value


def _messages(value: object) -> list[dict[str, str]]:
    if not isinstance(value, list) or not value:
        raise BadRow('"messages" must be a list of at least one {"role", "content"}')
    messages = []
    for index, message in enumerate(value):
        if not isinstance(message, dict):
            raise BadRow(f"message {index} is {type(message).__name__}, but must be an object")
        role = message.get("role")
        if role not in ROLES:
            raise BadRow(
                f"message {index} has role {role!r}, but must have one of {', '.join(ROLES)}:"
                " write it as one of these, or leave such rows out with --skip-bad-rows"
            )
        try:
            messages.append({"role": str(role), "content": _string(message, "content")})
        except BadRow as error:
            calls = "; calls of tools are not trained" if "tool_calls" in message else ""
            raise BadRow(f"message {index}: {error}{calls}") from None
    return messages


def pad_token(tokenizer: Any) -> int:
    """The id that fills rows up; it never enters attention or loss, so any token will do."""
    for candidate in (tokenizer.pad_token_id, tokenizer.eos_token_id):
        if candidate is not None:
            return int(candidate)
    return 0
