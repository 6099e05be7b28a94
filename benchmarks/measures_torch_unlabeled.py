"""Errors predicted without labels, in PyTorch eager."""

import math
from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F  # noqa: N812
from measures_torch import CLASSES, Network


def log_confidence(logits: Any) -> Any:
    """Return the log of the largest probability, exact where it is close to 0."""
    best, place = logits.max(1, keepdim=True)
    others = (logits - best).exp().scatter(1, place, 0.0).sum(1)
    return -torch.log1p(others)


def negative_entropy(logits: Any, confidence: Any) -> Any:
    logs = logits - logits.amax(1, keepdim=True) + confidence[:, None]
    return (logs.exp() * logs).sum(1)


def atc(source: Any, errors: int, target: Any) -> float:
    """Return the share of target scores below the source score of rank `errors`, ties resolved."""
    ordered = source.sort().values
    at = ordered[min(errors, len(ordered) - 1)]
    below, up_to = (ordered < at).sum().item(), (ordered <= at).sum().item()
    if abs(up_to - errors) < errors - below:
        at = ordered[up_to] if up_to < len(ordered) else math.inf
    return (target < at).double().mean().item()


def unlabeled(net: Network) -> dict[str, float]:
    source, target = net.validation_logits, net.unlabeled_logits
    errors = (source.argmax(1) != net.data.validation_labels).sum().item()
    first, second = log_confidence(source), log_confidence(target)
    entropies = negative_entropy(source, first), negative_entropy(target, second)
    means = first.exp().mean().item(), second.exp().mean().item()
    return {
        "predicted_error_atc": atc(first, errors, second),
        "predicted_error_atc_entropy": atc(entropies[0], errors, entropies[1]),
        "predicted_error_average_confidence": 1 - means[1],
        "predicted_error_difference_of_confidences": errors / len(source) + means[0] - means[1],
    }


def among_seeds(networks: Sequence[Network]) -> list[dict[str, float]]:
    """Return what compares the networks that differ in nothing but their seed."""
    votes = torch.stack([net.unlabeled_logits.argmax(1) for net in networks])
    differ = (votes[:, None] != votes[None]).double().mean(2).sum(1) / (len(networks) - 1)
    votes = torch.stack([net.validation_logits.argmax(1) for net in networks])
    shares = F.one_hot(votes, CLASSES).sum(0)
    labels = networks[0].data.validation_labels
    levels = torch.arange(len(networks) + 1)
    hits = torch.bincount(shares.gather(1, labels[:, None])[:, 0], minlength=len(levels))
    everything = torch.bincount(shares.flatten(), minlength=len(levels))
    gaps = (hits - levels / len(networks) * everything).abs().sum().item() / len(labels)
    return [
        {"disagreement": value, "disagreement_calibration_error": gaps} for value in differ.tolist()
    ]
