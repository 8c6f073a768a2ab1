"""The canary: what a checkpoint gave when it was published comes out here, or nothing is handed over."""

import json
import unicodedata
from pathlib import Path
from typing import Any

import pytest
import torch

import zoo
from tests.checkpoints import change_config, label_keys, read_tensors, write_checkpoint, write_tensors, write_tokenizer
from zoo.checkpoint.canary import CANARY_FILE, allowances, numbers, read_canary
from zoo.errors import CanaryMismatch, CanaryMissing, CorruptFile, InvalidInput
from zoo.loading import verify_model
from zoo.testing.models import toy_model
from zoo.verification import TEXTS, check_canary, compute_canary


def write_canary(folder: Path) -> None:
    """Compute the canary of a folder's checkpoint and put it there."""
    (folder / CANARY_FILE).write_text(compute_canary(zoo.load(folder, device="cpu"), {}).text(), encoding="utf-8")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A small BERT with a classifier, a tokenizer and a canary."""
    folder = tmp_path / "checkpoint"
    write_checkpoint(folder, "BertForSequenceClassification", **label_keys())
    write_tokenizer(folder)
    write_canary(folder)
    return folder


def change_canary(folder: Path, change: Any) -> None:
    """Change the JSON of zoo.json."""
    content = json.loads((folder / CANARY_FILE).read_text(encoding="utf-8"))
    change(content)
    (folder / CANARY_FILE).write_text(json.dumps(content), encoding="utf-8")


def test_the_texts_are_of_many_scripts() -> None:
    scripts = {unicodedata.name(character).split()[0] for text in TEXTS for character in text if character.isalpha()}
    assert {"LATIN", "CYRILLIC", "CJK", "ARABIC", "DEVANAGARI"} <= scripts
    assert any("👩‍👩‍👧" in text for text in TEXTS)
    assert any("\n    return" in text for text in TEXTS)


def test_a_canary_is_small_says_who_wrote_it_and_comes_out_again(folder: Path) -> None:
    canary = read_canary(folder)
    assert canary is not None
    assert (folder / CANARY_FILE).stat().st_size < 5000
    assert canary.written_by == {
        "zoo": zoo.__version__,
        "torch": torch.__version__,
        "tokenizers": canary.written_by["tokenizers"],
        "zoo-encoder-only": "0.1.0",
    }
    assert [case.text for case in canary.cases] == list(TEXTS)
    assert {sample.output for case in canary.cases for sample in case.samples} == {"logits"}
    agreement = verify_model(zoo.load(folder))
    assert (agreement.texts, agreement.dtype) == (7, "float32")
    assert agreement.worst < 0.1


def test_the_ids_and_numbers_are_those_of_the_model(folder: Path) -> None:
    canary, model = read_canary(folder), zoo.load(folder)
    assert canary is not None
    assert model.tokenizer is not None
    case = canary.cases[-1]
    assert case.token_ids == model.tokenizer.encode([TEXTS[-1]], max_length=19)[0].ids
    with torch.no_grad():
        logits = model(torch.tensor([case.token_ids])).logits
    assert case.samples[0].indices == [0, 1, 2, 3, 4]
    expected = [[pytest.approx(value, rel=1e-5) for value in logits[0].tolist()]]
    assert case.samples[0].values["float32"] == expected


@pytest.mark.parametrize(
    ("architecture", "task", "outputs"),
    [
        ("bert", "fill-mask", {"logits"}),
        ("bert", "question-answering", {"start_logits", "end_logits"}),
        ("bert", "feature-extraction", {"last_hidden_state"}),
        ("llama", "text-generation", {"logits"}),
        ("gpt2", "feature-extraction", {"last_hidden_state"}),
        ("bart", "text2text-generation", {"logits", "encoder_last_hidden_state"}),
        ("t5", "feature-extraction", {"last_hidden_state", "encoder_last_hidden_state"}),
    ],
)
def test_every_kind_of_model_has_one_without_a_tokenizer_too(
    tmp_path: Path, architecture: str, task: str, outputs: set[str]
) -> None:
    toy_model(architecture, task).save(tmp_path)
    write_canary(tmp_path)
    canary = read_canary(tmp_path)
    assert canary is not None
    assert {sample.output for case in canary.cases for sample in case.samples} == outputs
    assert {case.text for case in canary.cases} == {None}
    for dtype in (None, "bfloat16"):
        model = zoo.load(tmp_path, dtype=dtype, device="cpu", verify=True)
        assert verify_model(model).worst < 0.1


def test_lower_precision_passes_where_it_is_right_and_is_told_from_wrong(folder: Path) -> None:
    for dtype in ("bfloat16", "float16"):
        assert verify_model(zoo.load(folder, dtype=dtype)).worst < 1
    tensors = read_tensors(folder)
    tensors["classifier.weight"] = -tensors["classifier.weight"]
    write_tensors(folder, tensors)
    for dtype in ("bfloat16", "float16", "float32"):
        with pytest.raises(CanaryMismatch):
            zoo.load(folder, dtype=dtype, verify=True)


def test_the_tolerance_goes_with_the_output_and_the_dtype(folder: Path) -> None:
    canary = read_canary(folder)
    assert canary is not None
    values = [value for case in canary.cases for _, _, value in numbers(case.samples[0], "float32")]
    scale = float(torch.tensor(values).pow(2).mean().sqrt())
    assert allowances(canary, "float32")["logits"] == pytest.approx(2e-4 * scale)
    assert 4e-2 * scale <= allowances(canary, "bfloat16")["logits"] < scale
    assert allowances(canary, "float16")["logits"] < allowances(canary, "bfloat16")["logits"]


def test_weights_that_are_a_little_different_are_not_handed_over(folder: Path) -> None:
    tensors = read_tensors(folder)
    tensors["classifier.bias"][2] += 0.01
    write_tensors(folder, tensors)
    expected = read_canary(folder)
    assert expected is not None
    number = expected.cases[0].samples[0].values["float32"][0][2]
    allowed = allowances(expected, "float32")["logits"]
    with pytest.raises(CanaryMismatch) as caught:
        zoo.load(folder, verify=True)
    assert str(caught.value) == (
        f"'{folder}' does not give here what its canary (zoo.json) says for the text {TEXTS[0]!r}: logits at position 0, "
        f"index 2 (float32, ±{allowed:.2g} allowed): found {caught.value.found}, expected {number}. The versions are the "
        "same. Its files or what reads them have changed: check the files with zoo verify, or install the versions that "
        "wrote it"
    )
    assert caught.value.found == pytest.approx(number + 0.01, abs=1e-4)
    zoo.load(folder)


@pytest.mark.parametrize("change", [{"hidden_act": "gelu_new"}, {"layer_norm_eps": 1e-3}])
def test_a_setting_that_changes_the_numbers_slightly_is_noticed(folder: Path, change: dict[str, Any]) -> None:
    change_config(folder, **change)
    with pytest.raises(CanaryMismatch):
        zoo.load(folder, verify=True)


def test_another_tokenizer_is_noticed_by_its_ids(folder: Path) -> None:
    found = json.loads((folder / "tokenizer.json").read_text())
    found["post_processor"] = None
    (folder / "tokenizer.json").write_text(json.dumps(found))
    change_canary(folder, lambda content: content["written_by"].update({"tokenizers": "0.0.1"}))
    canary = read_canary(folder)
    assert canary is not None
    expected = canary.cases[0].token_ids
    with pytest.raises(CanaryMismatch) as caught:
        zoo.load(folder, verify=True)
    assert str(caught.value) == (
        f"'{folder}' does not give here what its canary (zoo.json) says for the text {TEXTS[0]!r}: the token ids: found "
        f"{expected[1:-1] + caught.value.found[17:]}, expected {expected}. tokenizers 0.0.1 then, "
        f"{caught.value.here['tokenizers']} here. Its files or what reads them have changed: check the files with zoo "
        "verify, or install the versions that wrote it"
    )


def test_the_canary_is_of_the_checkpoint_s_own_head(folder: Path) -> None:
    assert zoo.load(folder, "feature-extraction", verify=True).task == "feature-extraction"
    fresh = zoo.load(folder, labels=["good", "bad"], verify=True)
    assert fresh.fresh_parameters == ("head.classifier.weight", "head.classifier.bias")
    tensors = read_tensors(folder)
    tensors["classifier.bias"][2] += 1
    write_tensors(folder, tensors)
    with pytest.raises(CanaryMismatch):
        zoo.load(folder, "feature-extraction", verify=True)


def test_without_a_canary_nothing_can_be_verified(folder: Path) -> None:
    (folder / CANARY_FILE).unlink()
    zoo.load(folder)
    with pytest.raises(CanaryMissing) as caught:
        zoo.load(folder, verify=True)
    assert str(caught.value) == (
        f"'{folder}' has no canary (zoo.json), so there is nothing to compare its answers with. Load it without "
        "verify=True; a push with Zoo writes one"
    )


def test_a_canary_of_another_model_is_told(folder: Path) -> None:
    change_canary(folder, lambda content: content.update(architecture="llama", task="text-generation"))
    with pytest.raises(CanaryMismatch, match="found bert for text-classification, expected llama for text-generation"):
        zoo.load(folder, verify=True)


HOSTILE: list[tuple[str, Any, str]] = [
    ("no JSON", "{", "Invalid JSON"),
    ("a number that is none", '{"version": NaN}', "Input should be 1"),
    ("another version", lambda content: content.update(version=2), "version: Input should be 1"),
    ("a key of its own", lambda content: content.update(run="rm"), "run: Extra inputs are not permitted"),
    ("a missing key", lambda content: content.pop("cases"), "cases: Field required"),
    ("no cases", lambda content: content.update(cases=[]), "cases: List should have at least 1 item"),
    ("ids as text", lambda content: content["cases"][0].update(token_ids=["1"]), "Input should be a valid integer"),
    ("negative ids", lambda content: content["cases"][0].update(token_ids=[-1]), "greater than or equal to 0"),
    ("a long text", lambda content: content["cases"][0].update(text="x" * 1001), "at most 1000 characters"),
    ("many cases", lambda content: content.update(cases=content["cases"] * 10), "at most 64 items"),
    (
        "an unknown output",
        lambda content: content["cases"][0]["samples"][0].update(output="__class__"),
        "Input should be 'logits'",
    ),
    (
        "rows that do not fit",
        lambda content: content["cases"][0]["samples"][0].update(positions=[0, 1]),
        "values are not one for each position and index",
    ),
    (
        "an endless number",
        lambda content: content["cases"][0]["samples"][0]["values"].update(float32=[[1e999]]),
        "finite",
    ),
    ("a digest that is none", lambda content: content.update(files={"config.json": "../x"}), "String should match"),
]


@pytest.mark.parametrize(("change", "reason"), [row[1:] for row in HOSTILE], ids=[row[0] for row in HOSTILE])
def test_hostile_content_is_a_corrupt_file(folder: Path, change: Any, reason: str) -> None:
    if isinstance(change, str):
        (folder / CANARY_FILE).write_text(change)
    else:
        change_canary(folder, change)
    with pytest.raises(CorruptFile) as caught:
        zoo.load(folder, verify=True)
    assert "it is not a canary of version 1" in str(caught.value)
    assert reason in str(caught.value)
    zoo.load(folder)


def test_a_huge_canary_is_not_read(folder: Path) -> None:
    (folder / CANARY_FILE).write_text(" " * 200_001)
    with pytest.raises(CorruptFile) as caught:
        read_canary(folder)
    assert caught.value.reason == "it has more than 200000 bytes"


def test_places_beyond_the_output_are_a_mismatch(folder: Path) -> None:
    change_canary(folder, lambda content: content["cases"][0]["samples"][0].update(indices=[0, 1, 2, 3, 4_000_000]))
    with pytest.raises(CanaryMismatch, match=r"the shape of logits: found \[1, 5\], expected more"):
        zoo.load(folder, verify=True)


def test_ids_beyond_the_vocabulary_are_refused(tmp_path: Path) -> None:
    toy_model("llama", "text-generation").save(tmp_path)
    write_canary(tmp_path)
    change_canary(tmp_path, lambda content: content["cases"][0]["token_ids"].append(53))
    with pytest.raises(InvalidInput, match="The token id 53 is none of the model's 53"):
        zoo.load(tmp_path, verify=True)


def test_a_model_of_nothing_but_nan_has_no_canary(folder: Path) -> None:
    tensors = read_tensors(folder)
    tensors["classifier.bias"][:] = float("nan")
    write_tensors(folder, tensors)
    with pytest.raises(InvalidInput, match="The model gives no finite numbers in float32: logits for "):
        compute_canary(zoo.load(folder), {})


def test_one_number_that_is_not_finite_is_remembered_as_such(folder: Path) -> None:
    tensors = read_tensors(folder)
    tensors["classifier.bias"][2] = float("-inf")
    write_tensors(folder, tensors)
    canary = compute_canary(zoo.load(folder), {})
    assert canary.cases[0].samples[0].values["float32"][0][2] is None
    assert check_canary(zoo.load(folder), canary, "it").worst < 0.1
    tensors["classifier.bias"][2] = 0.0
    write_tensors(folder, tensors)
    with pytest.raises(CanaryMismatch):
        check_canary(zoo.load(folder), canary, "it")


def test_a_model_in_training_stays_in_training(folder: Path) -> None:
    model = zoo.load(folder).train()
    verify_model(model)
    assert model.training
