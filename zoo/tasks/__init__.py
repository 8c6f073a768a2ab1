"""Tasks: what models are used for. One module a task; other distributions add theirs through `zoo.tasks`."""

from importlib import import_module

from zoo.tasks.base import Task

_MODULES = {
    "feature-extraction": "zoo.tasks.feature_extraction",
    "fill-mask": "zoo.tasks.fill_mask",
    "text-classification": "zoo.tasks.text_classification",
    "token-classification": "zoo.tasks.token_classification",
    "question-answering": "zoo.tasks.question_answering",
    "text-generation": "zoo.tasks.text_generation",
    "text2text-generation": "zoo.tasks.text2text_generation",
    "summarization": "zoo.tasks.text2text_generation",
    "translation": "zoo.tasks.text2text_generation",
}


def get_task(name: str) -> Task:
    """Give a task by the Hub's pipeline tag. Raises UnknownTask."""
    if name in _MODULES:
        module = import_module(_MODULES[name])
        task: Task = module.TASKS[name] if hasattr(module, "TASKS") else module.TASK
        return task
    from zoo import host

    given: Task = host.get_task(name)
    return given


def head_task(name: str) -> str:
    """Give the task whose head serves a task: its own, or for translation that of text2text-generation.

    Tasks of other distributions have a head of their own, so that none is imported to find out.
    """
    return (get_task(name).head or name) if name in _MODULES else name
