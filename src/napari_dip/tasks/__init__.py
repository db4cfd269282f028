"""The tasks: arrays in, arrays out, each a recipe and a plan for the one fit."""
