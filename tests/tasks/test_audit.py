"""Whether robust numbers are doubted when they should be, and only then."""

import pytest
import torch
from torch import nn

from stand_ins import FewDigits, PlainNet
from visionlab.attacks.fgsm import FGSM
from visionlab.attacks.pgd import PGD
from visionlab.metrics.classification import SingleLabel
from visionlab.nets.normalize import Normalize
from visionlab.tasks.audit import Audit, Facts, doubts, normalizes, with_budget
from visionlab.tasks.classification import Classification
from visionlab.tasks.objectives import ClassLoss
from visionlab.tasks.under_attack import UnderAttack, attacked

SOUND = Facts(chance=0.1, training=0, normalizations=1, precision="float32")
NUMBERS = {"clean": 0.9, "attack": 0.4, "one_step": 0.5, "black_box": 0.6, "huge_budget": 0.0}


def doubted(facts=SOUND, moved=0.03, budget=0.03, without_gradient=0.0, **numbers):
    return doubts({**NUMBERS, **numbers}, moved=moved, budget=budget, without_gradient=without_gradient, facts=facts)


def test_sound_numbers_are_not_doubted():
    assert doubted() == []
    assert doubts({"clean": 0.9, "attack": 0.0}, moved=3.0, budget=None, without_gradient=0.0, facts=SOUND) == []


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        ({"moved": 0.04}, "images were moved by 0.04, further than the budget of 0.03"),
        ({"moved": 0.01}, "images were moved by 0.01 at most, and might have been by 0.03"),
        ({"without_gradient": 0.5}, "of 50% of the images the whole gradient is 0"),
        ({"facts": Facts(0.1, 3, 1, "float32")}, "3 modules of the net are in training mode"),
        ({"facts": Facts(0.1, 0, 2, "float32")}, "the net normalises images 2 times"),
        ({"facts": Facts(0.1, 0, 1, "float16")}, "the net is in float16"),
        ({"attack": 0.95, "one_step": 0.95, "black_box": 0.95}, "the attack does the net good: 0.9500 against 0.9000"),
        ({"one_step": 0.3}, "one step does more harm than the attack: 0.3000 against 0.4000"),
        ({"black_box": 0.2}, "an attack that sees no gradient does more harm: 0.2000 against 0.4000"),
        ({"huge_budget": 0.3}, "0.3000 is left within a budget that allows any image; chance is 0.1000"),
    ],
)
def test_each_reason_is_told(arguments, reason):
    (found,) = doubted(**arguments)
    assert reason in found


class Scaled(PlainNet):
    """Hides its gradient: the softmax of logits of thousands is exactly 0 and 1."""

    def forward(self, images):
        return 20000 * super().forward(images)


class Twice(PlainNet):
    def __init__(self, num_classes):
        super().__init__(num_classes)
        self.insert(0, Normalize([0.5], [0.5]))
        self.insert(0, Normalize([0.3], [0.2]))


@pytest.fixture(scope="module")
def digits():
    images, labels = FewDigits().arrays("test")
    return {
        "images": torch.from_numpy(images).permute(0, 3, 1, 2) / 255,
        "labels": torch.from_numpy(labels),
        "ids": torch.arange(len(labels)),
    }


@pytest.fixture(scope="module")
def trained(digits):
    """A task that knows the images."""
    torch.manual_seed(0)
    task = Classification(10, PlainNet, lambda parameters: torch.optim.Adam(parameters, 0.02))
    optimizer = task.make_optimizer(task.parameters())
    for _ in range(60):
        optimizer.zero_grad()
        task.step(digits).losses["cross_entropy"].mean().backward()
        optimizer.step()
    return task.eval()


def with_net(task, net):
    other = Classification(10, net, task.make_optimizer).eval()
    other.net.load_state_dict(task.net.state_dict())
    return other


def metrics():
    return {"single_label": SingleLabel(10)}


def audited(task, batch, attack, images=40):
    audit = Audit(task, attack, ClassLoss(), metrics, "single_label/top1", images)
    audit.update(None, batch)
    return audit, {name: float(value) for name, value in audit.compute().items()}


