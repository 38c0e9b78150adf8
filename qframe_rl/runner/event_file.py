"""What a training shows on TensorBoard, through TensorBoard's own writer: PyTorch's takes seconds to import."""

from __future__ import annotations

import io
import time
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from qframe_rl.evaluate.painted import pixels

if TYPE_CHECKING:
    from matplotlib.figure import Figure


class EventFile:
    """An event file of its own in a folder.

    Parameters
    ----------
    folder
        Where to; made where it is missing.
    """

    def __init__(self, folder: Path):
        from tensorboard.summary.writer.event_file_writer import EventFileWriter

        self._writer = EventFileWriter(str(folder))

    def scalar(self, name: str, value: float, step: int) -> None:
        """One point of a curve.

        Parameters
        ----------
        name
            Of the curve; what stands before a slash groups it.
        value, step
            Where it is, and after how many steps.
        """
        self._write(step, tag=name, simple_value=float(value))

    def figure(self, name: str, figure: Figure) -> None:
        """A picture of a figure.

        Parameters
        ----------
        name, figure
            What it is called, and what is drawn.
        """
        from PIL import Image
        from tensorboard.compat.proto.summary_pb2 import Summary

        colours = pixels(figure)[..., :3]
        height, width, depth = colours.shape
        file = io.BytesIO()
        Image.fromarray(colours).save(file, format="PNG")
        picture = Summary.Image(height=height, width=width, colorspace=depth, encoded_image_string=file.getvalue())
        self._write(0, tag=name, image=picture)

    def hyper_parameters(self, params: Mapping[str, bool | float | str], metrics: Mapping[str, float]) -> None:
        """What was set, and what came of it, as a row of the page HPARAMS.

        Parameters
        ----------
        params, metrics
            By name.
        """
        from tensorboard.plugins.hparams import metadata
        from tensorboard.plugins.hparams.api_pb2 import Experiment, HParamInfo, MetricInfo, MetricName, Status
        from tensorboard.plugins.hparams.plugin_data_pb2 import HParamsPluginData, SessionEndInfo, SessionStartInfo

        kinds = [HParamInfo(name=name, type=_kind(value)) for name, value in params.items()]
        judged = [MetricInfo(name=MetricName(tag=name)) for name in metrics]
        start = SessionStartInfo()
        for name, value in params.items():
            setattr(start.hparams[name], _FIELDS[_kind(value)], value)
        for tag, part in (
            (metadata.EXPERIMENT_TAG, {"experiment": Experiment(hparam_infos=kinds, metric_infos=judged)}),
            (metadata.SESSION_START_INFO_TAG, {"session_start_info": start}),
            (metadata.SESSION_END_INFO_TAG, {"session_end_info": SessionEndInfo(status=Status.STATUS_SUCCESS)}),
        ):
            self._write(0, tag=tag, metadata=metadata.create_summary_metadata(HParamsPluginData(**part)))
        for name, value in metrics.items():
            self.scalar(name, value, 0)

    def close(self) -> None:
        """Write what is left."""
        self._writer.close()

    def _write(self, step: int, **value: Any) -> None:
        from tensorboard.compat.proto.event_pb2 import Event
        from tensorboard.compat.proto.summary_pb2 import Summary

        summary = Summary(value=[Summary.Value(**value)])
        self._writer.add_event(Event(wall_time=time.time(), step=step, summary=summary))


_FIELDS = {"DATA_TYPE_BOOL": "bool_value", "DATA_TYPE_STRING": "string_value", "DATA_TYPE_FLOAT64": "number_value"}


def _kind(value: bool | float | str) -> str:
    if isinstance(value, bool):
        return "DATA_TYPE_BOOL"
    return "DATA_TYPE_STRING" if isinstance(value, str) else "DATA_TYPE_FLOAT64"
