"""Two sides of a translation: Marian's two vocabularies, mBART's codes of languages."""

import copy
from pathlib import Path

import pytest

from tests.tokenization.samples import mbart, write_json, write_marian, write_settings, write_words
from zoo.errors import InvalidInput, ZooError
from zoo.tokenization import Tokenizer

MBART_CODES = (
    "ar_AR, cs_CZ, de_DE, en_XX, es_XX, et_EE, fi_FI, fr_XX, gu_IN, hi_IN, it_IT, ja_XX, kk_KZ, ko_KR, lt_LT, lv_LV, "
    "my_MM, ne_NP, nl_XX, ro_RO, ru_RU, si_LK, tr_TR, vi_VN, zh_CN"
)


def ends(tokenizer: Tokenizer, target: bool = False) -> list[str]:
    """What is put around a text, with "…" for the text."""
    tokens = tokenizer.encode(["я"], target=target)[0].tokens
    return [token if len(token) > 2 else "…" for token in tokens if token != "я"]


def test_mbart_puts_the_language_last(tmp_path: Path) -> None:
    tokenizer = mbart(tmp_path, src_lang="ru_RU", tgt_lang="fi_FI")
    assert (tokenizer.source_language, tokenizer.target_language) == ("ru_RU", "fi_FI")
    assert ends(tokenizer) == ["…", "</s>", "ru_RU"]
    assert ends(tokenizer, target=True) == ["…", "</s>", "fi_FI"]
    assert ends(tokenizer) == ["…", "</s>", "ru_RU"]


def test_mbart50_puts_the_language_first(tmp_path: Path) -> None:
    tokenizer = mbart(tmp_path, "MBart50Tokenizer", src_lang="ru_RU", tgt_lang="xh_ZA")
    assert ends(tokenizer) == ["ru_RU", "…", "</s>"]
    assert ends(tokenizer, target=True) == ["xh_ZA", "…", "</s>"]
    assert len(tokenizer.languages) == 52


def test_without_settings_both_sides_are_english_as_in_transformers(tmp_path: Path) -> None:
    tokenizer = mbart(tmp_path)
    assert (tokenizer.source_language, tokenizer.target_language) == ("en_XX", "en_XX")


def test_other_languages_make_another_tokenizer_and_leave_the_first_as_it_was(tmp_path: Path) -> None:
    tokenizer = mbart(tmp_path, src_lang="ru_RU")
    other = tokenizer.with_languages(source="de_DE", target="vi_VN")
    again = other.with_languages(target="tr_TR")
    assert [ends(t) + ends(t, target=True) for t in (tokenizer, other, again, copy.deepcopy(again))] == [
        ["…", "</s>", "ru_RU", "…", "</s>", "ru_RU"],
        ["…", "</s>", "de_DE", "…", "</s>", "vi_VN"],
        ["…", "</s>", "de_DE", "…", "</s>", "tr_TR"],
        ["…", "</s>", "de_DE", "…", "</s>", "tr_TR"],
    ]
    assert other.token_id("vi_VN") == tokenizer.token_id("vi_VN") is not None


def test_languages_can_be_chosen_with_a_tokenizer_json_too(tmp_path: Path) -> None:
    converted = mbart(tmp_path)
    converted._source.save(str(tmp_path / "tokenizer.json"))
    (tmp_path / "sentencepiece.bpe.model").unlink()
    tokenizer = Tokenizer(tmp_path).with_languages("it_IT", "nl_XX")
    assert ends(tokenizer) + ends(tokenizer, target=True) == ["…", "</s>", "it_IT", "…", "</s>", "nl_XX"]


def refusal(tokenizer: Tokenizer, **languages: str) -> str:
    with pytest.raises(InvalidInput) as refused:
        tokenizer.with_languages(**languages)
    return str(refused.value)


def test_a_language_that_the_vocabulary_lacks_is_refused(tmp_path: Path) -> None:
    message = f"The checkpoint's tokenizer has no language 'uk_UA'; it has: {MBART_CODES}"
    tokenizer = mbart(tmp_path)
    assert refusal(tokenizer, source="uk_UA") == refusal(tokenizer, target="uk_UA") == message
    write_settings(tmp_path, "MBartTokenizer", {"src_lang": "uk_UA"})
    with pytest.raises(ZooError) as refused:
        Tokenizer(tmp_path)
    assert str(refused.value) == message


def test_a_tokenizer_without_languages_has_none_to_choose(tmp_path: Path) -> None:
    write_words(tmp_path)
    write_settings(tmp_path, "BertTokenizer")
    tokenizer = Tokenizer(tmp_path)
    assert (tokenizer.languages, tokenizer.source_language, tokenizer.target_language) == ((), None, None)
    assert refusal(tokenizer, target="fr_XX") == (
        "The checkpoint's tokenizer puts no code of a language around texts, so 'fr_XX' cannot be chosen"
    )


# --- Marian -------------------------------------------------------------------------------------------------------------


@pytest.fixture
def marian(tmp_path: Path) -> Tokenizer:
    write_marian(tmp_path)
    write_settings(tmp_path, "MarianTokenizer")
    return Tokenizer(tmp_path)


def test_each_side_of_marian_has_its_own_pieces(marian: Tokenizer, tmp_path: Path) -> None:
    write_marian(tmp_path, whole=True)
    marian = Tokenizer(tmp_path)
    text = "Die Straße ist naß"
    source, target = (marian.encode([text], target=side)[0] for side in (False, True))
    assert source.ids != target.ids
    assert marian.decode(target.ids) == text


def test_a_language_code_at_the_start_is_one_token(marian: Tokenizer) -> None:
    assert marian.encode([">>deu_Latn<< the"])[0].tokens[0] == ">>deu_Latn<<"
    assert marian.encode(["the >>fra<< dog"])[0].ids.count(marian.token_id(">>fra<<") or 0) == 0


def test_codes_that_are_written_into_the_text_are_named(marian: Tokenizer) -> None:
    assert refusal(marian, target="fra") == (
        "The checkpoint's tokenizer puts no code of a language around texts, so 'fra' cannot be chosen. "
        "Write one of these in front of each text: >>deu_Latn<<, >>fra<<"
    )


def test_marian_takes_no_lists_of_words(marian: Tokenizer) -> None:
    with pytest.raises(InvalidInput) as refused:
        marian.encode([["the", "dog"]], words=True)
    assert str(refused.value) == "Marian's tokenizer takes whole texts, not lists of words"


def test_marian_cuts_to_a_length_and_keeps_the_end(marian: Tokenizer) -> None:
    whole, cut = marian.encode(["the lazy dog"])[0], marian.encode(["the lazy dog"], max_length=4)[0]
    assert cut.ids == [*whole.ids[:3], marian.special_id("eos_token")]


def test_vocabularies_may_be_separate(marian: Tokenizer, tmp_path: Path) -> None:
    write_json(tmp_path / "target_vocab.json", {"</s>": 0, "<unk>": 1, "<pad>": 2, "▁the": 3})
    write_settings(tmp_path, "MarianTokenizer", {"separate_vocabs": True})
    tokenizer = Tokenizer(tmp_path)
    assert tokenizer.encode(["the"])[0].ids == marian.encode(["the"])[0].ids
    assert tokenizer.encode(["ж"], target=True)[0].ids[-2:] == [1, 0]
    assert tokenizer.decode([3, 0]) == "the"
