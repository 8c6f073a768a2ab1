"""What the name of a tokenizer's class implies: a table, since vocabulary files alone leave it unsaid.

Published checkpoints name the class in `tokenizer_config.json` (or `config.json`); where they do not, the model_type
stands for it. A class that is not in this table is refused, never guessed.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

from zoo.checkpoint.reader import CONFIG_FILE, read_optional_json
from zoo.errors import RefusedContent
from zoo.tokenization.files import VOCABULARIES

Algorithm = Literal["wordpiece", "byte-level BPE", "word-level BPE", "sentencepiece", "marian"]


@dataclass(frozen=True)
class Family:
    """A class of tokenizers.

    algorithm, files: which files it is read from, and how. roles: its special tokens, unless settings say otherwise.
    single, pair: what is put around texts, in the roles' names; a number after a colon is the type id.
    bos, eos: set where settings (add_bos_token, add_eos_token) decide about the ends; then these are the defaults.
    model_types: those of config.json that imply this class.
    mask_takes_space: whether a space before the mask token belongs to it.
    nfc, pattern, trim: byte-level BPE: whether text is composed first, how it is cut, whether offsets leave spaces out.
    before, skipped, after: SentencePiece: tokens that stand in for the first `skipped` pieces, and that follow the last.
    sentinels: SentencePiece: how many `<extra_id_…>` follow the last piece, unless settings (extra_ids) say otherwise.
    extra_special: further special tokens.
    folds: SentencePiece: whether quotes, accents and case are folded before the model's own normalisation.
    languages: the codes of languages, in the vocabulary's order.
    """

    algorithm: Algorithm
    files: tuple[str, ...]
    roles: Mapping[str, str]
    single: str = "$A"
    pair: str = "$A $B"
    bos: bool | None = None
    eos: bool | None = None
    model_types: tuple[str, ...] = ()
    mask_takes_space: bool = False
    nfc: bool = False
    pattern: str | None = None
    trim: bool = False
    before: tuple[str, ...] = ()
    skipped: int = 0
    after: tuple[str, ...] = ()
    extra_special: tuple[str, ...] = ()
    sentinels: int = 0
    folds: bool = False
    languages: tuple[str, ...] = field(default=(), repr=False)


def _roles(**tokens: str) -> dict[str, str]:
    return {f"{role}_token": token for role, token in tokens.items()}


CLS_PAIR = "cls_token:0 $A:0 sep_token:0 $B:1 sep_token:1"
FAIRSEQ_PAIR = "cls_token $A sep_token sep_token $B sep_token"
FAIRSEQ_ROLES = _roles(bos="<s>", eos="</s>", sep="</s>", cls="<s>", unk="<unk>", pad="<pad>", mask="<mask>")
FAIRSEQ_FIRST = ("<s>", "<pad>", "</s>", "<unk>")

MBART_LANGUAGES = (
    "ar_AR", "cs_CZ", "de_DE", "en_XX", "es_XX", "et_EE", "fi_FI", "fr_XX", "gu_IN", "hi_IN", "it_IT", "ja_XX", "kk_KZ",
    "ko_KR", "lt_LT", "lv_LV", "my_MM", "ne_NP", "nl_XX", "ro_RO", "ru_RU", "si_LK", "tr_TR", "vi_VN", "zh_CN",
)  # fmt: skip
MBART50_LANGUAGES = (
    *MBART_LANGUAGES,
    "af_ZA", "az_AZ", "bn_IN", "fa_IR", "he_IL", "hr_HR", "id_ID", "ka_GE", "km_KH", "mk_MK", "ml_IN", "mn_MN", "mr_IN",
    "pl_PL", "ps_AF", "pt_XX", "sv_SE", "sw_KE", "ta_IN", "te_IN", "th_TH", "tl_XX", "uk_UA", "ur_PK", "xh_ZA", "gl_ES",
    "sl_SI",
)  # fmt: skip
USUAL_LANGUAGE = "en_XX"
# How Qwen2 cuts text before BPE; published in its tokenizer.json.
QWEN2_PATTERN = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)

BERT = Family(
    "wordpiece",
    ("vocab.txt",),
    _roles(unk="[UNK]", sep="[SEP]", pad="[PAD]", cls="[CLS]", mask="[MASK]"),
    single="cls_token:0 $A:0 sep_token:0",
    pair=CLS_PAIR,
    model_types=("bert",),
)
GPT2 = Family(
    "byte-level BPE",
    ("vocab.json", "merges.txt"),
    _roles(unk="<|endoftext|>", bos="<|endoftext|>", eos="<|endoftext|>"),
    bos=False,
    eos=False,
    model_types=("gpt2", "gpt_neo"),
)
ROBERTA = Family(
    "byte-level BPE",
    ("vocab.json", "merges.txt"),
    FAIRSEQ_ROLES,
    single="cls_token $A sep_token",
    pair=FAIRSEQ_PAIR,
    model_types=("roberta", "longformer"),
    mask_takes_space=True,
    trim=True,
)
XLM_ROBERTA = Family(
    "sentencepiece",
    ("sentencepiece.bpe.model",),
    FAIRSEQ_ROLES,
    single="cls_token $A sep_token",
    pair=FAIRSEQ_PAIR,
    model_types=("xlm-roberta",),
    mask_takes_space=True,
    before=FAIRSEQ_FIRST,
    skipped=3,
    after=("<mask>",),
)
MBART = replace(
    XLM_ROBERTA,
    single="$A eos_token language",
    pair="$A $B eos_token language",
    model_types=("mbart",),
    after=(*MBART_LANGUAGES, "<mask>"),
    languages=MBART_LANGUAGES,
)
LLAMA = Family(
    "sentencepiece",
    ("tokenizer.model",),
    _roles(unk="<unk>", bos="<s>", eos="</s>"),
    bos=True,
    eos=False,
    model_types=("llama", "mistral", "mixtral"),
)

FAMILIES: Mapping[str, Family] = {
    "AlbertTokenizer": Family(
        "sentencepiece",
        ("spiece.model",),
        _roles(bos="[CLS]", eos="[SEP]", unk="<unk>", sep="[SEP]", pad="<pad>", cls="[CLS]", mask="[MASK]"),
        single="cls_token:0 $A:0 sep_token:0",
        pair=CLS_PAIR,
        model_types=("albert",),
        mask_takes_space=True,
        folds=True,
    ),
    "BartTokenizer": replace(ROBERTA, model_types=("bart",)),
    "BertTokenizer": BERT,
    "CamembertTokenizer": replace(
        XLM_ROBERTA,
        model_types=("camembert",),
        before=("<s>NOTUSED", "<pad>", "</s>NOTUSED", "<unk>", "<unk>NOTUSED"),
        skipped=1,
        extra_special=("<s>NOTUSED", "</s>NOTUSED", "<unk>NOTUSED"),
    ),
    "DistilBertTokenizer": replace(BERT, model_types=("distilbert",)),
    "ElectraTokenizer": replace(BERT, model_types=("electra",)),
    "GemmaTokenizer": replace(
        LLAMA,
        roles=_roles(unk="<unk>", bos="<bos>", eos="<eos>", pad="<pad>"),
        model_types=("gemma", "gemma2", "gemma3_text"),
    ),
    "GPT2Tokenizer": GPT2,
    "GPTNeoXTokenizer": replace(
        GPT2, roles={**GPT2.roles, **_roles(pad="<|padding|>")}, nfc=True, model_types=("gpt_neox",)
    ),
    "LlamaTokenizer": LLAMA,
    "MarianTokenizer": Family(
        "marian",
        ("source.spm", "target.spm", "vocab.json"),
        _roles(unk="<unk>", eos="</s>", pad="<pad>"),
        single="$A eos_token",
        pair="$A $B eos_token",
        model_types=("marian",),
    ),
    "MBartTokenizer": MBART,
    "MBart50Tokenizer": replace(
        MBART,
        single="language $A eos_token",
        pair="language $A $B eos_token",
        model_types=("mbart50",),
        after=(*MBART50_LANGUAGES, "<mask>"),
        languages=MBART50_LANGUAGES,
    ),
    "OpenAIGPTTokenizer": Family(
        "word-level BPE", ("vocab.json", "merges.txt"), _roles(unk="<unk>"), model_types=("openai-gpt",)
    ),
    "Qwen2Tokenizer": replace(
        GPT2,
        roles=_roles(eos="<|endoftext|>", pad="<|endoftext|>"),
        model_types=("qwen2", "qwen3"),
        nfc=True,
        pattern=QWEN2_PATTERN,
    ),
    "RobertaTokenizer": ROBERTA,
    "T5Tokenizer": Family(
        "sentencepiece",
        ("spiece.model",),
        _roles(eos="</s>", unk="<unk>", pad="<pad>"),
        single="$A eos_token",
        pair="$A eos_token $B eos_token",
        model_types=("t5", "mt5"),
        sentinels=100,
    ),
    "XLMRobertaTokenizer": XLM_ROBERTA,
}
# Names that say nothing of the tokenizer itself.
GENERIC = ("PreTrainedTokenizer", "TokenizersBackend")


def class_of(folder: Path, settings: Mapping[str, Any]) -> str | None:
    """Give the name of the tokenizer's class, "Fast" left off, or None where no file says it."""
    config = read_optional_json(folder / CONFIG_FILE)
    for name in (settings.get("tokenizer_class"), config.get("tokenizer_class")):
        if isinstance(name, str) and name.removesuffix("Fast") not in GENERIC:
            return name.removesuffix("Fast")
    named = (name for name, family in FAMILIES.items() if config.get("model_type") in family.model_types)
    return next(named, None)


