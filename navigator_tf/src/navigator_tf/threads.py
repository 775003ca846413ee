"""TensorFlow's threads: of the whole process, and fixed when it first computes."""

from __future__ import annotations

from typing import TYPE_CHECKING

from navigator_core.errors import NavigatorError
from navigator_tf.engine import tf

if TYPE_CHECKING:
    from navigator_tf.options import Threads


def use(options: Threads) -> None:
    """Have TensorFlow take so many. Raises NavigatorError where it has begun with others."""
    for asked, set_to, variable in (
        (options.threads, tf.config.threading.set_intra_op_parallelism_threads, "TF_NUM_INTRAOP_THREADS"),
        (options.inter_op_threads, tf.config.threading.set_inter_op_parallelism_threads, "TF_NUM_INTEROP_THREADS"),
    ):
        if not asked:
            continue
        try:
            set_to(asked)
        except RuntimeError as error:
            raise NavigatorError(
                f"TensorFlow has computed in this process already and keeps its threads: set {variable}={asked} in the "
                "environment before it starts"
            ) from error
