"""A real Kafka broker and a real Redis on this machine, for trying out, developing and testing.

``deploy.local.stack`` has what to call: :func:`~deploy.local.stack.up`, :func:`~deploy.local.stack.down` and
:func:`~deploy.local.stack.status`.
"""

from deploy.local.processes import StackError

__all__ = ["StackError"]
