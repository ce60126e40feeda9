"""From one row of data to token ids and a mask that says which of them the model learns to predict.

Row formats, told apart by their keys, the first that is there:

| keys                                        | what is trained                          |
|---------------------------------------------|------------------------------------------|
| `messages`, `conversations`, or lists of    | what the assistant says and calls, ends  |
| messages in `prompt` and `completion`       | included; see `chat.messages`            |
| `prompt`, `completion`                      | the completion, end included             |
| `instruction`, (`input`), `output`          | the output, end included                 |
| `text`                                      | everything                               |

All but the last go through the tokenizer's chat template when it has one; when it has none, what
stands in `plain`. A chat whose template changes earlier answers becomes several rows.

The mask is made from character spans of the rendered text and the tokenizer's own offsets, so that
one tokenization serves for training and for inference: no token is split at a seam that would not
be there when the model is used. A token is trained if any of its characters is.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from gpu_runner.data.chat import messages
from gpu_runner.data.chat.answers import Answers, Span
from gpu_runner.data.chat.messages import THOUGHTS, BadRow, Chat, check_unicode, string
from gpu_runner.data.chat.template import Template
from gpu_runner.data.examples import Example, tokens_of
from gpu_runner.errors import DataError


@dataclass(frozen=True, slots=True)
class Segment:
    """A stretch of text, and whether the model learns to write it."""

    text: str
    trained: bool


def question_and_answer(row: Mapping[str, Any]) -> tuple[str, str] | None:
    """What is asked and answered in a row of prompt or instruction; None for any other.

    Raises `BadRow` for one that is not text.
    """
    if "prompt" in row or "completion" in row:
        return string(row, "prompt"), string(row, "completion")
    if "instruction" in row or "output" in row:
        task, answer = string(row, "instruction"), string(row, "output")
        extra = string(row, "input") if row.get("input") else ""
        return (f"{task}\n\n{extra}" if extra else task), answer
    return None


def pair_segments(row: Mapping[str, Any], start: str, end: str) -> list[Segment]:
    """A row of prompt or instruction between the tokens `start` and `end`."""
    if "prompt" in row or "completion" in row:
        prompt, answer = string(row, "prompt"), string(row, "completion")
        return [Segment(start + prompt, False), Segment(answer + end, True)]
    task, answer = string(row, "instruction"), string(row, "output")
    extra = string(row, "input") if row.get("input") else ""
    middle = f"Input: {extra}\n" if extra else ""
    head = f"{start}Instruction: {task}\n{middle}Response:"
    return [Segment(head, False), Segment(f" {answer}{end}", True)]


def text_segments(row: Mapping[str, Any], start: str, end: str) -> list[Segment]:
    """A row of text."""
    return [Segment(start, False), Segment(string(row, "text") + end, True)]


def chat_segments(found: Chat, trained: Iterable[int], start: str, end: str) -> list[Segment]:
    """A chat of which some answers are trained. Raises `BadRow` for calls of tools."""
    learned = set(trained)
    segments = [Segment(start, False)]
    for index, message in enumerate(found.messages):
        if "tool_calls" in message:
            raise BadRow(
                f"message {index} calls a tool, and the tokenizer has no chat template that says"
                " how: give --chat-template a file with one"
            )
        if THOUGHTS[0] in message:
            found.notes.append(f'without a chat template "{THOUGHTS[0]}" is left out')
        role, content = message["role"], message["content"]
        if role == "assistant":
            segments += [Segment("Assistant:", False)]
            segments += [Segment(f" {content}{end}", index in learned), Segment("\n", False)]
        else:
            segments += [Segment(f"{role.capitalize()}: {content}\n", False)]
    if found.tools:
        found.notes.append('without a chat template "tools" are left out')
    return segments


__all__ = ["BadRow", "Encoder", "Example", "Rendered", "pad_token"]

Row = Mapping[str, Any]
NO_TEMPLATE: Final = "none"  # in place of one
FORMATS: Final = (
    '{"messages": [{"role", "content"}, …]}, {"conversations": [{"from", "value"}, …]}, {"prompt",'
    ' "completion"}, {"instruction", "input", "output"} or {"text"}'
)
_EMPTY: Final = "an answer is empty, so that only its end is trained"
_ENDLESS: Final = "the tokenizer has no end token, so that the model does not learn to stop"


@dataclass(frozen=True, slots=True)
class Rendered:
    """A row as text, the [start, end) of what is trained in it, and what is to be said of it."""

    row: Row
    text: str
    spans: tuple[Span, ...]
    notes: tuple[str, ...] = ()
    in_template: bool = False
    """Whether a question and an answer went through a template made for chats."""


class Encoder:
    """Renders, tokenizes and masks rows with one tokenizer.

    `tokenizer` is a fast Hugging Face tokenizer (offsets are needed), `seq_len` the longest row.
    `template` is a chat template in place of the tokenizer's own, "none" for none, and `today` the
    date (ISO) that it may tell. `train_on` is "assistant": every answer, "last": the last message
    of the assistant, or "all": questions too.
    """

    def __init__(
        self,
        tokenizer: Any,
        seq_len: int,
        *,
        template: str | None = None,
        train_on: str = "assistant",
        today: str | None = None,
    ) -> None:
        if not tokenizer.is_fast:
            raise DataError(
                f"tokenizer {type(tokenizer).__name__} gives no character offsets, which the loss"
                " mask needs: save it with a tokenizer.json (a 'fast' tokenizer)."
            )
        self._tokenizer = tokenizer
        self._seq_len = seq_len
        self._train_on = train_on
        self._end = tokenizer.eos_token or ""
        self._start = _start_text(tokenizer)
        self._marks = _marks(tokenizer)
        own = bool(getattr(tokenizer, "chat_template", None))
        self.has_template = template != NO_TEMPLATE and (own or template is not None)
        self._template = Template(tokenizer, template, today, used=self.has_template)
        self._answers = Answers(self._template, tokenizer)

    def identity(self) -> tuple[object, ...]:
        """Everything that what is made of a row follows from."""
        made = self._tokenizer.backend_tokenizer.to_str()
        tokens = sorted(self._tokenizer.special_tokens_map.items())
        return (made, tokens, self._seq_len, self._train_on, self._template.identity())

    def encode(self, row: Row) -> Example:
        """Ids and mask of the last text of one row. Raises `BadRow` with the key and the reason."""
        return self.examples(self.render(row))[-1]

    def render(self, row: Row) -> list[Rendered]:
        """The texts of one row, most often one. Raises `BadRow` with the key and the reason."""
        found = self._rendered(row)
        for one in found:
            check_unicode(one.text)
        return found

    def _rendered(self, row: Row) -> list[Rendered]:
        if messages.is_chat(row):
            chat = messages.read(row)
            return self._chat(chat, row)
        pair = question_and_answer(row)
        if pair is not None:
            return [self._pair(row, *pair)]
        if "text" in row:
            segments = text_segments(row, self._start, self._end)
            return [_joined(row, segments, list(messages.unused(row, ("text",))), self._end)]
        keys = ", ".join(map(str, list(row)[:6])) or "none"
        raise BadRow(
            f"its keys are {keys}, but a row is {FORMATS}. Other names are told behind the file:"
            " FILE:prompt=QUESTION,completion=ANSWER"
        )

    def examples(self, rendered: Sequence[Rendered]) -> list[Example]:
        """Ids and masks of texts, tokenized together."""
        texts = [one.text for one in rendered]
        found = self._encodings(texts)
        return [self._example(one, row.spans) for one, row in zip(found, rendered, strict=True)]

    def _encodings(self, texts: list[str]) -> list[Any]:
        self._tokenizer("", add_special_tokens=False)  # which takes limits off that others set
        found: list[Any] = self._tokenizer.backend_tokenizer.encode_batch(
            texts, add_special_tokens=False
        )
        return found

    def show(self, example: Example, most: int = 60) -> str:
        """The row's tokens as text with trained ones in [brackets], at most `most` of them."""
        shown = []
        for token_id, trained in list(zip(example.ids, example.trained, strict=True))[:most]:
            token = self.text_of(token_id)
            shown.append(f"[{token}]" if trained else token)
        return repr("".join(shown)) + (" …" if len(example.ids) > most else "")

    def text_of(self, token: int) -> str:
        """One token as text."""
        return str(self._tokenizer.decode([token]))

    def spelled(self, row: Row, example: Example) -> list[str]:
        """What each token of an encoded row stands for in the row's text, one after the other.

        "" is a token that goes on with the character of the one before. A token that the model
        does not know the text of, and all of a row that is encoded otherwise now, are told by
        their ids.
        """
        count = len(example.ids)
        text = self.render(row)[-1].text
        found = self._encodings([text])[0]
        if tuple(found.ids[:count]) != example.ids:
            return [self.text_of(token) for token in example.ids]
        spelled, done = [], 0
        for token, (_, end) in zip(example.ids, found.offsets, strict=False):
            known = token != self._tokenizer.unk_token_id
            spelled.append(text[done:end] if known else self.text_of(token))
            done = max(done, end)
        return spelled

    def is_mark(self, token: int) -> bool:
        """Whether a token is no text, but one of the tokenizer's marks: an end, a role."""
        return token in self._marks

    def prompt_text(self, row: Row) -> str:
        """What a person would type to get this row's answer: the row up to its first trained span.

        For `text` rows, the first half of the words.
        """
        if not _is_asked(row) and "text" in row:
            words = string(row, "text").split(" ")
            return self._start + " ".join(words[: max(1, len(words) // 2)])
        rendered = self.render(row)[0]
        return rendered.text[: rendered.spans[0][0]] if rendered.spans else rendered.text

    def question_of(self, row: Row) -> str:
        """The row's question in a person's words, for showing it."""
        if messages.is_chat(row):
            asked = [one for one in messages.read(row).messages if one["role"] == "user"]
            return str(asked[0]["content"]) if asked else ""
        for key in ("prompt", "instruction"):
            if key in row:
                return string(row, key)
        return self.prompt_text(row).removeprefix(self._start)

    def question_text(self, prompt: str) -> str:
        """A bare prompt as the model expects it: inside the chat template, if there is one."""
        if self.has_template:
            shaped, _ = self._template.fitted([{"role": "user", "content": prompt}], None, {})
            return self._template.render(shaped, answer_next=True).text
        return self._start + prompt

    def has_answer(self, row: Row) -> bool:
        """Whether there is anything in a row that a model could learn to say."""
        if not messages.is_chat(row):
            return True
        return any(one["role"] == "assistant" for one in messages.read(row).messages)

    def is_weighed_out(self, row: Row) -> bool:
        """Whether a row has answers and none of them is to be trained."""
        if not messages.is_chat(row) or not self.has_answer(row):
            return False
        return self._train_on != "all" and not messages.read(row).trained

    def _pair(self, row: Row, question: str, answer: str) -> Rendered:
        keys = ("prompt", "completion") if "prompt" in row else ("instruction", "input", "output")
        notes = list(messages.unused(row, keys))
        if not answer.strip():
            notes.append(_EMPTY)
        if not self.has_template:
            segments = pair_segments(row, self._start, self._end)
            if self._train_on == "all":
                segments = [Segment(one.text, True) for one in segments]
            return _joined(row, segments, notes, self._end)
        asked, said = {"role": "user", "content": question}, {"content": answer}
        chat = messages.Chat([asked, {"role": "assistant", **said}], [1])
        (piece,) = self._answers.pieces(chat, self._train_on)
        told = {*notes, *chat.notes}
        return Rendered(row, piece.text, piece.spans, tuple(sorted(told)), in_template=True)

    def _chat(self, chat: messages.Chat, row: Row) -> list[Rendered]:
        if not self.has_template:
            answers = [i for i, one in enumerate(chat.messages) if one["role"] == "assistant"]
            wanted: Iterable[int] = chat.trained
            if self._train_on == "last":
                wanted = set(chat.trained) & set(answers[-1:])
            segments = chat_segments(chat, wanted, self._start, self._end)
            if self._train_on == "all":
                segments = [Segment(one.text, True) for one in segments]
            return [_joined(row, segments, chat.notes, self._end)]
        pieces = self._answers.pieces(chat, self._train_on)
        told = tuple(sorted(set(chat.notes)))
        if len(pieces) == 1:
            return [Rendered(row, pieces[0].text, pieces[0].spans, told)]
        return [
            Rendered(chat.upto(one.last, list(one.trained)), one.text, one.spans, told)
            for one in pieces
        ]

    def _example(self, encoding: Any, spans: Sequence[Span]) -> Example:
        ids = encoding.ids
        trained = [False] * len(ids)
        for start, end in spans:
            first, last = tokens_of(encoding, start, end, len(ids))
            trained[first:last] = [True] * (last - first)
        trained[:1] = [False] * bool(ids)
        keep = self._seq_len
        return Example(tuple(ids[:keep]), tuple(trained[:keep]), max(0, len(ids) - keep))


def _is_asked(row: Row) -> bool:
    return messages.is_chat(row) or any(k in row for k in ("prompt", "completion", "instruction"))


def _joined(row: Row, segments: list[Segment], notes: list[str], end: str) -> Rendered:
    """Segments as one text with the spans of the trained ones."""
    spans, position = [], 0
    for segment in segments:
        if segment.trained:
            spans.append((position, position + len(segment.text)))
        position += len(segment.text)
    if not end:
        notes = [*notes, _ENDLESS]
    text = "".join(segment.text for segment in segments)
    return Rendered(row, text, tuple(spans), tuple(sorted(set(notes))))


def _start_text(tokenizer: Any) -> str:
    """The token this tokenizer itself puts before a text, if it does (Llama does, GPT-2 not)."""
    bos = tokenizer.bos_token
    ids = tokenizer("a").input_ids
    return str(bos) if bos and ids and ids[0] == tokenizer.bos_token_id else ""


def _marks(tokenizer: Any) -> frozenset[int]:
    added = tokenizer.added_tokens_decoder.items()
    return frozenset(tokenizer.all_special_ids) | {token for token, one in added if one.special}


def pad_token(tokenizer: Any) -> int:
    """The id that fills rows up; it never enters attention or loss, so any token will do."""
    for candidate in (tokenizer.pad_token_id, tokenizer.eos_token_id):
        if candidate is not None:
            return int(candidate)
    return 0
