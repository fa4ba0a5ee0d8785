"""torchrun, ending with one line and the right status instead of its traceback.

    python -m rankdet.engine.torchrun --nproc_per_node=2 tools/train.py CONFIG --launcher pytorch

It ends all processes as soon as one has failed. What went wrong inside them they say themselves,
unless they were killed: then this does.
"""

from __future__ import annotations

import signal
import sys

from torch.distributed.elastic.multiprocessing import SignalException
from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
from torch.distributed.run import main as torchrun

from rankdet.commands import how_to_go_on


def main() -> None:
    """Run torchrun on the arguments of the command line."""
    try:
        torchrun()
    except SignalException as stop:
        sys.exit(128 + stop.sigval)
    except ChildFailedError as error:
        # torchrun itself ends those that are left by SIGTERM.
        ended = {-signal.SIGTERM, 128 + signal.SIGTERM}
        for rank, failure in error.failures.items():
            if failure.exitcode < 0 and failure.exitcode not in ended:
                name = signal.Signals(-failure.exitcode).name
                cause = ' (often: not enough memory)' if name == 'SIGKILL' else ''
                print(
                    f'error: process {rank} of this run was killed by {name}{cause}, the others '
                    f'were ended; {how_to_go_on()}',
                    file=sys.stderr,
                )
        sys.exit(1)


if __name__ == '__main__':
    main()
