"""The deep image prior on torch alone: networks, codes, terms, stopping, the fit."""
