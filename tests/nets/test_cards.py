from importlib import import_module
from pathlib import Path

import pytest
import torch
import yaml
from torch.utils.flop_counter import FlopCounterMode

import visionlab.nets

CARDS = sorted((Path(visionlab.nets.__file__).parent / "cards").glob("*.yaml"))
NETS = [
    pytest.param(net, id=net["name"], marks=[pytest.mark.slow] if net["parameters"] > 10_000_000 else [])
    for card in CARDS
    for net in yaml.safe_load(card.read_text(encoding="utf-8"))["nets"]
]


@pytest.mark.parametrize("net", NETS)
def test_the_net_has_the_parameters_and_macs_of_its_card(net):
    module, _, name = net["class_path"].rpartition(".")
    with torch.device("meta"):
        built = getattr(import_module(module), name)(net["num_classes"], **net["init_args"]).eval()
    assert sum(p.numel() for p in built.parameters()) == net["parameters"]
    if net["macs"] is not None:
        with torch.device("meta"), FlopCounterMode(display=False) as counter:
            logits = built(torch.zeros(1, *net["input"]))
        assert logits.shape[:2] == (1, net["num_classes"])
        assert counter.get_total_flops() == 2 * net["macs"]


@pytest.mark.parametrize("card", CARDS, ids=lambda card: card.stem)
def test_a_card_is_complete(card):
    content = yaml.safe_load(card.read_text(encoding="utf-8"))
    assert set(content["paper"]) == {"authors", "year", "title", "venue", "section"}
    names = [net["name"] for net in content["nets"]]
    assert names
    assert len(set(names)) == len(names)
    for net in content["nets"]:
        assert set(net) == {
            *("name", "class_path", "init_args", "num_classes", "input", "parameters", "macs", "results")
        }
        for result in net["results"]:
            assert {"data", "metric", "value", "protocol", "source", "status"} <= set(result)
            assert result["status"] in ("published", "measured")
