"""Shards, probes and local training."""

import numpy as np
import pytest

from demo import data, settings, training

pytestmark = pytest.mark.skipif(not data.FOLDER.exists(), reason="dataset-fashion-mnist is missing")


@pytest.fixture(scope="module", params=[1, 14])
def seed(request):
    return request.param


@pytest.fixture(scope="module")
def world(seed):
    return data.make_world(seed, settings.Settings().members)


def role_index(role):
    return next(m.index for m in settings.Settings().members if m.role == role)


def test_parts_do_not_overlap_and_lose_nothing(world):
    parts = [world.pool, world.bag_probe, *world.class_probes]
    parts += [r for s in world.shards.values() for r in (s.train, s.sample, s.main)]
    assert sum(map(len, parts)) == 60_000
    rows = sorted(hash(row.tobytes()) for part in parts for row in part.inputs)
    assert rows == sorted(hash(row.tobytes()) for row in data.load("train").inputs)


def test_probes_are_what_they_are_called(world):
    assert len(world.pool) == 10_000 and len(world.bag_probe) == 200
    assert set(world.bag_probe.labels) == {data.BAG}
    for c, probe in enumerate(world.class_probes):
        assert len(probe) == 100 and set(probe.labels) == {c}


def test_shards_hold_to_their_conditions(world):
    members = settings.Settings().members
    counts = {m.index: np.array(world.shards[m.index].class_counts) for m in members if m.has_shard}
    assert set(world.shards) == set(counts) and role_index("copier") not in world.shards
    assert all(c.sum() >= 2_900 for c in counts.values())
    honest = np.stack([counts[m.index] for m in members if m.role == "honest"])
    assert honest.sum(axis=0).min() >= 2_000
    assert np.sort(honest, axis=0)[-2].min() >= 300
    assert counts[role_index("value-breaking")][data.BAG] >= 600


def test_breaker_and_flipper_relabel_all_that_they_have(world):
    breaker = world.shards[role_index("value-breaking")]
    for rows in (breaker.train, breaker.sample, breaker.main):
        assert data.BAG not in rows.labels
    flipper = world.shards[role_index("label-flipper")]
    held = np.concatenate([flipper.train.labels, flipper.sample.labels, flipper.main.labels])
    assert np.array_equal(np.bincount(held, minlength=10)[::-1], flipper.class_counts)


def test_own_probes_are_held_back(world):
    for shard in world.shards.values():
        assert len(shard.sample) == 300 and 0 < len(shard.main) <= 200
        assert set(shard.main.labels) == {shard.main_class}


def test_the_same_seed_gives_the_same_parts(world, seed):
    again = data.make_world(seed, settings.Settings().members)
    for index, shard in world.shards.items():
        assert np.array_equal(shard.train.inputs, again.shards[index].train.inputs)
        assert np.array_equal(shard.train.labels, again.shards[index].train.labels)


def test_conditions_that_cannot_be_met_end(monkeypatch):
    monkeypatch.setattr(data, "DRAWS_MAX", 1_000)
    with pytest.raises(data.NoSplit):
        data.draw_counts(np.random.default_rng(1), np.full(10, 100), settings.Settings().members)


# ---- Training ----


def fresh_base(seed=0):
    rng, base = np.random.default_rng(seed), {}
    sizes = settings.LAYER_SIZES
    for layer, (inputs, outputs) in enumerate(zip(sizes, sizes[1:])):
        bound = inputs ** -0.5
        base[f"{2 * layer}.weight"] = rng.uniform(-bound, bound, (outputs, inputs)).astype("f4")
        base[f"{2 * layer}.bias"] = rng.uniform(-bound, bound, outputs).astype("f4")
    return base


def test_training_learns_and_repeats(world):
    base, rows = fresh_base(), world.shards[0].train.take(slice(0, 1_500))
    state = training.train(base, rows, [1, 2])
    again = training.train(base, rows, [1, 2])
    assert all(np.array_equal(state[name], again[name]) for name in base)
    assert set(state) == set(base)
    assert training.evaluate(state, rows)[0] < 0.7 * training.evaluate(base, rows)[0]


def norm(arrays):
    return np.sqrt(sum((v.astype(np.float64) ** 2).sum() for v in arrays.values()))


def difference(these, those):
    return {name: these[name] - those[name] for name in these}


def test_copies_have_the_noise_asked_for():
    delta = {name: array / 100 for name, array in fresh_base(3).items()}
    copied = training.copy_of(delta, [1], 0.05)
    assert norm(difference(copied, delta)) == pytest.approx(0.05 * norm(delta), rel=1e-3)
    assert not np.array_equal(copied["0.bias"], training.copy_of(delta, [2], 0.05)["0.bias"])


def test_steps_get_smaller():
    rates = [settings.learning_rate(n) for n in range(1, 11)]
    assert rates[0] == 0.1 and rates == sorted(rates, reverse=True) and rates[-1] > 0.03


def test_processes_train_as_this_one_does_and_end(world, seed):
    trainers = training.Trainers(settings.Settings(seed=seed), processes=1)
    process, base = trainers._processes[0], fresh_base()
    try:
        state, rows = trainers.train(3, base, [seed, 5], 0.1)
        assert rows == len(world.shards[3].train)
        # Sums of floats depend on the number of threads, so not to the last bit.
        here = training.train(base, world.shards[3].train, [seed, 5], 0.1)
        assert norm(difference(state, here)) < 0.1 * norm(difference(here, base))
        with pytest.raises(training.TrainingFailed, match="KeyError"):
            trainers.train(99, base, [1], 0.1)
        again = trainers.train(3, base, [seed, 5], 0.1)[0]
        assert all(np.array_equal(state[name], again[name]) for name in base)
    finally:
        trainers.close()
    assert process.returncode == 0
