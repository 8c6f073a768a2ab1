"""A converted SentencePiece model gives what the `sentencepiece` library gives; where it cannot, a test says so."""

import unicodedata
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import sentencepiece
import transformers
from sentencepiece import sentencepiece_model_pb2

from tests.tokenization.samples import (
    ALBERT_PIECES,
    GEMMA_PIECES,
    LLAMA_PIECES,
    SAMPLE,
    T5_PIECES,
    write_pieces,
    write_settings,
)
from zoo.errors import CorruptFile, RefusedContent
from zoo.tokenization import Tokenizer

# A class whose ids are the model's own, and that puts nothing around a text: what remains is the conversion.
BARE = {"add_bos_token": False}


def made(
    folder: Path, tokenizer_class: str, file: str, settings: dict[str, Any], **pieces: Any
) -> tuple[Tokenizer, Any]:
    """Learn a model; give our tokenizer, and the library's."""
    write_pieces(folder / file, **pieces)
    write_settings(folder, tokenizer_class, settings)
    return Tokenizer(folder), sentencepiece.SentencePieceProcessor(model_file=str(folder / file))


def ids_of(tokenizer: Tokenizer, text: str) -> list[int]:
    """The ids of a text without what is put around it."""
    encoding = tokenizer.encode([text])[0]
    return [index for index, added in zip(encoding.ids, encoding.special_tokens_mask, strict=True) if not added]


def changed(proto: Callable[[Any], None], path: Path) -> None:
    """Change a model's file, with the protobuf library as a second witness of our reading of it."""
    model = sentencepiece_model_pb2.ModelProto.FromString(path.read_bytes())
    proto(model)
    path.write_bytes(model.SerializeToString())


@pytest.mark.parametrize(
    ("tokenizer_class", "file", "offset", "pieces"),
    [
        ("LlamaTokenizer", "tokenizer.model", 0, LLAMA_PIECES),
        ("GemmaTokenizer", "tokenizer.model", 0, GEMMA_PIECES),
        ("LlamaTokenizer", "tokenizer.model", 0, {"model_type": "bpe"}),
        ("LlamaTokenizer", "tokenizer.model", 0, {"model_type": "bpe", "normalization_rule_name": "nfkc"}),
        ("LlamaTokenizer", "tokenizer.model", 0, LLAMA_PIECES | {"user_defined_symbols": ["ing", "99"]}),
        ("LlamaTokenizer", "tokenizer.model", 0, {}),
        ("LlamaTokenizer", "tokenizer.model", 0, {"normalization_rule_name": "identity"}),
        ("LlamaTokenizer", "tokenizer.model", 0, {"add_dummy_prefix": False}),
        ("LlamaTokenizer", "tokenizer.model", 0, {"split_by_whitespace": False}),
        ("LlamaTokenizer", "tokenizer.model", 0, {"user_defined_symbols": ["(", ")", '"', "-", ".", "ing"]}),
        ("T5Tokenizer", "spiece.model", 0, T5_PIECES),
        ("XLMRobertaTokenizer", "sentencepiece.bpe.model", 1, {}),
        ("MBartTokenizer", "sentencepiece.bpe.model", 1, {}),
        ("MBart50Tokenizer", "sentencepiece.bpe.model", 1, {}),
        ("CamembertTokenizer", "sentencepiece.bpe.model", 4, {}),
    ],
)  # fmt: skip
def test_ids_are_those_of_sentencepiece(
    tmp_path: Path, tokenizer_class: str, file: str, offset: int, pieces: dict[str, Any]
) -> None:
    ours, theirs = made(tmp_path, tokenizer_class, file, BARE, **pieces)
    unknown = {theirs.unk_id(): 3} if offset else {}
    assert {text: ids_of(ours, text) for text in SAMPLE} == {
        text: [unknown.get(index, index + offset) for index in theirs.encode(text)] for text in SAMPLE
    }


