"""Which files are read and for which class; special and added tokens; what is refused."""

import copy
import json
import pickle
from pathlib import Path
from typing import Any

import pytest

from tests.tokenization.samples import (
    LLAMA_PIECES,
    SAMPLE,
    T5_PIECES,
    write_byte_level,
    write_json,
    write_marian,
    write_pieces,
    write_settings,
    write_word_level,
    write_words,
)
from zoo.errors import CorruptFile, RefusedContent, ZooError
from zoo.tokenization import TOKENIZER_FILES, Tokenizer, load_tokenizer


def corrupt(path: Path, reason: str) -> str:
    return f"The file '{path}' is corrupt: {reason}. It was not loaded; fetch it again, or tell its author"


def refusal(folder: Path, error: type[ZooError] = CorruptFile) -> str:
    with pytest.raises(error) as refused:
        load_tokenizer(folder)
    return str(refused.value)


def test_a_folder_without_a_vocabulary_has_no_tokenizer(tmp_path: Path) -> None:
    write_settings(tmp_path, "BertTokenizer")
    assert load_tokenizer(tmp_path) is None


def test_tokenizer_json_goes_before_a_vocabulary_of_any_class(tmp_path: Path) -> None:
    from tests.checkpoints import write_tokenizer

    write_tokenizer(tmp_path)
    write_words(tmp_path)
    tokenizer = Tokenizer(tmp_path)
    assert tokenizer.encode(["the cat"])[0].tokens == ["[CLS]", "the", "cat", "[SEP]"]


@pytest.mark.parametrize(
    ("settings", "config"),
    [
        ({"tokenizer_class": "BertTokenizer"}, {}),
        ({"tokenizer_class": "BertTokenizerFast"}, {"model_type": "gpt2"}),
        ({}, {"tokenizer_class": "ElectraTokenizer"}),
        ({}, {"model_type": "bert"}),
        ({"tokenizer_class": "PreTrainedTokenizerFast"}, {"model_type": "distilbert"}),
    ],
)
def test_the_class_comes_from_the_settings_then_from_the_config(
    tmp_path: Path, settings: dict[str, str], config: dict[str, str]
) -> None:
    write_words(tmp_path)
    write_json(tmp_path / "tokenizer_config.json", settings)
    write_json(tmp_path / "config.json", config)
    assert Tokenizer(tmp_path).encode(["a b"])[0].tokens == ["[CLS]", "a", "b", "[SEP]"]


def test_a_class_that_nobody_names_is_not_guessed(tmp_path: Path) -> None:
    write_words(tmp_path)
    write_json(tmp_path / "config.json", {"model_type": "mpnet"})
    assert refusal(tmp_path, RefusedContent) == (
        f"The tokenizer of '{tmp_path}' was refused: there is vocab.txt, and neither tokenizer_config.json nor config.json "
        "says for what class of tokenizer. Name it in tokenizer_config.json, such as "
        '{"tokenizer_class": "BertTokenizer"}, or add a tokenizer.json'
    )


def test_a_class_that_zoo_does_not_know_is_named(tmp_path: Path) -> None:
    write_words(tmp_path)
    write_settings(tmp_path, "MPNetTokenizerFast")
    assert refusal(tmp_path, RefusedContent) == (
        f"The tokenizer of '{tmp_path}' was refused: there is vocab.txt, and Zoo cannot convert what belongs to a "
        "'MPNetTokenizer'; it can for: AlbertTokenizer, BartTokenizer, BertTokenizer, CamembertTokenizer, "
        "DistilBertTokenizer, ElectraTokenizer, GemmaTokenizer, GPT2Tokenizer, GPTNeoXTokenizer, LlamaTokenizer, "
        "MarianTokenizer, MBartTokenizer, MBart50Tokenizer, OpenAIGPTTokenizer, Qwen2Tokenizer, RobertaTokenizer, "
        "T5Tokenizer, XLMRobertaTokenizer. Add a tokenizer.json: transformers writes one with "
        "AutoTokenizer.from_pretrained(…).save_pretrained(…)"
    )


def test_files_of_another_class_are_not_read(tmp_path: Path) -> None:
    write_byte_level(tmp_path)
    write_settings(tmp_path, "MarianTokenizer")
    assert refusal(tmp_path, RefusedContent) == (
        f"The tokenizer of '{tmp_path}' was refused: a 'MarianTokenizer' is read from source.spm and target.spm and "
        "vocab.json, and there is only vocab.json. Add source.spm and target.spm or a tokenizer.json, or correct the "
        "tokenizer_class in tokenizer_config.json"
    )


