"""The practical metric on networks that were trained elsewhere, with real novel classes.

Source: Huang, Yu and Zhang, A practical generalization metric for deep networks benchmarking,
  Sci Rep 15:9747 (2025), who read pretrained families in the same way: 9 SSIM levels x 6 novel
  shares x the sizes that there are.
Networks: CIFAR-10 ResNets of depth 20, 32 and 44 (He et al. 2016; public weights, errors 8.27, 7.37
  and 6.90 %). Seen classes are CIFAR-10's ten, novel ones ten classes of CIFAR-100.
Hardware and time: see experiments/README.md.
Expected: error falls with SSIM and rises with the novel share; size matters little. There is one
  network per size: intervals are over classes, which bring their images along.
Command: python -m experiments.benchmark --config=experiments/configs/benchmark.py:pretrained
  with GENJAX_DATA_DIR set, or with --config.networks.folder=FOLDER, --config.data.source=SPEC and
  --config.data.novel_source=SPEC.

Novel classes are drawn among CIFAR-100's without those that CIFAR-10's automobile and truck cover
in part or in looks: bus, pickup_truck, streetcar, tank, tractor. Relatives of its animals (wolf,
leopard) stay: they are other classes.
"""

from ml_collections import ConfigDict


def get_config() -> ConfigDict:
    config = ConfigDict()
    config.name = "benchmark_pretrained"
    config.seed = 0
    config.networks = ConfigDict(
        {
            "folder": "",  # of the weight files; empty takes pretrained/ in GENJAX_DATA_DIR
            "weights": (  # (file, architecture and options), one network each
                ("resnet20.safetensors", "resnet_cifar:depth=20"),
                ("resnet32.safetensors", "resnet_cifar:depth=32"),
                ("resnet44.safetensors", "resnet_cifar:depth=44"),
            ),
            "train_size": 50_000,  # examples that the networks were trained on
        }
    )
    config.data = ConfigDict(
        {
            "source": "",  # what the networks were trained on; empty: CIFAR-10 in GENJAX_DATA_DIR
            "classes": (),  # names of those that count; empty takes all; the others are not novel
            "novel_source": "",  # where novel classes come from; empty: CIFAR-100, likewise
            "novel_classes": (),  # names, in the order in which they enter; empty draws novel_count
            "novel_count": 10,
            "exclude": ("bus", "pickup_truck", "streetcar", "tank", "tractor"),  # never drawn
            "class_seed": 0,  # draws the novel classes; -1 takes them in the order of labels
            "folder": "",  # of tfds; empty takes TFDS_DATA_DIR or its default
            "fractions": (0.6, 0.2, 0.2),  # train, validation, test
            "train_per_class": 100,  # of heads, validation included; 0 takes all
            "test_per_class": 100,
        }
    )
    config.testbed = ConfigDict(
        {
            "shift": "autoencoder",
            "levels": (0.6, 0.65, 0.7, 0.75, 0.8, 0.85, 0.9, 0.95, 1.0),
            "novel_counts": (0, 2, 4, 6, 8, 10),  # the paper's shares, from 0 to one half
        }
    )
    config.protocols = ConfigDict(
        {
            # 10 epochs at the paper's 1e-4 are some 500 steps here and 15,000 there: scaled.
            "paper_learning_rate": 1e-2,
            "paper_epochs": 10,
            "shots": 10,
            "ladder": True,
        }
    )
    # What needs the start or the record of training is refused by name.
    config.measures = ConfigDict({"names": ("norms", "output_margins"), "examples": 500})
    config.statistics = ConfigDict({"draws": 200, "level": 0.95})
    return config
