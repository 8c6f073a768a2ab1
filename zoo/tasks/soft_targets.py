"""How far a student's answers are from its teacher's, which are no labels but probabilities, numbers or vectors."""

from __future__ import annotations

import torch.nn.functional as F  # noqa: N812
from torch import Tensor


def told(answers: str, temperature: float) -> str:
    """Say what a divergence is of, for a card. answers: such as "probabilities"."""
    return f"the divergence from the teacher's {answers} at temperature {temperature:g} (Hinton et al. 2015)"


def divergence(found: Tensor, wanted: Tensor, temperature: float) -> Tensor:
    """Give the divergence of the student's probabilities from the teacher's, at a temperature (Hinton et al. 2015).

    found, wanted: scores of the student and of the teacher, (rows, labels). KL(teacher || student) in nats, the mean over
    rows. It is times temperature², so that its gradient does not shrink with a higher one.
    """
    student, teacher = ((scores.float() / temperature).log_softmax(-1) for scores in (found, wanted))
    return F.kl_div(student, teacher, reduction="batchmean", log_target=True) * temperature**2


def binary_divergence(found: Tensor, wanted: Tensor, temperature: float) -> Tensor:
    """Give the same of probabilities that do not exclude each other: each label's, the mean over rows and labels.

    It is the binary cross-entropy with the teacher's probabilities as targets, less what that is for the teacher itself.
    """
    student, teacher = found.float() / temperature, wanted.float() / temperature
    targets = teacher.sigmoid()
    least = F.binary_cross_entropy_with_logits(teacher, targets)
    return (F.binary_cross_entropy_with_logits(student, targets) - least) * temperature**2
