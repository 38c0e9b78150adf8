"""Policies over markets: a network in two parts, the bars that it sees, and how it learns from a minibatch."""

from qframe_rl.policy.backend import Graph, NetworkBackend
from qframe_rl.policy.bars import EncodedBars, Minibatch
from qframe_rl.policy.chance import Choices, Gauss, chance_of
from qframe_rl.policy.dense import Dense
from qframe_rl.policy.loss import Loss
from qframe_rl.policy.net import Encoder, EpisodeEncoder, InputShape, Net, Span, Torso

__all__ = [
    "Choices", "Dense", "EncodedBars", "Encoder", "EpisodeEncoder", "Gauss", "Graph", "InputShape", "Loss",
    "Minibatch", "Net", "NetworkBackend", "Span", "Torso", "chance_of",
]  # fmt: skip
