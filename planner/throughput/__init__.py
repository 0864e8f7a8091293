"""Predicted speed: tokens per second and latency of one configuration under one load."""

from planner.throughput.predict import Throughput, predict

__all__ = ["Throughput", "predict"]
