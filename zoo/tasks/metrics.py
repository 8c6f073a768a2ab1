"""Metrics, each from the library that its field compares by: the `train` extra."""

from __future__ import annotations

from collections.abc import Sequence
from importlib.util import find_spec
from typing import Any

import torch

from zoo.errors import ExtraMissing

LIBRARIES = ("torchmetrics", "seqeval", "sacrebleu", "rouge_score")


def require_metrics() -> None:
    """Make sure, before any training, that what comes out can be measured. Raises ExtraMissing."""
    absent = [name for name in LIBRARIES if find_spec(name) is None]
    if absent:
        raise ExtraMissing("train", "metrics over held-out examples", f"no module named {', '.join(absent)}")


def classification(answers: Sequence[int], labels: Sequence[int]) -> dict[str, float]:
    """accuracy, and f1: the mean of all classes' F1 that labels or answers have."""
    from torchmetrics.functional.classification import multiclass_accuracy, multiclass_f1_score

    found, right = torch.tensor(answers), torch.tensor(labels)
    count = max(2, int(torch.cat([found, right]).max()) + 1)
    return {
        "accuracy": float(multiclass_accuracy(found, right, count, average="micro")),
        "f1": float(multiclass_f1_score(found, right, count, average="macro")),
    }


def several_labels(answers: Sequence[Sequence[int]], labels: Sequence[Sequence[int]]) -> dict[str, float]:
    """accuracy: of whole sets of labels. f1: over all labels of all texts together. Both given as rows of 0 and 1."""
    from torchmetrics.functional.classification import multilabel_exact_match, multilabel_f1_score

    found, right = torch.tensor(answers), torch.tensor(labels)
    count = right.shape[1]
    f1 = (
        multilabel_f1_score(found, right, count, average="micro")
        if count > 1
        else torch.tensor(classification(found[:, 0].tolist(), right[:, 0].tolist())["f1"])
    )
    exact = multilabel_exact_match(found, right, count) if count > 1 else (found == right).float().mean()
    return {"accuracy": float(exact), "f1": float(f1)}


def regression(answers: Sequence[float], labels: Sequence[float]) -> dict[str, float]:
    """mse, and where there are two examples and more, pearson and spearman correlation."""
    from torchmetrics.functional.regression import mean_squared_error, pearson_corrcoef, spearman_corrcoef

    found, right = torch.tensor(answers), torch.tensor(labels)
    metrics = {"mse": float(mean_squared_error(found, right))}
    if len(found) > 1 and found.std() > 0 and right.std() > 0:
        metrics |= {
            "pearson": float(pearson_corrcoef(found, right)),
            "spearman": float(spearman_corrcoef(found, right)),
        }
    return metrics


def entities(answers: Sequence[Sequence[str]], labels: Sequence[Sequence[str]]) -> dict[str, float]:
    """precision, recall and f1 of whole entities (as CoNLL counts them), and the accuracy of words.

    Tags without B- or I- are read as I-: neighbours with the same tag are one entity, as predictions join them.
    """
    from seqeval.metrics import accuracy_score  # type: ignore[import-untyped]
    from seqeval.metrics.sequence_labeling import precision_recall_fscore_support  # type: ignore[import-untyped]

    found, right = ([[_with_prefix(tag) for tag in row] for row in rows] for rows in (answers, labels))
    precision, recall, f1, _ = precision_recall_fscore_support(right, found, average="micro", zero_division=0)
    accuracy = accuracy_score(right, found)
    return {"precision": float(precision), "recall": float(recall), "f1": float(f1), "accuracy": float(accuracy)}


def _with_prefix(tag: str) -> str:
    return tag if tag == "O" or tag[1:2] == "-" else f"I-{tag}"


def answers_in_text(answers: Sequence[str], labels: Sequence[Sequence[str]]) -> dict[str, float]:
    """exact: the share of answers that are one of the right ones; f1: of their words (Rajpurkar et al. 2016)."""
    from torchmetrics.functional.text import squad

    found = [{"prediction_text": answer, "id": str(index)} for index, answer in enumerate(answers)]
    right = [
        {"answers": {"answer_start": [0] * len(texts), "text": list(texts)}, "id": str(index)}
        for index, texts in enumerate(labels)
    ]
    scores = squad(found, right)  # type: ignore[arg-type]
    return {"exact": float(scores["exact_match"]) / 100, "f1": float(scores["f1"]) / 100}


def translation(answers: Sequence[str], labels: Sequence[str]) -> dict[str, float]:
    """bleu and chrf, from 0 to 100 (Papineni et al. 2002; Popović 2015), with sacrebleu's usual settings."""
    import sacrebleu

    right = [list(labels)]
    return {
        "bleu": float(sacrebleu.corpus_bleu(list(answers), right).score),
        "chrf": float(sacrebleu.corpus_chrf(list(answers), right).score),
    }


def summarization(answers: Sequence[str], labels: Sequence[str]) -> dict[str, float]:
    """rouge1, rouge2 and rougeL: the mean F1 over all texts (Lin 2004)."""
    from rouge_score.rouge_scorer import RougeScorer  # type: ignore[import-untyped]

    kinds = ("rouge1", "rouge2", "rougeL")
    scorer = RougeScorer(kinds, use_stemmer=False)
    scores: list[dict[str, Any]] = [scorer.score(label, answer) for answer, label in zip(answers, labels, strict=True)]
    return {kind: sum(score[kind].fmeasure for score in scores) / max(len(scores), 1) for kind in kinds}
