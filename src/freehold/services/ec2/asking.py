"""Asking the host of an instance for what only it knows at this moment (freehold.questions)."""

from __future__ import annotations

from freehold.questions import NoAnswer, Question
from freehold.records.compute import Instance
from freehold.services.ec2.compute_errors import IncorrectInstanceState, Unavailable
from freehold.services.operation import Call


def asked(call: Call, instance: Instance, question: Question) -> bytes:
    """What the host of a running instance answers. Not in a write transaction. Raises IncorrectInstanceState when it
    does not run, Unavailable when its host does not answer."""
    if instance.state != "running" or instance.host_id is None:
        raise IncorrectInstanceState(f"The instance '{instance.id}' is not in the 'running' state.")
    try:
        return call.ask(instance.host_id, question)
    except NoAnswer as error:
        raise Unavailable(instance.id) from error
