"""Conversations with several answers: every answer is learnt with its end, whatever the template does."""

import pytest

from configs.errors import ModelError
from tests.train.conftest import TEMPLATE, make_tokenizer
from train.chat import IGNORED, Encoded, Turn, prompt_ids
from train.conversation import encode_answers, encode_conversation, has_marks
from train.preflight.mask import check_row

TALK = [
    Turn(role="system", content="Be brief."),
    Turn(role="user", content="Hi <|im_end|> there"),
    Turn(role="assistant", content="Hello."),
    Turn(role="user", content="And now?"),
    Turn(role="assistant", content="Still <|im_start|> hello."),
    Turn(role="user", content="Bye"),
]
SPELLED = ["Hello.<|im_end|>", "Still < |im_start|> hello.<|im_end|>"]
TURN = "<|im_start|>{{ message['role'] }}\n{{ message['content'] }}<|im_end|>\n"
MARKED = TEMPLATE.replace(
    TURN,
    "<|im_start|>{{ message['role'] }}\n{% if message['role'] == 'assistant' %}{% generation %}"
    "{{ message['content'] }}<|im_end|>{% endgeneration %}"
    "{% else %}{{ message['content'] }}<|im_end|>{% endif %}{{ '\\n' }}",
)
# Opens an empty thought in the prompt and before the last answer, and takes it away from earlier ones, as Qwen3 does.
THINKING = (
    "{% for message in messages %}<|im_start|>{{ message['role'] }}\n"
    "{% if loop.last and message['role'] == 'assistant' %}<think>\n\n</think>\n\n{% endif %}"
    "{{ message['content'] }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n<think>\n\n</think>\n\n{% endif %}"
)


def learnt(tokenizer, encoded: Encoded) -> list[str]:
    check_row(tokenizer, encoded.input_ids, encoded.labels, encoded, {tokenizer.eos_token_id})
    return [tokenizer.decode(encoded.input_ids[run.start : run.end]) for run in encoded.learnt]


@pytest.mark.parametrize("template", [TEMPLATE, MARKED])
def test_every_answer_and_its_end_is_learnt_and_nothing_else(template: str) -> None:
    tokenizer = make_tokenizer(template)
    encoded = encode_conversation(tokenizer, {tokenizer.eos_token_id}, TALK)
    assert encoded is not None
    assert learnt(tokenizer, encoded) == SPELLED
    assert sum(label != IGNORED for label in encoded.labels) == sum(run.end - run.start for run in encoded.learnt)
    assert tokenizer.decode(encoded.input_ids).endswith("hello.<|im_end|>")  # what follows the last answer is left away


def test_marks_of_the_template_and_the_served_prompts_give_the_same_mask() -> None:
    plain, marked = make_tokenizer(TEMPLATE), make_tokenizer(MARKED)
    assert has_marks(marked)
    assert not has_marks(plain)
    end = {plain.eos_token_id}
    assert encode_conversation(plain, end, TALK) == encode_conversation(marked, end, TALK)


def test_each_answer_follows_the_prompt_that_is_served() -> None:
    tokenizer = make_tokenizer(TEMPLATE)
    encoded = encode_conversation(tokenizer, {tokenizer.eos_token_id}, TALK)
    assert encoded is not None
    for place, run in zip((2, 4), encoded.learnt, strict=True):
        assert list(encoded.input_ids[: run.start]) == prompt_ids(tokenizer, TALK[:place])


def test_a_template_that_changes_earlier_turns_gets_a_row_for_each_answer() -> None:
    tokenizer = make_tokenizer(THINKING)
    end = {tokenizer.eos_token_id}
    assert encode_conversation(tokenizer, end, TALK) is None
    rows = encode_answers(tokenizer, end, TALK)
    assert [learnt(tokenizer, row) for row in rows] == [[SPELLED[0]], [SPELLED[1]]]
    for place, row in zip((2, 4), rows, strict=True):
        assert list(row.input_ids[: row.prompt_tokens]) == prompt_ids(tokenizer, TALK[:place])


def test_marks_that_contradict_the_served_prompt_are_not_followed() -> None:
    late = MARKED.replace("{% generation %}{{ message['content'] }}", "{{ message['content'] }}{% generation %}")
    tokenizer = make_tokenizer(late)
    assert encode_conversation(tokenizer, {tokenizer.eos_token_id}, TALK) is None
    assert [learnt(tokenizer, row) for row in encode_answers(tokenizer, {tokenizer.eos_token_id}, TALK)] == [
        [one] for one in SPELLED
    ]


def test_a_template_that_drops_a_role_is_refused() -> None:
    drops = "{% set messages = messages | rejectattr('role', 'equalto', 'system') | list %}" + TEMPLATE
    tokenizer = make_tokenizer(drops)
    with pytest.raises(ModelError, match=r"leaves out or changes what the system says: 'Be brief\.'"):
        encode_answers(tokenizer, {tokenizer.eos_token_id}, TALK)


def test_a_thought_in_an_answer_that_the_template_moves_is_refused() -> None:
    tokenizer = make_tokenizer(
        THINKING.replace("{{ message['content'] }}", "{{ message['content'].split('</think>')[-1] }}")
    )
    talk = [TALK[1], Turn(role="assistant", content="<think>well</think>Hello.")]
    with pytest.raises(ModelError, match="leaves out or changes what the assistant says"):
        encode_answers(tokenizer, {tokenizer.eos_token_id}, talk)
