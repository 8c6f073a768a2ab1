"""A chat remembers what was said, and reads only what is new."""

import json
from pathlib import Path
from typing import Any

import pytest

import zoo
from tests.generation.samples import T5, gpt2, write
from tests.generation.test_parity import write_tokenizer
from tests.generation.test_prefixes import approximately
from zoo.errors import InvalidInput, TokenizerMissing

TEMPLATE = (
    "{% for message in messages %}{{ message.role[0] }}{{ message.content }}.{% endfor %}"
    "{% if add_generation_prompt %}a{% endif %}"
)
WRITTEN: dict[str, Any] = {"max_new_tokens": 4}


def write_chat(folder: Path, template: str | None = TEMPLATE) -> None:
    """Write a checkpoint that chats, in 40 positions."""
    gpt2(folder, eos=None)
    write_tokenizer(folder)
    settings = {} if template is None else {"chat_template": template}
    (folder / "tokenizer_config.json").write_text(json.dumps(settings))


@pytest.fixture
def model(tmp_path: Path) -> zoo.Model:
    write_chat(tmp_path)
    return zoo.load(tmp_path, device="cpu")


def test_each_turn_is_answered_from_all_before_it_and_reads_only_what_is_new(model: zoo.Model) -> None:
    chat, counts = model.conversation(system="be"), []
    handle = model.backbone.register_forward_pre_hook(lambda _, inputs: counts.append(inputs[0].numel()))
    first = chat.say("hi", **WRITTEN)
    assert counts == [len("sbe.uhi.a"), 1, 1, 1]  # each letter is a token, but "be" and "hi" and dots are not merged
    counts.clear()
    second = chat.say("and", **WRITTEN)
    handle.remove()
    assert model.tokenizer is not None
    text = f"sbe.uhi.a{first.text}.uand.a"
    assert model.tokenizer.apply_chat_template(chat.messages[:-1]) == text
    assert counts[0] <= len(".uand.a") + 1
    assert chat.messages == [
        {"role": "system", "content": "be"},
        {"role": "user", "content": "hi"},
        {"role": "assistant", "content": first.text},
        {"role": "user", "content": "and"},
        {"role": "assistant", "content": second.text},
    ]
    assert [second] == approximately(model.generate([text], **WRITTEN))
    assert [second] == approximately(model.generate([chat.messages[:-1]], **WRITTEN))


def test_a_streamed_answer_is_said_and_remembered_alike(model: zoo.Model) -> None:
    whole, streamed = model.conversation(), model.conversation()
    for text in ("hi", "and"):
        assert "".join(streamed.stream(text, **WRITTEN)) == whole.say(text, **WRITTEN).text
    assert streamed.messages == whole.messages


def test_an_answer_that_is_left_early_joins_as_far_as_it_came(model: zoo.Model) -> None:
    chat = model.conversation()
    pieces = chat.stream("hi", **WRITTEN)
    said = next(pieces)
    pieces.close()
    assert chat.messages == [{"role": "user", "content": "hi"}, {"role": "assistant", "content": said}]
    assert list(chat.stream("hi", max_new_tokens=0)) == []
    assert chat.messages[-1] == {"role": "assistant", "content": ""}


def test_a_chat_that_has_become_too_long_says_so_and_stays_as_it_was(model: zoo.Model) -> None:
    chat = model.conversation()
    chat.say("hi", **WRITTEN)
    before = list(chat.messages)
    for call in (lambda: chat.say("x" * 50, **WRITTEN), lambda: list(chat.stream("x" * 50, **WRITTEN))):
        with pytest.raises(InvalidInput, match="the model takes at most 40") as refused:
            call()
        assert str(refused.value).endswith("Shorten it, or keep only its end with truncate=True")
        assert chat.messages == before


def test_a_template_s_special_tokens_are_not_doubled(tmp_path: Path) -> None:
    from tokenizers import Tokenizer, processors

    write_chat(tmp_path)
    tokenizer = Tokenizer.from_file(str(tmp_path / "tokenizer.json"))
    tokenizer.post_processor = processors.TemplateProcessing(single="0 $A", special_tokens=[("0", 0)])
    tokenizer.save(str(tmp_path / "tokenizer.json"))
    model, read = zoo.load(tmp_path), []
    model.backbone.register_forward_pre_hook(lambda _, inputs: read.append(inputs[0][0].tolist()))
    model.generate(["uhi.a", [{"role": "user", "content": "hi"}]], batch_size=1, max_new_tokens=1)
    assert [row[0] == 0 for row in read] == [True, False]
    assert read[0][1:] == read[1]


def test_what_cannot_chat_says_so(tmp_path: Path) -> None:
    write_chat(tmp_path, template=None)
    with pytest.raises(InvalidInput) as refused:
        zoo.load(tmp_path).conversation()
    assert str(refused.value) == (
        f"The checkpoint in '{tmp_path}' has no chat template, so it was not made to chat. "
        "Use model.generate, with a prompt as its model card says"
    )
    (tmp_path / "tokenizer.json").unlink()
    with pytest.raises(TokenizerMissing):
        zoo.load(tmp_path).conversation()


def test_messages_that_are_none_are_refused(model: zoo.Model) -> None:
    with pytest.raises(InvalidInput) as refused:
        model.generate([{"role": "user", "content": "hi"}])  # type: ignore[list-item]
    assert str(refused.value) == "Input 0 is {'role': 'user', 'content': 'hi'}; a text is expected"
    with pytest.raises(InvalidInput) as refused:
        model.generate([[{"content": "hi"}]])
    assert str(refused.value) == (
        'Message 0 has no role: {\'content\': \'hi\'}. Write a list such as [{"role": "user", "content": "Hello"}]'
    )


def test_an_encoder_reads_the_chat_anew(tmp_path: Path) -> None:
    import transformers

    write(tmp_path, "T5ForConditionalGeneration", transformers.T5Config(**T5, eos_token_id=1, decoder_start_token_id=0))
    write_tokenizer(tmp_path)
    (tmp_path / "tokenizer_config.json").write_text(json.dumps({"chat_template": TEMPLATE}))
    chat = zoo.load(tmp_path).conversation()
    assert chat.prefix_cache is None
    chat.say("hi", **WRITTEN)
    assert [chat.say("and", **WRITTEN)] == chat.model.generate([chat.messages[:-1]], **WRITTEN)
