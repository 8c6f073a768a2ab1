"""Every architecture that writes says what transformers says: greedily, with beams, with stop texts, by its defaults."""

import itertools
import json
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers
from tokenizers import Tokenizer, decoders, models, pre_tokenizers

import zoo
from tests.interop import oracles
from tests.interop.case import Case
from zoo.testing.models import toy_model

TASKS = ("text-generation", "text2text-generation")
CASES = [case for case in oracles.gather_cases() if set(TASKS) & case.classes.keys()]
ENDS = [5, 7, 11, 13]  # beside the own one, so that answers of random models come to an end
BEAMS = [
    {"length_penalty": penalty, "early_stopping": early}
    for penalty, early in itertools.product((0.5, 1.0, 2.0), (False, True, "never"))
]
# No stop text below begins with the last sign: to transformers one may begin in the prompt, to Zoo it is of the answer.
PROMPTS = ["the cat?", "anna lives in berlin?", "who ran, not?"]
LETTERS = [*"0123abcdefghijklmnopqrstuvwxyz.,?", "Ġ"]
MERGES = [
    ("t", "h"), ("th", "e"), ("Ġ", "the"), ("a", "n"), ("Ġ", "an"), ("i", "n"), ("Ġ", "in"), ("e", "r"), ("o", "n"),
    ("a", "t"), ("Ġ", "c"), ("Ġc", "at"), ("l", "i"), ("r", "a"), ("Ġ", "w"), ("o", "r"), ("Ġ", "s"), ("e", "n"),
    ("o", "u"),
]  # fmt: skip


@dataclass(frozen=True)
class Writer:
    """A checkpoint that transformers saved, the model it saved, and Zoo's from the folder. ids: of PROMPTS."""

    folder: Path
    oracle: Any
    model: zoo.Model
    ids: list[list[int]]


