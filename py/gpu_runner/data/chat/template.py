"""Chats rendered by a chat template, as `transformers` renders them at inference.

A template is a program of the model's author, and each expects a slightly different input: some
take the arguments of a tool call as an object and some as text, some read text only from parts,
some refuse system messages or ids of more than nine letters. `Template.fit` finds the form of a
chat that a template accepts and renders with all of its answers.

Where a template has `{% generation %}` … `{% endgeneration %}` around what the model writes, they
are rendered as two characters that no text has, which mark the place whatever the template does
with the text between them.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from functools import lru_cache
from itertools import chain, combinations, islice
from typing import Any, Final, NamedTuple

import jinja2
import jinja2.ext
import jinja2.nodes
import jinja2.parser
from jinja2.sandbox import ImmutableSandboxedEnvironment

from gpu_runner.data.chat.messages import THOUGHTS, BadRow, Message, parsed

_SHORT_ID: Final = 9  # letters, which templates of Mistral require


@dataclass(frozen=True, slots=True)
class Form:
    """What is changed in a chat before a template renders it; nothing by default."""

    text_arguments: bool = False  # arguments of tool calls as JSON text, not an object
    parts: bool = False  # text as [{"type": "text", "text": …}]
    merged: bool = False  # the system message in front of the first question
    short_ids: bool = False  # ids of tool calls of nine letters


def other_forms(messages: Sequence[Message], tried: Sequence[Form]) -> Iterator[Form]:
    """Yield every other form that changes a chat, those with the fewest changes first."""
    calls = any("tool_calls" in message for message in messages)
    changes = {
        "text_arguments": calls,
        "parts": True,
        "merged": messages[0]["role"] in ("system", "developer") and len(messages) > 1,
        "short_ids": any("tool_call_id" in message for message in messages) or calls,
    }
    useful = [name for name, of_use in changes.items() if of_use]
    for count in range(len(useful) + 1):
        for names in combinations(useful, count):
            form = Form(**dict.fromkeys(names, True))
            if form not in tried:
                yield form


def shape_messages(messages: Sequence[Message], form: Form, *, developers: bool) -> list[Message]:
    """Return the messages in a form; `developers`: the template knows the role "developer"."""
    found = [_shape_message(message, form, developers) for message in messages]
    if form.merged and found[0]["role"] in ("system", "developer") and len(found) > 1:
        system, first, *rest = found
        found = [{**first, "content": f"{system['content']}\n\n{first['content']}"}, *rest]
    if form.parts:
        return [{**m, "content": [{"type": "text", "text": m["content"]}]} for m in found]
    return found


def _shape_message(message: Message, form: Form, developers: bool) -> Message:
    changed = message
    if THOUGHTS[0] in message:
        changed = {THOUGHTS[1]: message[THOUGHTS[0]], **changed}  # the key that gpt-oss reads
    if message["role"] == "developer" and not developers:
        changed = {**changed, "role": "system"}
    if form.short_ids and "tool_call_id" in message:
        changed = {**changed, "tool_call_id": _short(message["tool_call_id"])}
    if "tool_calls" in message:
        changed = {**changed, "tool_calls": [_call(one, form) for one in message["tool_calls"]]}
    return changed


def _call(call: Mapping[str, Any], form: Form) -> dict[str, Any]:
    function = call["function"]
    given = function["arguments"]
    if form.text_arguments:
        given = given if isinstance(given, str) else json.dumps(given, ensure_ascii=False)
    else:
        given = parsed(given)
    named = {"id": _short(call["id"])} if form.short_ids and "id" in call else {}
    return {**call, **named, "function": {**function, "arguments": given}}


def _short(name: str) -> str:
    """Return nine letters or digits for an id: its last ones, in which ids differ."""
    letters = "".join(filter(str.isalnum, name)) or "0"
    return letters[-_SHORT_ID:].rjust(_SHORT_ID, "0")


_WORDS: Final = re.compile(r"\w+")


def left_out(
    messages: Sequence[Message], tools: list[dict[str, Any]] | None, text: str
) -> Iterator[str]:
    """Yield remarks about what a template left out of a chat, other than answers."""
    for message in messages:
        if message["role"] != "assistant" and not contains(text, message["content"]):
            yield f"the chat template leaves out messages of the role {message['role']}"
    for tool in tools or ():
        if not contains(text, tool["function"]["name"]):
            yield 'the chat template has no place for "tools", which are left out'
            break


def left_out_of_answer(index: int, message: Message, text: str) -> Iterator[str]:
    """Yield remarks about what is missing from a trained answer, given the text from its start.

    Raises `BadRow` where a tool call is missing.
    """
    for call in message.get("tool_calls", ()):
        if call["function"]["name"] not in text:
            raise BadRow(_no_call(call, index))
    words = _text_of(message)
    if message.get("tool_calls") and not contains(text, words):
        yield "the chat template leaves out the text beside a tool call"
    if not words.strip() and "tool_calls" not in message:
        yield "an answer is empty, so that only its end token is trained"
    thoughts = message.get(THOUGHTS[0])
    if thoughts and not contains(text, thoughts):
        yield f'the chat template has no place for "{THOUGHTS[0]}", which is left out'
    before, thought, _ = words.rpartition("</think>")
    if thought and not contains(text, before.replace("<think>", "")):
        yield "the chat template leaves out the reasoning before an answer"


def contains(text: str, words: str) -> bool:
    """Return whether a text has these words, perhaps escaped or trimmed by a template."""
    if words.strip() in text:
        return True
    longest = max(_WORDS.findall(words), key=len, default="")
    return longest in text


def check_answers(messages: Sequence[Message], text: str) -> None:
    """Raise `BadRow` where the answers of a chat are missing from its text."""
    for index, message in enumerate(messages):
        if message["role"] != "assistant":
            continue
        calls = message.get("tool_calls", ())
        for call in calls:
            if call["function"]["name"] not in text:
                raise BadRow(_no_call(call, index))
        if any(
            repr(parsed(call["function"]["arguments"])) in text
            for call in calls
            if _differs_in_python(call)
        ):
            raise BadRow(
                f"the chat template writes the tool call in message {index} as Python, not JSON"
            )
        if not calls and not contains(text, _text_of(message).rpartition("</think>")[2]):
            raise BadRow(
                f"the chat template leaves out message {index}, the assistant's: give"
                " --chat-template a file with one that writes it"
            )


def _no_call(call: Mapping[str, Any], index: int) -> str:
    return (
        f"the chat template leaves out the call of {call['function']['name']!r} in message {index}:"
        " give --chat-template a file with one that writes tool calls, or leave such rows out with"
        " --skip-bad-rows"
    )


def _differs_in_python(call: Mapping[str, Any]) -> bool:
    """Return whether the arguments of a call look different in Python than in JSON."""
    arguments = parsed(call["function"]["arguments"])
    return repr(arguments) != json.dumps(arguments, ensure_ascii=False, default=str)


def _text_of(message: Message) -> str:
    return str(message["content"])


_OPEN, _CLOSE = "\ufdd0", "\ufdd1"  # noncharacters of Unicode, which no text has
_MARKED: Final = re.compile(f"([{_OPEN}{_CLOSE}])")
MOST_CHARACTERS: Final = 50_000_000  # that a template may write
_AT_ONCE: Final = 64  # pieces whose characters are counted together
_DEVELOPER: Final = re.compile(r"""['"]developer['"]""")
_NO_TOOLS: Final = (
    ". It may not support tools: give --chat-template a file with one that does, or leave such rows"
    " out with --skip-bad-rows"
)


