"""Where in a rendered chat the answers stand, from the first letter that a model writes to its end.

An answer is what a template writes for it when it is the last message, without the header that the
model finds there: what `add_generation_prompt` ends in. A header may open a block of thoughts; such
a block is trained whole, so that the model also learns to open it. Where a template marks what the
model writes, its marks are taken.

What follows differs between families, and is found out, not known:

- some templates end every turn; others only begin the next one, whose first token is then the end
- some write the last answer otherwise than earlier ones (without thoughts, with another end). One
  text then trains the answers that stand in it as they were written; the others get a text of
  their own, which ends with them, as the model saw it.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Final

from gpu_runner.data.chat.messages import THOUGHTS, BadRow, Chat, Message
from gpu_runner.data.chat.template import ChatText, Template, left_out, left_out_of_answer

_LOOKS_LIKE_ONE: Final = r"<[|｜][^<>\n]{1,40}[|｜]>|</?s>|<(?:start|end)_of_\w{1,20}>"
_SAMPLES: Final = ("\ufdd2question", "\ufdd3answer", "\ufdd4reply")  # texts that no template has
_LONGEST: Final = 60  # characters of a token


class Ends:
    """What stands around the answers of one template, found out from samples."""

    def __init__(self, template: Template, tokenizer: Any) -> None:
        self._template = template
        special = {str(token.content) for token in tokenizer.added_tokens_decoder.values()}
        told = "|".join(re.escape(token) for token in sorted(special, key=len, reverse=True))
        self._token = re.compile(f"{told}|{_LOOKS_LIKE_ONE}" if told else _LOOKS_LIKE_ONE)
        self._last_resort = str(tokenizer.eos_token or "")

    def common(self, one: str, other: str) -> int:
        """Characters that two texts have in common from their start, no token taken apart."""
        length = alike(one, other)
        for text in (one, other):
            for token in self._token.finditer(text, max(0, length - _LONGEST)):
                if token.start() >= length:
                    break
                if token.end() > length:
                    length = token.start()
        return length

    def ends(self, text: str) -> bool:
        """Whether a text ends in a token of its own."""
        bare = text.rstrip()
        return any(
            token.end() == len(bare)
            for token in self._token.finditer(bare, max(0, len(bare) - _LONGEST))
        )

    def only_tokens(self, text: str) -> bool:
        """Whether there is nothing but such tokens and space in a text."""
        return not self._token.sub("", text).strip()

    def first_token(self, text: str) -> re.Match[str] | None:
        """The first token of its own in a text, if only space stands before it."""
        token = self._token.search(text)
        return token if token is not None and not text[: token.start()].strip() else None

    @cached_property
    def header(self) -> str:
        """What the template writes where the model is to begin, behind a question."""
        asked = [_user(_SAMPLES[0])]
        try:
            after = self._template.render(asked, answer_next=True).text
            return after[alike(after, self._template.render(asked).text) :]
        except BadRow:
            return ""

    @cached_property
    def closes(self) -> bool:
        """Whether the template writes an end behind an answer."""
        question, answer, _ = _SAMPLES
        return bool(self._sampled([_user(question), _assistant(answer)], answer).strip())

    @cached_property
    def next_turn(self) -> str:
        """What ends an answer where the template ends none: the first token of the next turn."""
        question, answer, reply = _SAMPLES
        text = self._sampled([_user(question), _assistant(answer), _user(reply)], answer)
        return self._first(text.partition(reply)[0]) or self._last_resort

    @cached_property
    def next_result(self) -> str:
        """The same behind the call of a tool."""
        question, _, reply = _SAMPLES
        call = {"type": "function", "function": {"name": "call", "arguments": {}}}
        asked = [_user(question), {**_assistant(""), "tool_calls": [call]}]
        try:
            before = self._template.render(asked).text
            after = self._template.render([*asked, {"role": "tool", "content": reply}]).text
        except BadRow:
            return self.next_turn
        return (after.startswith(before) and self._first(after[len(before) :])) or self.next_turn

    def missing(self, message: Message) -> str:
        """What is to be added behind an answer so that the model learns to stop."""
        if self.closes:
            return ""
        return self.next_result if "tool_calls" in message else self.next_turn

    @cached_property
    def remark(self) -> str:
        """What is to be said of the ends, "" for nothing."""
        if self.closes or self.next_turn != self._last_resort:
            return ""
        if not self._last_resort:
            return (
                "neither the chat template nor the tokenizer has an end for answers, so that the"
                " model does not learn to stop"
            )
        return (
            f"the chat template ends no answer, so that {self._last_resort} is added behind the"
            " last one of a row, for the model to learn to stop"
        )

    def _first(self, text: str) -> str:
        token = self._token.search(text)
        return token[0] if token else ""

    def _sampled(self, messages: list[Message], behind: str) -> str:
        """What the template writes behind some words of a sample."""
        try:
            _, found = self._template.fitted(messages, None, {})
        except BadRow:
            return ""
        return found.text.rpartition(behind)[2]


def alike(one: str, other: str) -> int:
    """How many characters two texts have in common from their start."""
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
class TaughtText:
    """A text to train on: the [start, end) of what is trained, and whose answers that is."""

    text: str
    spans: tuple[Span, ...]
    last: int
    trained: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class _Answer:
    """A chat up to an answer: its text, where the answer starts, and what of it is trained."""

    text: str
    start: int
    spans: tuple[Span, ...]


class Answers:
    """Finds the answers of chats that go through one template."""

    def __init__(self, template: Template, tokenizer: Any) -> None:
        self._template = template
        self._ends = Ends(template, tokenizer)

    def pieces(self, chat: Chat, train_on: str) -> list[TaughtText]:
        """The texts that train a chat, in the order of their answers. Adds to its notes.

        Raises `BadRow` with the reason.
        """
        if chat.messages[0]["role"] == "assistant":
            raise BadRow("message 0 is the assistant's: put before it what it answers")
        if train_on == "all":
            return [self._teach_all(chat)]
        trained = chat.trained
        if train_on == "last":
            answers = [i for i, one in enumerate(chat.messages) if one["role"] == "assistant"]
            trained = [index for index in trained if index == answers[-1]]
        if not trained:
            messages, whole = self._template.fitted(chat.messages, chat.tools, chat.extra)
            return [TaughtText(whole.text, (), len(messages) - 1, ())]
        messages = chat.messages[: trained[-1] + 1]  # what follows is never trained
        shaped, whole = self._template.fitted(messages, chat.tools, chat.extra)
        chat.notes += left_out(messages, chat.tools, whole.text)
        shift = len(messages) - len(shaped)  # one less where the system's words were merged
        found = _ChatAnswers(self._template, self._ends, shaped, chat, shift, whole)
        pieces: list[TaughtText] = []
        left = list(trained)
        while left:
            piece = found.piece(left)
            pieces.append(piece)
            left = [index for index in left if index not in piece.trained]
        for index in trained:
            one = found.answer(index)
            chat.notes += left_out_of_answer(index, messages[index], one.text[one.start :])
        if self._ends.remark:
            chat.notes.append(self._ends.remark)
        return pieces[::-1]

    def _teach_all(self, chat: Chat) -> TaughtText:
        """Everything a chat holds but the answers of weight 0."""
        shaped, whole = self._template.fitted(chat.messages, chat.tools, chat.extra)
        text = whole.text
        chat.notes += left_out(chat.messages, chat.tools, text)
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
            text += self._ends.missing(chat.messages[last])
        spans.append((start, len(text)))
        return TaughtText(text, tuple(s for s in spans if s[0] < s[1]), last, tuple(chat.trained))


class _ChatAnswers:
    """The answers of one chat, each looked for once."""

    def __init__(
        self,
        template: Template,
        ends: Ends,
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
        self._teach_all = whole
        self._known: dict[int, _Answer] = {}

    def piece(self, left: Sequence[int]) -> TaughtText:
        """The text that ends with the last of some answers, and all of them that it trains."""
        base = self.answer(left[-1])
        spans, trained = list(base.spans), [left[-1]]
        for index in left[-2::-1]:
            shared = self._shared(self.answer(index), base)
            if shared is not None:
                spans += shared
                trained.append(index)
        end = self._ends.missing(self._chat.messages[left[-1]])
        spans = _joined([*spans, (len(base.text), len(base.text) + len(end))])
        return TaughtText(base.text + end, tuple(spans), left[-1], tuple(sorted(trained)))

    def answer(self, index: int) -> _Answer:
        """The chat up to answer number `index`."""
        if index not in self._known:
            self._known[index] = self._find(index - self._shift)
        return self._known[index]

    def find_answer(self, index: int, text: str) -> Span:
        """Where what an answer says stands in the whole text, its end included."""
        place = index - self._shift
        other = self._sample(place, "\ufdd2", len(self._shaped))
        low = alike(text, other)
        high = len(text) - alike(text[low:][::-1], other[low:][::-1])
        token = self._ends.first_token(text[high:])
        return low, high + (token.end() if token else 0)

    def _shared(self, one: _Answer, base: _Answer) -> list[Span] | None:
        """Where an answer stands in a longer text; None where it is not as the model wrote it."""
        length = self._ends.common(one.text, base.text)
        if length < one.start:
            return None
        lost = one.text[length:]
        whole = self._ends.ends(one.text[:length]) and self._ends.only_tokens(lost)
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
        text, marked = self._teach_all if last else self._render(self._shaped[: place + 1])
        start = self._start(place, text)
        spans = tuple(span for span in marked if span[1] > start)
        if not spans:
            return _Answer(text, start, ((start, len(text)),))
        start, end = spans[0][0], spans[-1][1]
        if not self._ends.ends(text[start:end]):  # marks that leave out the end
            token = self._ends.first_token(text[end:])
            spans += ((end, end + token.end()),) if token else ()
        return _Answer(text, start, spans)

    def _start(self, place: int, text: str) -> int:
        """Where the model begins to write in the text that ends with answer number `place`."""
        try:
            header = self._render(self._shaped[:place], answer_next=True)[0]
        except BadRow:  # no template asks for an answer there, but some chats go on
            header = self._sample(place, "\ufdd2")
        if not text.startswith(header):
            header = header[: alike(header, self._sample(place, "\ufdd3"))]
            header = header[: alike(header, text)]
        header = _THOUGHT.sub("", header)
        if not header.strip():
            raise BadRow(
                "the chat template writes nothing of what stands before an answer: give"
                " --chat-template a file with another one"
            )
        return self._behind_header(place, text, len(header))

    def _behind_header(self, place: int, text: str, start: int) -> int:
        """The same behind a header that a template writes though it was not asked for one there.

        Some do behind the result of a tool, some with other space than where they are asked.
        """
        usual = self._ends.header.strip()
        bare = text[start:].lstrip()
        if not usual or not bare.startswith(usual):
            return start
        other = self._sample(place, "\ufdd3")  # where the words are not by chance the same
        if not other[start:].lstrip().startswith(usual):
            return start
        space = self._ends.header.rpartition(usual)[2]
        return len(text) - len(bare[len(usual) :].removeprefix(space))

    def _sample(self, place: int, words: str, last: int = 0) -> str:
        """The text with other words, so that they cannot begin as the header ends by chance.

        It ends with the answer, or before message `last`.
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


def _joined(spans: Sequence[Span]) -> list[Span]:
    """The same characters in ascending spans that do not touch."""
    joined: list[Span] = []
    for start, end in sorted(spans):
        if joined and start <= joined[-1][1]:
            joined[-1] = (joined[-1][0], max(end, joined[-1][1]))
        elif start < end:
            joined.append((start, end))
    return joined
