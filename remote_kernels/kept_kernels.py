"""The keeper of a kernel that stays: of a new one, or the way back to one that is alone.

Python 3.6, the standard library alone; see :mod:`~remote_kernels.keeper`.
"""

from remote_kernels import running
from remote_kernels.keeper import Keeper, Order
from remote_kernels.kernel_keeper import KernelKeeper, KernelOrder
from remote_kernels.visiting_keeper import VisitKeeper, VisitOrder, visitor_of

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any


class KeptOrder:
    """Which kernel is wanted.

    Attributes:
        kept_as: what tells it from others.
        kernel: the attributes of a :class:`~remote_kernels.kernel_keeper.KernelOrder`, should there
            be none that is alone.
    """

    def __init__(self, kept_as: str, kernel: "dict[str, Any]") -> None:
        self.kept_as = kept_as
        self.kernel = kernel


def KeptKeeper(order: Order, guard: int, parent: int) -> Keeper:
    """The keeper for an order; see :class:`~remote_kernels.keeper.Keeper`."""
    wanted = order.held
    assert isinstance(wanted, KeptOrder)
    there = running.claimed(wanted.kept_as, visitor_of(order))
    if there is not None:
        visit = VisitOrder(there["keeper"], wanted.kernel["spool"], returns=True)
        order.held = visit
        return VisitKeeper(order, guard, parent)
    order.held = KernelOrder(**wanted.kernel)
    return KernelKeeper(order, guard, parent)
