"""The cards say what is true: names, weights, and the published rows they stand for."""

from __future__ import annotations

import re

import pytest

from benchmarks.published import published_tables
from harness.api.prediction import SCHEMAS
from harness.registry import METHODS, entries, method_card, method_class

CARDS = [
    name for name, entry in entries(METHODS).items() if entry.module.startswith("methods.top_down")
]
VARIANTS = [(name, variant) for name in CARDS for variant in method_card(name).variants]


@pytest.mark.parametrize("name", CARDS)
def test_every_method_has_a_nano_variant_and_a_recipe_for_it(name):
    card = method_card(name)
    assert card.task in SCHEMAS
    assert card.variants["nano"].recipe is not None
    assert method_class(name).trainable
    assert card.paper is not None or card.family == "baseline"


@pytest.mark.parametrize(("name", "variant"), VARIANTS)
def test_variant_is_named_after_its_input_size(name, variant):
    card = method_card(name)
    height, width = card.variants[variant].input_size
    assert variant == "nano" or variant.endswith(f"{height}x{width}")


@pytest.mark.parametrize(("name", "variant"), VARIANTS)
def test_public_weights_carry_the_digest_in_their_name(name, variant):
    weights = method_card(name).variants[variant].weights
    if variant == "nano":
        assert weights.url is None
    if weights.url is None:
        return
    named = re.search(r"-([0-9a-f]{8})_\d{8}\.pth$", weights.url)
    assert named is not None
    assert weights.sha256 == named[1]
    assert weights.licence
    assert variant.rpartition("-")[2] in weights.url


@pytest.mark.parametrize(("name", "variant"), VARIANTS)
def test_published_binding_picks_exactly_one_row_of_this_system(name, variant):
    card = method_card(name)
    binding = dict(card.variants[variant].published)
    if not binding:
        return
    table = published_tables()[binding.pop("table")]
    rows = [
        row
        for row in table.rows
        if all({"method": row.method, **row.descriptors}[k] == v for k, v in binding.items())
    ]
    assert len(rows) == 1
    assert rows[0].systems == (card.system,)
    assert rows[0].values["ap"] is not None
