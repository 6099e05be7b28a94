"""The information-theoretic view of generalization: channels, estimators, bounds, stability."""