def test_bytes_are_not_taken_for_the_words_of_the_first_gpt(tmp_path: Path) -> None:
    write_byte_level(tmp_path)
    write_settings(tmp_path, "OpenAIGPTTokenizer")
    assert refusal(tmp_path) == corrupt(
        tmp_path / "vocab.json", "none of its tokens ends in </w>, as the first GPT's do"
    )


def test_words_of_the_first_gpt_are_not_taken_for_bytes(tmp_path: Path) -> None:
    write_word_level(tmp_path)
    write_settings(tmp_path, "GPT2Tokenizer")
    assert refusal(tmp_path) == corrupt(
        tmp_path / "vocab.json", "it is no vocabulary of bytes: it lacks 'Ġ', which stands for a space"
    )


# --- special and added tokens -------------------------------------------------------------------------------------------


def test_roles_come_from_the_class_where_no_file_names_them(tmp_path: Path) -> None:
    write_words(tmp_path)
    write_settings(tmp_path, "BertTokenizer", {"sep_token": None})
    tokenizer = Tokenizer(tmp_path)
    roles = ("pad_token", "unk_token", "cls_token", "sep_token", "mask_token", "bos_token")
    assert [(tokenizer.special_token(role), tokenizer.special_id(role)) for role in roles] == [
        ("[PAD]", 0), ("[UNK]", 1), ("[CLS]", 2), ("[SEP]", 3), ("[MASK]", 4), (None, None),
    ]  # fmt: skip


def test_added_tokens_stay_whole_and_get_their_own_ids(tmp_path: Path) -> None:
    write_pieces(tmp_path / "tokenizer.model", **LLAMA_PIECES)
    size = 900
    decoder = {
        str(size + 1): {"content": "<|tool|>", "special": False},
        str(size): {"content": "<|user|>", "special": True, "rstrip": True},
    }
    write_settings(tmp_path, "LlamaTokenizer", {"added_tokens_decoder": decoder})
    tokenizer = Tokenizer(tmp_path)
    encoding = tokenizer.encode(["<|user|>  2<|tool|>"])[0]
    assert encoding.ids[1] == size and encoding.ids[-1] == size + 1
    assert tokenizer.decode(encoding.ids) == "2<|tool|>"
    assert tokenizer.decode(encoding.ids, skip_special_tokens=False) == "<s><|user|> 2<|tool|>"


def test_added_tokens_json_counts_too(tmp_path: Path) -> None:
    write_words(tmp_path)
    write_settings(tmp_path, "BertTokenizer")
    write_json(tmp_path / "added_tokens.json", {"zoo": 500, "Keeper": 501})
    assert Tokenizer(tmp_path).encode(["the zoo keeper"])[0].ids[-3:-1] == [500, 501]


def test_an_added_token_with_an_id_that_it_cannot_get_is_refused(tmp_path: Path) -> None:
    write_words(tmp_path)
    write_settings(tmp_path, "BertTokenizer", {"added_tokens_decoder": {"777": {"content": "zoo"}}})
    assert refusal(tmp_path) == corrupt(
        tmp_path / "tokenizer_config.json", "the added token 'zoo' has the id 777 there, and is 500"
    )


def test_a_space_before_the_mask_belongs_to_it(tmp_path: Path) -> None:
    """As in the tokenizer.json of every RoBERTa; transformers 5, from vocab.json alone, makes a token of the space."""
    write_byte_level(tmp_path, ("<s>", "<pad>", "</s>", "<unk>", "<mask>"))
    write_settings(tmp_path, "RobertaTokenizer")
    assert Tokenizer(tmp_path).encode(["the <mask>"])[0].tokens == ["<s>", "t", "h", "e", " <mask>", "</s>"]


def test_a_tokenizer_can_be_copied(tmp_path: Path) -> None:
    write_marian(tmp_path)
    write_settings(tmp_path, "MarianTokenizer")
    tokenizer = Tokenizer(tmp_path)
    for other in (copy.deepcopy(tokenizer), pickle.loads(pickle.dumps(tokenizer))):
        assert [e.ids for e in other.encode(SAMPLE)] == [e.ids for e in tokenizer.encode(SAMPLE)]


def test_all_files_of_a_converted_tokenizer_are_copied_with_a_model(tmp_path: Path) -> None:
    for number, write in enumerate((write_words, write_byte_level, write_marian)):
        (folder := tmp_path / str(number)).mkdir()
        write(folder)
        assert {path.name for path in folder.iterdir()} - set(TOKENIZER_FILES) == set()


