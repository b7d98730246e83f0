"""One typed configuration: flags, files and Python say the same, and mistakes are named."""

import json

import jax
import pytest

import energax as ex
from energax.config import FitConfig, RunConfig, from_dict, replace, to_dict
from energax.options import DSMOptions, MLPOptions, ResNetOptions
from energax.presets import PRESETS, preset, preset_name


def test_a_configuration_survives_its_file():
    for name in PRESETS:
        config = preset(name, "digits")
        assert from_dict(json.loads(json.dumps(to_dict(config)))) == config


def test_strings_nested_and_dotted_changes_are_one():
    wanted = RunConfig(energy_options=MLPOptions(width=7), fit=FitConfig(steps=3, learning_rate=0.5))
    assert (
        replace(RunConfig(), {"energy.width": "7", "fit.steps": "3", "fit.learning_rate": "5e-1"}) == wanted
    )
    nested = {"energy_options": {"width": 7}, "fit": {"steps": 3, "learning_rate": 0.5}}
    assert replace(RunConfig(), nested) == wanted


def test_changing_the_energy_or_objective_brings_its_own_options():
    config = replace(
        RunConfig(), {"energy.layers": 6, "energy": "resnet", "objective": "denoising", "objective.sigma": 1}
    )
    assert config.energy_options == ResNetOptions(layers=6)
    assert config.objective_options == DSMOptions(sigma=1.0)
    changed = replace(config, {"objective": "multiscale", "objective.levels": "None"})
    assert changed.objective_options.levels is None


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"fit.step": 3}, r"option of fit must be one of .* \(did you mean 'steps'\?\)"),
        ({"fit.steps": "many"}, "steps must be a whole number; got 'many'"),
        ({"fit.steps": 2.5}, "steps must be a whole number; got 2.5"),
        ({"fit.steps": True}, "steps must be a whole number; got True"),
        ({"energy": "mlpp"}, r"energy must be one of .* \(did you mean 'mlp'\?\)"),
        ({"energy.layers": 6}, "option of energy must be one of 'width'"),
        ({"fit.schedule": "cosin"}, r"did you mean 'cosine'\?"),
        ({"fit": 3}, "fit must be a mapping of options"),
        ({"colour": 3}, "option must be one of"),
        ({"objective.sigma_min": "x"}, "sigma_min must be a number; got 'x'"),
        ({"fit.batch_size": "0"}, "batch_size must be a whole number of at least 1"),
        ({"seed": -1}, "seed must be a whole number of at least 0"),
    ],
)
def test_mistakes_are_named(changes, sentence):
    with pytest.raises(ex.InputError, match=sentence):
        replace(RunConfig(), changes)


def test_seeds_end_where_keys_repeat():
    largest = 2**32 - 1
    assert replace(RunConfig(), {"seed": str(largest)}).seed == largest
    for more in (largest + 1, 10**400):  # the second has no float
        with pytest.raises(ex.InputError, match=f"seed must be a whole number of at most {largest}"):
            replace(RunConfig(), {"seed": str(more)})
    zero, next_to_it, beyond = (jax.random.key_data(jax.random.key(s)) for s in (0, largest, largest + 1))
    assert (zero == beyond).all()
    assert (zero != next_to_it).any()


def test_presets_by_name_and_by_kind():
    assert preset_name("mnist", "image") == "mnist"
    assert preset_name("mine.csv", "table") == "table"
    paper = preset("mnist-res12", "mnist")
    assert (paper.energy, paper.energy_options.layers, paper.fit.steps) == ("resnet", 12, 100_000)
    assert (paper.objective_options.sigma_min, paper.objective_options.sigma_max) == (0.1, 3.0)
    cifar = preset("cifar10-res18", "cifar10")
    assert (cifar.energy_options.layers, cifar.energy_options.width) == (18, 128)
    assert (cifar.objective_options.spacing, cifar.objective_options.sigma_max) == ("linear", 1.2)
