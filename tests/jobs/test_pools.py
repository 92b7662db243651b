import pytest
import toy_stages
from hypothesis import given, settings
from hypothesis import strategies as st

from jobs.job_plan import store_warning
from jobs.pools import MIN_IN_FLIGHT, SLACK, Cluster, Pool, bottleneck, machine_rate, plan_pools
from pipeline.errors import UsageError
from pipeline.stage import Stage

STAGES = toy_stages.toy_stages()  # the second one runs on GPUs
NAMES = [stage.name for stage in STAGES]

costs_s = st.fixed_dictionaries({name: st.floats(0.01, 30) for name in NAMES})
cpus = st.floats(0.5, 200)
gpus = st.integers(0, 40)
memories_gb = st.floats(0.4, 60)


def _plan(cluster: Cluster, costs: dict[str, float] | None) -> list[Pool]:
    return plan_pools(
        STAGES, cpus=cluster.cpus, gpus=cluster.gpus, memory_gb=cluster.memory_gb, costs=costs
    )


@settings(deadline=None)
@given(cpus, gpus, memories_gb, st.none() | costs_s)
def test_no_plan_takes_more_than_there_is(
    cpus: float, gpus: int, memory_gb: float, costs: dict[str, float] | None
) -> None:
    cluster = Cluster(cpus=cpus, gpus=gpus, memory_gb=memory_gb)
    pools = _plan(cluster, costs)
    assert [pool.stage for pool in pools] == STAGES
    assert all(pool.actors >= 1 and pool.cpus > 0 for pool in pools)
    assert sum(pool.actors * pool.cpus for pool in pools) <= cpus
    assert sum(pool.actors * pool.gpus for pool in pools) <= gpus
    assert sum(p.actors * p.stage.resources.memory_gb for p in pools) <= memory_gb + 1e-9


@settings(deadline=None)
@given(st.lists(cpus, min_size=2, max_size=2), st.lists(gpus, min_size=2, max_size=2), costs_s)
def test_a_larger_cluster_is_never_slower(
    cpus: list[float], gpus: list[int], costs: dict[str, float]
) -> None:
    if min(gpus) == 0 < max(gpus):
        gpus = [1, max(gpus)]  # a first GPU is another machine, not a larger one
    rates = []
    for n_cpus, n_gpus in zip(sorted(cpus), sorted(gpus), strict=True):
        cluster = Cluster(cpus=n_cpus, gpus=n_gpus, memory_gb=20 * n_cpus)
        rates.append(bottleneck(_plan(cluster, costs), cluster, costs)[1])
    assert rates[0] <= rates[1] * (1 + 1e-9)


@settings(deadline=None)
@given(cpus, gpus, costs_s)
def test_with_enough_memory_the_whole_machine_works_and_no_more_actors_than_that_takes(
    cpus: float, gpus: int, costs: dict[str, float]
) -> None:
    cluster = Cluster(cpus=cpus, gpus=gpus)
    pools = _plan(cluster, costs)
    name, rate = bottleneck(pools, cluster, costs)
    assert name in ("CPUs", "GPUs")
    assert rate == pytest.approx(machine_rate(STAGES, cluster, costs))
    for pool in pools:
        turns_s = costs[pool.stage.name]
        assert (pool.actors - 1) / turns_s <= SLACK * rate * (1 + 1e-9)


def test_the_slowest_stage_gets_the_most_actors() -> None:
    costs = {"Parse": 0.1, "Scale": 1.0, "Split": 0.1, "Total": 6.0}
    actors = {pool.stage.name: pool.actors for pool in _plan(Cluster(cpus=8), costs)}
    assert actors == {"Parse": 1, "Scale": 2, "Split": 1, "Total": 9}
    little = Cluster(cpus=8, memory_gb=0.6)
    pools = _plan(little, costs)
    assert {pool.stage.name: pool.actors for pool in pools}["Total"] == 3
    assert bottleneck(pools, little, costs) == ("Total", 0.5)


def test_gpus_are_shared_by_one_set_each_and_cpus_keep_up() -> None:
    costs = {"Parse": 2.0, "Scale": 1.0, "Split": 0.01, "Total": 0.01}
    pools = {p.stage.name: p for p in _plan(Cluster(cpus=64, gpus=4), costs)}
    assert (pools["Scale"].actors, pools["Scale"].gpus) == (4, 0.5)
    assert pools["Parse"].actors == 10, "4 avatars a second by GPU, and slack, take 10 of 2 s"
    assert pools["Total"].actors == 1


def test_costs_that_lack_a_stage_are_refused() -> None:
    with pytest.raises(UsageError, match="the costs lack Split; they have Parse, Scale:"):
        _plan(Cluster(cpus=2), {"Parse": 1.0, "Scale": 1.0})


def test_gpu_shares_over_one_are_refused_with_the_arithmetic() -> None:
    stages: list[Stage] = [toy_stages.Parse(), toy_stages.Scale(), toy_stages.Trouble()]
    assert plan_pools(stages, cpus=4, gpus=1)[1].gpus == 0.5
    stages[2].resources = toy_stages.Resources(gpus=0.7)
    with pytest.raises(UsageError, match=r"Scale 0\.5 \+ Trouble 0\.7 = 1\.2 of one GPU"):
        plan_pools(stages, cpus=4, gpus=1)


def test_quick_stages_are_given_more_rows_ahead() -> None:
    ahead = {pool.stage.name: pool.in_flight for pool in _plan(Cluster(cpus=4), costs=None)}
    assert set(ahead.values()) == {MIN_IN_FLIGHT}
    costs = dict.fromkeys(NAMES, 10.0) | {"Parse": 0.06, "Scale": 0.001}
    ahead = {pool.stage.name: pool.in_flight for pool in _plan(Cluster(cpus=4), costs)}
    assert ahead["Parse"] == 7  # 0.25 s of work beyond the two that are under way
    assert ahead["Scale"] == 8
    assert ahead[NAMES[2]] == MIN_IN_FLIGHT


def test_shared_memory_is_checked_with_the_arithmetic() -> None:
    pools = _plan(Cluster(cpus=4), None)
    payload_mb = {"Parse": 10.0, "Scale": 20.0}
    large, small, tiny = (Cluster(cpus=4, store_gb=gb) for gb in (1.0, 0.3, 0.01))
    assert store_warning(pools, large, payload_mb) is None
    told = store_warning(pools, small, payload_mb)
    assert told is not None
    assert "(Parse 6 x 10 + Scale 6 x 20 + " in told
    assert "0) MB x 2 = 0.34 GiB of shared memory and the cluster has 0.30" in told
    with pytest.raises(UsageError, match="larger --object-store-memory"):
        store_warning(pools, tiny, payload_mb)