def find_family(folder: Path, settings: Mapping[str, Any]) -> tuple[str, Family]:
    """Give the class and the family of a folder whose vocabulary is to be converted. Raises RefusedContent."""
    name = class_of(folder, settings)
    present = ", ".join(file for file in VOCABULARIES if (folder / file).is_file())
    where = f"The tokenizer of '{folder}'"
    if name is None:
        raise RefusedContent(
            where,
            f"there is {present}, and neither tokenizer_config.json nor config.json says for what class of tokenizer",
            'Name it in tokenizer_config.json, such as {"tokenizer_class": "BertTokenizer"}, or add a tokenizer.json',
        )
    if name not in FAMILIES:
        raise RefusedContent(
            where,
            f"there is {present}, and Zoo cannot convert what belongs to a '{name}'; it can for: {', '.join(FAMILIES)}",
            "Add a tokenizer.json: transformers writes one with AutoTokenizer.from_pretrained(…).save_pretrained(…)",
        )
    missing = [file for file in FAMILIES[name].files if not (folder / file).is_file()]
    if missing:
        raise RefusedContent(
            where,
            f"a '{name}' is read from {' and '.join(FAMILIES[name].files)}, and there is only {present}",
            f"Add {' and '.join(missing)} or a tokenizer.json, or correct the tokenizer_class in tokenizer_config.json",
        )
    return name, FAMILIES[name]
