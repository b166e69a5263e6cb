"""Networks: the sizes the papers print, initial weights that depend on the seed only, and refusals."""

import sys
import types

import pytest
import torch
import torchvision
from torch import nn

from sinewy.data import load
from sinewy.data.batches import batches, count, ordered
from sinewy.errors import InputError, MissingExtraError
from sinewy.layers import prunable
from sinewy.models import MODELS, build

SMALL = [name for name in MODELS if name not in {"resnet110", "vgg13", "vgg19", "resnet34"}]


def weights(model):
    return sum(p.numel() for p in prunable(model).values())


@pytest.mark.parametrize("name", SMALL)
def test_logits_gradients_and_names(name):
    model = build(name, classes=7)
    logits = model(torch.rand(2, 3, 32, 32).to(memory_format=torch.channels_last))
    assert logits.shape == (2, 7)
    assert torch.isfinite(logits).all()
    logits.square().sum().backward()
    assert all(p.grad is not None for p in model.parameters())


@pytest.mark.parametrize(
    ("name", "classes", "expected"),
    [
        ("convnet", 10, 93_664),
        ("resnet20", 10, 268_336),
        ("resnet34", 100, 21_311_168),
        ("resnet50", 1000, 25_502_912 - 64 * 3 * 49 + 64 * 3 * 9),  # torchvision's, but for the stem's kernel
        ("resnet50", 10, 23_467_712),
        ("vgg16", 10, 14_710_464 + 529_408),
        ("lenet-300-100", 10, 3072 * 300 + 300 * 100 + 100 * 10),
    ],
)
def test_published_numbers_of_weights(name, classes, expected):
    assert weights(build(name, classes=classes)) == expected


def test_resnet18_has_the_known_number_of_parameters():
    assert sum(p.numel() for p in build("resnet18", classes=10).parameters()) == 11_173_962


def test_published_depths():
    for name, convolutions in {"resnet32": 31, "resnet56": 55, "resnet50": 53, "vgg11": 8, "vgg16": 13}.items():
        assert sum(isinstance(m, nn.Conv2d) for m in build(name, classes=10).modules()) == convolutions


def test_width_scales_every_stage():
    assert weights(build("resnet18", classes=10, width=8)) == (11_164_352 - 5120 - 27 * 64) // 64 + 27 * 8 + 640
    assert build("resnet20", classes=10, width=32)(torch.rand(1, 3, 32, 32)).shape == (1, 10)


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({}, 3072 * 512 + 512 * 512 + 512 * 10),
        ({"width": 128, "depth": 1}, 128 * (3072 + 10)),
        ({"width": 32_768, "depth": 1, "image_size": 4}, 32_768 * (48 + 10)),
        ({"depth": 8}, 3072 * 512 + 7 * 512 * 512 + 512 * 10),
        ({"depth": 0}, 3072 * 10),
        ({"hidden": (7, 5)}, 3072 * 7 + 7 * 5 + 5 * 10),
    ],
)
def test_width_and_depth_of_the_mlp(options, expected):
    assert weights(build("mlp", classes=10, **options)) == expected


def test_the_mlp_of_before_is_two_layers_of_512():
    a, b = (build("mlp", classes=3, seed=1, **options).state_dict() for options in ({}, {"hidden": (512, 512)}))
    assert all(torch.equal(a[key], b[key]) for key in a)
    assert a.keys() == b.keys()


def test_width_and_head_of_vgg():
    convolutions = 27 * 16 + 9 * 16**2 * (1 * 2 + 2 * 4 + 4 * 4 + 4 * 8 + 3 * 8 * 8)
    assert weights(build("vgg11", classes=10, width=16)) == convolutions + 2 * 128 * 128 + 1280
    assert weights(build("vgg11", classes=10, width=16, head=0)) == convolutions + 1280 == 577_712
    # Timpl et al. 2022, depth family: 0.980 and 0.627 of VGG-13's and VGG-16's weights are VGG-11's
    eleven, thirteen, sixteen = (weights(build(f"vgg{depth}", classes=10, head=0)) for depth in (11, 13, 16))
    assert round(eleven / thirteen, 3) == 0.980
    assert round(eleven / sixteen, 3) == 0.627
    assert build("vgg11", classes=7, width=3, head=1)(torch.rand(2, 3, 32, 32)).shape == (2, 7)


def test_resnet50_computes_what_torchvision_does_with_another_stem():
    ours = build("resnet50", classes=10, width=64).eval()
    theirs = torchvision.models.resnet50(num_classes=10).eval()
    theirs.conv1, theirs.maxpool = nn.Conv2d(3, 64, 3, padding=1, bias=False), nn.Identity()
    state = {key.replace("shortcut", "downsample"): value for key, value in ours.state_dict().items()}
    theirs.load_state_dict(state)
    x = torch.rand(2, 3, 16, 16)
    with torch.inference_mode():
        torch.testing.assert_close(ours(x), theirs(x))


