"""Chat templates: rendered as transformers does, in a sandbox that nothing leaves and nothing hangs."""

import datetime
from pathlib import Path
from typing import Any

import pytest
import transformers

from tests.tokenization.samples import write_byte_level, write_json, write_settings
from zoo.errors import CorruptFile, InvalidInput, RefusedContent, ZooError
from zoo.tokenization import Tokenizer

ENDLESS = "it would not come to an end, or only with too much memory "
FORBIDDEN = "it does what a template may not "
CURE = "Write the prompt yourself, or tell the checkpoint's author"
WRITE = 'Write a list such as [{"role": "user", "content": "Hello"}]'
CHAT = [
    {"role": "system", "content": "  Be brief. "},
    {"role": "user", "content": "Où est <b>le chat</b> & 'qui'?"},
    {"role": "assistant", "content": "Là.\nVoilà 🐈"},
    {"role": "user", "content": "谢谢"},
]
CHATML = """{% for message in messages %}
    {%- if loop.first and message.role != 'system' %}{{ '<|im_start|>system\nYou help.<|im_end|>\n' }}{% endif %}
    {{- '<|im_start|>' + message['role'] + '\n' + message['content'] + '<|im_end|>' + '\n' }}
{%- endfor %}
{% if add_generation_prompt %}
{{ '<|im_start|>assistant\n' }}
{% endif %}"""
LLAMA = """{% if messages[0]['role'] == 'system' %}
{% set system, rest = '<<SYS>>\n' + messages[0]['content'].strip() + '\n<</SYS>>\n\n', messages[1:] %}
{% else %}{% set system, rest = '', messages %}{% endif %}
{% for message in rest %}
{% if (message['role'] == 'user') != (loop.index0 % 2 == 0) %}
{{ raise_exception('Roles must alternate user/assistant') }}
{% endif %}
{% set content = system + message['content'] if loop.first else message['content'] %}
{% if message['role'] == 'user' %}{{ bos_token + '[INST] ' + content | trim + ' [/INST]' }}
{% else %}{{ ' ' + content.strip() + ' ' + eos_token }}{% endif %}
{% endfor %}"""
GEMMA = """{{ bos_token }}{% set ns = namespace(turns=0) %}
{%- for message in messages if message.role != 'system' -%}
    {%- set role = 'model' if message['role'] == 'assistant' else message['role'] -%}
    {%- set ns.turns = ns.turns + 1 -%}
    <start_of_turn>{{ role }}
{{ message['content'] | trim }}<end_of_turn>
{% endfor %}
{{- ns.turns }}{% if add_generation_prompt %}<start_of_turn>model
{% endif %}"""
TOOLS = """{% macro say(what, times=2) %}{{ what ~ '!' * times }}{% endmacro %}
{% for tool in tools or [] %}{{ tool | tojson(indent=2) }}{{ tool | tojson }}{% endfor %}
{% for message in messages %}{% if message.content is none %}{% continue %}{% endif %}
{% generation %}{{ say(message.content) }}{% endgeneration %}
{% if loop.index > 2 %}{% break %}{% endif %}{% endfor %}
{{ documents is defined }} {{ style | default('plain') }} {{ {'b': 1, 'a': [1.5, true]} | tojson(sort_keys=true) }}"""


def made(folder: Path, template: Any = None, **settings: Any) -> Tokenizer:
    """A tokenizer with a chat template in its settings."""
    write_byte_level(folder, ("<s>", "</s>"))
    roles = {"bos_token": "<s>", "eos_token": {"__type": "AddedToken", "content": "</s>"}, "unk_token": "</s>"}
    template = {} if template is None else {"chat_template": template}
    write_settings(folder, "GPT2Tokenizer", roles | template | settings)
    return Tokenizer(folder)


@pytest.mark.parametrize("prompt", [True, False])
@pytest.mark.parametrize(
    ("template", "variables"),
    [(CHATML, {}), (LLAMA, {}), (GEMMA, {}), (TOOLS, {}), (TOOLS, {"tools": [{"name": "<é>", "x": [1]}], "style": "new"})],
)  # fmt: skip
def test_chats_read_as_with_transformers(
    tmp_path: Path, template: str, variables: dict[str, Any], prompt: bool
) -> None:
    tokenizer = made(tmp_path, template)
    oracle = transformers.GPT2Tokenizer.from_pretrained(tmp_path)
    for chat in (CHAT, CHAT[1:], CHAT[1:2]):
        assert tokenizer.apply_chat_template(chat, prompt, **variables) == oracle.apply_chat_template(
            chat, tokenize=False, add_generation_prompt=prompt, **variables
        )


def test_a_chat_reads_as_its_template_says(tmp_path: Path) -> None:
    assert made(tmp_path, CHATML).apply_chat_template(CHAT[1:2]) == (
        "<|im_start|>system\nYou help.<|im_end|>\n<|im_start|>user\nOù est <b>le chat</b> & 'qui'?<|im_end|>\n"
        "<|im_start|>assistant\n\n"
    )


def test_the_template_has_a_file_of_its_own_or_is_in_the_settings(tmp_path: Path) -> None:
    assert made(tmp_path).chat_template is None
    named = [{"name": "tool_use", "template": "b"}, {"name": "default", "template": "a"}]
    assert made(tmp_path, named).chat_template == "a"
    assert made(tmp_path, named[:1]).chat_template is None
    (tmp_path / "chat_template.jinja").write_text("{{ 'é' }}", encoding="utf-8")
    assert made(tmp_path, "a").chat_template == "{{ 'é' }}"


