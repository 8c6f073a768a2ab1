"""Every failure a user can act on. Each error takes the facts, keeps them as attributes, and builds its own sentence:
what happened, with values; what would be right; what to type next. Anything else that is raised is a fault of ours.
"""

from zoo.errors.base import ZooError, ZooWarning
from zoo.errors.contents import (
    CanaryMismatch,
    CanaryMissing,
    CorruptFile,
    DigestMismatch,
    HeadMissing,
    InvalidConfig,
    RefusedContent,
    TokenizerMissing,
    UnknownConfigKey,
    WeightsMismatch,
)
from zoo.errors.hub import (
    AccessDenied,
    GatedRepository,
    HubUnreachable,
    RateLimited,
    RepositoryNotFound,
    RevisionNotFound,
)
from zoo.errors.inputs import (
    ExtraMissing,
    InvalidConfiguration,
    InvalidInput,
    InvalidReference,
    NotACheckpoint,
    TrainingDiverged,
    UnknownTask,
)
from zoo.errors.plugins import InvalidLayout, InvalidPlugin, PluginBroken, PluginConflict, UnknownArchitecture
from zoo.errors.store import (
    LockConflict,
    LockNotMet,
    NotEnoughDisk,
    NotInStore,
    PushConflict,
    PushInterrupted,
    PushRefused,
    SignatureRefused,
    SignatureWarning,
)

__all__ = [
    "AccessDenied",
    "CanaryMismatch",
    "CanaryMissing",
    "CorruptFile",
    "DigestMismatch",
    "ExtraMissing",
    "GatedRepository",
    "HeadMissing",
    "HubUnreachable",
    "InvalidConfig",
    "InvalidConfiguration",
    "InvalidInput",
    "InvalidLayout",
    "InvalidPlugin",
    "InvalidReference",
    "LockConflict",
    "LockNotMet",
    "NotACheckpoint",
    "NotEnoughDisk",
    "NotInStore",
    "PluginBroken",
    "PluginConflict",
    "PushConflict",
    "PushInterrupted",
    "PushRefused",
    "RateLimited",
    "RefusedContent",
    "RepositoryNotFound",
    "RevisionNotFound",
    "SignatureRefused",
    "SignatureWarning",
    "TokenizerMissing",
    "TrainingDiverged",
    "UnknownArchitecture",
    "UnknownConfigKey",
    "UnknownTask",
    "WeightsMismatch",
    "ZooError",
    "ZooWarning",
]
