"""Preset < file < --set < flags, and what is printed is what --set takes."""

import json

import pytest

from energax.checks import InputError
from energax.cli.settings import describe, parse_sets, read_file, resolve, seed_of
from energax.config import RunConfig, to_dict
from energax.options import MLPOptions


def test_each_layer_overrides_the_one_before():
    nothing = {}
    assert resolve("x", "digits", nothing, nothing, nothing).fit.steps == 3000
    file = {"fit": {"steps": 1}}
    assert resolve("x", "digits", file, nothing, nothing).fit.steps == 1
    sets = {"fit.steps": "2"}
    assert resolve("x", "digits", file, sets, nothing).fit.steps == 2
    config = resolve("x", "digits", file, sets, {"fit.steps": 3})
    assert config.fit.steps == 3
    assert config.data == "x"
    assert config.sampler.hold == 200  # the preset's, which nobody overrode


def test_options_belong_to_the_energy_that_was_chosen():
    config = resolve("x", "image", {}, {"energy.width": "16"}, {"energy": "mlp"})
    assert config.energy_options == MLPOptions(width=16)
    config = resolve("x", "digits", {"energy": "mixer"}, {"energy.patch": "2"}, {})
    assert config.energy_options.patch == 2


def test_a_base_is_of_multiscale_denoising_alone():
    config = resolve("x", "mnist", {}, {}, {})
    assert (config.energy, config.energy_options.base, config.fit.steps) == ("mlp", "radial", 12_000)
    for objective in ("noise-conditional", "replay-buffer"):
        config = resolve("x", "mnist", {}, {"objective": objective}, {})
        assert (config.energy, config.energy_options.base, config.fit.steps) == ("mixer", "none", 2_700)
        assert config.fit.checkpoint_every == RunConfig().fit.checkpoint_every
    assert resolve("x", "mnist", {}, {}, {"energy": "mlp"}).energy_options.base == "radial"
    assert resolve("x", "mnist", {}, {}, {"energy": "mixer"}).energy_options.base == "none"


def test_a_runs_own_configuration_is_a_file(tmp_path):
    config = resolve("x", "mnist", {}, {"energy.depth": "2"}, {"seed": 3})
    path = tmp_path / "config.json"
    path.write_text(json.dumps(to_dict(config)))
    assert resolve("x", "table", read_file(path), {}, {}) == config


def test_the_order_in_a_file_does_not_matter():
    fit = {"final_learning_rate": 0.01, "learning_rate": 0.02}  # refused beside the default of the other
    for order in (fit, dict(reversed(fit.items()))):
        config = resolve("x", "digits", {"fit": order}, {}, {})
        assert (config.fit.learning_rate, config.fit.final_learning_rate) == (0.02, 0.01)


def test_toml_is_a_file_too(tmp_path):
    path = tmp_path / "config.toml"
    path.write_text('energy = "mixer"\nseed = 4\n[energy_options]\nwidth = 8\n[fit]\nsteps = 7\n')
    config = resolve("x", "digits", read_file(path), {}, {})
    assert (config.energy, config.energy_options.width, config.fit.steps, config.seed) == ("mixer", 8, 7, 4)


@pytest.mark.parametrize("preset", ["digits", "mnist", "cifar10-res18", "table"])
def test_what_is_printed_can_be_set(preset):
    config = resolve("x", preset, {}, {}, {})
    lines = dict(line.split(maxsplit=1) for line in describe(config).splitlines())
    assert lines.pop("data") == "x"
    sets = parse_sets(f"{key}={value}" for key, value in lines.items())
    assert resolve("x", "points", {}, sets, {}) == config


def test_the_last_layer_to_name_a_seed_decides():
    assert seed_of({}, {}, {}) == RunConfig().seed
    assert seed_of({"seed": 1}, {"seed": "2"}, {}) == 2
    with pytest.raises(InputError, match="seed"):
        seed_of({"seed": -1})


def test_a_section_is_asked_for():
    with pytest.raises(InputError, match=r"fit\.steps"):
        parse_sets(["steps=3"])
