"""How a strategy's orders are worked: children of its order, on bars finer than those that it decides on.

The strategy is asked when one of its own bars closes; what it orders there is the *parent*. Between its decisions the
parent is cut into *children* by a plan. An agent round the agent does it (`Worked`), so that backtests, sessions,
replays and real orders share it, and nothing of it is in the kernel.
"""

from qframe_rl.execution.children import Parent, Parents, child
from qframe_rl.execution.plan import NOW, ExecutionPlan, plan_of
from qframe_rl.execution.tally import FillsTally
from qframe_rl.execution.worked import ParentOrder, Worked

__all__ = ["NOW", "ExecutionPlan", "FillsTally", "Parent", "ParentOrder", "Parents", "Worked", "child", "plan_of"]
