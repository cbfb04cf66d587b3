"""A training in a terminal: a bar with where it stands, and one line of numbers under it."""

from rich.console import Console, ConsoleOptions, RenderResult
from rich.live import Live as RichLive
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from cluster.training_text import TrainingText, fitted

BAR_WIDTHS = (10, 40)  # at least, else there is none; at most


class TrainingView:
    """Shows a `TrainingText` until it is closed, and then leaves nothing behind."""

    def __init__(self, console: Console, text: TrainingText, indent: int) -> None:
        self.text, self.left, self._indent = text, "", indent
        self._live = RichLive(self, console=console, transient=True, refresh_per_second=4)
        self._live.start()

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        """Two lines, however narrow the terminal is; drawn anew when its size changes."""
        indent = self._indent if options.max_width >= 80 else 0
        width = options.max_width - indent - 1  # a full last column makes some terminals break the line
        where = fitted(self.text.where(self.left), width)
        room = min(width - len(where) - 2, BAR_WIDTHS[1])
        first = Table.grid(padding=0)
        for _ in range(3):
            first.add_column(no_wrap=True)
        if room >= BAR_WIDTHS[0]:
            bar = ProgressBar(total=1.0, completed=self.text.done_fraction, width=room)
            first.add_row(" " * indent, bar, Text("  " + where))
        else:
            first.add_row(" " * indent, "", Text(where))
        yield first
        numbers = fitted(self.text.numbers(), width)
        yield Text(" " * indent + numbers, no_wrap=True, overflow="crop", end="")

    def close(self) -> None:
        """Take it away."""
        self._live.stop()
