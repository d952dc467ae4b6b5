"""Reads the user's own JSONL files: conversations and preferences, in TRL's formats.

In: a file with one JSON object a line. Out: its fields, checked, with the file and line that they come from, which
every error names.

conversations: `messages`, or `prompt` and `completion`; `id` and `weight` where wanted
preferences: `prompt`, `chosen`, `rejected`; or `chosen` and `rejected` alone, which then begin with the same messages
Each is a text or a list of messages (`role`: system, user or assistant; `content`: text). A text as prompt is what the
user says; a text as answer is what the assistant says.

Known limit: no tools and no images.
"""

import json
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from configs.errors import ModelError
from train.chat import Turn

ROLES = ("system", "user", "assistant")
REMEDY = 'A line is like {"messages": [{"role": "user", "content": "..."}, {"role": "assistant", "content": "..."}]}'
PREFERENCE_REMEDY = 'A line is like {"prompt": "...", "chosen": "...", "rejected": "..."}'


@dataclass(frozen=True)
class Line:
    """One line of a file.

    Attributes:
        where: `file:line`, for errors.
        id: the line's own `id`, or `where` with the file's bare name.
    """

    where: str
    id: str
    fields: dict[str, Any]
    remedy: str

    def wrong(self, problem: str) -> ModelError:
        return ModelError(f"{self.where}: {problem}", self.remedy)

    def weight(self) -> float:
        """How much the line counts.

        Raises:
            ModelError: it is no number above 0.
        """
        value = self.fields.get("weight", 1.0)
        if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value < math.inf:
            raise self.wrong(f"weight is {value!r}, not a number above 0")
        return float(value)

    def messages(self, name: str, role: str = "user") -> list[Turn]:
        """A field as messages; a text becomes one message of `role`.

        Raises:
            ModelError: it is neither, a role is unknown, or a message has no text.
        """
        value = self.fields.get(name)
        listed = [{"role": role, "content": value}] if isinstance(value, str) else value
        if listed == []:
            raise self.wrong(f"{name!r} is empty")
        if not isinstance(listed, list):
            raise self.wrong(f"{name!r} is neither a text nor a list of messages")
        return [self._turn(message) for message in listed]

    def _turn(self, message: Any) -> Turn:
        if not isinstance(message, dict) or not {"role", "content"} <= message.keys():
            raise self.wrong(f"{json.dumps(message)[:60]} is no message with role and content")
        if message["role"] not in ROLES:
            raise self.wrong(f"unknown role {message['role']!r}; known: {', '.join(ROLES)}")
        if not isinstance(message["content"], str) or not message["content"].strip():
            raise self.wrong(f"a message of role {message['role']!r} has no text")
        return Turn(role=message["role"], content=message["content"])


def read_lines(file: Path, remedy: str, setting: str = "train.data") -> Iterator[Line]:
    """The lines of a JSONL file; empty ones are passed over.

    Args:
        setting: which one names the file, for errors.

    Raises:
        ModelError: the file cannot be read or has no lines, or a line is not UTF-8 or no JSON object.
    """
    try:
        raw = file.read_bytes().removeprefix(b"\xef\xbb\xbf").split(b"\n")
    except OSError as error:
        raise ModelError(f"cannot read {file}: {error.strerror}", f"Correct {setting}") from None
    if not any(line.strip() for line in raw):
        raise ModelError(f"{file} is empty", remedy)
    for number, line in enumerate(raw, 1):
        if line.strip():
            yield _line(file, number, line, remedy)


def _line(file: Path, number: int, raw: bytes, remedy: str) -> Line:
    where = f"{file}:{number}"
    try:
        fields = json.loads(raw.decode("utf-8"))
    except UnicodeDecodeError as error:
        raise ModelError(f"{where}: not UTF-8 (byte {error.start + 1} of the line)", "Save the file as UTF-8") from None
    except ValueError as error:
        raise ModelError(f"{where}: not JSON: {error}", remedy) from None
    if not isinstance(fields, dict):
        raise ModelError(f"{where}: not a JSON object", remedy)
    name = fields.get("id")
    return Line(where, str(name) if name is not None else f"{file.name}:{number}", fields, remedy)


def conversation(line: Line) -> tuple[list[Turn], bool]:
    """The messages of a line, and whether every answer in them is learnt, or the last alone (`completion`).

    Raises:
        ModelError: fields are missing or wrong, no assistant says anything, or it does so first.
    """
    pair = "prompt" in line.fields and "completion" in line.fields
    if pair and line.fields.get("messages") == []:
        raise line.wrong("'messages' is empty, and 'prompt' and 'completion' are there too: give one of the two forms")
    if "messages" in line.fields:
        turns = line.messages("messages")
        if all(turn["role"] != "assistant" for turn in turns):
            raise line.wrong("no message has role 'assistant', so there is nothing to learn")
        if turns[0]["role"] == "assistant":
            raise line.wrong("the first message is an answer, and nothing was asked")
        return turns, True
    if pair:
        return [*line.messages("prompt"), answer(line, "completion")], False
    raise line.wrong("neither 'messages' nor 'prompt' and 'completion'")


def answer(line: Line, name: str) -> Turn:
    """A field that is one answer.

    Raises:
        ModelError: it is not one message of the assistant.
    """
    turns = line.messages(name, "assistant")
    if [turn["role"] for turn in turns] != ["assistant"]:
        raise line.wrong(f"{name!r} is not one message of role 'assistant'")
    return turns[0]


def preference(line: Line) -> tuple[list[Turn], str, str]:
    """Prompt, better and worse answer of a line; without `prompt`, it is what both conversations begin with.

    Raises:
        ModelError: fields are missing or wrong, or both answers are the same.
    """
    for name in ("chosen", "rejected"):
        if name not in line.fields:
            raise line.wrong(f"{name!r} is missing")
    if "prompt" in line.fields:
        prompt, chosen, rejected = line.messages("prompt"), answer(line, "chosen"), answer(line, "rejected")
    else:
        prompt, chosen, rejected = _implicit(line)
    if chosen["content"].strip() == rejected["content"].strip():
        raise line.wrong("chosen and rejected are the same")
    return prompt, chosen["content"], rejected["content"]


def _implicit(line: Line) -> tuple[list[Turn], Turn, Turn]:
    if not isinstance(line.fields["chosen"], list):
        raise line.wrong("without 'prompt', chosen and rejected must be lists of messages")
    chosen, rejected = line.messages("chosen"), line.messages("rejected")
    ends: Sequence[Turn] = (chosen[-1], rejected[-1])
    if len(chosen) < 2 or chosen[:-1] != rejected[:-1] or any(turn["role"] != "assistant" for turn in ends):
        raise line.wrong("chosen and rejected do not begin with the same messages and end with one answer each")
    return chosen[:-1], chosen[-1], rejected[-1]
