"""What the stylizations of one process share: networks with their compiled steps, and the statistics of styles."""

from collections import OrderedDict
from collections.abc import Callable, Hashable
from typing import Any

from nst_tf.recipes.stylize.network import Network, NetworkPlan, cached

# Networks of a process; a sweep over all of them comes to each again and again.
KEPT_NETWORKS = 8
# Sets of targets: a style at each of its sizes. A Gram matrix of 512 channels has a megabyte.
KEPT_TARGETS = 64


class Shared:
    """Networks and measured styles of the jobs of one process, the least recently used dropped.

    Args:
        workers: how many processes like this one share the memory of the machine.
    """

    def __init__(self, workers: int = 1) -> None:
        self.workers = workers
        self._networks: OrderedDict[Hashable, Network] = OrderedDict()
        self._targets: OrderedDict[Hashable, Any] = OrderedDict()

    def network(self, plan: NetworkPlan) -> Network:
        """The network of a plan; built where no job had it."""
        network: Network = cached(self._networks, plan, lambda: Network(plan), KEPT_NETWORKS)
        # Also for those that name the precision that `auto` became.
        return cached(self._networks, network.plan, lambda: network, KEPT_NETWORKS)

    def targets(self, key: Hashable, measure: Callable[[], Any]) -> Any:
        """What was measured of the styles under a key, which names all that it depends on."""
        return cached(self._targets, key, measure, KEPT_TARGETS)
