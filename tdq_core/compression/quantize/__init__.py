"""Precision realisations: a model as a real file at fp32, fp16, int8 or simulated bits, and a function that runs it."""

from tdq_core.compression.quantize.artefact import Artefact, Request
from tdq_core.compression.quantize.prepare import realise

__all__ = ["Artefact", "Request", "realise"]
