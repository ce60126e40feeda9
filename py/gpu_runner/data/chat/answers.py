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
from typing import Any, Final

from gpu_runner.data.chat.ends import Ends, alike
from gpu_runner.data.chat.fields import BadRow
from gpu_runner.data.chat.kept import left_out, left_out_of_answer
from gpu_runner.data.chat.messages import THOUGHTS, Chat, Message
from gpu_runner.data.chat.template import ChatText, Template

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
            return [self._whole(chat)]
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

    def _whole(self, chat: Chat) -> TaughtText:
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
                low, high = found.words(index, text)
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
        self._whole = whole
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

    def words(self, index: int, text: str) -> Span:
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
        text, marked = self._whole if last else self._render(self._shaped[: place + 1])
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