class ChatText(NamedTuple):
    """A chat as text, and the [start, end) of what the template marks as generated."""

    text: str
    marked: tuple[tuple[int, int], ...] = ()


class _GenerationMarks(jinja2.ext.Extension):
    """Renders `{% generation %}` as two characters around its content."""

    tags = {"generation"}  # noqa: RUF012  # as in the base class

    def parse(self, parser: jinja2.parser.Parser) -> jinja2.nodes.Node:
        line = next(parser.stream).lineno
        body = parser.parse_statements(("name:endgeneration",), drop_needle=True)
        call = jinja2.nodes.CallBlock(self.call_method("_around"), [], [], body)
        return call.set_lineno(line)

    def _around(self, caller: Callable[[], str]) -> str:
        return f"{_OPEN}{caller()}{_CLOSE}"


class Template:
    """One tokenizer's chat template, or `source` in place of the tokenizer's own.

    `today` (ISO) is the date that a template may print.
    """

    def __init__(
        self,
        tokenizer: Any,
        source: str | None = None,
        today: str | None = None,
        *,
        used: bool = True,
    ) -> None:
        self._tokenizer = tokenizer
        self._source = source
        self._today = date.fromisoformat(today) if today else date.today()
        self._used = used
        self._tokens = dict(tokenizer.special_tokens_map)
        self._forms = [Form()]  # forms that were accepted, the latest first

    def cache_key(self) -> tuple[str, ...]:
        """Return all that a rendered text depends on beside the chat; () if it is not used."""
        if not self._used:
            return ()
        sources = (self.source(), self.source([{}]))
        return (*sources, str(self._today) if "strftime_now" in "".join(sources) else "")

    def source(self, tools: object = None) -> str:
        """Return the program; some tokenizers have another one for chats with tools."""
        if self._source is not None:
            return self._source
        return str(self._tokenizer.get_chat_template(None, tools=tools))

    def render(
        self,
        messages: Sequence[Message],
        tools: list[dict[str, Any]] | None = None,
        extra: Mapping[str, Any] | None = None,
        *,
        answer_next: bool = False,
    ) -> ChatText:
        """Return a chat as text; with `answer_next` up to where the model begins to write.

        Raises `BadRow` with the reason that the template gives.
        """
        variables = {**self._tokens, **(extra or {})}
        variables |= {"messages": list(messages), "tools": tools or None, "documents": None}
        variables |= {"add_generation_prompt": answer_next, "strftime_now": self._today.strftime}
        try:
            program = _compile(self.source(tools))
            text = _join_bounded(program.root_render_func(program.new_context(variables)))
        except (BadRow, MemoryError):
            raise
        except Exception as error:  # a program of the model's author can raise anything
            reason = str(error).rstrip(".") or type(error).__name__
            raise BadRow(f"the tokenizer's chat template refuses it: {reason}") from error
        return _take_marks_out(text) if _OPEN in text else ChatText(text)

    def fit(
        self, messages: list[Message], tools: list[dict[str, Any]] | None, extra: Mapping[str, Any]
    ) -> tuple[list[Message], ChatText]:
        """Return the messages in a form that the template accepts, and their text.

        Raises `BadRow` where it accepts none, or leaves an answer out of each.
        """
        first: BadRow | None = None
        known = _knows_developers(self.source(tools))
        for form in chain(self._forms, other_forms(messages, self._forms)):
            found = shape_messages(messages, form, developers=known)
            try:
                text = self.render(found, tools, extra)
                check_answers(messages, text.text)
            except BadRow as error:
                first = first or error
                continue
            self._forms = [form, *(other for other in self._forms if other != form)]
            return found, text
        assert first is not None
        tool = next((m for m in messages if m["role"] == "tool" or "tool_calls" in m), None)
        raise (
            BadRow(f"{first}{_NO_TOOLS}") if tool and "--chat-template" not in str(first) else first
        )


