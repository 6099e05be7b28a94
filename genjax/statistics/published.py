"""Published figures that our own are shown beside."""

from collections.abc import Mapping

MEAN_SIGN_ERRORS: Mapping[str, float] = {
    "pacbayes_orig": 0.0972,
    "pacbayes_flatness": 0.1024,
    "pacbayes_init": 0.1062,
    "path_norm_over_margin": 0.1217,
    "pacbayes_mag_flatness": 0.1261,
    "path_norm": 0.1274,
    "fro_dist": 0.1404,
    "log_sum_of_fro": 0.1616,
    "param_norm": 0.1788,
    "log_sum_of_fro_over_margin": 0.1857,
    "log_prod_of_fro_over_margin": 0.2986,
    "log_prod_of_fro": 0.3013,
    "log_sum_of_spec_fft": 0.3034,
    "fro_over_spec_fft": 0.3115,
    "inverse_margin": 0.3296,
    "log_sum_of_spec_over_margin_fft": 0.3349,
    "dist_spec_init_fft": 0.3746,
    "pacbayes_mag_orig": 0.4071,
    "pacbayes_mag_init": 0.4173,
    "parameters": 0.4334,  # params
    "log_spec_orig_main_fft": 0.5506,
    "log_spec_init_main_fft": 0.5614,
    "log_prod_of_spec_fft": 0.5965,
    "log_prod_of_spec_over_margin_fft": 0.6185,
}
"""Mean robust sign error of the 24 measures of Dziugaite et al., In Search of Robust Measures of
Generalization (NeurIPS 2020), figure 1, over 9,242 environments of CIFAR-10 and SVHN; ascending."""
