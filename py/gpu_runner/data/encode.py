"""Rows to examples: render a row as text, tokenize the text, and mark the trained tokens.

The keys of a row tell its format; the first match counts:

| keys                                        | what is trained                          |
|---------------------------------------------|------------------------------------------|
| `messages`, `conversations`, or lists of    | the assistant's messages and tool calls, |
| messages in `prompt` and `completion`       | end tokens included; see `chat.messages` |
| `prompt`, `completion`                      | the completion, end token included       |
| `instruction`, (`input`), `output`          | the output, end token included           |
| `text`                                      | everything                               |

All but the last are rendered by the tokenizer's chat template, where it has one. A chat whose
template changes earlier answers becomes several examples.

The mask follows from character spans of the rendered text and from the tokenizer's own offsets, so
that training tokenizes as inference does: no token is split where an answer begins. A token is
trained if any of its characters is.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any, Final, NamedTuple

from gpu_runner.data.chat import messages
from gpu_runner.data.chat.answers import Answers, Span
from gpu_runner.data.chat.messages import THOUGHTS, BadRow, Chat, Message, check_unicode, string
from gpu_runner.data.chat.template import Template
from gpu_runner.data.examples import Example
from gpu_runner.data.rows import PlacedRow, refusal
from gpu_runner.errors import DataError
from gpu_runner.system import foreign
from gpu_runner.system.foreign import ForeignCodeError

Row = Mapping[str, Any]
NO_TEMPLATE: Final = "none"
"""In place of a template: rows are rendered without one."""
_AT_ONCE: Final = 256  # rows that are tokenized together
FORMATS: Final = (
    '{"messages": [{"role", "content"}, …]}, {"conversations": [{"from", "value"}, …]}, {"prompt",'
    ' "completion"}, {"instruction", "input", "output"} or {"text"}'
)
_EMPTY: Final = "an answer is empty, so that only its end token is trained"
_ENDLESS: Final = "the tokenizer has no end token, so that the model does not learn to stop"


@dataclass(frozen=True, slots=True)
class Rendered:
    """A row as text, the [start, end) of what is trained in it, and remarks about it."""

    row: Row
    text: str
    spans: tuple[Span, ...]
    notes: tuple[str, ...] = ()
    in_template: bool = False
    """Whether a prompt and a completion were rendered by a template made for chats."""


class RowExamples(NamedTuple):
    """A row that was read at `place`, as the texts that train it and the example of each."""

    place: str
    texts: Sequence[Rendered]
    examples: Sequence[Example]


class Encoder:
    """Renders and tokenizes rows with one tokenizer.

    `tokenizer` is a fast Hugging Face tokenizer (offsets are needed); an example is truncated to
    `seq_len` tokens. `template` is a chat template in place of the tokenizer's own, "none" for
    none, and `today` (ISO) the date that it may print. `train_on` is "assistant": every answer,
    "last": the last message of the assistant, or "all": questions too.
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
        self._special = _special_tokens(tokenizer)
        own = bool(getattr(tokenizer, "chat_template", None))
        self.has_template = template != NO_TEMPLATE and (own or template is not None)
        self._template = Template(tokenizer, template, today, used=self.has_template)
        self._answers = Answers(self._template, tokenizer)

    def cache_key(self) -> tuple[object, ...]:
        """Return everything that the examples of a row depend on beside the row."""
        program = self._tokenizer.backend_tokenizer.to_str()
        tokens = sorted(self._tokenizer.special_tokens_map.items())
        return (program, tokens, self._seq_len, self._train_on, self._template.cache_key())

    def encode_rows(self, rows: Iterable[PlacedRow]) -> Iterator[RowExamples | str]:
        """Yield each row encoded, or the sentence that says where it is and why it cannot be.

        Raises `DataError` where the template or the tokenizer works without end or fills memory.
        """
        rows, done = list(rows), 0
        try:
            for one in foreign.limited(lambda: self._encode_rows(rows)):
                yield one
                done += 1
        except ForeignCodeError as error:
            raise DataError(
                f"{rows[done][0]}, or a row up to {_AT_ONCE} behind it: the model's chat template"
                f" or tokenizer {error}: give another with --chat-template, or another model."
            ) from None

    def _encode_rows(self, rows: Iterable[PlacedRow]) -> Iterator[RowExamples | str]:
        waiting = iter(rows)
        while some := list(islice(waiting, _AT_ONCE)):
            rendered = [self._render_placed(place, row) for place, row in some]
            texts = [text for one in rendered if not isinstance(one, str) for text in one]
            examples = iter(self.tokenize(texts))
            for (place, _), one in zip(some, rendered, strict=True):
                if isinstance(one, str):
                    yield one
                else:
                    yield RowExamples(place, one, list(islice(examples, len(one))))

    def _render_placed(self, place: str, row: Row) -> list[Rendered] | str:
        try:
            return self.render(row)
        except BadRow as error:
            return refusal(place, error)

    def encode(self, row: Row) -> Example:
        """Return the last example of one row. Raises `BadRow` with the key and the reason."""
        return self.tokenize(self.render(row))[-1]

    def render(self, row: Row) -> list[Rendered]:
        """Return the texts of one row, most often one. Raises `BadRow` with key and reason."""
        texts = self._render(row)
        for one in texts:
            check_unicode(one.text)
        return texts

    def _render(self, row: Row) -> list[Rendered]:
        if messages.is_chat(row):
            return self._render_chat(messages.read_chat(row), row)
        if "prompt" in row or "completion" in row:
            return [self._render_pair(row, string(row, "prompt"), string(row, "completion"))]
        if "instruction" in row or "output" in row:
            return [self._render_instruction(row)]
        if "text" in row:
            segments = [(self._start, False), (string(row, "text") + self._end, True)]
            return [self._join(row, segments, messages.unused_keys(row, ("text",)))]
        keys = ", ".join(map(str, list(row)[:6])) or "none"
        raise BadRow(
            f"its keys are {keys}, but a row is {FORMATS}. Give the names of other columns with the"
            " file: FILE:prompt=QUESTION,completion=ANSWER"
        )

    def tokenize(self, rendered: Sequence[Rendered]) -> list[Example]:
        """Return the example of each text; they are tokenized together."""
        encodings = self._encodings([one.text for one in rendered])
        return [self._example(*pair) for pair in zip(encodings, rendered, strict=True)]

    def _encodings(self, texts: list[str]) -> list[Any]:
        self._tokenizer("", add_special_tokens=False)  # which lifts limits that others set
        found: list[Any] = self._tokenizer.backend_tokenizer.encode_batch(
            texts, add_special_tokens=False
        )
        return found

    def _example(self, encoding: Any, rendered: Rendered) -> Example:
        ids, trained, most = encoding.ids, _mask(encoding, rendered), self._seq_len
        return Example(tuple(ids[:most]), tuple(trained[:most]), max(0, len(ids) - most))

    def _render_instruction(self, row: Row) -> Rendered:
        task, answer = string(row, "instruction"), string(row, "output")
        extra = string(row, "input") if row.get("input") else ""
        if self.has_template:
            return self._render_pair(row, f"{task}\n\n{extra}" if extra else task, answer)
        middle = f"Input: {extra}\n" if extra else ""
        return self._render_pair(row, f"Instruction: {task}\n{middle}Response:", f" {answer}")

    def _render_pair(self, row: Row, question: str, answer: str) -> Rendered:
        keys = ("prompt", "completion") if "prompt" in row else ("instruction", "input", "output")
        notes = messages.unused_keys(row, keys)
        if not answer.strip():
            notes.append(_EMPTY)
        if not self.has_template:
            segments = [(self._start + question, False), (answer + self._end, True)]
            return self._join(row, segments, notes)
        asked = {"role": "user", "content": question}
        chat = Chat([asked, {"role": "assistant", "content": answer}], [1])
        (piece,), more = self._answers.render(chat, self._train_on)
        return Rendered(row, piece.text, piece.spans, _unique(notes, more), in_template=True)

    def _render_chat(self, chat: Chat, row: Row) -> list[Rendered]:
        if not self.has_template:
            answers = [i for i, one in enumerate(chat.messages) if one["role"] == "assistant"]
            trained = set(chat.trained)
            if self._train_on == "last":
                trained &= set(answers[-1:])
            segments, more = self._plain_segments(chat, trained)
            return [self._join(row, segments, [*chat.notes, *more])]
        pieces, more = self._answers.render(chat, self._train_on)
        notes = _unique(chat.notes, more)
        if len(pieces) == 1:
            return [Rendered(row, pieces[0].text, pieces[0].spans, notes)]
        return [
            Rendered(chat.as_row(one.last, one.trained), one.text, one.spans, notes)
            for one in pieces
        ]

    def _plain_segments(
        self, chat: Chat, trained: Collection[int]
    ) -> tuple[list[tuple[str, bool]], list[str]]:
        """Return a chat as texts that are trained or not, and remarks. Raises `BadRow`."""
        segments, notes = [(self._start, False)], []
        for index, message in enumerate(chat.messages):
            if "tool_calls" in message:
                raise BadRow(
                    f"message {index} calls a tool, and the tokenizer has no chat template that"
                    " says how: give --chat-template a file with one"
                )
            if THOUGHTS[0] in message:
                notes.append(f'without a chat template "{THOUGHTS[0]}" is left out')
            role, content = message["role"], message["content"]
            if role == "assistant":
                answer = (f" {content}{self._end}", index in trained)
                segments += [("Assistant:", False), answer, ("\n", False)]
            else:
                segments.append((f"{role.capitalize()}: {content}\n", False))
        if chat.tools:
            notes.append('without a chat template "tools" are left out')
        return segments, notes

    def _join(self, row: Row, segments: list[tuple[str, bool]], notes: Iterable[str]) -> Rendered:
        """Return (text, trained) segments as one text with the spans of the trained ones."""
        train_all = self._train_on == "all"
        spans, position = [], 0
        for text, trained in segments:
            if trained or train_all:
                spans.append((position, position + len(text)))
            position += len(text)
        text = "".join(text for text, _ in segments)
        return Rendered(row, text, tuple(spans), _unique(notes, () if self._end else (_ENDLESS,)))

    def show(self, example: Example, most: int = 60) -> str:
        """Return an example as text with trained tokens in [brackets], at most `most` tokens."""
        shown = []
        for token, trained in list(zip(example.ids, example.trained, strict=True))[:most]:
            text = self.decode_token(token)
            shown.append(f"[{text}]" if trained else text)
        return repr("".join(shown)) + (" …" if len(example.ids) > most else "")

    def decode_token(self, token: int) -> str:
        """Return the text of one token."""
        return str(self._tokenizer.decode([token]))

    def token_texts(self, row: Row, example: Example) -> list[str]:
        """Return the piece of the row's text that each token of its example stands for.

        A token that continues the character of the one before has "". An unknown token, and every
        token of an example that this encoder would encode otherwise, is decoded from its id.
        """
        text = self.render(row)[-1].text
        (encoding,) = self._encodings([text])
        if tuple(encoding.ids[: len(example.ids)]) != example.ids:
            return [self.decode_token(token) for token in example.ids]
        pieces, done = [], 0
        for token, (_, end) in zip(example.ids, encoding.offsets, strict=False):
            known = token != self._tokenizer.unk_token_id
            pieces.append(text[done:end] if known else self.decode_token(token))
            done = max(done, end)
        return pieces

    def answer_lost(self, row: Row, example: Example) -> int:
        """Return how many tokens that would be trained truncation dropped of a row's example."""
        rendered = self.render(row)[-1]
        (encoding,) = self._encodings([rendered.text])
        return sum(_mask(encoding, rendered)[len(example.ids) :])

    def is_special(self, token: int) -> bool:
        """Return whether a token is not text but a special one: an end, a role."""
        return token in self._special

    def prompt_text(self, row: Row) -> str:
        """Return what the model is given for this row's answer: all before its first trained span.

        Of a `text` row, that is the first half of the words.
        """
        asked = messages.is_chat(row) or {"prompt", "completion", "instruction"} & row.keys()
        if not asked and "text" in row:
            words = string(row, "text").split(" ")
            return self._start + " ".join(words[: max(1, len(words) // 2)])
        rendered = self.render(row)[0]
        return rendered.text[: rendered.spans[0][0]] if rendered.spans else rendered.text

    def question_of(self, row: Row) -> str:
        """Return the row's question without a template, to show it."""
        if messages.is_chat(row):
            asked = [one for one in messages.read_chat(row).messages if one["role"] == "user"]
            return str(asked[0]["content"]) if asked else ""
        for key in ("prompt", "instruction"):
            if key in row:
                return string(row, key)
        return self.prompt_text(row).removeprefix(self._start)

    def contents(self, row: Row) -> list[str]:
        """Return the texts of a row, without a template."""
        if messages.is_chat(row):
            return [str(one.get("content") or "") for one in messages.read_chat(row).messages]
        known = ("text", "instruction", "input", "output", "prompt", "completion")
        return [string(row, key) for key in known if isinstance(row.get(key), str)]

    def count_tokens(self, *texts: str) -> int:
        """Return how many tokens the texts have, without any added. Raises `DataError`."""

        def count() -> int:
            read = (self._tokenizer(text, add_special_tokens=False) for text in texts)
            return sum(len(one["input_ids"]) for one in read)

        try:
            return foreign.call(count)
        except ForeignCodeError as error:
            raise DataError(f"the model's tokenizer {error}: take another model.") from None

    def render_question(self, question: str) -> str:
        """Return a question as the model is given it: in the chat template, if there is one."""
        if not self.has_template:
            return self._start + question
        asked: list[Message] = [{"role": "user", "content": question}]

        def render() -> str:
            fitting, _ = self._template.fit(asked, None, {})
            return self._template.render(fitting, answer_next=True).text

        try:
            return foreign.call(render)
        except ForeignCodeError as error:
            raise BadRow(f"the model's chat template {error}") from None

    def has_answer(self, row: Row) -> bool:
        """Return whether a row has anything that a model could learn to write."""
        if not messages.is_chat(row):
            return True
        return any(one["role"] == "assistant" for one in messages.read_chat(row).messages)

    def has_zero_weights(self, row: Row) -> bool:
        """Return whether a row has answers and none of them is to be trained."""
        if not messages.is_chat(row) or not self.has_answer(row):
            return False
        return self._train_on != "all" and not messages.read_chat(row).trained


def _unique(*notes: Iterable[str]) -> tuple[str, ...]:
    return tuple(sorted({note for some in notes for note in some}))


def _mask(encoding: Any, rendered: Rendered) -> list[bool]:
    """Return of each token whether it is trained."""
    trained = [False] * len(encoding.ids)
    for start, end in rendered.spans:
        first, last = _tokens_between(encoding, start, end)
        trained[first:last] = [True] * (last - first)
    trained[:1] = [False] * bool(encoding.ids)
    return trained


def _tokens_between(encoding: Any, start: int, end: int) -> tuple[int, int]:
    """Return [first, last) of the tokens that hold any of the characters [start, end) of a text."""
    first = last = None
    for position in range(start, end):  # some characters, such as space, may be of no token
        first = encoding.char_to_token(position)
        if first is not None:
            break
    for position in range(end - 1, start - 1, -1):
        last = encoding.char_to_token(position)
        if last is not None:
            break
    if first is None or last is None:
        return 0, 0
    count = len(encoding.ids)
    while last + 1 < count and (span := encoding.token_to_chars(last + 1)) and span[0] < end:
        last += 1  # a character of several tokens is found by its first one
    return first, last + 1


def _start_text(tokenizer: Any) -> str:
    """Return the token that the tokenizer puts before a text: Llama's does, GPT-2's does not.

    Raises `DataError` where it works without end or fills memory.
    """
    bos = tokenizer.bos_token
    try:
        ids = foreign.call(lambda: tokenizer("a").input_ids)
    except ForeignCodeError as error:
        raise DataError(
            f"the model's tokenizer {error} on the text a: take another model."
        ) from None
    return str(bos) if bos and ids and ids[0] == tokenizer.bos_token_id else ""


def _special_tokens(tokenizer: Any) -> frozenset[int]:
    added = tokenizer.added_tokens_decoder.items()
    return frozenset(tokenizer.all_special_ids) | {token for token, one in added if one.special}


def pad_token(tokenizer: Any) -> int:
    """Return the id that pads sequences; it enters neither attention nor loss, so any will do."""
    for candidate in (tokenizer.pad_token_id, tokenizer.eos_token_id):
        if candidate is not None:
            return int(candidate)
    return 0
