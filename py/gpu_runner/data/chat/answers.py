"""Where the answers are in a rendered chat, from the first character generated to the end token.

An answer is what a template renders for it as the last message, without the header that the model
is given: what `add_generation_prompt` ends with. A header may open a block of reasoning; such a
block is trained whole, so that the model learns to open it, too. Where a template marks what the
model generates, its marks count.

Templates differ in two ways, which are found by rendering samples:

- some end every turn; others only begin the next one, whose first token is then the end token
- some render the last answer differently from earlier ones (with reasoning, with another end). One
  text then trains the answers that it holds as they were generated; each of the others gets a text
  of its own that ends with it.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Final

from gpu_runner.data.chat.messages import THOUGHTS, BadRow, Chat, Message
from gpu_runner.data.chat.template import ChatText, Template, left_out, left_out_of_answer

_LIKE_A_SPECIAL_TOKEN: Final = r"<[|｜][^<>\n]{1,40}[|｜]>|</?s>|<(?:start|end)_of_\w{1,20}>"
_SAMPLES: Final = ("\ufdd2question", "\ufdd3answer", "\ufdd4reply")  # texts that no template has
_LONGEST: Final = 60  # characters of a token


class EndTokens:
    """What one template renders before and after answers, found by rendering samples."""

    def __init__(self, template: Template, tokenizer: Any) -> None:
        self._template = template
        special = {str(token.content) for token in tokenizer.added_tokens_decoder.values()}
        known = [re.escape(token) for token in sorted(special, key=len, reverse=True)]
        self._token = re.compile("|".join([*known, _LIKE_A_SPECIAL_TOKEN]))
        self._eos = str(tokenizer.eos_token or "")

    def common_length(self, one: str, other: str) -> int:
        """Return how many characters two texts share from their start, no token split."""
        length = common_prefix(one, other)
        for text in (one, other):
            for token in self._token.finditer(text, max(0, length - _LONGEST)):
                if token.start() >= length:
                    break
                if token.end() > length:
                    length = token.start()
        return length

    def ends_in_token(self, text: str) -> bool:
        """Return whether a text ends in a special token."""
        bare = text.rstrip()
        return any(
            token.end() == len(bare)
            for token in self._token.finditer(bare, max(0, len(bare) - _LONGEST))
        )

    def has_only_tokens(self, text: str) -> bool:
        """Return whether a text has only special tokens and space."""
        return not self._token.sub("", text).strip()

    def first_token(self, text: str) -> re.Match[str] | None:
        """Return the first special token of a text, if only space is before it."""
        token = self._token.search(text)
        return token if token is not None and not text[: token.start()].strip() else None

    @cached_property
    def header(self) -> str:
        """What the template renders between a question and where the model begins to write."""
        asked = [_user(_SAMPLES[0])]
        try:
            after = self._template.render(asked, answer_next=True).text
            return after[common_prefix(after, self._template.render(asked).text) :]
        except BadRow:
            return ""

    @cached_property
    def closes(self) -> bool:
        """Whether the template renders an end after an answer."""
        question, answer, _ = _SAMPLES
        return bool(self._rendered_after([_user(question), _assistant(answer)], answer).strip())

    @cached_property
    def next_turn(self) -> str:
        """The end of an answer where the template has none: the first token of the next turn."""
        question, answer, reply = _SAMPLES
        text = self._rendered_after([_user(question), _assistant(answer), _user(reply)], answer)
        return self._first(text.partition(reply)[0]) or self._eos

    @cached_property
    def next_result(self) -> str:
        """The same after a tool call."""
        question, _, reply = _SAMPLES
        call = {"type": "function", "function": {"name": "call", "arguments": {}}}
        asked = [_user(question), {**_assistant(""), "tool_calls": [call]}]
        try:
            before = self._template.render(asked).text
            after = self._template.render([*asked, {"role": "tool", "content": reply}]).text
        except BadRow:
            return self.next_turn
        return (after.startswith(before) and self._first(after[len(before) :])) or self.next_turn

    def missing_end(self, message: Message) -> str:
        """Return what must be appended to an answer so that the model learns to stop."""
        if self.closes:
            return ""
        return self.next_result if "tool_calls" in message else self.next_turn

    @cached_property
    def remark(self) -> str:
        """A remark about missing ends; "" where there are none."""
        if self.closes or self.next_turn != self._eos:
            return ""
        if not self._eos:
            return (
                "neither the chat template nor the tokenizer has an end token for answers, so that"
                " the model does not learn to stop"
            )
        return (
            f"the chat template ends no answer, so that {self._eos} is appended to the last one of"
            " a row, for the model to learn to stop"
        )

    def _first(self, text: str) -> str:
        token = self._token.search(text)
        return token[0] if token else ""

    def _rendered_after(self, messages: list[Message], words: str) -> str:
        """Return what the template renders after some words of a sample."""
        try:
            _, found = self._template.fit(messages, None, {})
        except BadRow:
            return ""
        return found.text.rpartition(words)[2]


def common_prefix(one: str, other: str) -> int:
    """Return how many characters two texts share from their start."""
    low, high = 0, min(len(one), len(other))
    while low < high:
        middle = (low + high + 1) // 2
        if one[low:middle] == other[low:middle]:
            low = middle
        else:
            high = middle - 1
    return low


def _user(words: str) -> Message:
    return {"role": "user", "content": words}


def _assistant(words: str) -> Message:
    return {"role": "assistant", "content": words}


_THOUGHT: Final = re.compile(r"<think>\s*\Z")
Span = tuple[int, int]


@dataclass(frozen=True, slots=True)
class TrainedText:
    """A text to train on, and the [start, end) of what is trained in it.

    `trained` are the indices of the messages that it trains, `last` that of its last message.
    """

    text: str
    spans: tuple[Span, ...]
    last: int
    trained: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class _Answer:
    """A chat up to an answer: its text, where the answer starts, and the spans to train."""

    text: str
    start: int
    spans: tuple[Span, ...]


class Answers:
    """Finds the answers in chats that one template renders."""

    def __init__(self, template: Template, tokenizer: Any) -> None:
        self._template = template
        self._ends = EndTokens(template, tokenizer)

    def render(self, chat: Chat, train_on: str) -> tuple[list[TrainedText], list[str]]:
        """Return the texts that train a chat, in the order of their answers, and remarks.

        Raises `BadRow` with the reason.
        """
        if chat.messages[0]["role"] == "assistant":
            raise BadRow("message 0 is the assistant's: put before it what it answers")
        if train_on == "all":
            return self._train_all(chat)
        trained = chat.trained
        if train_on == "last":
            answers = [i for i, one in enumerate(chat.messages) if one["role"] == "assistant"]
            trained = [index for index in trained if index == answers[-1]]
        if not trained:
            messages, whole = self._template.fit(chat.messages, chat.tools, chat.extra)
            return [TrainedText(whole.text, (), len(messages) - 1, ())], []
        messages = chat.messages[: trained[-1] + 1]  # what follows is never trained
        shaped, whole = self._template.fit(messages, chat.tools, chat.extra)
        notes = list(left_out(messages, chat.tools, whole.text))
        shift = len(messages) - len(shaped)  # 1 where the system message was merged
        found = _ChatAnswers(self._template, self._ends, shaped, chat, shift, whole)
        pieces: list[TrainedText] = []
        left = list(trained)
        while left:
            piece = found.piece(left)
            pieces.append(piece)
            left = [index for index in left if index not in piece.trained]
        for index in trained:
            one = found.answer(index)
            notes += left_out_of_answer(index, messages[index], one.text[one.start :])
        if self._ends.remark:
            notes.append(self._ends.remark)
        return pieces[::-1], notes

    def _train_all(self, chat: Chat) -> tuple[list[TrainedText], list[str]]:
        """Return the text that trains a whole chat but for answers of weight 0, and remarks."""
        shaped, whole = self._template.fit(chat.messages, chat.tools, chat.extra)
        text = whole.text
        notes = list(left_out(chat.messages, chat.tools, text))
        last = len(chat.messages) - 1
        spans, start = [], 0
        shift = len(chat.messages) - len(shaped)
        found = _ChatAnswers(self._template, self._ends, shaped, chat, shift, whole)
        for index, message in enumerate(chat.messages):
            if message["role"] == "assistant" and index not in chat.trained:
                low, high = found.find_answer(index, text)
                spans.append((start, low))
                start = high
        if chat.messages[last]["role"] == "assistant":
            text += self._ends.missing_end(chat.messages[last])
        spans.append((start, len(text)))
        spans = [span for span in spans if span[0] < span[1]]
        return [TrainedText(text, tuple(spans), last, tuple(chat.trained))], notes


class _ChatAnswers:
    """Finds the answers of one chat, each once."""

    def __init__(
        self,
        template: Template,
        ends: EndTokens,
        shaped: list[Message],
        chat: Chat,
        shift: int,
        whole: ChatText,
    ) -> None:
        self._template = template
        self._ends = ends
        self._shaped = shaped
        self._chat = chat
        self._shift = shift
        self._whole = whole
        self._found: dict[int, _Answer] = {}

    def piece(self, left: Sequence[int]) -> TrainedText:
        """Return the text that ends with the last of some answers, and trains all that it can."""
        base = self.answer(left[-1])
        spans, trained = list(base.spans), [left[-1]]
        for index in left[-2::-1]:
            shared = self._shared(self.answer(index), base)
            if shared is not None:
                spans += shared
                trained.append(index)
        end = self._ends.missing_end(self._chat.messages[left[-1]])
        spans = _join([*spans, (len(base.text), len(base.text) + len(end))])
        return TrainedText(base.text + end, tuple(spans), left[-1], tuple(sorted(trained)))

    def answer(self, index: int) -> _Answer:
        """Return the chat up to the answer with that index."""
        if index not in self._found:
            self._found[index] = self._find(index - self._shift)
        return self._found[index]

    def find_answer(self, index: int, text: str) -> Span:
        """Return the [start, end) of an answer in the whole text, end token included."""
        place = index - self._shift
        other = self._sample(place, "\ufdd2", len(self._shaped))
        low = common_prefix(text, other)
        high = len(text) - common_prefix(text[low:][::-1], other[low:][::-1])
        token = self._ends.first_token(text[high:])
        return low, high + (token.end() if token else 0)

    def _shared(self, one: _Answer, base: _Answer) -> list[Span] | None:
        """Return the spans of an answer in a longer text; None where it is rendered differently."""
        length = self._ends.common_length(one.text, base.text)
        if length < one.start:
            return None
        lost = one.text[length:]
        whole = self._ends.ends_in_token(one.text[:length]) and self._ends.has_only_tokens(lost)
        if lost.strip() and not whole:
            return None
        spans = [(start, min(end, length)) for start, end in one.spans if start < length]
        if not self._ends.closes:
            token = self._ends.first_token(base.text[length:])
            if token is not None:
                spans.append((length, length + token.end()))
        return spans

    def _find(self, place: int) -> _Answer:
        last = place + 1 == len(self._shaped)
        text, marked = self._whole if last else self._render(self._shaped[: place + 1])
        start = self._start(place, text)
        spans = tuple(span for span in marked if span[1] > start)
        if not spans:
            return _Answer(text, start, ((start, len(text)),))
        start, end = spans[0][0], spans[-1][1]
        if not self._ends.ends_in_token(text[start:end]):  # its marks leave the end token out
            token = self._ends.first_token(text[end:])
            spans += ((end, end + token.end()),) if token else ()
        return _Answer(text, start, spans)

    def _start(self, place: int, text: str) -> int:
        """Return where the model begins to write in the text that ends with message `place`."""
        try:
            header = self._render(self._shaped[:place], answer_next=True)[0]
        except BadRow:  # the template takes no chat that stops there
            header = self._sample(place, "\ufdd2")
        if not text.startswith(header):
            header = header[: common_prefix(header, self._sample(place, "\ufdd3"))]
            header = header[: common_prefix(header, text)]
        header = _THOUGHT.sub("", header)
        if not header.strip():
            raise BadRow(
                "the chat template writes nothing of what is before an answer: give"
                " --chat-template a file with another one"
            )
        return self._skip_header(place, text, len(header))

    def _skip_header(self, place: int, text: str, start: int) -> int:
        """Return `start`, or where the header ends that a template renders there unasked.

        Some do after the result of a tool, some with other space than where they are asked.
        """
        usual = self._ends.header.strip()
        bare = text[start:].lstrip()
        if not usual or not bare.startswith(usual):
            return start
        other = self._sample(place, "\ufdd3")  # with words that are not the header's by chance
        if not other[start:].lstrip().startswith(usual):
            return start
        space = self._ends.header.rpartition(usual)[2]
        return len(text) - len(bare[len(usual) :].removeprefix(space))

    def _sample(self, place: int, words: str, last: int = 0) -> str:
        """Return the text with other words in message `place`, which begin unlike any header.

        It ends with that message, or before message `last`.
        """
        message = dict(self._shaped[place])
        parts = isinstance(message["content"], list)
        message["content"] = [{"type": "text", "text": words}] if parts else words
        for key in THOUGHTS:
            if key in message:
                message[key] = words
        following = self._shaped[place + 1 : last]
        return self._render([*self._shaped[:place], message, *following])[0]

    def _render(
        self, messages: list[Message], *, answer_next: bool = False
    ) -> tuple[str, tuple[Span, ...]]:
        chat: Mapping[str, Any] = self._chat.extra
        found = self._template.render(messages, self._chat.tools, chat, answer_next=answer_next)
        return found.text, found.marked


def _join(spans: Sequence[Span]) -> list[Span]:
    """Return the same characters as ascending spans that do not touch."""
    joined: list[Span] = []
    for start, end in sorted(spans):
        if joined and start <= joined[-1][1]:
            joined[-1] = (joined[-1][0], max(end, joined[-1][1]))
        elif start < end:
            joined.append((start, end))
    return joined