def test_an_honest_net_is_not_suspect(trained, digits):
    audit, found = audited(trained, digits, PGD("16/255", steps=10))
    assert found["clean"] > 0.9
    assert found["attack"] <= found["one_step"]
    assert found["attack"] <= found["black_box"]
    assert found["huge_budget"] == 0
    assert found["suspect"] == 0, audit.told
    assert found["moved"] == pytest.approx(16 / 255, abs=1e-6)
    for line in ("on 40 images", "evaluation mode", "float32", "(16/255)", "Nothing speaks against these numbers."):
        assert line in audit.told


def test_a_net_that_hides_its_gradient_is_suspect(trained, digits):
    audit, found = audited(with_net(trained, Scaled), digits, PGD("16/255", steps=10))
    assert found["attack"] == found["clean"]
    assert found["zero_gradients"] > 0.5
    assert found["suspect"] >= 2
    assert "These numbers are suspect because" in audit.told
    assert "the whole gradient is 0" in audit.told
    assert "within a budget that allows any image" in audit.told


def test_steps_grow_with_the_budget():
    assert with_budget(PGD("8/255", step_size="2/255"), "4/255") == PGD("4/255", step_size=1 / 255)
    assert with_budget(PGD("1/255", step_size=0.5), 1.0) == PGD(1.0, step_size=1.0)
    assert with_budget(PGD("8/255"), 0.5) == PGD(0.5)
    assert with_budget(FGSM(0), "1/255") == FGSM("1/255")


def test_normalisations_are_counted():
    task = Classification(10, Twice, lambda parameters: torch.optim.SGD(parameters, 0.1))
    assert Facts.of(task).normalizations == 2
    assert Facts.of(task).training > 0
    assert not normalizes(Normalize([0.0], [1.0]))
    assert not normalizes(nn.BatchNorm2d(3))


def test_only_the_first_images_are_audited(trained, digits):
    _, of_all = audited(trained, digits, FGSM("8/255"), images=30)
    audit = Audit(trained, FGSM("8/255"), ClassLoss(), metrics, "single_label/top1", 30)
    order = torch.randperm(len(digits["ids"]), generator=torch.Generator().manual_seed(0))
    for chunk in order.split(17):
        audit.update(None, {name: value[chunk] for name, value in digits.items()})
    assert {name: float(value) for name, value in audit.compute().items()} == pytest.approx(of_all, abs=1e-6)


def test_a_budget_of_nothing_is_clean_bit_for_bit(trained, digits):
    clean, still = (UnderAttack("a", trained, attack, ClassLoss(), metrics()) for attack in (None, PGD(0, restarts=2)))
    for one in (clean, still):
        one.update(None, digits)
    expected, found = clean.compute(), still.compute()
    assert all(torch.equal(found[name], value) for name, value in expected.items())
    assert found["linf"] == 0
    assert torch.equal(clean.records["nll_under_a"], still.records["nll_under_a"])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda images: images * 255, r"must lie in \[0, 1\], not \[0, 255\]"),
        (lambda images: images - 0.5, r"must lie in \[0, 1\], not \[-0.5, 0.5\]"),
        (lambda images: images.half(), "not in torch.float16"),
    ],
)
def test_images_that_cannot_be_attacked_say_why(trained, digits, change, message):
    with pytest.raises(ValueError, match=message):
        attacked(trained, {**digits, "images": change(digits["images"])}, FGSM("8/255"), ClassLoss())


def test_what_was_made_in_inference_mode_is_refused(trained, digits):
    with torch.inference_mode():
        made = {**digits, "labels": digits["labels"].clone()}
    with pytest.raises(ValueError, match=r"made in inference mode.*Trainer\(inference_mode=False\)"):
        attacked(trained, made, FGSM("8/255"), ClassLoss())
    with torch.inference_mode(), pytest.raises(ValueError, match=r"Trainer\(inference_mode=False\)"):
        attacked(trained, digits, FGSM("8/255"), ClassLoss())
