"""What objectives cannot learn from is refused before the first step, with a way out."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flowjax.distributions import Normal

import energax as ex
from energax.energies import Flow, Gaussian, IndependentBernoulli
from energax.objectives import (
    AdversarialContrastiveEstimation,
    Batch,
    BoxScoreMatching,
    BregmanNoiseContrastiveEstimation,
    CompositeLikelihood,
    ConditionalNoiseContrastiveEstimation,
    DenoisingScoreMatching,
    FlowContrastiveEstimation,
    KernelSteinDiscrepancy,
    LearnedSteinDiscrepancy,
    MinimumKLContraction,
    MinimumProbabilityFlow,
    MinimumVelocityLearning,
    NoiseContrastiveEstimation,
    NonNegativeScoreMatching,
    RatioMatching,
    ScoreMatching,
    ShiftedNoiseContrastiveEstimation,
    SlicedScoreMatching,
)
from energax.objectives.noise import require_kindred
from energax.objectives.requirements import require_continuous, require_spread
from tests.objectives.tables import EveryState

KEY = jax.random.key(0)
RNG = np.random.default_rng(0)
BITS = RNG.integers(0, 2, (60, 3)).astype(np.float32)
REALS = RNG.uniform(size=(60, 3)).astype(np.float32)
FLOW = Flow(Normal(jnp.zeros(3), jnp.ones(3)))
GIVEN = Gaussian(jnp.zeros(3), jnp.eye(3))

WITHOUT_DENSITY = {
    "x must be free of constant columns": [  # whose loss has no minimum, or no finite log-odds, there
        ScoreMatching(),
        SlicedScoreMatching(),
        MinimumKLContraction.blur(),
        LearnedSteinDiscrepancy(),
        ConditionalNoiseContrastiveEstimation(),
        ConditionalNoiseContrastiveEstimation(0.1),
        ShiftedNoiseContrastiveEstimation(),
        MinimumVelocityLearning(),
        MinimumProbabilityFlow("gaussian"),
        NoiseContrastiveEstimation("diagonal"),
        NoiseContrastiveEstimation(GIVEN),
        BregmanNoiseContrastiveEstimation("importance", GIVEN),
        FlowContrastiveEstimation(FLOW),
        AdversarialContrastiveEstimation(FLOW),
        AdversarialContrastiveEstimation(FLOW, noise=GIVEN),
    ],
    "x must be continuous; for binary data take": [
        NonNegativeScoreMatching(),
        BoxScoreMatching(),
        KernelSteinDiscrepancy(),
    ],
}
CONTINUOUS = [o for some in WITHOUT_DENSITY.values() for o in some]
OF_ENERGIES = [
    *WITHOUT_DENSITY["x must be free of constant columns"][4:],
    MinimumProbabilityFlow(),
    ConditionalNoiseContrastiveEstimation(kernel="flips"),
    NoiseContrastiveEstimation("bernoulli"),
    RatioMatching(),
    CompositeLikelihood(),
]


def refused(objective, x, sentence, model=lambda x: jnp.sum(x**2)):
    with pytest.raises(ex.InputError, match=sentence):
        objective.init(model, Batch(x), KEY, 20)


def name(objective):
    return type(objective).__name__


@pytest.mark.parametrize("objective", CONTINUOUS, ids=name)
def test_bits_are_refused_whatever_they_are_called(objective):
    # In each column two numbers of its own, as a standardised table has: not two in all.
    scaled = BITS * np.array([0.3, 0.5, 0.7], np.float32) + np.array([0.1, 0.2, 0.05], np.float32)
    assert len(np.unique(scaled)) == 6
    for x in (BITS, scaled):
        refused(objective, x, "x must be continuous; for binary data take .* got no column of more than two")


def test_a_column_of_reals_makes_a_table_of_reals():
    mixed = np.concatenate([BITS, REALS[:, :1]], 1)
    require_continuous("test", mixed, "bits")
    require_continuous("test", {"a": BITS, "b": REALS}, "bits")
    with pytest.raises(ex.InputError, match=r"entries 0, 1\."):
        require_continuous("test", np.concatenate([np.ones((60, 1)), BITS], 1), "bits")
    # A third value far down a table counts.
    late = np.zeros((5000, 2), np.float32)
    late[::2] = 1
    late[-1] = 0.5
    require_continuous("test", late, "bits")


@pytest.mark.parametrize("n", [1, 2, 3])
def test_the_fewest_rows_that_tell_bits(n):
    # Two rows have at most two values a column under any law; there all entries are looked at.
    require_continuous("test", REALS[:n], "bits")
    with pytest.raises(ex.InputError, match="x must be continuous"):
        require_continuous("test", BITS[:n], "bits")


@pytest.mark.parametrize("objective", WITHOUT_DENSITY["x must be free of constant columns"], ids=name)
def test_a_constant_column_is_refused_where_the_loss_falls_without_end(objective):
    flat = REALS.copy()
    flat[:, 1] = 0.25
    refused(objective, flat, r"free of constant columns, .* DenoisingScoreMatching; got 1 of 3 .* \(1\)")


def test_a_constant_column_is_taken_where_the_loss_is_bounded():
    flat = REALS.copy()
    flat[:, 1] = 0.25
    for objective in (DenoisingScoreMatching(0.1), ScoreMatching(curvature_penalty=0.1)):
        objective.init(GIVEN, Batch(flat), KEY, 20)
    with pytest.raises(ex.InputError, match=r"got 1 of 6 columns constant \(1\)"):
        require_spread("test", {"a": flat, "b": REALS})


def test_score_matching_falls_without_end_on_a_constant_column():
    # Why it is refused: with E = ½ x₁² + ½ a x₂² + ½ x₃² and x₂ = 0 the loss is −a and what a has no part in.
    x = jnp.asarray(REALS).at[:, 1].set(0.0)

    @jax.jit
    @jax.vmap
    def losses(a):
        energy = lambda x: 0.5 * jnp.sum(jnp.array([1.0, a, 1.0]) * x**2)  # noqa: E731
        both = ScoreMatching(), ScoreMatching(curvature_penalty=0.1)
        return [o.loss(energy, None, None, Batch(x), KEY)[0] for o in both]

    plain, penalised = losses(jnp.array([1.0, 10.0, 100.0]))
    np.testing.assert_allclose(np.diff(plain), [-9.0, -90.0], rtol=1e-4)
    assert penalised[2] > penalised[0]


@pytest.mark.parametrize("objective", OF_ENERGIES, ids=name)
def test_a_vector_field_is_refused_where_energies_are_compared(objective):
    field = ex.Score(lambda x, c=None: -x)
    refused(objective, REALS, "model must be an energy: a vector field has no likelihood; got a Score", field)


def test_data_and_noise_are_both_of_bits_or_both_of_reals():
    bits = IndependentBernoulli(jnp.zeros(3))
    for noise in (bits, EveryState()):
        require_kindred("test", noise, BITS)
    require_kindred("test", GIVEN, REALS)
    with pytest.raises(ex.InputError, match="x must be zeros and ones; for other data take noise='gaussian'"):
        require_kindred("test", bits, REALS)
    with pytest.raises(ex.InputError, match="for binary data take noise='bernoulli' on zeros and ones"):
        require_kindred("test", GIVEN, BITS)


@pytest.mark.parametrize("noise", ["bernoulli", IndependentBernoulli(jnp.zeros(3))])
def test_noise_of_bits_is_not_mixed_with_a_flow(noise):
    with pytest.raises(ex.InputError, match="noise must be one with a density, as the flow has"):
        AdversarialContrastiveEstimation(FLOW, noise=noise)


@pytest.mark.parametrize(
    "objective",
    [
        MinimumProbabilityFlow("gaussian"),
        NonNegativeScoreMatching(),
        BoxScoreMatching(),
        RatioMatching(),
        KernelSteinDiscrepancy(),
        ConditionalNoiseContrastiveEstimation(),
    ],
    ids=lambda o: type(o).__name__,
)
@pytest.mark.parametrize("leaves", [1, 2])
def test_a_pytree_is_refused_where_a_loss_speaks_of_one_array(objective, leaves, key):
    x = {str(i): np.ones((8, 2), np.float32) for i in range(leaves)}
    with pytest.raises(ex.InputError, match=r"x must be one array( of bits)?; got a dict\."):
        objective.init(lambda x: 0.0, Batch(x), key, 4)