@pytest.mark.parametrize(
    ("tokenizer_class", "pieces"), [("LlamaTokenizer", LLAMA_PIECES), ("GemmaTokenizer", GEMMA_PIECES)]
)
def test_byte_fallback_gives_every_text_back(tmp_path: Path, tokenizer_class: str, pieces: dict[str, Any]) -> None:
    ours, _ = made(tmp_path, tokenizer_class, "tokenizer.model", {}, **pieces)
    assert [ours.decode(encoding.ids) for encoding in ours.encode(SAMPLE)] == [
        text.replace("▁", " ") for text in SAMPLE
    ]


def test_albert_folds_a_text_before_its_model_sees_it(tmp_path: Path) -> None:
    symbols = {"user_defined_symbols": ["(", ")", '"', "-", "."]}
    ours, theirs = made(tmp_path, "AlbertTokenizer", "spiece.model", {}, **ALBERT_PIECES, **symbols)
    texts = [text for text in SAMPLE if "2024," not in text]

    def folded(text: str) -> str:
        text = unicodedata.normalize("NFKD", text.replace("``", '"').replace("''", '"'))
        return "".join(letter for letter in text if not unicodedata.category(letter).startswith("M")).lower()

    texts = [text for text in texts if "키" not in text]  # Hangul comes apart then; see the next test but one
    assert {text: ids_of(ours, text) for text in texts} == {text: theirs.encode(folded(text)) for text in texts}


def test_albert_never_takes_a_comma_with_the_digit_before_it(tmp_path: Path) -> None:
    ours, theirs = made(tmp_path, "AlbertTokenizer", "spiece.model", {}, **ALBERT_PIECES)
    assert "▁2024," in theirs.encode("in 2024, 9,999", out_type=str)
    tokens = ["[CLS]", "▁in", "▁2", "0", "2", "4", ",", "▁9,999", "[SEP]"]
    assert ours.encode(["in 2024, 9,999"])[0].tokens == tokens


def test_a_charsmap_reads_no_further_than_a_pair_as_in_any_tokenizer_json(tmp_path: Path) -> None:
    """The one known limit of `tokenizers`: it looks up graphemes, SentencePiece the longest run of characters.

    A checkpoint's own tokenizer.json has the same limit, so texts in decomposed form get the ids that they get there.
    """
    ours, theirs = made(tmp_path, "T5Tokenizer", "spiece.model", {}, **T5_PIECES)
    oracle = transformers.T5Tokenizer.from_pretrained(tmp_path)
    pair, triple = unicodedata.normalize("NFD", "é"), unicodedata.normalize("NFD", "키스의")
    assert ids_of(ours, pair) == theirs.encode(pair) == oracle(pair)["input_ids"][:-1]
    assert ids_of(ours, triple) == oracle(triple)["input_ids"][:-1] != theirs.encode(triple)


def test_a_space_follows_special_tokens_unless_settings_say_that_the_model_is_no_legacy(tmp_path: Path) -> None:
    made(tmp_path, "LlamaTokenizer", "tokenizer.model", {}, **LLAMA_PIECES)
    assert Tokenizer(tmp_path).encode(["2</s>2"])[0].tokens == ["<s>", "▁", "2", "</s>", "▁", "2"]
    write_settings(tmp_path, "LlamaTokenizer", {"legacy": False})
    assert Tokenizer(tmp_path).encode(["2</s>2"])[0].tokens == ["<s>", "▁", "2", "</s>", "2"]
    write_settings(tmp_path, "LlamaTokenizer", {"add_prefix_space": False})
    assert Tokenizer(tmp_path).encode(["2</s>2"])[0].tokens == ["<s>", "2", "</s>", "2"]


def test_words_are_told_apart(tmp_path: Path) -> None:
    ours, _ = made(tmp_path, "XLMRobertaTokenizer", "sentencepiece.bpe.model", {})
    assert ours.encode(["le garçon"])[0].word_ids == [None, 0, *[1] * 5, None]
    assert ours.encode([["le", "garçon"]], words=True)[0].word_ids == [None, 0, *[1] * 5, None]


