"""Random settings of every architecture: what the spec accepts agrees with transformers; what nobody reads is refused.

ZOO_EXAMPLES in the environment says how many settings to draw of each; a few without it.
"""

import json
import operator
import os
import tempfile
from functools import partial
from pathlib import Path
from typing import Any, Literal, get_args, get_origin

import pytest
from annotated_types import MaxLen
from huggingface_hub.errors import StrictDataclassError
from hypothesis import HealthCheck, Phase, assume, given, note, settings
from hypothesis import strategies as st

import zoo
from tests.interop import oracles
from tests.interop.oracles import Subject
from zoo.errors import InvalidConfig, UnknownConfigKey
from zoo.specs import GENERATION_KEYS, HOUSEKEEPING_KEYS, TASK_KEYS, Spec

CASES = {case.architecture: case for case in oracles.gather_cases()}
EXAMPLES = int(os.environ.get("ZOO_EXAMPLES", "8"))
VALUES = st.none() | st.booleans() | st.integers(-2, 2) | st.floats(-1, 1) | st.text(max_size=3)
some = settings(
    max_examples=EXAMPLES,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.too_slow],
    phases=[Phase.explicit, Phase.generate],  # the first failure tells enough; a smaller one takes minutes
)
every_architecture = pytest.mark.parametrize("name", CASES)


@every_architecture
@given(data=st.data())
@some
def test_what_the_spec_accepts_agrees_with_transformers(name: str, data: st.DataObject) -> None:
    case = CASES[name]
    changes = data.draw(st.fixed_dictionaries(dict(case.draws)), "settings")
    task = data.draw(st.just(case.variant_task) | st.sampled_from(sorted(case.classes)), "task")
    subject = oracles.subject_of(case, task, **changes)
    config, spec = read(subject)
    assume(spec is not None)  # hypothesis complains where it hardly ever is
    assert spec is not None
    assert spec.to_config(config) == config
    assert type(spec).from_config(spec.to_config()) == spec
    with tempfile.TemporaryDirectory() as folder:
        oracle = oracles.write(Path(folder), subject)
        oracles.compare(zoo.load(folder, device="cpu"), oracle, subject, "left")


def read(subject: Subject) -> tuple[dict[str, Any], Spec | None]:
    """Give the config of these settings and Zoo's spec of it, None where either refuses them."""
    try:
        config = config_of(subject)
        return config, zoo.get_architecture(subject.case.architecture).spec.from_config(config)
    except (InvalidConfig, StrictDataclassError, ValueError) as refused:
        note(str(refused))
        return {}, None


def config_of(subject: Subject) -> dict[str, Any]:
    """Give what transformers writes into config.json. Raises what it refuses settings with."""
    config: dict[str, Any] = json.loads(oracles.make_config(subject).to_json_string())
    return config


def usual_config(name: str) -> dict[str, Any]:
    """Give that of a case without changes."""
    return config_of(oracles.subject_of(CASES[name], CASES[name].variant_task))


@every_architecture
@given(data=st.data())
@some
def test_a_key_that_nobody_reads_is_refused_by_name(name: str, data: st.DataObject) -> None:
    spec, usual = zoo.get_architecture(name).spec, usual_config(name)
    key = data.draw(st.from_regex(r"[a-z]+(_[a-z]+)*", fullmatch=True))
    assume(key not in spec.known_keys())
    assume(
        key
        not in HOUSEKEEPING_KEYS
        | GENERATION_KEYS
        | TASK_KEYS
        | spec.ignored_config_keys
        | spec.repeated_config_keys.keys()
    )
    config = {**usual, key: data.draw(VALUES)}
    with pytest.raises(UnknownConfigKey) as refused:
        spec.from_config(config)
    assert refused.value.keys == (key,)
    assert spec.from_config(config, ignore=[key]) == spec.from_config(usual)


@every_architecture
@given(data=st.data())
@some
def test_a_pinned_key_takes_no_other_value(name: str, data: st.DataObject) -> None:
    spec = zoo.get_architecture(name).spec
    config = usual_config(name)
    for key, pinned in pinned_keys(spec).items():
        value = data.draw(VALUES.filter(partial(operator.ne, pinned)), key)
        with pytest.raises(InvalidConfig) as refused:
            spec.from_config({**config, key: value})
        assert set(refused.value.problems) == {key}


def pinned_keys(spec: type[Spec]) -> dict[str, Any]:
    """Give the keys that may hold one value only, and that value."""
    found: dict[str, Any] = {}
    for name, field in spec.model_fields.items():
        if field.annotation is type(None):
            found[name] = None
        elif get_origin(field.annotation) is Literal and len(values := get_args(field.annotation)) == 1:
            found[name] = values[0]
        elif MaxLen(0) in field.metadata:
            found[name] = field.default
    return found
