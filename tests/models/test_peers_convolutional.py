"""Loaded convolutional networks against PyTorch, at random weights, in every tap."""

import jax
import numpy as np
import pytest

from genjax import models
from genjax.models import convnext, weight_files, weight_rules, weights

torch = pytest.importorskip("torch")
pytestmark = pytest.mark.peers

nn, functional = torch.nn, torch.nn.functional
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


class CifarBlock(nn.Module):
    """Two 3x3 convolutions; the shortcut subsamples and pads with zeros (option A)."""

    def __init__(self, inputs, outputs, stride):
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(outputs)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(outputs)
        self.stride, self.missing = stride, outputs - inputs

    def forward(self, x):
        y = self.bn2(self.conv2(self.bn1(self.conv1(x)).relu()))
        side = self.missing // 2
        shortcut = x[:, :, :: self.stride, :: self.stride]
        return (functional.pad(shortcut, (0, 0, 0, 0, side, side)) + y).relu()


class CifarResNet(nn.Module):
    """He et al. (2016), section 4.2."""

    def __init__(self, depth, classes):
        super().__init__()
        self.conv1 = nn.Conv2d(3, 16, 3, 1, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(16)
        inputs = 16
        for stage, outputs in enumerate((16, 32, 64), start=1):
            blocks = []
            for block in range((depth - 2) // 6):
                stride = 2 if stage > 1 and block == 0 else 1
                blocks.append(CifarBlock(inputs, outputs, stride))
                inputs = outputs
            setattr(self, f"layer{stage}", nn.Sequential(*blocks))
        self.linear = nn.Linear(64, classes)

    def forward(self, x):
        taps = {"stem": self.bn1(self.conv1(x)).relu()}
        return self.linear(stages(self, 3, taps)), taps


class BasicBlock(nn.Module):
    """torchvision's block of ResNet-18 and 34."""

    expansion = 1

    def __init__(self, inputs, width, stride):
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, width, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.conv2 = nn.Conv2d(width, width, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(width)
        self.downsample = projection(inputs, width, stride)

    def forward(self, x):
        y = self.bn2(self.conv2(self.bn1(self.conv1(x)).relu()))
        return (y + (x if self.downsample is None else self.downsample(x))).relu()


class Bottleneck(nn.Module):
    """torchvision's block of ResNet-50 and deeper: the 3x3 convolution has the stride (v1.5)."""

    expansion = 4

    def __init__(self, inputs, width, stride):
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, width, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.conv2 = nn.Conv2d(width, width, 3, stride, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(width)
        self.conv3 = nn.Conv2d(width, 4 * width, 1, bias=False)
        self.bn3 = nn.BatchNorm2d(4 * width)
        self.downsample = projection(inputs, 4 * width, stride)

    def forward(self, x):
        y = self.bn1(self.conv1(x)).relu()
        y = self.bn3(self.conv3(self.bn2(self.conv2(y)).relu()))
        return (y + (x if self.downsample is None else self.downsample(x))).relu()


def projection(inputs, outputs, stride):
    if inputs == outputs and stride == 1:
        return None
    return nn.Sequential(nn.Conv2d(inputs, outputs, 1, stride, bias=False), nn.BatchNorm2d(outputs))


class ImagenetResNet(nn.Module):
    """torchvision's ResNet."""

    def __init__(self, block, counts, classes):
        super().__init__()
        self.conv1 = nn.Conv2d(3, 64, 7, 2, 3, bias=False)
        self.bn1 = nn.BatchNorm2d(64)
        inputs = 64
        for stage, count in enumerate(counts, start=1):
            width, blocks = 32 * 2**stage, []
            for i in range(count):
                blocks.append(block(inputs, width, 2 if stage > 1 and i == 0 else 1))
                inputs = width * block.expansion
            setattr(self, f"layer{stage}", nn.Sequential(*blocks))
        self.fc = nn.Linear(inputs, classes)

    def forward(self, x):
        x = self.bn1(self.conv1(x)).relu()
        taps = {"stem": functional.max_pool2d(x, 3, 2, 1)}
        return self.fc(stages(self, 4, taps)), taps


def stages(module, count, taps):
    """Apply layer1, layer2, ... to the stem, note every block's output, return the mean."""
    x = taps["stem"]
    for stage in range(1, count + 1):
        for i, block in enumerate(getattr(module, f"layer{stage}"), start=1):
            x = taps[f"stage{stage}block{i}"] = block(x)
    taps["features"] = x.mean((2, 3))
    return taps["features"]


def randomise(module, seed=0):
    """Give every parameter and running statistic a random value; return the module, evaluating."""
    torch.manual_seed(seed)
    with torch.no_grad():
        for layer in module.modules():
            if isinstance(layer, (nn.Conv2d, nn.Linear)):
                nn.init.kaiming_uniform_(layer.weight, nonlinearity="relu")
                if layer.bias is not None:
                    layer.bias.uniform_(-0.5, 0.5)
            if isinstance(layer, nn.BatchNorm2d):
                layer.weight.uniform_(0.3, 0.9)
                layer.running_mean.uniform_(-0.5, 0.5)
                layer.running_var.uniform_(0.5, 2.0)
                layer.bias.uniform_(-0.5, 0.5)
    return module.eval()


def save(module, path):
    from safetensors.torch import save_file

    save_file({key: value.contiguous() for key, value in module.state_dict().items()}, path)
    return path


def draw(*shape):
    return np.random.default_rng(0).random(shape, np.float32)


def as_torch(images):
    mean, std = (torch.tensor(v).reshape(1, 3, 1, 1) for v in (MEAN, STD))
    return (torch.tensor(images).permute(0, 3, 1, 2) - mean) / std


def assert_equal(loaded, images, logits, taps):
    """Compare logits and every tap, relative to the largest activation of each."""

    def compare(found, expected, name):
        expected = expected.detach().numpy()
        if expected.ndim == 4:
            expected = expected.transpose(0, 2, 3, 1)
        assert found.shape == expected.shape
        scale = max(1.0, float(np.abs(expected).max()))
        np.testing.assert_allclose(found / scale, expected / scale, atol=1e-4, err_msg=name)

    network, params = loaded.network, loaded.params
    found = network.taps(params, images)
    assert list(found) == list(taps)
    for name, expected in taps.items():
        compare(found[name], expected, name)
    compare(jax.jit(network.apply)(params, images), logits, "logits")


@pytest.mark.parametrize(("depth", "side"), [(8, 32), (20, 32), (14, 9)])
def test_cifar_resnets(tmp_path, depth, side):
    module = randomise(CifarResNet(depth, 7))
    images = draw(3, side, side, 3)
    loaded = models.load_weights(
        save(module, tmp_path / "a.safetensors"),
        f"resnet_cifar:depth={depth}",
        image_shape=(side, side, 3),
    )
    with torch.no_grad():
        assert_equal(loaded, images, *module(as_torch(images)))


@pytest.mark.parametrize(
    ("depth", "block", "counts"), [(18, BasicBlock, (2, 2, 2, 2)), (50, Bottleneck, (3, 4, 6, 3))]
)
def test_imagenet_resnets(tmp_path, depth, block, counts):
    module = randomise(ImagenetResNet(block, counts, 7))
    images = draw(2, 48, 64, 3)
    loaded = models.load_weights(
        save(module, tmp_path / "a.safetensors"),
        "resnet_imagenet",
        image_shape=(48, 64, 3),
        preprocessing=models.Preprocessing(MEAN, STD),
    )
    assert loaded.network.name == f"resnet_imagenet(depth={depth})"
    assert len(loaded.unused) == len([m for m in module.modules() if hasattr(m, "running_var")])
    with torch.no_grad():
        assert_equal(loaded, images, *module(as_torch(images)))


def test_images_of_another_size_are_resized_and_cropped(tmp_path):
    module = randomise(ImagenetResNet(BasicBlock, (2, 2, 2, 2), 7))
    path = save(module, tmp_path / "a.safetensors")
    loaded = models.load_weights(path, "resnet_imagenet:depth=18", image_shape=(32, 32, 3))
    images = draw(1, 32, 32, 3)
    enlarged = functional.interpolate(
        torch.tensor(images).permute(0, 3, 1, 2), (256, 256), mode="bilinear", antialias=True
    )[:, :, 16:240, 16:240]
    with torch.no_grad():
        logits, taps = module(as_torch(enlarged.permute(0, 2, 3, 1).numpy()))
    assert_equal(loaded, images, logits, taps)


def test_convnext(tmp_path):
    transformers = pytest.importorskip("transformers")
    configuration = transformers.ConvNextConfig(
        depths=[2, 1, 2, 1], hidden_sizes=[8, 16, 16, 24], num_labels=7
    )
    module = randomise(transformers.ConvNextForImageClassification(configuration))
    with torch.no_grad():
        for name, value in module.named_parameters():
            if "layer_scale" in name or "norm" in name:
                value.uniform_(0.3, 1.0)
    images = draw(2, 64, 40, 3)
    outputs, hooks = {}, []
    for s, stage in enumerate(module.convnext.encoder.stages, start=1):
        for b, layer in enumerate(stage.layers, start=1):
            name = f"stage{s}block{b}"
            hooks.append(
                layer.register_forward_hook(lambda *a, name=name: outputs.update({name: a[2]}))
            )
    with torch.no_grad():
        found = module(as_torch(images), output_hidden_states=True)
        features = module.convnext.layernorm(found.hidden_states[-1].mean((2, 3)))
    taps = {"stem": found.hidden_states[0], **outputs, "features": features}
    loaded = models.load_weights(
        save(module, tmp_path / "a.safetensors"),
        "convnext",
        image_shape=(64, 40, 3),
        preprocessing=models.Preprocessing(MEAN, STD),
    )
    assert loaded.unused == ()
    assert loaded.network.name == "convnext(blocks=(2, 1, 2, 1), widths=(8, 16, 16, 24))"
    assert_equal(loaded, images, found.logits, taps)


def test_a_named_size_of_convnext_has_the_parameters_of_the_public_one(tmp_path):
    transformers = pytest.importorskip("transformers")
    for size, (blocks, widths) in convnext.SIZES.items():
        configuration = transformers.ConvNextConfig(depths=blocks, hidden_sizes=widths)
        with torch.device("meta"):
            module = transformers.ConvNextForImageClassification(configuration)
        shapes = {k: tuple(v.shape) for k, v in module.state_dict().items()} | {
            "classifier.weight": (1000, widths[-1]),
            "classifier.bias": (1000,),
        }
        for options in ({}, {"size": size}):
            plan = weights.ARCHITECTURES["convnext"](weight_rules.Request(shapes), **options)
            assert plan.network.name == f"convnext(size={size})"
            stored = weight_files.StoredWeights(tmp_path, shapes, np.zeros)
            weight_rules.check(stored, plan, weight_rules.tree_shapes(plan.network))