# --- files that are not what they should be ----------------------------------------------------------------------------


def corrupt(path: Path, reason: str) -> str:
    return f"The file '{path}' is corrupt: {reason}. It was not loaded; fetch it again, or tell its author"


def refusal(folder: Path) -> str:
    with pytest.raises((CorruptFile, RefusedContent)) as refused:
        Tokenizer(folder)
    return str(refused.value)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """The file of a good model."""
    made(tmp_path, "XLMRobertaTokenizer", "sentencepiece.bpe.model", {})
    return tmp_path / "sentencepiece.bpe.model"


@pytest.mark.parametrize("content", [b"", b"\x00", b"\xff" * 50, b"version https://git-lfs.github.com/spec/v1\n"])
def test_other_bytes_are_refused(path: Path, content: bytes) -> None:
    path.write_bytes(content)
    assert refusal(path.parent).startswith(f"The file '{path}' is corrupt: it is not a SentencePiece model (")


def test_no_cut_and_no_flipped_byte_leads_to_a_traceback(path: Path) -> None:
    good = path.read_bytes()
    accepted = 0
    for place in range(0, len(good), len(good) // 100):
        for bad in (good[:place], good[:place] + bytes([good[place] ^ 0x55]) + good[place + 1 :]):
            path.write_bytes(bad)
            try:
                Tokenizer(path.parent).encode(SAMPLE)
                accepted += 1
            except (CorruptFile, RefusedContent):
                pass
    assert accepted < 100


def test_a_file_that_is_too_large_is_not_read(path: Path) -> None:
    with path.open("r+b") as file:
        file.truncate(50_000_001)  # takes no room on the disk
    assert refusal(path.parent) == corrupt(path, "it has more than 50000000 bytes")


def test_a_piece_of_absurd_length_is_refused(path: Path) -> None:
    changed(lambda model: model.pieces.add(piece="x" * 300, score=-1.0), path)
    assert refusal(path.parent) == corrupt(path, "a piece has more than 256 characters")


def test_a_score_that_is_no_number_is_refused(path: Path) -> None:
    changed(lambda model: model.pieces.add(piece="zzz", score=float("-inf")), path)
    assert refusal(path.parent).startswith(f"The file '{path}' is corrupt: ")  # newer libraries see it themselves


def test_a_piece_that_clashes_with_the_class_is_refused(path: Path) -> None:
    changed(lambda model: model.pieces.add(piece="<mask>", score=-1.0), path)
    assert refusal(path.parent) == corrupt(path, "a piece has the name of a token that the tokenizer's class adds")


def test_a_model_whose_first_pieces_are_not_the_class_own_is_refused(tmp_path: Path) -> None:
    write_pieces(tmp_path / "sentencepiece.bpe.model", bos_id=-1, eos_id=-1)
    write_settings(tmp_path, "XLMRobertaTokenizer")
    assert refusal(tmp_path) == corrupt(
        tmp_path / "sentencepiece.bpe.model", "its first 3 pieces are not <unk>, <s> and </s>"
    )


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda model: setattr(model.trainer_spec, "model_type", 4), "its algorithm is neither unigram nor BPE"),
        (lambda model: setattr(model.trainer_spec, "treat_whitespace_as_suffix", True), "it writes spaces after words"),
        (lambda model: setattr(model.normalizer_spec, "escape_whitespaces", False), "it does not write spaces as ▁"),
        (lambda model: setattr(model.pieces[9], "type", 5), "it marks pieces as unused"),
        (
            lambda model: (setattr(model.pieces[9], "type", 4), setattr(model.trainer_spec, "model_type", 2)),
            "it merges pieces around symbols of its own, and drops spaces",
        ),
    ],
)
def test_what_cannot_be_converted_exactly_is_refused(path: Path, change: Callable[[Any], None], reason: str) -> None:
    changed(change, path)
    assert refusal(path.parent) == (
        f"'{path}' was refused: {reason}, which Zoo cannot convert. Add a tokenizer.json to the checkpoint"
    )
