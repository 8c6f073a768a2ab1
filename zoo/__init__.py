"""Zoo: get, run, fine-tune and share transformer checkpoints. See docs/architecture.md for the way through the code.

Names are resolved on first use, so that `import zoo` imports neither torch nor pydantic nor any plugin.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from zoo.architecture import Architecture, Head
    from zoo.checkpoint.layout import Layout
    from zoo.checkpoint.manifest import Checkpoint, Manifest
    from zoo.errors import ZooError
    from zoo.generation.decoding import Generated
    from zoo.generation.prefixes import PrefixCache
    from zoo.hookspecs import hookimpl
    from zoo.host import ArchitectureInfo, get_architecture, list_architectures
    from zoo.hub.catalogue import list_checkpoints
    from zoo.hub.pulling import pull
    from zoo.loading import build, load, make_spec
    from zoo.lora import LoraConfig
    from zoo.model import Model
    from zoo.planning import Plan, plan
    from zoo.publishing import push
    from zoo.tasks.fill_mask import Fill
    from zoo.tasks.question_answering import Answer
    from zoo.tasks.text_classification import Label
    from zoo.tasks.token_classification import Entity
    from zoo.training.config import DistillConfig, FinetuneConfig
    from zoo.training.distillation import distill
    from zoo.training.finetuning import FinetuneResult, finetune
    from zoo.training.pretraining import pretrain

__version__ = "0.1.0"

_HOMES = {
    "Answer": "zoo.tasks.question_answering",
    "Architecture": "zoo.architecture",
    "ArchitectureInfo": "zoo.host",
    "Checkpoint": "zoo.checkpoint.manifest",
    "DistillConfig": "zoo.training.config",
    "Entity": "zoo.tasks.token_classification",
    "Fill": "zoo.tasks.fill_mask",
    "FinetuneConfig": "zoo.training.config",
    "FinetuneResult": "zoo.training.finetuning",
    "Generated": "zoo.generation.decoding",
    "Head": "zoo.architecture",
    "Label": "zoo.tasks.text_classification",
    "Layout": "zoo.checkpoint.layout",
    "LoraConfig": "zoo.lora",
    "Manifest": "zoo.checkpoint.manifest",
    "Model": "zoo.model",
    "Plan": "zoo.planning",
    "PrefixCache": "zoo.generation.prefixes",
    "ZooError": "zoo.errors",
    "build": "zoo.loading",
    "distill": "zoo.training.distillation",
    "finetune": "zoo.training.finetuning",
    "get_architecture": "zoo.host",
    "hookimpl": "zoo.hookspecs",
    "list_architectures": "zoo.host",
    "list_checkpoints": "zoo.hub.catalogue",
    "load": "zoo.loading",
    "make_spec": "zoo.loading",
    "plan": "zoo.planning",
    "pretrain": "zoo.training.pretraining",
    "pull": "zoo.hub.pulling",
    "push": "zoo.publishing",
}
__all__ = [
    "Answer", "Architecture", "ArchitectureInfo", "Checkpoint", "DistillConfig", "Entity", "Fill", "FinetuneConfig",
    "FinetuneResult", "Generated", "Head", "Label", "Layout", "LoraConfig", "Manifest", "Model", "Plan", "PrefixCache",
    "ZooError", "build", "distill", "finetune", "get_architecture", "hookimpl", "list_architectures", "list_checkpoints",
    "load", "make_spec", "plan", "pretrain", "pull", "push",
]  # fmt: skip


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'zoo' has no attribute {name!r}")
    value = getattr(import_module(_HOMES[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return [*__all__, "__version__"]