@pytest.fixture(scope="module", params=CASES, ids=lambda case: case.architecture)
def writer(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Writer:
    """One an architecture, its scores well apart."""
    return make(request.param, tmp_path_factory.mktemp("writer"))


def make(case: Case, folder: Path, **defaults: Any) -> Writer:
    """Let transformers save a random model with these defaults of generation beside its own, and load it."""
    task = next(task for task in TASKS if task in case.classes)
    positions = {key: 40 for key in ("n_positions", "max_position_embeddings") if key in case.config}
    start = {"decoder_start_token_id": 13} if case.architecture == "mbart" else {}  # else a tokenizer's language says
    oracle = oracles.make_oracle(oracles.subject_of(case, task, **positions, **start))
    with torch.no_grad():
        for parameter in oracle.parameters():
            if (
                parameter.dim() == 2 and parameter.requires_grad
            ):  # embeddings little, so that a text does not say its last token again and again
                parameter.mul_(1.0 if len(parameter) > 50 else 3.0)
    own = [oracle.generation_config.eos_token_id] if oracle.generation_config.eos_token_id is not None else []
    oracle.generation_config.eos_token_id = own + ENDS
    oracle.generation_config.update(**defaults)
    oracle.save_pretrained(folder)
    write_tokenizer(folder)
    model = zoo.load(folder, device="cpu")
    assert model.tokenizer is not None
    return Writer(folder, oracle, model, [encoding.ids for encoding in model.tokenizer.encode(PROMPTS)])


def write_tokenizer(folder: Path) -> None:
    """Write a tokenizer of letters and what they merge to: texts that stop an answer span several tokens."""
    words = [*LETTERS, *(first + second for first, second in MERGES)]
    assert len(words) == 53
    tokenizer = Tokenizer(models.BPE({word: number for number, word in enumerate(words)}, MERGES))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.save(str(folder / "tokenizer.json"))


def expected(writer: Writer, **settings: Any) -> list[list[int]]:
    """What transformers writes for each prompt alone, up to the token that ends it."""
    found = []
    for ids in writer.ids:
        given = torch.tensor([ids])
        usual = {"attention_mask": torch.ones_like(given), "use_cache": False}
        written = writer.oracle.generate(given, **usual, **settings)[0].tolist()
        own = written[1 if writer.oracle.config.is_encoder_decoder else len(ids) :]
        ends = [place for place, token in enumerate(own) if token in writer.oracle.generation_config.eos_token_id]
        found.append(own[: ends[0]] if ends else own)
    return found


def both_ways(model: zoo.Model, **settings: Any) -> list[list[int]]:
    """What Zoo writes for all prompts in one batch, which is what it writes for each alone."""
    together = [row.token_ids for row in model.generate(PROMPTS, **settings)]
    assert [model.generate([prompt], **settings)[0].token_ids for prompt in PROMPTS] == together
    return together


def test_greedy_answers_are_those_of_transformers(writer: Writer) -> None:
    assert len({len(ids) for ids in writer.ids}) == 3
    assert both_ways(writer.model, max_new_tokens=12) == expected(writer, max_new_tokens=12)


@pytest.mark.parametrize("settings", BEAMS, ids=str)
def test_answers_of_beams_are_those_of_transformers(writer: Writer, settings: dict[str, Any]) -> None:
    asked = {"max_new_tokens": 8, "num_beams": 4, **settings}
    assert both_ways(writer.model, **asked) == expected(writer, **asked)


@pytest.mark.parametrize("beams", [1, 4])
def test_stop_texts_end_answers_where_transformers_ends_them(writer: Writer, beams: int) -> None:
    asked: dict[str, Any] = {"max_new_tokens": 10, "min_new_tokens": 6, "no_repeat_ngram_size": 2, "num_beams": beams}
    whole = writer.model.generate(PROMPTS, **asked)
    stop = [row.text[1:4] for row in whole][:2]  # two tokens and more, of letters and pieces
    tokenizer = transformers.PreTrainedTokenizerFast(tokenizer_file=str(writer.folder / "tokenizer.json"))
    found = both_ways(writer.model, **asked, stop=stop)
    assert found == expected(writer, **asked, stop_strings=stop, tokenizer=tokenizer)
    assert found != [row.token_ids for row in whole]


DEFAULTS: list[dict[str, Any]] = [
    {"max_new_tokens": 9, "no_repeat_ngram_size": 2, "repetition_penalty": 1.3, "suppress_tokens": [20, 35]},
    {"num_beams": 4, "length_penalty": 0.5, "early_stopping": True, "max_length": 26, "min_length": 4}
    | {"bad_words_ids": [[24], [38, 43]], "no_repeat_ngram_size": 2},
    {"max_new_tokens": 7, "forced_bos_token_id": 21, "forced_eos_token_id": 7, "begin_suppress_tokens": [8, 21]},
    {"max_new_tokens": 7, "begin_suppress_tokens": [*range(30), *range(35, 53)], "min_new_tokens": 5},
]


@pytest.mark.parametrize("defaults", DEFAULTS, ids=lambda defaults: "+".join(defaults))
def test_a_checkpoint_s_defaults_are_followed_as_transformers_follows_them(
    writer: Writer, defaults: dict[str, Any], tmp_path: Path
) -> None:
    if not writer.oracle.config.is_encoder_decoder:  # transformers forces what follows a single token, not a prompt
        defaults = {key: value for key, value in defaults.items() if key != "forced_bos_token_id"}
    folder = shutil.copytree(writer.folder, tmp_path / "copy")
    config = transformers.GenerationConfig.from_pretrained(folder)
    config.update(**defaults)
    config.save_pretrained(folder)
    kept = writer.oracle.generation_config
    try:
        writer.oracle.generation_config = config
        assert both_ways(zoo.load(folder, device="cpu")) == expected(writer)
    finally:
        writer.oracle.generation_config = kept


@pytest.mark.parametrize("settings", [{"num_beams": 1}, *({"num_beams": 4, **beams} for beams in BEAMS)], ids=str)
@pytest.mark.parametrize("name", ["transformer", "t5"])
def test_the_original_transformer_says_what_full_passes_say(
    tmp_path: Path, name: str, settings: dict[str, Any]
) -> None:
    # transformers has no class for it. That this reference is right is seen by T5, which is compared with both.
    toy = toy_model(name, "text2text-generation", seed=4)
    with torch.no_grad():
        toy.backbone.get_parameter("tokens.weight").mul_(2.0)
    toy.save(tmp_path)
    write_tokenizer(tmp_path)
    (tmp_path / "generation_config.json").write_text(json.dumps({"eos_token_id": [1, *ENDS]}))
    model = zoo.load(tmp_path, device="cpu")
    assert model.tokenizer is not None
    asked: dict[str, Any] = {"max_new_tokens": 8, **settings}
    ids = [encoding.ids for encoding in model.tokenizer.encode(PROMPTS)]
    assert both_ways(model, **asked) == [followed(model, row, 8, [1, *ENDS], **settings) for row in ids]


def followed(
    model: zoo.Model,
    source: list[int],
    most: int,
    ends: list[int],
    num_beams: int,
    length_penalty: float = 1.0,
    early_stopping: bool | str = False,
) -> list[int]:
    """Beam search by full passes, hypothesis by hypothesis; greedy search is that with a single beam."""
    running: list[tuple[float, list[int]]] = [(0.0, [])]
    finished: list[tuple[float, list[int]]] = []
    start: int = model.spec.decoder_start_token_id  # type: ignore[attr-defined]
    for length in range(1, most + 1):
        every = []
        for total, said in running:
            with torch.no_grad():
                output = model(torch.tensor([source]), decoder_input_ids=torch.tensor([[start, *said]]))
            gains = output.logits[0, -1].log_softmax(-1).tolist()
            every += [(total + gain, [*said, token]) for token, gain in enumerate(gains)]
        every.sort(key=lambda one: -one[0])
        running = [one for one in every[: (1 + len(ends)) * num_beams] if one[1][-1] not in ends][:num_beams]
        full = early_stopping is True and len(finished) == num_beams
        for total, said in every[: 0 if full else num_beams]:
            if said[-1] in ends or length == most:
                finished.append((total / length**length_penalty, said))
        finished = sorted(finished, key=lambda one: -one[0])[:num_beams]
        if len(finished) == num_beams:
            furthest = most if early_stopping == "never" else length
            if early_stopping is True or running[0][0] / furthest**length_penalty <= finished[-1][0]:
                break
        if num_beams == 1 and finished:
            break
    best = finished[0][1]
    return best[:-1] if best[-1] in ends else best
