"""Kinds of broken input, one function each; ``tests/test_broken_inputs.py`` runs them all."""
