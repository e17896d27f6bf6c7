"""A picture in the terminal that is drawn again and again until somebody presses q.

The terminal's own means only: the alternate screen, so that what was there comes back, and single keys without echo.
Whatever ends it, the terminal is left as it was.
"""

import os
import select
import shutil
import sys
import termios
import time
import tty
from collections.abc import Callable

from tensorfusion.errors import TensorFusionError

_ENTER, _LEAVE = "\x1b[?1049h\x1b[?25l", "\x1b[?25h\x1b[?1049l"
_HOME, _CLEAR_LINE, _CLEAR_BELOW = "\x1b[H", "\x1b[K", "\x1b[J"
_QUIT = (b"", b"q", b"Q", b"\x03", b"\x04")

Draw = Callable[[int, int], list[str]]


def live(draw: Draw, *, every: float) -> None:
    """Show ``draw(width, height)`` until q. An error of ours is shown in its place: a cluster may come back."""
    keyboard = sys.stdin.fileno()
    before = termios.tcgetattr(keyboard)
    try:
        tty.setcbreak(keyboard)
        sys.stdout.write(_ENTER)
        while True:
            width, height = shutil.get_terminal_size()
            try:
                lines = draw(width, height - 1)
            except TensorFusionError as error:
                lines = [f"error: {error}"[:width]]
            foot = f"{time.strftime('%H:%M:%S')}   q leaves"[:width]
            body = "".join(f"{line}{_CLEAR_LINE}\r\n" for line in [*lines, foot][:height])
            sys.stdout.write(f"{_HOME}{body.rstrip()}{_CLEAR_BELOW}")
            sys.stdout.flush()
            ready, _, _ = select.select([keyboard], [], [], every)
            if ready and os.read(keyboard, 1) in _QUIT:
                return
    except KeyboardInterrupt:
        return
    finally:
        sys.stdout.write(_LEAVE)
        sys.stdout.flush()
        termios.tcsetattr(keyboard, termios.TCSADRAIN, before)
