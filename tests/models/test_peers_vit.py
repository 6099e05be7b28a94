"""ViT and DeiT are those of Hugging Face's transformers, at every hidden state."""

import numpy as np
import pytest

from genjax import models

pytestmark = pytest.mark.peers
torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")

TINY = {
    "hidden_size": 24,
    "num_hidden_layers": 3,
    "num_attention_heads": 3,
    "intermediate_size": 40,
    "image_size": 24,
    "patch_size": 8,
    "num_labels": 5,
}
CASES = {
    "vit": ("ViTConfig", "ViTForImageClassification"),
    "deit": ("DeiTConfig", "DeiTForImageClassification"),
    "deit, teacher": ("DeiTConfig", "DeiTForImageClassificationWithTeacher"),
}


def random_model(case):
    config, kind = CASES[case]
    model = getattr(transformers, kind)(getattr(transformers, config)(**TINY)).eval()
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in model.parameters():  # biases and tokens start at zero
            parameter.add_(0.2 * torch.randn(parameter.shape, generator=generator))
    return model


def as_torch(foreign, images):
    mean, std = (np.asarray(v, np.float32) for v in foreign.preprocessing[:2])
    return torch.from_numpy(((images - mean) / std).transpose(0, 3, 1, 2).copy())


@pytest.mark.parametrize("saved", ["save_pretrained", "state_dict"])
@pytest.mark.parametrize("case", CASES)
def test_logits_and_hidden_states_are_those_of_transformers(case, saved, tmp_path):
    model = random_model(case)
    path = tmp_path / "model.safetensors"
    if saved == "save_pretrained":
        model.save_pretrained(tmp_path)
    else:
        from safetensors.torch import save_file

        save_file({k: v.contiguous() for k, v in model.state_dict().items()}, path)
    plain = models.load_weights(path, f"{case.split(',')[0]}:heads=3").preprocessing
    foreign = models.load_weights(
        path,
        f"{case.split(',')[0]}:heads=3",
        image_shape=(24, 24, 3),
        preprocessing=plain._replace(resize=None, crop=None),
    )
    images = np.random.default_rng(1).uniform(0, 1, (4, 24, 24, 3)).astype(np.float32)
    with torch.no_grad():
        wanted = model(as_torch(foreign, images), output_hidden_states=True)
    found = foreign.network.apply(foreign.params, images)
    np.testing.assert_allclose(found, wanted.logits.numpy(), atol=1e-4)
    taps = foreign.network.taps(foreign.params, images)
    states = [tap for name, tap in taps.items() if name != "features"]
    assert len(states) == len(wanted.hidden_states) == 4
    for mine, theirs in zip(states, wanted.hidden_states, strict=True):
        np.testing.assert_allclose(mine, theirs.numpy(), atol=1e-4)


@pytest.mark.parametrize("case", CASES)
def test_interpolated_positions_are_those_of_transformers(case, tmp_path):
    model = random_model(case)
    model.save_pretrained(tmp_path)
    name = case.split(",")[0]
    foreign = models.load_weights(
        tmp_path / "model.safetensors",
        f"{name}:heads=3,positions=bicubic",
        image_shape=(40, 32, 3),
        preprocessing=models.Preprocessing((0.5,), (0.25,)),
    )
    images = np.random.default_rng(1).uniform(0, 1, (2, 40, 32, 3)).astype(np.float32)
    with torch.no_grad():
        wanted = model(as_torch(foreign, images), interpolate_pos_encoding=True).logits
    found = foreign.network.apply(foreign.params, images)
    np.testing.assert_allclose(found, wanted.numpy(), atol=1e-4)
