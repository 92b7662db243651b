"""Which machines a growing cluster asks for: spot first, and not what was just refused.

Ray's autoscaler (the first; the second has no such hook) imports `score` on the head, where
``RAY_AUTOSCALER_UTILIZATION_SCORER`` names it, as cluster.yaml does.
"""

from typing import Any

PREFERENCE = "preference"
"""The resource in cluster.yaml whose amount says which node type is tried first."""


def score(
    node_resources: dict[str, Any],
    resources: list[dict[str, Any]],
    node_type: str,
    *,
    node_availability_summary: Any,
) -> tuple[Any, ...] | None:
    """Rank a node type; the autoscaler takes the highest.

    Not wasting a GPU on work without one comes first, as in Ray's own score; then types that were
    not refused lately, by the provider's own record of half an hour; then the preference that
    cluster.yaml gives; then how well the work fills the machine.

    Args:
        node_resources: what one machine has.
        resources: the demands that wait.
        node_type: its name in cluster.yaml.
        node_availability_summary: Ray's record of which types could be had.

    Returns:
        Something that sorts, or None if the machine fits none of the demands.
    """
    from ray.autoscaler._private.resource_demand_scheduler import (
        _resource_based_utilization_scorer as fill,
    )

    filled = fill(node_resources, resources, node_availability_summary=node_availability_summary)
    if filled is None:
        return None
    spares_gpus, *rest = filled
    record = node_availability_summary.node_availabilities.get(node_type)
    available = record is None or record.is_available
    return (spares_gpus, available, node_resources.get(PREFERENCE, 0), *rest)
