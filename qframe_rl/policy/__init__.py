"""Policies over markets: a network in two parts, the bars that it sees, and how it learns from a minibatch."""

from qframe_rl.policy.bars import Bars, Batch
from qframe_rl.policy.chance import Choices, Gauss, chance_of
from qframe_rl.policy.dense import Dense
from qframe_rl.policy.lane import Graph, Lane
from qframe_rl.policy.loss import Loss
from qframe_rl.policy.net import Encoder, Net, Shape, Torso

__all__ = [
    "Bars", "Batch", "Choices", "Dense", "Encoder", "Gauss", "Graph", "Lane", "Loss", "Net", "Shape", "Torso",
    "chance_of",
]  # fmt: skip
