"""What each model version is used for now."""

from __future__ import annotations

import redis

from schemas.experiments import BadExperiment
from schemas.keys import Keys
from workers.experiments import read_experiment
from workers.lookup import current_version, serving_version
from workers.promotions import before, promotions


def model_states(client: redis.Redis, keys: Keys) -> dict[str, str]:
    """Return what each version that is in use is used for.

    That is current, serving (until the items are encoded under the current one), before (where a rollback leads to),
    control or challenger.
    """
    states = {}
    try:
        experiment = read_experiment(client, keys)
    except BadExperiment:
        experiment = None  # `latentstream experiment` says what is wrong with it; workers ignore it.
    if experiment is not None:
        states = {experiment.control: "control", experiment.challenger: "challenger"}
    current, serving = current_version(client, keys), serving_version(client, keys)
    if serving is not None:
        states[serving] = "serving"
    if current is not None:
        target = before(promotions(client, keys), current)
        states = ({target: "before"} if target else {}) | states | {current: "current"}
    return states
