"""Texts in several scripts, and small vocabularies learnt from them by the libraries that checkpoints' authors used."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import sentencepiece
from tokenizers import Tokenizer as Backend
from tokenizers import models, normalizers, pre_tokenizers, trainers

from zoo.tokenization import Tokenizer

SCRIPTS = (
    "The quick brown fox jumps over the lazy dog, and nobody was surprised.",
    "Où est le garçon? Il a mangé des œufs à la coque: naïve façade, Zoë!",
    "Die Straße ist naß; Größe, Übermut und Ärger führen zu nichts.",
    "Съешь же ещё этих мягких французских булок, да выпей чаю.",
    "Ξεσκεπάζω την ψυχοφθόρα βδελυγμία στον ήλιο του καλοκαιριού.",
    "نص حكيم له سر قاطع وذو شأن عظيم مكتوب على ثوب أخضر",
    "דג סקרן שט בים מאוכזב ולפתע מצא חברה נחמדה",
    "ऋषियों को सताने वाले दुष्ट राक्षसों के राजा रावण का सर्वनाश",
    "我能吞下玻璃而不伤身体。今天天气很好，我们去公园。",
    "いろはにほへと ちりぬるを。私はガラスを食べられます。",
    "키스의 고유조건은 입술끼리 만나야 하고 특별한 기술은 필요치 않다.",
    "เป็นมนุษย์สุดประเสริฐเลิศคุณค่า กว่าบรรดาฝูงสัตว์เดรัจฉาน",
    "In 2024, 9,999 of 12,345,678 runs took 3.14 seconds: 0x7f, 1e-5.",
    "def f(x):\n\treturn [y ** 2 for y in x if y != 0]  # squares",
)
ODDITIES = (
    "",
    " ",
    "   ",
    "\n",
    "a",
    " leading and trailing ",
    "two  spaces,   three",
    "tab\there\nand a line\r\nmore",
    "family 👨‍👩‍👧‍👦 and flag 🇩🇪 and 🙂🏽",
    "ﬁne ﬂow ½ ① Ａｂｃ ㎏ ™ …",
    "e\u0301te\u0301 n\u0303 A\u030a",
    "no\u00a0break\u3000wide\u200bzero",
    'he said "hello", (and left) - so.',
    "``quoted'' text",
    "it's we'll I'M they'D",
    "▁under ▁▁lines",
    "unknown ☃ ꙮ 𝔘 letters ☃☃",
    "control \x00\x07 chars \ufffd \ufeff",
    "supercalifragilisticexpialidocious" * 4,
    "!!!???...,,,---",
    "<0x41> </w> ##ing @@",
)
SAMPLE = (*SCRIPTS, *ODDITIES)
# Some words oftener than others, so that there is something to learn.
WORDS = tuple(word for text in SCRIPTS for word in text.split())
CORPUS = tuple(" ".join(WORDS[place : place + 9 : 1 + place % 3]) for place in range(len(WORDS)) for _ in range(4))


def write_json(path: Path, value: Any) -> None:
    path.write_text(json.dumps(value, ensure_ascii=False), encoding="utf-8")


def write_pieces(path: Path, **settings: Any) -> None:
    """Learn a SentencePiece model. settings: of the trainer."""
    usual: dict[str, Any] = {
        "model_type": "unigram",
        "vocab_size": 620,
        "character_coverage": 1.0,
        "normalization_rule_name": "nmt_nfkc",
        "hard_vocab_limit": False,
        "num_threads": 1,
        "minloglevel": 2,
    }
    stem = path.with_suffix(".learnt")
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(CORPUS), model_prefix=str(stem), **(usual | settings)
    )
    stem.with_name(stem.name + ".model").rename(path)
    stem.with_name(stem.name + ".vocab").unlink()


def write_words(folder: Path, lower: bool = True) -> None:
    """Learn BERT's vocab.txt."""
    backend = Backend(models.WordPiece(unk_token="[UNK]"))
    backend.normalizer = normalizers.BertNormalizer(lowercase=lower)
    backend.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    backend.train_from_iterator(CORPUS, trainers.WordPieceTrainer(vocab_size=500, special_tokens=special))
    backend.model.save(str(folder))


def write_byte_level(folder: Path, special: Sequence[str] = ("<|endoftext|>",)) -> None:
    """Learn GPT-2's vocab.json and merges.txt."""
    backend = Backend(models.BPE())
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(vocab_size=600, special_tokens=list(special), initial_alphabet=alphabet)
    backend.train_from_iterator(CORPUS, trainer)
    backend.model.save(str(folder))


def write_word_level(folder: Path) -> None:
    """Learn the first GPT's vocab.json and merges.txt."""
    backend = Backend(models.BPE(unk_token="<unk>", end_of_word_suffix="</w>"))
    backend.normalizer = normalizers.BertNormalizer(lowercase=True)
    backend.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    trainer = trainers.BpeTrainer(vocab_size=500, special_tokens=["<unk>"], end_of_word_suffix="</w>")
    backend.train_from_iterator(CORPUS, trainer)
    backend.model.save(str(folder))


def write_settings(folder: Path, tokenizer_class: str, settings: Mapping[str, Any] | None = None) -> None:
    """Write tokenizer_config.json."""
    write_json(folder / "tokenizer_config.json", {"tokenizer_class": tokenizer_class, **(settings or {})})


T5_PIECES = {"pad_id": 0, "eos_id": 1, "unk_id": 2, "bos_id": -1}
ALBERT_PIECES = {
    "pad_id": 0, "unk_id": 1, "bos_id": -1, "eos_id": -1, "control_symbols": ["[CLS]", "[SEP]", "[MASK]"],
}  # fmt: skip
LLAMA_PIECES = {
    "model_type": "bpe", "byte_fallback": True, "normalization_rule_name": "identity", "vocab_size": 900,
    "remove_extra_whitespaces": False, "split_digits": True, "allow_whitespace_only_pieces": True,
}  # fmt: skip
GEMMA_PIECES = LLAMA_PIECES | {
    "add_dummy_prefix": False, "pad_id": 0, "eos_id": 1, "bos_id": 2, "unk_id": 3, "pad_piece": "<pad>",
    "eos_piece": "<eos>", "bos_piece": "<bos>",
    "user_defined_symbols": ["<start_of_turn>", "\n", "\n\n", "▁▁", "▁▁▁", "▁▁▁▁"],
}  # fmt: skip


def write_marian(folder: Path, whole: bool = False) -> None:
    """Learn two models, and write a vocabulary of their pieces: all, or most, as published ones have."""
    write_pieces(folder / "source.spm", vocab_size=420)
    write_pieces(folder / "target.spm", model_type="bpe")
    pieces = [
        sentencepiece.SentencePieceProcessor(model_file=str(folder / name)) for name in ("target.spm", "source.spm")
    ]
    tokens = ["</s>", "<unk>", ">>fra<<", ">>deu_Latn<<"]
    for side in pieces:
        tokens += [piece for piece in side.id_to_piece(list(range(3, side.get_piece_size()))) if piece not in tokens]
    kept = [token for index, token in enumerate(tokens) if whole or index < 4 or index % 11]
    write_json(folder / "vocab.json", {token: index for index, token in enumerate([*kept, "<pad>"])})


def mbart(folder: Path, tokenizer_class: str = "MBartTokenizer", **settings: Any) -> Tokenizer:
    """Write mBART's files, and give its tokenizer."""
    write_pieces(folder / "sentencepiece.bpe.model")
    write_settings(folder, tokenizer_class, settings)
    return Tokenizer(folder)