def test_shortcut_takes_every_second_pixel_and_pads_channels():
    block = build("resnet20", classes=10).layer2[0].eval()
    with torch.no_grad():
        block.conv2.weight.zero_()
    x = torch.rand(1, 16, 4, 4)
    out = block(x)
    assert torch.equal(out[:, 8:24], x[:, :, ::2, ::2])
    assert out[:, :8].abs().max() == out[:, 24:].abs().max() == 0


def test_the_gradient_of_the_shortcut_keeps_its_memory_format():
    block = build("resnet20", classes=10).layer2[0]
    x = torch.rand(2, 16, 4, 4).contiguous(memory_format=torch.channels_last).requires_grad_()
    (gradient,) = torch.autograd.grad(block._shortcut(x).sum(), x)
    assert gradient.is_contiguous(memory_format=torch.channels_last)
    assert torch.equal(gradient[:, :, ::2, ::2], torch.ones(2, 16, 2, 2))
    assert gradient.sum() == 2 * 16 * 4


@pytest.mark.parametrize("name", ["convnet", "mlp", "resnet20", "timm:resnet10t", "torchvision:squeezenet1_1"])
def test_initial_weights_depend_on_the_seed_only(name):
    if name.startswith("timm"):
        pytest.importorskip("timm")
    torch.manual_seed(1)
    state = torch.random.get_rng_state()
    a = build(name, classes=3, seed=5).state_dict()
    assert torch.equal(torch.random.get_rng_state(), state)
    torch.rand(7)
    b, c = build(name, classes=3, seed=5).state_dict(), build(name, classes=3, seed=6).state_dict()
    assert all(torch.equal(a[key], b[key]) for key in a)
    assert any(not torch.equal(a[key], c[key]) for key in a)


def test_image_size_reaches_the_networks_that_need_it():
    for name in ("mlp", "lenet5", "convnet", "resnet20"):
        assert build(name, classes=2, image_size=28)(torch.rand(2, 3, 28, 28)).shape == (2, 2)


def test_functions_of_the_users(monkeypatch):
    module = types.ModuleType("mylab")
    monkeypatch.setitem(sys.modules, "mylab", module)
    module.one = lambda num_classes, width=4: nn.Linear(width, num_classes)
    module.two = lambda classes, image_size: nn.Linear(image_size, classes)
    module.bad = lambda classes: "not a module"
    module.plain = lambda: nn.Linear(4, 7)
    assert build("mylab:plain", classes=7).weight.shape == (7, 4)
    with pytest.raises(InputError, match="unexpected keyword argument"):
        build("mylab:plain", classes=7, width=3)
    assert build("mylab:one", classes=3, width=6).weight.shape == (3, 6)
    assert build("mylab:two", classes=3, image_size=9).weight.shape == (3, 9)
    with pytest.raises(InputError, match="returned str"):
        build("mylab:bad", classes=3)


@pytest.mark.parametrize(
    ("name", "options", "says"),
    [
        ("convent", {}, "Did you mean 'convnet'"),
        ("convnet", {"depth": 3}, "depth.*it takes: classes"),
        ("convnet", {"classes": 0}, "at least 1"),
        ("resnet18", {"width": 0}, "width=0"),
        ("mlp", {"hidden": (0,)}, "hidden"),
        ("mlp", {"width": 0}, "hidden"),
        ("mlp", {"depth": -1}, "depth=-1"),
        ("mlp", {"hidden": (9,), "depth": 3}, "leave out width and depth"),
        ("resnet50", {"width": 0}, "width=0"),
        ("vgg11", {"dropout": 1.0}, "dropout"),
        ("vgg11", {"width": 0}, "width=0"),
        ("vgg19", {"head": -1}, "head=-1"),
        ("lenet5", {"image_size": 8}, "16 x 16"),
        ("torchvision:resnet999", {}, "unknown torchvision model 'resnet999'"),
        ("nowhere:net", {}, "cannot import 'nowhere'"),
    ],
)
def test_refusals(name, options, says):
    with pytest.raises(InputError, match=says):
        build(name, **{"classes": 10, **options})


def test_timm_names():
    pytest.importorskip("timm")
    with pytest.raises(InputError, match="Did you mean 'resnet"):
        build("timm:resnet51", classes=10)


def test_without_timm_the_install_command_is_said(monkeypatch):
    monkeypatch.setitem(sys.modules, "timm", None)
    with pytest.raises(MissingExtraError, match=r"pip install 'sinewy\[models\]'"):
        build("timm:resnet18", classes=10)


def test_convnet_learns_the_digits():
    data = load("digits")
    model = build("convnet", classes=10).to(memory_format=torch.channels_last)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9, nesterov=True, weight_decay=5e-4)
    epochs = 6
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, 0.1, total_steps=epochs * count(data.train, 64), pct_start=0.2
    )
    for epoch in range(epochs):
        for images, labels in batches(data.train, batch=64, seed=0, epoch=epoch):
            optimizer.zero_grad()
            nn.functional.cross_entropy(model(images), labels).backward()
            optimizer.step()
            schedule.step()
    model.eval()
    with torch.inference_mode():
        right = sum(int((model(x).argmax(1) == y).sum()) for x, y in ordered(data.test, batch=64))
    assert right / len(data.test) > 0.97
