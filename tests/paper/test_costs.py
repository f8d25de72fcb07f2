"""Sizes of the reference models beside the paper's: what is explained, and what is flagged."""

import pytest

from medmamba.paper import networks
from medmamba.paper.costs import UNEXPLAINED, cost, costs
from medmamba.paper.printed import models, read_table


def one(table, key):
    row = next(row for row in read_table(table) if row["model"] == key)
    return cost(networks.network(key), row, table)


@pytest.mark.parametrize(
    ("table", "key", "about_parameters", "about_flops"),
    [
        ("table3", "medmamba_tiny", "", "without projections and scan"),
        ("table3", "repvgg_a1", "", "convolutions and linear layers"),
        ("table3", "swin_tiny_patch4_window7_224", "", "with the products of attention"),
        ("table3", "vmamba_tiny", "", "counted in another way, see the notes"),
        ("table4", "tf_efficientnetv2_s", "", "those at 384 x 384: 8.36"),
        ("table5", "twins_svt_base", "those of DaViT-small's row", "those of DaViT-small's row"),
        ("table7", "medmamba_tiny_scan", "16.2 at 9 classes, or with a final norm as in VMamba", UNEXPLAINED),
    ],
)
def test_a_printed_size_is_explained_or_flagged(table, key, about_parameters, about_flops):
    found = one(table, key)
    assert (found.about_parameters, found.about_flops) == (about_parameters, about_flops)
    assert found.flagged == (UNEXPLAINED in (about_parameters, about_flops))


def test_twins_has_other_parameters_than_the_paper_prints():
    found = one("table5", "twins_svt_base")
    assert found.printed_parameters == "48.9"
    assert found.parameters == pytest.approx(55.31, abs=0.005)


def test_a_printed_size_may_be_at_the_classes_of_one_of_the_sets():
    assert one("table5", "efficientnet_b6").about_parameters == "40.8 at the 9 classes of Otoscopy2024"


@pytest.mark.slow
@pytest.mark.parametrize("table", ["table3", "table4", "table5", "table7"])
def test_all_printed_parameters_are_those_of_the_registry_s_models(table):
    """What fixes which model a name of the paper means."""
    found = costs(table, models(table))
    assert [each.title for each in found if each.about_parameters == UNEXPLAINED] == []
    flagged = {"Convformer-s18", "Coat-small", "Mvitv2-base", "FocalNet-s", "GcVit-s", "SSM"}
    assert {each.title for each in found if each.flagged} <= flagged


def test_a_model_that_is_not_registered_says_so(monkeypatch):
    monkeypatch.setattr(networks, "is_model", lambda name: False)
    found = cost(networks.network("medvit_tiny"), {"printed": "MedVit-T"}, "table6")
    assert found.parameters is None
    assert found.about_parameters == "medvit_tiny is not registered here"
