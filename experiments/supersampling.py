"""Supersamples of real networks: against the size of the sample, and against depth."""

from collections.abc import Callable, Mapping
from typing import Any

import jax
import numpy as np
import pandas as pd

from experiments.pools import network_of, rules
from experiments.study import Work
from genjax import report
from genjax.data import Examples
from genjax.intervals import mean_interval
from genjax.metrics.information import (
    contraction,
    depth_chain,
    information_plane,
    supersample,
    supersample_bounds,
)
from genjax.metrics.information.supersample import Outcomes
from genjax.models import Network
from genjax.training import HyperParameters

COLUMNS = ("experiment", "n", "depth", "seed", "bound", "value", "low", "high", "gap", "vacuous")
HEAD = "output"


def _depth_of(network: Network) -> int:
    return len(network.options.get("widths") or network.options.get("channels") or ())


def against_size(config: Any, examples: Examples, work: Work) -> dict[str, pd.DataFrame]:
    """Train every supersample and mask of every size, and bound their gaps.

    Returns:
        `information` (a row per size, supersample and bound), `bounds` (a row per size and bound,
        with intervals over supersamples) and `networks` (a row per size).
    """
    asked = config.supersample
    network = network_of(examples, config.model.name, config.model.options)
    rows: dict[str, list[pd.DataFrame]] = {"information": [], "bounds": [], "networks": []}
    with report.terminal.progress("supersamples", unit="steps") as advance:
        for size in asked.sizes:
            drawn = supersample.draw(
                len(examples),
                num_pairs=size,
                num_supersamples=asked.supersamples,
                num_masks=asked.masks,
                seed=config.seed,
            )

            def compute(drawn=drawn, size=size):
                group = supersample.train(
                    network, rules(config), examples, drawn, jax.random.key(config.seed),
                    hyper=HyperParameters(**config.hyper), random_seeds=asked.random_seeds,
                    on_progress=_named(advance, f"n = {size}"),
                )  # fmt: skip
                return supersample.outcomes(group, examples, drawn)._asdict()

            found = Outcomes(**work.kept(f"supersample_{size}", compute))
            _add(rows, found, config.level, "supersample", size, _depth_of(network))
    return _joined(rows)


def _named(advance: Callable[[int, int, str], None], name: str) -> Callable[[int, int, str], None]:
    return lambda done, total, _: advance(done, total, name)


def _add(rows, found: Outcomes, level: float, experiment: str, size: int, depth: int, **more):
    known = {"experiment": experiment, "n": size, "depth": depth, **more}
    each = supersample_bounds.per_supersample(found).rename(columns={"supersample": "seed"})
    each = each.assign(low=np.nan, high=np.nan, vacuous=each["value"] >= 1, **known)
    rows["information"].append(
        each.assign(holds=each["value"] >= each["gap"] - supersample_bounds.ROUNDING)
    )
    rows["bounds"].append(supersample_bounds.table(found, level=level).assign(**known))
    gaps = np.nanmean(found.gap(), axis=1)
    low, high = mean_interval(gaps, level)
    rows["networks"].append(
        pd.DataFrame([{
            **known, "gap": gaps.mean(), "low": low, "high": high, "networks": found.alive.size,
            "diverged": int((~found.alive).sum()),
            "train_error": np.nanmean(found.train_error()),
            "test_error": np.nanmean(found.ghost_error()),
        }])
    )  # fmt: skip


def _joined(rows: Mapping[str, list[pd.DataFrame]]) -> dict[str, pd.DataFrame]:
    found = {name: pd.concat(parts, ignore_index=True) for name, parts in rows.items()}
    first = [*COLUMNS, "holds"]
    own = found["information"]
    found["information"] = pd.DataFrame(own[[*first, *(c for c in own if c not in first)]])
    return found