def test_a_template_may_ask_for_the_date(tmp_path: Path) -> None:
    tokenizer = made(tmp_path, "{{ strftime_now('%Y') }}")
    assert tokenizer.apply_chat_template(CHAT) == str(datetime.datetime.now().year)


def refusal(tokenizer: Tokenizer, error: type[ZooError], messages: Any = CHAT) -> str:
    with pytest.raises(error) as refused:
        tokenizer.apply_chat_template(messages)
    assert type(refused.value) is error
    return str(refused.value)


def test_a_checkpoint_without_a_template_is_told_from_one_with(tmp_path: Path) -> None:
    assert refusal(made(tmp_path), InvalidInput) == (
        f"The checkpoint in '{tmp_path}' has no chat template. Write the prompt as its model card says"
    )


@pytest.mark.parametrize(
    ("messages", "message"),
    [
        ([], f"A chat is a list of messages, at least one, not []. {WRITE}"),
        ("Hello", f"A chat is a list of messages, at least one, not 'Hello'. {WRITE}"),
        ({"role": "user"}, f"A chat is a list of messages, at least one, not {{'role': 'user'}}. {WRITE}"),
        (["Hello"], f"Message 0 has no role: 'Hello'. {WRITE}"),
        ([*CHAT, {"content": "x"}], f"Message 4 has no role: {{'content': 'x'}}. {WRITE}"),
        ([{"role": "user", "content": 3}], f"Message 0 has no content that is a text: {{'role': 'user', 'content': 3}}. {WRITE}"),
    ],
)  # fmt: skip
def test_messages_that_are_none_are_refused(tmp_path: Path, messages: Any, message: str) -> None:
    assert refusal(made(tmp_path, CHATML), InvalidInput, messages) == message


def test_a_message_that_calls_tools_may_say_nothing(tmp_path: Path) -> None:
    calls = [{"role": "assistant", "content": None, "tool_calls": [{"name": "look"}]}]
    tokenizer = made(tmp_path, "{{ messages[0].tool_calls | tojson }}")
    assert tokenizer.apply_chat_template(calls) == '[{"name": "look"}]'


def test_a_template_can_refuse_messages_in_its_own_words(tmp_path: Path) -> None:
    assert refusal(made(tmp_path, LLAMA), InvalidInput, [CHAT[1], CHAT[1]]) == (
        "The checkpoint's chat template does not take these messages: Roles must alternate user/assistant"
    )


@pytest.mark.parametrize(
    ("template", "reason"),
    [
        ("{{ messages.__class__.__mro__ }}", FORBIDDEN + "(access to attribute '__class__' of 'list' object is unsafe.)"),
        ("{{ messages.append(1) }}", FORBIDDEN + "(access to attribute 'append' of 'list' object is unsafe.)"),
        ("{{ raise_exception.__globals__['json'] }}", FORBIDDEN + "(access to attribute '__globals__' of 'function' object"),
        ("{{ '%s'.__format__.__self__ }}", FORBIDDEN + "(access to attribute '__format__' of 'str' object is unsafe.)"),
        ("{% for i in range(10**9) %}{% endfor %}", ENDLESS + "(Range too big. The sandbox blocks ranges larger than MAX_RANGE"),
        ("{{ 'x' * 10**9 }}", ENDLESS + "(a repetition makes more than 10000000 items)"),
        ("{{ 9 ** 9 ** 9 }}", ENDLESS + "(a power is too large (387420489 ** 9))"),
        ("{% for i in range(99999) %}{{ 'x' * 200 }}{% endfor %}", ENDLESS + "(the text has more than 10000000 characters)"),
        ("{% macro m() %}{{ m() }}{% endmacro %}{{ m() }}", ENDLESS + "(maximum recursion depth exceeded"),
        ("{{ messages[0].content.nothing.more }}", "it fails on these messages ('str object' has no attribute 'nothing')"),
        ("{{ 1 / 0 }}", "it fails on these messages (ZeroDivisionError: division by zero)"),
        ("{% include '/etc/passwd' %}", "it fails on these messages (TypeError: no loader for this environment specified)"),
    ],
)  # fmt: skip
def test_a_template_that_does_what_it_may_not_is_refused(tmp_path: Path, template: str, reason: str) -> None:
    message = refusal(made(tmp_path, template), RefusedContent)
    where = f"The chat template in '{tmp_path / 'tokenizer_config.json'}' was refused: "
    assert message.startswith(where + reason)
    assert message.endswith(f"). {CURE}")


def test_a_template_that_is_none_is_a_corrupt_file(tmp_path: Path) -> None:
    tokenizer = made(tmp_path)
    path = tmp_path / "chat_template.jinja"
    path.write_text("{% if x %}\n{{ y }")
    assert refusal(Tokenizer(tokenizer.folder), CorruptFile) == (
        f"The file '{path}' is corrupt: its chat template is not valid (unexpected '}}', line 2). "
        "It was not loaded; fetch it again, or tell its author"
    )
    path.write_bytes(b"\xff\xfe\x00")
    assert refusal(Tokenizer(tokenizer.folder), CorruptFile).startswith(
        f"The file '{path}' is corrupt: it is not a text in UTF-8 ("
    )


def test_rendering_leaves_the_messages_as_they_were(tmp_path: Path) -> None:
    chat = [dict(message) for message in CHAT]
    write_json(tmp_path / "unused.json", chat)
    made(tmp_path, CHATML).apply_chat_template(chat)
    assert chat == CHAT
