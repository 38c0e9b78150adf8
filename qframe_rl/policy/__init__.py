"""Policies over markets: a network in two parts, the bars that it sees, and the gradient of what it learns from."""

from qframe_rl.policy.bars import Bars, Batch
from qframe_rl.policy.chance import Choices, Gauss, chance_of
from qframe_rl.policy.head import Head
from qframe_rl.policy.net import Encoder, Net, Shape, Torso

__all__ = ["Bars", "Batch", "Choices", "Encoder", "Gauss", "Head", "Net", "Shape", "Torso", "chance_of"]