def against_depth(config: Any, examples: Examples, work: Work) -> dict[str, pd.DataFrame]:
    """Train every depth, as it is and with every control, on the same supersamples.

    Returns:
        As `against_size`, with a column `control`, `chain` (a row per depth, control, supersample
        and link) and `plane` (a row per depth, control, network and layer).
    """
    asked = config.depth
    settings = [(depth, "none") for depth in asked.depths]
    settings += [(depth, c) for c in asked.controls for depth in asked.control_depths]
    drawn = supersample.draw(
        len(examples),
        num_pairs=asked.size,
        num_supersamples=asked.supersamples,
        num_masks=asked.masks,
        seed=config.seed,
    )
    rows: dict[str, list[pd.DataFrame]] = {
        "information": [], "bounds": [], "networks": [], "chain": [], "plane": [],
    }  # fmt: skip
    with report.terminal.progress("depth", unit="steps") as advance:
        for depth, control in settings:

            def compute(depth=depth, control=control):
                known = _with_control(config, examples, control)
                told = _named(advance, f"{depth} layers, {control}")
                group = _train_control(config, known, drawn, depth, control, told)
                found = supersample.outcomes(group, known, drawn)
                chain = depth_chain.chain(group, known, drawn, found)
                return {
                    **found._asdict(), "links": np.array(chain.links, object),
                    "told": chain.information, **_planes(config, group, known, drawn),
                }  # fmt: skip

            kept = work.kept(f"depth_{depth}_{control.replace(' ', '_')}", compute)
            chain = depth_chain.Chain(tuple(map(str, kept.pop("links"))), kept.pop("told"))
            plane = {name: kept.pop(name) for name in ("layers", "input", "label", "ranks")}
            rows["plane"].append(_plane_rows(plane, depth, control))
            found = Outcomes(**kept)
            _add(rows, found, config.level, "depth", asked.size, depth, control=control)
            rows["chain"].append(_chain_rows(chain, depth, control))
    return _joined(rows)


def _with_control(config: Any, examples: Examples, control: str) -> Examples:
    if control != "random labels":
        return examples
    labels = np.random.default_rng(config.seed).permutation(examples.labels)
    return Examples(examples.images, labels, examples.class_names, "random labels")


def _train_control(config, examples, drawn, depth, control, advance):
    asked = config.depth
    widths = [asked.width] * depth
    if control == "bottleneck":
        widths[1::2] = [asked.bottleneck] * len(widths[1::2])
    network = network_of(examples, config.model.name, {"widths": tuple(widths)})
    hyper = HyperParameters(**config.hyper)
    if control == "noise":
        hyper = hyper._replace(dropout_rate=asked.noise)
    names = tuple(jax.eval_shape(network.init, jax.random.key(0))[0])
    trunk = tuple(name for name in names if name != HEAD)
    trainable = {"frozen trunk": (HEAD,), "frozen head": trunk}.get(control)
    return supersample.train(
        network, rules(config), examples, drawn, jax.random.key(config.seed), hyper=hyper,
        trainable=trainable, on_progress=advance,
    )  # fmt: skip


def _chain_rows(chain: depth_chain.Chain, depth: int, control: str) -> pd.DataFrame:
    return pd.DataFrame(
        [
            {
                "depth": depth, "control": control, "seed": seed, "place": place, "link": link,
                "nats": own[place],
            }
            for seed, own in enumerate(chain.information)
            for place, link in enumerate(chain.links)
        ]
    )  # fmt: skip


def _planes(config: Any, group: Any, examples: Examples, drawn: Any) -> dict[str, np.ndarray]:
    """Return where the layers of one network per supersample stand in the information plane.

    Information is what is left under noise of a tenth of a layer's mean variance, on its own
    supersample: the middle of the sandwich. Ranks are those of its layers over their inputs.
    """
    masks = drawn.masks.shape[1]
    found: dict[str, list[Any]] = {"input": [], "label": [], "ranks": []}
    names: list[str] = []
    for index, pairs in enumerate(drawn.pairs[: config.depth.planes]):
        params, own = group.network_params(index * masks), pairs.ravel()
        layers = information_plane.information_plane(
            group.network, params, examples.images[own], examples.labels[own]
        )[: _depth_of(group.network)]
        names = [layer.layer for layer in layers]
        found["input"].append([(layer.input_low + layer.input_high) / 2 for layer in layers])
        found["label"].append([(layer.label_low + layer.label_high) / 2 for layer in layers])
        audit = contraction.audit(group.network, params, examples.images[own])
        found["ranks"].append([audit.contraction_layers, audit.coefficient])
    return {"layers": np.array(names, object), **{k: np.array(v) for k, v in found.items()}}


def _plane_rows(plane: Mapping[str, np.ndarray], depth: int, control: str) -> pd.DataFrame:
    return pd.DataFrame(
        [
            {
                "depth": depth, "control": control, "seed": seed, "place": place + 1,
                "layer": name, "input": plane["input"][seed, place],
                "label": plane["label"][seed, place],
                "contraction_layers": plane["ranks"][seed, 0],
                "coefficient": plane["ranks"][seed, 1],
            }
            for seed in range(len(plane["input"]))
            for place, name in enumerate(plane["layers"])
        ]
    )  # fmt: skip
