"""Optimisers whose numbers are traced arguments, from optax."""

import optax

from genjax.training.config import HyperParameters, TrainingConfig


def learning_rate_shape(config: TrainingConfig) -> optax.Schedule:
    """Return the schedule as a factor in [0, 1] of the peak learning rate.

    Example:
        >>> shape = learning_rate_shape(TrainingConfig(schedule="cosine", max_steps=100))
        >>> round(float(shape(50)), 6)
        0.5
    """
    if config.schedule == "cosine":
        return optax.cosine_decay_schedule(1.0, config.max_steps)
    if config.schedule == "warmup_cosine":
        warmup = round(config.warmup * config.max_steps)
        return optax.warmup_cosine_decay_schedule(0.0, 1.0, warmup, config.max_steps)
    if config.schedule == "exponential":
        # Falls to 1 % over the run.
        return optax.exponential_decay(1.0, config.max_steps, 0.01)
    return optax.constant_schedule(1.0)


def make_optimizer(
    config: TrainingConfig, hyper: HyperParameters, used: frozenset[str]
) -> optax.GradientTransformationExtraArgs:
    """Return the optimiser of `config` with the numbers of `hyper`, which may be traced.

    Args:
        config: its `optimizer` and `schedule` choose the code.
        hyper: learning rate, momentum, weight decay and SAM radius.
        used: names of hyper-parameters that are not zero everywhere; the rest costs nothing.
    """
    shape = learning_rate_shape(config)

    def rate(count):
        return hyper.learning_rate * shape(count)

    nesterov = config.optimizer == "nesterov"
    if config.optimizer == "adamw":
        return optax.with_extra_args_support(
            optax.adamw(rate, b1=hyper.momentum, weight_decay=hyper.weight_decay)
        )
    if config.optimizer == "adam":
        base = optax.adam(rate, b1=hyper.momentum)
    elif config.optimizer == "rmsprop":
        base = optax.rmsprop(rate, decay=0.9, momentum=hyper.momentum)
    elif config.optimizer == "sgd":
        base = optax.sgd(rate)
    else:
        base = optax.sgd(rate, momentum=hyper.momentum, nesterov=nesterov)
    if "weight_decay" in used:
        base = optax.chain(optax.add_decayed_weights(hyper.weight_decay), base)
    if config.optimizer == "sam":
        ascent = optax.chain(optax.contrib.normalize(), optax.sgd(hyper.sam_radius))
        return optax.contrib.sam(base, ascent, sync_period=2, opaque_mode=True)
    return optax.with_extra_args_support(base)
