"""Configurations: one file per experiment, one function per variant."""