def test_texts_are_cut_to_a_length(tmp_path: Path) -> None:
    write_pieces(tmp_path / "spiece.model", **T5_PIECES)
    write_settings(tmp_path, "T5Tokenizer", {"model_max_length": 512})
    tokenizer = Tokenizer(tmp_path)
    assert tokenizer.max_length == 512
    assert tokenizer.encode(["le garçon"], max_length=3)[0].tokens == ["▁le", "▁", "</s>"]
    assert len(tokenizer.encode(["le garçon"])[0].ids) > 3


# --- files that are not what they should be -----------------------------------------------------------------------------


def test_a_vocabulary_without_the_unknown_word_is_refused(tmp_path: Path) -> None:
    (tmp_path / "vocab.txt").write_text("[PAD]\n[CLS]\n[SEP]\nthe\n")
    write_settings(tmp_path, "BertTokenizer")
    assert refusal(tmp_path) == corrupt(tmp_path / "vocab.txt", "it has no '[UNK]', which stands for unknown words")


def test_a_vocabulary_without_the_ends_is_refused(tmp_path: Path) -> None:
    (tmp_path / "vocab.txt").write_text("[PAD]\n[UNK]\n[SEP]\nthe\n")
    write_settings(tmp_path, "BertTokenizer")
    assert refusal(tmp_path) == corrupt(tmp_path / "vocab.txt", "it has no '[CLS]', which is put around each text")


def test_words_that_are_no_text_are_refused(tmp_path: Path) -> None:
    (tmp_path / "vocab.txt").write_bytes(b"[UNK]\n\xff\xfe\n")
    write_settings(tmp_path, "BertTokenizer")
    assert refusal(tmp_path) == corrupt(
        tmp_path / "vocab.txt",
        "it is not a vocabulary of WordPiece (Error while reading WordPiece file: stream did not contain valid UTF-8)",
    )


@pytest.mark.parametrize(
    ("file", "content"),
    [
        ("vocab.json", "["), ("vocab.json", "[1]"), ("vocab.json", '{"a": -1}'),
        ("merges.txt", "one two three\n"), ("merges.txt", "not there\n"), ("merges.txt", "\ud800"),
    ],
)  # fmt: skip
def test_vocabularies_and_merges_that_are_cut_or_wrong_are_refused(tmp_path: Path, file: str, content: str) -> None:
    write_byte_level(tmp_path)
    write_settings(tmp_path, "GPT2Tokenizer")
    (tmp_path / file).write_bytes(content.encode("utf-8", "surrogatepass"))
    assert refusal(tmp_path).startswith(
        f"The file '{tmp_path / 'merges.txt'}' is corrupt: it is not a list of merges for vocab.json ("
    )


@pytest.mark.parametrize("content", ['{"a": "b"}', '{"a": 0, "<unk>": 0}', '{"<unk>": true}', '{"<unk>": -1}'])
def test_a_vocabulary_of_marian_that_gives_no_ids_is_refused(tmp_path: Path, content: str) -> None:
    write_marian(tmp_path)
    write_settings(tmp_path, "MarianTokenizer")
    (tmp_path / "vocab.json").write_text(content)
    assert refusal(tmp_path) == corrupt(tmp_path / "vocab.json", "it does not give each token an id of its own")


@pytest.mark.parametrize(
    ("settings", "reason"),
    [
        ({"do_lower_case": "no"}, "its do_lower_case is neither true nor false"),
        ({"added_tokens_decoder": ["zoo"]}, "its added_tokens_decoder does not give a token for each id"),
        ({"added_tokens_decoder": {"x": "zoo"}}, "its added_tokens_decoder does not give a token for each id"),
        ({"additional_special_tokens": 7}, "its additional_special_tokens are no list of tokens"),
    ],
)
def test_settings_of_a_wrong_kind_are_refused(tmp_path: Path, settings: dict[str, Any], reason: str) -> None:
    write_words(tmp_path)
    write_settings(tmp_path, "BertTokenizer", settings)
    assert refusal(tmp_path) == corrupt(tmp_path / "tokenizer_config.json", reason)


def test_an_added_token_needs_a_number(tmp_path: Path) -> None:
    write_words(tmp_path)
    write_settings(tmp_path, "BertTokenizer")
    (tmp_path / "added_tokens.json").write_text(json.dumps({"zoo": "x"}))
    assert refusal(tmp_path) == corrupt(tmp_path / "added_tokens.json", "the id of 'zoo' is no number")
