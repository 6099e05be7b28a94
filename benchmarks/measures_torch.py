"""What the fast measures share of one multilayer perceptron, in PyTorch eager.

Written as one would for one network: what several measures need is computed once and kept, examples
and draws of noise are batched, norms of layers are Python numbers once they are known. What depends
on the data alone is prepared once for all networks, and so are the draws of noise.
"""

import functools
import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812
from torch.func import grad, vmap

CLASSES = 10
DRAWS, STEPS, OCTAVES, LARGEST, DROP, EPSILON = 10, 11, 15, 2.0, 0.1, 1e-3
GROUP, PER_BATCH = 120, 10


class Data(NamedTuple):
    """Examples as tensors, and what follows from them alone."""

    images: Any
    labels: Any
    own: Any
    validation: Any
    validation_labels: Any
    unlabeled: Any
    squared_lengths: Any
    mixed: Any
    mixed_classes: Any
    mixed_weights: Any
    members: Any
    dealt: Any
    dealt_images: Any


def prepare(train: Any, validation: Any, unlabeled: Any, dtype: torch.dtype) -> Data:
    """Return the examples of genjax (`MeasureData`) as tensors."""

    def flat(array):
        return torch.from_numpy(np.array(array)).flatten(1).to(dtype)

    images, labels = flat(train.images), torch.from_numpy(np.array(train.labels)).long()
    one, other, classes, weights = mixup_pairs(labels.numpy())
    groups = min(len(labels) // GROUP, 10)
    own = F.one_hot(labels, CLASSES)
    dealt = torch.arange(DRAWS * -(-len(labels) // DRAWS)).reshape(DRAWS, -1) % len(labels)
    return Data(
        images,
        labels,
        own.bool(),
        flat(validation.images),
        torch.from_numpy(np.array(validation.labels)).long(),
        flat(unlabeled),
        images.square().sum(1),
        (images[one] + images[other]) / 2,
        torch.from_numpy(classes),
        torch.from_numpy(weights).to(dtype),
        own[: groups * GROUP].reshape(groups, GROUP, CLASSES).to(dtype),
        dealt,
        images[dealt],
    )


def mixup_pairs(labels: np.ndarray) -> tuple[np.ndarray, ...]:
    """Return all pairs of equal class within batches of 10 per class, their class and weight.

    The accuracy is the weighted sum of hits: a mean over pairs, then batches, then classes.
    """
    batches = int(np.clip(len(labels) // (PER_BATCH * CLASSES), 1, 10))
    found, counts = [], np.zeros((CLASSES, batches))
    for label in range(CLASSES):
        places = np.flatnonzero(labels == label)[: batches * PER_BATCH]
        for batch in range(batches):
            some = places[batch * PER_BATCH : (batch + 1) * PER_BATCH]
            i, j = np.triu_indices(len(some), 1)
            counts[label, batch] = len(i)
            found.append((some[i], some[j], np.full(len(i), label), np.full(len(i), batch)))
    one, other, classes, batch = (np.concatenate(part) for part in zip(*found, strict=True))
    filled = (counts > 0).sum(1)
    weights = 1 / (counts[classes, batch] * filled[classes] * (filled > 0).sum())
    return one, other, classes, weights


def forward(params: Sequence[Any], x: Any) -> Any:
    """Return logits of images [..., pixels]; parameters are (weight [out, in], bias) by layer."""
    for weight, bias in params[:-1]:
        x = F.relu(F.linear(x, weight, bias))
    return F.linear(x, *params[-1])


def forward_each(params: Sequence[tuple[Any, Any]], x: Any) -> Any:
    """Return logits [K, n, classes] of K networks on images [K, n, pixels] of their own."""
    for index, (weight, bias) in enumerate(params):
        x = torch.baddbmm(bias[:, None], x, weight.mT)
        if index < len(params) - 1:
            x = F.relu(x)
    return x


def loss(params: Any, image: Any, label: Any) -> Any:
    """Return the cross-entropy of one example."""
    return F.cross_entropy(forward(params, image), label)


def rows_squared(rows: Any) -> Any:
    """Return the squared norm of every row."""
    return torch.linalg.vector_norm(rows, dim=1).square()


def flat_vector(params: Sequence[tuple[Any, Any]]) -> Any:
    """Return all weights and biases as one vector."""
    return torch.cat([leaf.flatten() for layer in params for leaf in layer])


class Network:
    """One trained network; every property is computed when first read, and kept."""

    def __init__(self, params, start, noise, losses, steps, data: Data):
        self.params, self.start, self.noise = params, start, noise
        self.losses_recorded, self.steps, self.data = losses, steps, data
        self.train_size = len(data.labels)
        self.depth = len(params)

    # Outputs ------------------------------------------------------------------------------------

    @functools.cached_property
    def places(self) -> list[Any]:
        """Images, activation of every hidden layer and logits, with their graph."""
        with torch.enable_grad():
            found = [self.data.images.detach().requires_grad_()]
            for weight, bias in self.params[:-1]:
                found.append(F.relu(F.linear(found[-1], weight, bias)))
            found.append(F.linear(found[-1], *self.params[-1]))
        return found

    @functools.cached_property
    def logits(self) -> Any:
        """Of the training examples, [N, classes]."""
        return self.places[-1].detach()

    @functools.cached_property
    def right(self) -> Any:
        """Whether the largest logit is of the true class, [N]."""
        return self.logits.argmax(1) == self.data.labels

    def margins_of(self, logits: Any) -> Any:
        """Return true logit minus the largest other one."""
        others = logits.masked_fill(self.data.own, -math.inf).amax(1)
        return logits.gather(1, self.data.labels[:, None])[:, 0] - others

    @functools.cached_property
    def margins(self) -> Any:
        """Of the training examples, [N]."""
        return self.margins_of(self.logits)

    def tenth(self, margins: Any) -> float:
        """Return the margin that a tenth of the examples do not exceed."""
        return margins.kthvalue(max(len(margins) // 10, 1)).values.item()

    @functools.cached_property
    def margin(self) -> float:
        """The tenth percentile of the margins."""
        return self.tenth(self.margins)

    @functools.cached_property
    def validation_logits(self) -> Any:
        """Of the validation examples."""
        return forward(self.params, self.data.validation)

    @functools.cached_property
    def unlabeled_logits(self) -> Any:
        """Of the unlabelled images."""
        return forward(self.params, self.data.unlabeled)

    # Weights ------------------------------------------------------------------------------------

    @functools.cached_property
    def singular_values(self) -> list[Any]:
        """Of every layer, descending."""
        return [torch.linalg.svdvals(weight) for weight, _ in self.params]

    @functools.cached_property
    def spectral(self) -> list[float]:
        """Largest singular value of every layer."""
        return [found[0].item() for found in self.singular_values]

    @functools.cached_property
    def frobenius(self) -> list[float]:
        """Norm of every layer."""
        return [torch.linalg.vector_norm(weight).item() for weight, _ in self.params]

    @functools.cached_property
    def changes(self) -> list[Any]:
        """Of every layer since initialisation."""
        pairs = zip(self.params, self.start, strict=True)
        return [end[0] - begin[0] for end, begin in pairs]

    @functools.cached_property
    def frobenius_changes(self) -> list[float]:
        """Norm of every change."""
        return [torch.linalg.vector_norm(change).item() for change in self.changes]

    @functools.cached_property
    def spectral_changes(self) -> list[float]:
        """Largest singular value of every change."""
        return [torch.linalg.svdvals(change)[0].item() for change in self.changes]

    @functools.cached_property
    def path_sums(self) -> tuple[float, float]:
        """Sums over paths of absolute values and of squares."""
        ones = torch.ones_like(self.data.images[:1])
        absolute = [(weight.abs(), bias.abs()) for weight, bias in self.params]
        squared = [(weight.square(), bias.square()) for weight, bias in self.params]
        return forward(absolute, ones).sum().item(), forward(squared, ones).sum().item()

    @functools.cached_property
    def weights(self) -> Any:
        """All weights and biases."""
        return flat_vector(self.params)

    @functools.cached_property
    def moved(self) -> Any:
        """Their change since initialisation."""
        return self.weights - flat_vector(self.start)

    # Gradients ----------------------------------------------------------------------------------

    @functools.cached_property
    def gradients(self) -> tuple[float, float, float, Any]:
        """Mean squared norm of single gradients, that of their mean, squared deviations, mean."""
        # All examples at once: 93 MB for the largest network, and faster than any chunks.
        arguments = self.params, self.data.images, self.data.labels
        found = vmap(grad(loss), (None, 0, 0))(*arguments)
        leaves = [leaf.flatten(1) for layer in found for leaf in layer]
        squares = torch.stack([rows_squared(leaf) for leaf in leaves]).sum(0)
        means = [leaf.mean(0) for leaf in leaves]
        of_mean = torch.cat(means).square().sum()
        pairs = zip(leaves, means, strict=True)
        deviation = torch.stack([rows_squared(leaf.sub_(mean)) for leaf, mean in pairs])
        of_mean, mean = of_mean.item(), torch.cat(means)
        return squares.mean().item(), of_mean, deviation.sum().item(), mean

    @functools.cached_property
    def one_step_losses(self) -> list[float]:
        """Loss at the weights, and after the ascending step of SAM and of ASAM."""
        gradient, scale = self.gradients[3], self.weights.abs() + 0.01
        scaled = scale * gradient
        steps = (
            torch.zeros_like(gradient),
            0.05 * gradient / torch.linalg.vector_norm(gradient),
            0.5 * scale * scaled / torch.linalg.vector_norm(scaled),
        )
        sizes = [leaf.numel() for layer in self.params for leaf in layer]
        found = []
        for step in steps:
            parts = iter(torch.split(self.weights + step, sizes))
            moved = [tuple(next(parts).view_as(leaf) for leaf in layer) for layer in self.params]
            logits = forward(moved, self.data.images)
            found.append(F.cross_entropy(logits, self.data.labels).item())
        return found

    @functools.cached_property
    def mixup_accuracy(self) -> float:
        """Mean over the pairs, then batches, then classes."""
        missed = forward(self.params, self.data.mixed).argmax(1) != self.data.mixed_classes
        return 1 - self.data.mixed_weights[missed].sum().item()

    # Noise on the weights -----------------------------------------------------------------------

    @functools.cached_property
    def tolerated(self) -> float:
        """Noise of equal size on all weights that costs 0.1 of the accuracy."""
        return self.search(magnitude=False)

    @functools.cached_property
    def tolerated_magnitude(self) -> float:
        """The same with noise in proportion to the weights."""
        return self.search(magnitude=True)

    def search(self, magnitude: bool) -> float:
        """Return the noise at which the mean accuracy of the draws is lower by the drop."""
        right = self.right[self.data.dealt]
        labels = self.data.labels[self.data.dealt]

        def drop(sigma):
            noisy = [
                tuple(self.perturbed(leaf, normal, sigma, magnitude) for leaf, normal in pairs)
                for pairs in (zip(*both, strict=True) for both in zip_layers(self))
            ]
            guessed = forward_each(noisy, self.data.dealt_images).argmax(2) == labels
            return (right.sum() - guessed.sum()).item() / right.numel()

        end = math.log(LARGEST)
        low, high, drop_low, drop_high = end - OCTAVES * math.log(2), end, 0.0, 0.0
        start = low
        for index in range(STEPS):
            middle = end if index == 0 else (low + high) / 2
            mean = drop(math.exp(middle))
            if mean <= DROP + 1e-6:
                low, drop_low = middle, mean
            else:
                high, drop_high = middle, mean
        if drop_high <= DROP + 1e-6 or low <= start:
            return math.nan
        share = min(max((DROP - drop_low) / (drop_high - drop_low), 0.0), 1.0)
        return math.exp(low + share * (high - low))

    @staticmethod
    def perturbed(leaf: Any, normal: Any, sigma: float, magnitude: bool) -> Any:
        """Return parameters with noise of every draw, [draws, ...]."""
        if not magnitude:
            return torch.add(leaf, normal, alpha=sigma)
        return torch.addcmul(leaf, (sigma**2 * leaf.square() + EPSILON**2).sqrt(), normal)


def zip_layers(network: Network) -> Any:
    """Return pairs of (weight, bias) and their draws of noise, layer by layer."""
    return zip(network.params, network.noise, strict=True)