def _join_bounded(pieces: Iterator[str]) -> str:
    found, length = [], 0
    while some := list(islice(pieces, _AT_ONCE)):
        found.append("".join(some))
        length += len(found[-1])
        if length > MOST_CHARACTERS:
            raise BadRow(
                f"the tokenizer's chat template writes more than {MOST_CHARACTERS:,} characters"
            )
    return "".join(found)


def _take_marks_out(text: str) -> ChatText:
    pieces, spans, length, start = [], [], 0, 0
    for piece in _MARKED.split(text):
        if piece == _OPEN:
            start = length
        elif piece == _CLOSE:
            spans.append((start, length))
        else:
            pieces.append(piece)
            length += len(piece)
    return ChatText("".join(pieces), tuple(span for span in spans if span[0] < span[1]))


@lru_cache(maxsize=16)
def _knows_developers(source: str) -> bool:
    return bool(_DEVELOPER.search(source))


@lru_cache(maxsize=16)
def _compile(source: str) -> jinja2.Template:
    """Return the program, compiled for a sandbox as in `transformers`. Raises Jinja's errors."""
    environment = ImmutableSandboxedEnvironment(
        trim_blocks=True, lstrip_blocks=True, extensions=[_GenerationMarks, jinja2.ext.loopcontrols]
    )
    environment.filters["tojson"] = _json
    environment.globals["raise_exception"] = _refuse
    program = environment.from_string(source)
    program.globals = dict(program.globals)  # a chain of maps would be copied slowly each time
    return program


def check_program(source: str) -> None:
    """Raise ValueError, with the line, for a text that is not a Jinja program."""
    try:
        _compile(source)
    except jinja2.TemplateSyntaxError as error:
        raise ValueError(f"line {error.lineno}: {error.message}") from None


def _json(value: Any, ensure_ascii: bool = False, **choices: Any) -> str:
    """Return JSON as in `transformers`; Jinja's own filter would escape HTML."""
    return json.dumps(value, ensure_ascii=ensure_ascii, **choices)


def _refuse(reason: str) -> None:
    raise jinja2.TemplateError(reason)
